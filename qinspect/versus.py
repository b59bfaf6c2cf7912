"""The open file, A, against something else, B: another recipe, another file, or what was packed in it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from qinspect import analysis
from qinspect import figures as fmt
from qinspect.compare import Matching, Pair, match
from qinspect.errors import FormatError, QInspectError, printable
from qinspect.formats.align import Aligned, align
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.quant.lazy import LazyArray
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.recipe import Recipe
from qinspect.session import Inspection, LayerReport, Request, inspect, measure, stored_nbytes
from qinspect.task import Token


@dataclass(frozen=True)
class Unmatched:
    """A tensor that stands on one side alone, and why."""

    name: str
    side: str  # "A" or "B"
    reason: str


class Other(ABC):
    """B: what the layers of the open file are compared with. `title` is short, `kind` says what it is."""

    title: str
    unmatched: tuple[Unmatched, ...] = ()
    follows = False
    """Whether B changes where A's scheme does."""

    @abstractmethod
    def request(self, a: Request) -> Request | None:
        """The same layer of B; None where it has none."""

    def reason(self, info: TensorInfo) -> str:
        """Why B has nothing to set against a tensor of A."""
        return next((one.reason for one in self.unmatched if one.side == "A" and one.name == info.name), "")

    def nbytes(self, a: Request) -> int | None:
        """Bytes of the layer in B; None where it has none."""
        b = self.request(a)
        return None if b is None else stored_nbytes(b.info, b.scheme)

    def close(self) -> None:  # noqa: B027 - a recipe has nothing to release
        """Let go of files."""


class OtherRecipe(Other):
    """The same weights under another recipe; `trial` is what layers are seen under that it leaves alone."""

    def __init__(self, recipe: Recipe, trial: Scheme) -> None:
        self.recipe = recipe
        self.trial = trial
        schemes = {rule.scheme for rule in recipe.rules}
        only = recipe.base or trial
        plain = "as stored" if schemes == {None} else only.label
        self.title = plain if len(schemes) <= 1 else f"recipe of {fmt.counted(len(recipe.rules), 'rule')}"

    def request(self, a: Request) -> Request:
        """The layer under the other recipe."""
        scheme = self.recipe.scheme_for(a.info)
        if scheme is None and a.info.qtype is None:
            scheme = self.recipe.base or self.trial
        return replace(a, scheme=scheme)


class OtherFile(Other):
    """The tensors of another file that `compare.match` finds to be the same ones.

    A packed tensor is seen as it is stored, its errors against A's originals. One of floating-point numbers is seen
    under the scheme of A's, against its own weights.
    """

    def __init__(self, checkpoint: Checkpoint, matching: Matching, hidden: Sequence[Pair] = ()) -> None:
        """`checkpoint` under the names of the open file; of the `hidden` pairs, B's codes cannot be shown."""
        self.checkpoint = checkpoint
        self.title = printable(checkpoint.path.name, 60)
        self._pairs = {pair.a.name: pair for pair in matching.pairs if _comparable(pair)}
        plain = [pair for pair in matching.pairs if not _comparable(pair)]
        self.follows = any(pair.b.qtype is None for pair in self._pairs.values())
        path = printable(str(checkpoint.path))
        self.unmatched = (
            *(Unmatched(p.a.name, "A", _not_packed(p, path)) for p in plain),
            *(Unmatched(p.a.name, "A", _hidden(p, path)) for p in hidden),
            *_unmatched(matching, path),
        )

    def request(self, a: Request) -> Request | None:
        """The tensor in the other file."""
        pair = self._pairs.get(a.info.name)
        if pair is None:
            return None
        if pair.b.qtype is None:
            return replace(a, checkpoint=self.checkpoint, info=pair.b, reference=None, original=None)
        truth = (a.reference, a.original) if a.info.qtype else (a.checkpoint, a.info.name)
        return replace(a, checkpoint=self.checkpoint, info=pair.b, scheme=None, reference=truth[0], original=truth[1])

    def close(self) -> None:
        """Close the file."""
        self.checkpoint.close()


class OtherOriginals(Other):
    """The weights before they were packed, from the file that the session has as its reference."""

    def __init__(self, path: Path, matching: Matching) -> None:
        self.path = path
        self.title = f"originals in {printable(path.name, 60)}"
        self._infos = {pair.a.name: pair.b for pair in matching.pairs}
        self.unmatched = _unmatched(matching, printable(str(path)))

    def request(self, a: Request) -> None:
        """They are under no scheme: `original` has them."""

    def original(self, a: Inspection) -> Versus | None:
        """A against its own original weights, where they are known."""
        info = self._infos.get(a.info.name)
        return None if info is None or a.weights is None else Versus(a, replace(a), info)

    def nbytes(self, a: Request) -> int | None:
        """As they are stored."""
        info = self._infos.get(a.info.name)
        return None if info is None else info.nbytes


def open_other(path: Path, to: Checkpoint) -> tuple[Other, Checkpoint]:
    """What another file is to an open one: the originals of its packed tensors, or another choice; and that file.

    Raises what opening does, and FormatError where no tensor has its like.
    """
    other = align(open_checkpoint(path), to)
    try:
        matching = match(to, other)
        decoded_there = other.decoded if isinstance(other, Aligned) else frozenset()
        hidden = [pair for pair in matching.pairs if pair.b.name in decoded_there]
        matching = replace(matching, pairs=tuple(pair for pair in matching.pairs if pair not in hidden))
        if any(pair.a.qtype and not pair.b.qtype for pair in matching.pairs):
            return OtherOriginals(path, matching), other
        if matching.pairs:
            return OtherFile(other, matching, hidden), other
        wrong = next((_misshapen(pair, printable(pair.b.name)) for pair in matching.misshapen), "")
        text = f"no tensor here can be compared with one of {printable(to.path.name)}"
        raise FormatError(f"{text}; {wrong or 'choose a file of the same network'}", path=path)
    except QInspectError:
        other.close()
        raise


