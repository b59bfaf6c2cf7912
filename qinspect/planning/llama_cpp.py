"""A recipe as `llama-quantize` takes it: `--tensor-type REGEX=TYPE` for what GGML has a type of.

The types' blocks are those of ggml: 32 weights, or 256, along a row with a float16 scale, some with a float16 minimum.
`llama-quantize` finds the parameters of these blocks its own way, so errors differ a little from those shown here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from qinspect.formats.checkpoint import TensorInfo
from qinspect.formats.gguf_names import names_in_gguf
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import ALL, Recipe, kind_of

FITTING = ("calibration", "percentile")
"""Fields that decide how parameters are found, and not how they are stored."""

_AS_IT_IS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


@cache
def _types() -> dict[Any, tuple[str, int]]:
    """What stores the same codes and parameters as a type of GGML: its name, and the weights of its block."""
    block = {"granularity": "group", "group_size": 32, "param_dtype": "float16"}
    types = {
        "q4_0": make_scheme("symmetric", bits=4, **block),
        "q4_1": make_scheme("asymmetric", bits=4, offset="minimum", **block),
        "q5_0": make_scheme("symmetric", bits=5, **block),
        "q5_1": make_scheme("asymmetric", bits=5, offset="minimum", **block),
        "q8_0": make_scheme("symmetric", bits=8, **block),
        "mxfp4": make_scheme("mxfp4"),
        "tq1_0": make_scheme("ternary", **(block | {"group_size": 256})),
    }
    return {_stored_as(scheme): (name, getattr(scheme, "group_size", 1)) for name, scheme in types.items()}


def _stored_as(scheme: Scheme) -> Any:
    return type(scheme), *(
        (p.name, getattr(scheme, p.name)) for p in scheme.active_parameters() if p.name not in FITTING
    )


@dataclass(frozen=True)
class TensorTypes:
    """Arguments of `llama-quantize`, two by two, and the tensors that have no type: name and reason."""

    arguments: tuple[tuple[str, str], ...]
    without: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """The arguments as a shell reads them, one `--tensor-type` a line."""
        return [f"{option} '{value}'" for option, value in self.arguments]


def ggml_type(info: TensorInfo, scheme: Scheme | None) -> tuple[str | None, str]:
    """The type that stores `info` under `scheme` (None: as it is), or None and why there is no such type."""
    if scheme is None:
        found = _AS_IT_IS.get(info.dtype) if info.qtype is None else None
        return found, "" if found else f"llama-quantize does not take {info.qtype or info.dtype} tensors over"
    name, block = _types().get(_stored_as(scheme), (None, 1))
    if name is None:
        return None, f"GGML has no type like {scheme.label}"
    if info.shape[-1] % block:
        return None, f"{name} has blocks of {block}, which do not divide rows of {info.shape[-1]}"
    return name, ""


def tensor_types(recipe: Recipe, infos: Iterable[TensorInfo]) -> TensorTypes:
    """What `llama-quantize` must be told to follow `recipe`, by the names that tensors have in a GGUF file.

    Of a network most of which llama.cpp does not know, names stay as they are. Vectors are left out: it keeps them in
    float32.
    """
    infos = [info for info in infos if info.quantizable or info.qtype]
    names = names_in_gguf(info.name for info in infos)
    if 2 * len(names) < len(infos):
        names = {info.name: info.name for info in infos}
    by_type: dict[tuple[str, str], list[str]] = defaultdict(list)
    kinds: dict[str, int] = defaultdict(int)
    without = []
    for info in infos:
        name = names.get(info.name)
        found, reason = ggml_type(info, recipe.scheme_for(info))
        if name is None or found is None:
            without.append((info.name, reason or "it has no name in GGUF files"))
        if name is not None:
            kinds[kind_of(name)] += 1
            if found is not None:
                by_type[kind_of(name), found].append(name)
    arguments = []
    for (kind, found), same in by_type.items():
        for pattern in _patterns(kind, same, whole=len(same) == kinds[kind]):
            arguments.append(("--tensor-type", f"{pattern}={found}"))
    return TensorTypes(tuple(arguments), tuple(without))


def _patterns(kind: str, names: list[str], *, whole: bool) -> list[str]:
    """Regular expressions over whole names: all of a kind, or those of some blocks, or each name."""
    if len(names) == 1 or ALL not in kind or (kind.count(ALL) > 1 and not whole):
        return [f"^{re.escape(name)}$" for name in names]
    before, _, after = kind.partition(ALL)
    if whole:
        return ["^" + re.escape(kind).replace(re.escape(ALL), "[0-9]+") + "$"]
    numbers = "|".join(name[len(before) : len(name) - len(after) or None] for name in names)
    return [f"^{re.escape(before)}({numbers}){re.escape(after)}$"]
