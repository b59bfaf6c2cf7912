"""compressed-tensors: a Hugging Face folder with packed integers, which transformers and vLLM read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import ExportError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.dtypes import dtype_name
from qinspect.formats.model_config import json_of
from qinspect.formats.native import prefix_of, stored_name
from qinspect.formats.open import open_checkpoint
from qinspect.formats.stored import WatchedFile
from qinspect.quant.layout import Granularity
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.quant.schemes.symmetric import Symmetric
from qinspect.targets.atomic import durable
from qinspect.targets.blueprint import Stored
from qinspect.targets.choice import Choice
from qinspect.targets.packed import packed_or_plain
from qinspect.targets.pieces import Stretch
from qinspect.targets.read_back import Content, max_difference
from qinspect.targets.safetensors_file import SafetensorsFile
from qinspect.targets.sources import kept_metadata
from qinspect.targets.target import PlanRow, ReportRow
from qinspect.targets.tensor_file import Contents, TensorFile, Written
from qinspect.task import Token

BITS = (4, 8)
"""What transformers loaded, bit for bit, when the format was verified (docs/targets.md)."""

_TENSORS = "model.safetensors"
_CONFIG = "config.json"

_NO_LINEAR = re.compile(r"embed|(^|\.)(wte|wpe|word_emb|shared)\.weight$", re.IGNORECASE)
"""Names of weights that are looked up, and not multiplied with."""
_CONV1D_MODELS = ("gpt2", "openai-gpt", "ctrl", "imagegpt", "decision_transformer")
"""Whose products have weights [inputs, outputs], which are packed along the wrong axis."""

_TIED_HEADS = ("lm_head", r"re:.*lm_head\.decoder$", r"re:.*predictions\.decoder$")
"""Linear layers that use the embedding's weights, and so are in no file."""

_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".bpe", ".py", ".md")
"""Ends of the names of files that belong to a model and hold no weights."""