def _unmatched(matching: Matching, path: str) -> tuple[Unmatched, ...]:
    lacking = f"{path} has no tensor of this name and shape"
    return (
        *(Unmatched(p.a.name, "A", _misshapen(p, path)) for p in matching.misshapen),
        *(Unmatched(info.name, "A", lacking) for info in matching.only_a),
        *(Unmatched(info.name, "B", "the open file has no tensor of this name and shape") for info in matching.only_b),
    )


def _comparable(pair: Pair) -> bool:
    """Plain weights have no codes: they are the originals of packed ones, not another choice."""
    return pair.b.qtype is not None or pair.a.qtype is None


def _misshapen(pair: Pair, path: str) -> str:
    return (
        f"{path}: tensor {printable(pair.b.name)!r} has the shape {fmt.shape(pair.b.shape)}, "
        f"here it is {fmt.shape(pair.a.shape)}; choose a file of the same network"
    )


def _not_packed(pair: Pair, path: str) -> str:
    remedy = "open that file first, and compare it with this one"
    return f"{path}: tensor {printable(pair.b.name)!r} is not packed, and here it is; {remedy}"


def _hidden(pair: Pair, path: str) -> str:
    what = f"tensor {printable(pair.b.name)!r} is packed in another order, so that it has no codes for these rows"
    return f"{path}: {what}; “qinspect compare” tells how far its weights are from these"


@dataclass(frozen=True, eq=False)
class Versus:
    """One layer on both sides.

    With `plain`, the tensor's entry in B's file, B is what A's weights were: the originals in `b`, without codes.
    """

    a: Inspection
    b: Inspection
    plain: TensorInfo | None = None

    @cached_property
    def subtractable(self) -> bool:
        """Whether rows of B are at hand for all of A's."""
        return self.b.rows is None or (self.a.rows is not None and np.array_equal(self.a.rows, self.b.rows))

    def figures(self) -> Iterator[tuple[str, float, float]]:
        """What tells the sides apart in numbers: name, A, B."""
        for name in ("sqnr_db", "bpw", "nbytes", "rmse", "max_error"):
            yield name, _figure(self.a, name), _figure(self.b, name) if self.plain is None else _exact(self.plain, name)


def _exact(info: TensorInfo, name: str) -> float:
    """A figure of weights as they are."""
    known = {"sqnr_db": math.inf, "bpw": 8 * info.nbytes / max(1, info.size), "nbytes": float(info.nbytes)}
    return known.get(name, 0.0)


def _figure(one: Inspection, name: str) -> float:
    """A figure of the whole layer: sizes are known of all rows also where only some were looked at."""
    if one.part < 1 and name == "bpw":
        return one.scheme.bpw(one.info.shape)
    if one.part < 1 and name == "nbytes":
        return float(one.scheme.nbytes(one.info.shape))
    return float(getattr(one.metrics, name))


def inspect_other(request: Request, info: TensorInfo, *, preview: bool, token: Token | None = None) -> Inspection:
    """B's side of a layer, under the name `info` that it has in A."""
    return replace(inspect(request, preview=preview, token=token), info=info)


def measure_other(request: Request, info: TensorInfo, token: Token | None = None) -> LayerReport:
    """B's figures of a layer, under the name `info` that it has in A."""
    return replace(measure(request, token), info=info)


def difference(versus: Versus, token: Token | None = None) -> Inspection:
    """A as it decodes against what B decodes to: what is an error elsewhere is A − B here."""
    a = versus.a
    weights = decoded(versus.b.quantized, a.rows if versus.b.rows is None else None)
    metrics = a.scheme.compare(weights, a.quantized, token=token)
    subject = analysis.Subject(a.quantized, weights, a.subject.span, metrics.max_error)
    return replace(a, subject=subject, metrics=metrics, findings=(), answers={})


def decoded(q: QTensor, numbers: np.ndarray | None = None) -> LazyArray:
    """What `q` decodes to, or some of its rows: float32, decoded when it is sliced, never all at once."""
    from qinspect.quant.blocks import BLOCK_WEIGHTS

    shape = q.shape if numbers is None else (len(numbers), *q.shape[1:])
    cols = int(np.prod(q.shape[1:])) if len(q.shape) > 1 else int(np.prod(q.shape))
    dtype = np.dtype(np.float32)

    def rows_of(start: int, stop: int) -> np.ndarray:
        """In parts that one block holds: a larger one would wait for the pool of threads, which asks for it."""
        out = np.empty((stop - start, *q.shape[1:]), dtype)
        if numbers is not None:
            for at, row in enumerate(numbers[start:stop].tolist()):
                out[at : at + 1] = q.scheme.dequantize(q, rows=slice(row, row + 1))
            return out
        step = max(1, BLOCK_WEIGHTS // max(1, cols))
        for first in range(start, stop, step):
            part = slice(first, min(first + step, stop))
            out[part.start - start : part.stop - start] = q.scheme.dequantize(q, rows=part)
        return out

    def fetch(offset: int, nbytes: int) -> np.ndarray:
        if len(q.shape) < 2:
            found = q.scheme.dequantize(q).reshape(-1)
            first = offset // dtype.itemsize
            return found[first : first + nbytes // dtype.itemsize].view(np.uint8)
        row_bytes = max(1, cols * dtype.itemsize)
        start = offset // row_bytes
        return rows_of(start, start + nbytes // row_bytes).reshape(-1).view(np.uint8)

    return LazyArray(tuple(shape), dtype, fetch)
