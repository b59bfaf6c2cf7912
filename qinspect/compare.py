"""Two checkpoints side by side: which tensors are the same ones, and how far those of one are from the other's."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qinspect.errors import FormatError, QInspectError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import QTensor
from qinspect.task import Token

WRAPPERS = ("model", "module", "transformer", "base_model", "backbone", "net", "network", "_orig_mod")
"""Words in front of names that only tell what a network was wrapped in when it was saved."""

CHUNK = 1 << 20
"""Weights that are held decoded at a time."""

How = Literal["name", "prefix", "suffix"]


@dataclass(frozen=True)
class Pair:
    """A tensor of either checkpoint, and by what they were found to be the same: name, wrappers left out, suffix."""

    a: TensorInfo
    b: TensorInfo
    how: How


@dataclass(frozen=True)
class Matching:
    """What two checkpoints have in common: pairs of one shape, pairs of different shapes, and what only one has."""

    pairs: tuple[Pair, ...]
    misshapen: tuple[Pair, ...]
    only_a: tuple[TensorInfo, ...]
    only_b: tuple[TensorInfo, ...]


def match(a: Checkpoint, b: Checkpoint) -> Matching:
    """Pair tensors by name, then without wrappers, then by suffix; `align` has given both the names of one format.

    A name is only paired where no other fits as well; of several, one of the same shape is taken.
    """
    found: list[Pair] = []
    rest_a, rest_b = list(a.infos), list(b.infos)
    stages: tuple[tuple[How, Callable[[str], str]], ...] = (("name", lambda name: name), ("prefix", _bare))
    for how, key in stages:
        pairs = _same_key([(info, key(info.name)) for info in rest_a], [(info, key(info.name)) for info in rest_b])
        rest_a, rest_b = _taken(found, how, pairs, rest_a, rest_b)
    pairs = _same_suffix(rest_a, rest_b)
    rest_a, rest_b = _taken(found, "suffix", pairs, rest_a, rest_b)
    order = {info.name: at for at, info in enumerate(a.infos)}
    found.sort(key=lambda pair: order[pair.a.name])
    fits = [pair.a.shape == pair.b.shape for pair in found]
    return Matching(
        tuple(pair for pair, fit in zip(found, fits, strict=True) if fit),
        tuple(pair for pair, fit in zip(found, fits, strict=True) if not fit),
        tuple(rest_a),
        tuple(rest_b),
    )


Two = tuple[TensorInfo, TensorInfo]
Named = tuple[TensorInfo, str]


def _bare(name: str) -> str:
    words = name.split(".")
    while len(words) > 1 and words[0] in WRAPPERS:
        words = words[1:]
    return ".".join(words)


def _taken(
    found: list[Pair], how: How, pairs: Sequence[Two], rest_a: list[TensorInfo], rest_b: list[TensorInfo]
) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Note the pairs; what is left of either side."""
    found += [Pair(one, other, how) for one, other in pairs]
    gone_a, gone_b = {one.name for one, _ in pairs}, {other.name for _, other in pairs}
    return [i for i in rest_a if i.name not in gone_a], [i for i in rest_b if i.name not in gone_b]


def _same_key(a: Sequence[Named], b: Sequence[Named]) -> list[Two]:
    by_key: dict[str, tuple[list[TensorInfo], list[TensorInfo]]] = defaultdict(lambda: ([], []))
    for side, named in enumerate((a, b)):
        for info, key in named:
            by_key[key][side].append(info)
    return [pair for ones, others in by_key.values() for pair in _unambiguous(ones, others)]


def _unambiguous(a: Sequence[TensorInfo], b: Sequence[TensorInfo]) -> Iterator[Two]:
    """The pairs among tensors of one key: a single one on either side, or a single one of a shape."""
    if len(a) == 1 == len(b):
        yield a[0], b[0]
        return
    for shape in dict.fromkeys(info.shape for info in a):
        ones, others = ([info for info in side if info.shape == shape] for side in (a, b))
        if len(ones) == 1 == len(others):
            yield ones[0], others[0]