class CompressedTensors(TensorFile):
    """`model.safetensors`, `config.json`, and the tokenizer as it was."""

    name: ClassVar[str] = "compressed-tensors"
    title: ClassVar[str] = "Hugging Face folder (compressed-tensors)"
    suffix: ClassVar[str] = ""
    summary: ClassVar[str] = "A model folder with packed int4 or int8 weights, for transformers and vLLM."
    carries: ClassVar[str] = (
        "Symmetric 4 and 8 bits of linear layers, in groups that divide a row or with one scale a row or tensor."
    )
    folder: ClassVar[bool] = True
    order: ClassVar[int] = 60
    tensors_in: ClassVar[str] = _TENSORS

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """What the format does not have."""
        if type(scheme) is not Symmetric or scheme.bits not in BITS:
            return f"the format holds symmetric 4 or 8 bits, not {scheme.label}"
        if len(shape) != 2:
            return "only weights of two dimensions are packed"
        if scheme.granularity == Granularity.CHANNEL and scheme.axis:
            return "scales belong to rows, not to columns"
        if scheme.granularity == Granularity.GROUP and shape[1] % min(scheme.group_size, shape[1]):
            return f"groups of {scheme.group_size} do not divide rows of {shape[1]}"
        return None

    # Planning.

    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """Packed where the model has a linear layer, else as it is."""
        folder = _ModelFolder(checkpoint)
        return [self._planned(checkpoint, choice, folder) for choice in chosen]

    def _planned(self, checkpoint: Checkpoint, choice: Choice, folder: _ModelFolder) -> PlanRow:
        info, scheme = choice.info, choice.scheme
        if scheme is None:
            return self.row(checkpoint, choice)
        reason = self.refusal(scheme, info.shape) or folder.refusal(info.name)
        if reason is None:
            assert isinstance(scheme, Symmetric)
            return self.row(checkpoint, choice, f"int{scheme.bits}")
        stays = "written decoded" if info.qtype else "stays as it is"
        row = self.row(checkpoint, replace(choice, scheme=None, note=f"{stays}: {reason}"))
        return replace(row, wanted=scheme)

    def remark(self, checkpoint: Checkpoint) -> str:
        """What is in the folder beside the weights."""
        folder = _ModelFolder(checkpoint)
        if not folder.config:
            return (
                f"there is no {_CONFIG} beside the open file: the one that is written only describes the quantization, "
                "and transformers needs the model's own in it"
            )
        others = f", and {len(folder.others)} more files of its folder" if folder.others else ""
        return f"the model's own {_CONFIG} goes along, with quantization_config in it{others}"

    def stored(self, row: PlanRow) -> list[Stored]:
        """Codes, scales and shape; or the tensor itself."""
        if row.scheme is None:
            return [Stored(row.name, row.dtype, row.shape)]
        scheme, prefix = _symmetric(row.scheme), prefix_of(row.name)
        rows, cols = row.shape
        words = -(-cols * scheme.bits // 32)
        return [
            Stored(stored_name(prefix, "weight_packed"), "I32", (rows, words)),
            Stored(stored_name(prefix, "weight_scale"), dtype_name(scheme.scale_dtype), (rows, _groups(scheme, cols))),
            Stored(stored_name(prefix, "weight_shape"), "I64", (2,)),
        ]

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """Codes, or the weights."""
        return packed_or_plain(row, held, token)

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """A stream of bits along each row, in whole words; its codes count from the lowest, as they do here."""
        if not isinstance(content, QTensor):
            return [content]
        codes, scales, _ = self.stored(row)
        data = np.asarray(content.data).reshape(row.shape[0], -1)
        words = np.pad(data, [(0, 0), (0, 4 * codes.shape[1] - data.shape[1])]).view("<i4")
        scale = np.asarray(content.params["scale"])
        held = np.broadcast_to(scale.reshape(-1, scales.shape[1] if scale.size > 1 else 1), scales.shape)
        return [words, np.ascontiguousarray(held), np.array(row.shape, "<i8")]

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> SafetensorsFile:
        """The arrays without a record of ours: the folder's `config.json` describes them."""
        return SafetensorsFile([stored for row in rows for stored in self.stored(row)], kept_metadata(checkpoint))

    # Writing.

    def companions(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Mapping[str, int]:
        """The configuration, and what else belongs to the model."""
        folder = _ModelFolder(checkpoint)
        sizes = {path.name: path.stat().st_size for path in folder.others}
        return sizes | {_CONFIG: len(_merged(folder.config, rows))}

    def complete(self, written: Written, token: Token) -> None:
        """Write and copy them."""
        folder = _ModelFolder(written.checkpoint)
        with durable(written.path / _CONFIG) as file:
            file.write(_merged(folder.config, written.rows))
        for path in folder.others:
            with durable(written.path / path.name) as file:
                if path.stat().st_size:
                    source = WatchedFile(path)
                    for _, data in Stretch(source, 0, source.nbytes).chunks():
                        token.check()
                        file.write(data)

    def read_back(self, written: Written, contents: Contents, token: Token) -> tuple[tuple[ReportRow, ...], str]:
        """By the reader of such folders, which shares nothing with what is here."""
        rows = []
        with open_checkpoint(written.path / _TENSORS) as opened:
            for row, meant, part in contents:
                found = opened.lazy(row.name)
                same = found.shape == meant.shape and isinstance(found, QTensor) == isinstance(meant, QTensor)
                difference = max_difference(meant, found, part) if same else np.inf
                if difference:
                    text = f"it reads back with weights that are up to {difference:.3g} from what was meant"
                    raise ExportError(text, tensor=row.name)
                rows.append(ReportRow(row.name, row.nbytes, difference))
                del meant, found
        who = "decoded by the reader of compressed-tensors folders, and every weight is as it was meant"
        return tuple(rows), f"{who}; not loaded in transformers"


class _ModelFolder:
    """The folder that a checkpoint lies in, if it is that of a model."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.config = json_of(checkpoint.path.parent / _CONFIG)

    @cached_property
    def others(self) -> list[Path]:
        """What belongs to the model but weights and configuration; nothing where there is no configuration."""
        if not self.config:
            return []
        weights = {path.name for path in self._checkpoint.files} | {_CONFIG, _TENSORS}
        found = [
            path
            for path in sorted(self._checkpoint.path.parent.iterdir())
            if path.name.endswith(_BESIDE) or path.name.startswith(("LICENSE", "NOTICE"))
        ]
        return [
            path
            for path in found
            if path.is_file() and path.name not in weights and not path.name.endswith(".index.json")
        ]

    def refusal(self, name: str) -> str | None:
        """Why a weight of this name is not the matrix of a linear layer; None if it may be."""
        if self.config.get("model_type") in _CONV1D_MODELS:
            return f"a model of type {self.config['model_type']} keeps its weights as [inputs, outputs]"
        if not name.endswith(".weight") or _NO_LINEAR.search(name):
            return "it is no weight of a linear layer, by its name"
        return None


def _symmetric(scheme: Scheme) -> Symmetric:
    assert isinstance(scheme, Symmetric)
    return scheme


def _groups(scheme: Symmetric, cols: int) -> int:
    """Scales in a row."""
    return -(-cols // scheme.group_size) if scheme.granularity == Granularity.GROUP else 1


def _merged(config: Mapping[str, Any], rows: Sequence[PlanRow]) -> bytes:
    """The model's configuration with that of its quantization, which the source may have had another of."""
    merged = {key: value for key, value in config.items() if key != "quantization_config"}
    if any(row.scheme is not None for row in rows):
        merged["quantization_config"] = quantization(rows)
    return (json.dumps(merged, indent=2, ensure_ascii=False) + "\n").encode()


def quantization(rows: Sequence[PlanRow]) -> dict[str, Any]:
    """What readers need to know: one group of layers for each way of packing, the largest of them by class."""
    groups: dict[str, list[PlanRow]] = {}
    for row in rows:
        if row.scheme is not None:
            groups.setdefault(json.dumps(_weights(_symmetric(row.scheme), row.shape[1])), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    config_groups = {
        f"group_{number}": {
            "targets": [prefix_of(row.name) for row in held] if number else ["Linear"],
            "weights": json.loads(weights),
            "input_activations": None,
            "output_activations": None,
        }
        for number, (weights, held) in enumerate(ordered)
    }
    names = [row.name for row in rows if row.scheme is not None]
    ignored = [prefix_of(row.name) for row in rows if row.scheme is None and len(row.shape) == 2]
    heads = [
        head for head in _TIED_HEADS if not any(re.fullmatch(head.removeprefix("re:"), prefix_of(n)) for n in names)
    ]
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": [*ignored, *(head for head in heads if head not in ignored)],
    }


def _weights(scheme: Symmetric, cols: int) -> dict[str, Any]:
    """`QuantizationArgs` of compressed-tensors."""
    grouped = scheme.granularity == Granularity.GROUP and _groups(scheme, cols) > 1
    return {
        "num_bits": scheme.bits,
        "type": "int",
        "symmetric": True,
        "strategy": "group" if grouped else "channel",
        "group_size": scheme.group_size if grouped else None,
        "dynamic": False,
    }