def _same_suffix(a: Sequence[TensorInfo], b: Sequence[TensorInfo]) -> list[Two]:
    """Pairs of which one name is the end of the other, at a dot, and no other tensor's is."""
    fits_a, fits_b = _ends(a, b), _ends(b, a)
    pairs = []
    for info in a:
        others = _best(info, fits_a[info.name])
        if len(others) == 1 and [one.name for one in _best(others[0], fits_b[others[0].name])] == [info.name]:
            pairs.append((info, others[0]))
    return pairs


def _ends(a: Sequence[TensorInfo], b: Sequence[TensorInfo]) -> dict[str, list[TensorInfo]]:
    """For each tensor of `a` those of `b` whose name is the end of its name, or ends with it."""
    whole, longer = {info.name: info for info in b}, defaultdict(list)
    for info in b:
        for end in _suffixes(info.name):
            longer[end].append(info)
    return {info.name: longer[info.name] + [whole[end] for end in _suffixes(info.name) if end in whole] for info in a}


def _suffixes(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[at:]) for at in range(1, len(words))]


def _best(info: TensorInfo, others: Sequence[TensorInfo]) -> Sequence[TensorInfo]:
    """Of several, those of the same shape."""
    return others if len(others) < 2 else [other for other in others if other.shape == info.shape]


@dataclass(frozen=True)
class Difference:
    """How far a tensor of B is from that of A: dB of SQNR, RMSE and largest |difference|; NaN where `error` says why.

    `signal` and `noise` are Σa² and Σ(b−a)², both decoded where they are packed.
    """

    pair: Pair
    sqnr_db: float = math.nan
    rmse: float = math.nan
    max_error: float = math.nan
    exact: bool | None = None
    signal: float = 0.0
    noise: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """An entry of `compare --json`; what is infinite or unknown is null."""
        figures = {"sqnr_db": self.sqnr_db, "rmse": self.rmse, "max_error": self.max_error}
        finite = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        return {
            "name": self.pair.a.name,
            "other": self.pair.b.name,
            "matched_by": self.pair.how,
            "shape": list(self.pair.a.shape),
            **finite,
            "exact": self.exact,
            "nbytes": self.pair.a.nbytes,
            "other_nbytes": self.pair.b.nbytes,
        } | ({"error": self.error} if self.error else {})


def differences(
    a: Checkpoint, b: Checkpoint, pairs: Iterable[Pair], token: Token | None = None
) -> Iterator[Difference]:
    """Compare one pair after another; what cannot be compared is told in its `Difference`."""
    token, pairs = token or Token(), list(pairs)
    done, size = 0, max(1, sum(pair.a.size for pair in pairs))
    for pair in pairs:
        part = token.part(done / size, (done + pair.a.size) / size)
        try:
            yield _difference(a, b, pair, part)
        except QInspectError as error:
            yield Difference(pair, error=str(error))
        done += pair.a.size
        token.check(done / size)


def _difference(a: Checkpoint, b: Checkpoint, pair: Pair, token: Token) -> Difference:
    signal = noise = largest = 0.0
    for x, y in zip(_chunks(a, pair.a, token), _chunks(b, pair.b, token), strict=True):
        error = y - x
        signal += float(np.einsum("i,i", x, x))
        noise += float(np.einsum("i,i", error, error))
        largest = max(largest, float(np.abs(error).max(initial=0.0)))
    rmse = math.sqrt(noise / max(1, pair.a.size))
    return Difference(pair, decibels(signal, noise), rmse, largest, noise == 0, signal, noise)


def _chunks(checkpoint: Checkpoint, info: TensorInfo, token: Token) -> Iterator[np.ndarray]:
    """The tensor decoded, float64, some rows at a time."""
    rows = info.shape[0] if len(info.shape) > 1 else 1
    step = max(1, CHUNK * rows // max(1, info.size))
    for start in range(0, rows, step):
        token.check(start / rows)
        held = checkpoint.load(info.name, slice(start, start + step) if len(info.shape) > 1 else None)
        some = held.scheme.dequantize(held, token=None) if isinstance(held, QTensor) else held
        with np.errstate(invalid="ignore"):
            values = np.asarray(some).astype(np.float64).reshape(-1)
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            text = f"{bad} of its weights are NaN or infinite: nothing can be compared with them"
            raise FormatError(text, path=checkpoint.path, tensor=info.name)
        yield values
