"""Where weights lie, what they become, and how large the errors are: counts over equal bins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qinspect.analysis.question import Pass, Question, Subject
from qinspect.quant.distribution import STEP, Counter, Distribution
from qinspect.quant.scheme import QTensor

if TYPE_CHECKING:
    from qinspect.quant.engine import Block

BINS = 4096
"""Many, so that one outlier does not leave all other weights in a few of them."""

STEPS_SHOWN = 1.0
"""Errors up to so many steps are told apart; plain rounding makes half a step."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts over the same bins by what is counted: `original`, `decoded`, `error`, as far as they are known.

    `edges` has one more entry than the counts. Values outside are counted in `outside` (below, above), never put into
    the end bins. Mean and standard deviation are those of the first entry, before anything is left out.
    """

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]
    outside: Mapping[str, tuple[int, int]]
    mean: float
    std: float

    def total(self, name: str) -> int:
        """How many values there are of one kind, within the bins and outside."""
        return int(self.counts[name].sum()) + sum(self.outside[name])


class _Counter:
    """Counts values of several kinds over the bins of one axis."""

    def __init__(self, limits: tuple[float, float], bins: int) -> None:
        low, high = map(float, limits)
        self.low = low
        self.high = high if high > low else low + max(abs(low), 1e-12)
        self.bins = bins

    def count_one(self, values: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The counts of float32 values, their sum and the sum of their squares."""
        from qinspect.quant import view_kernels

        counts = np.zeros(self.bins + 2, np.int64)
        total, squares = view_kernels.count_bins(values, self.low, self.bins / (self.high - self.low), counts)
        return counts, total, squares

    def joined(self, parts: list[dict[str, tuple[np.ndarray, float, float]]], names: tuple[str, ...]) -> Histogram:
        """One histogram of what `names` says; there may be no part."""
        empty = np.zeros(self.bins + 2, np.int64)
        counts = {name: sum((part[name][0] for part in parts), empty) for name in names}
        n = max(1, int(counts[names[0]].sum()))
        mean = sum(part[names[0]][1] for part in parts) / n
        squares = sum(part[names[0]][2] for part in parts)
        return Histogram(
            np.linspace(self.low, self.high, self.bins + 1),
            {name: array[1:-1] for name, array in counts.items()},
            {name: (int(array[0]), int(array[-1])) for name, array in counts.items()},
            mean,
            math.sqrt(max(0.0, squares / n - mean * mean)),
        )


@dataclass(frozen=True)
class _Counts(Question):
    """Counted over `limits`, or all there is; of all weights, or of some rows and (with them) columns alone."""

    limits: tuple[float, float] | None = None
    rows: tuple[int, int] | None = None  # type: ignore[misc]
    cols: tuple[int, int] | None = None

    def _pass(
        self, limits: tuple[float, float], names: tuple[str, ...], values: Callable[[Block], Iterable[np.ndarray]]
    ) -> Pass:
        """Count `values`, one array for each of `names`."""
        counter = _Counter(self.limits or limits, BINS)
        cols = slice(*self.cols) if self.cols else slice(None)

        def visit(block: Block) -> dict[str, tuple[np.ndarray, float, float]]:
            return {
                name: counter.count_one(np.ascontiguousarray(array[:, cols]))
                for name, array in zip(names, values(block), strict=True)
            }

        return Pass(visit, lambda parts: counter.joined(parts, names))


@dataclass(frozen=True)
class WeightCounts(_Counts):
    """The original weights, what they decode to, and their errors, on one axis."""

    def begin(self, subject: Subject) -> Pass:
        """A little more: end levels lie beyond the extreme weights by what rounding to half precision makes of them."""
        low, high = subject.span
        spare = (high - low) / 2048
        if subject.weights is None:
            return self._pass((low - spare, high + spare), ("decoded",), lambda block: [block.decoded])

        def values(block: Block) -> Iterable[np.ndarray]:
            assert block.weights is not None
            return block.weights, block.decoded, block.errors

        return self._pass((low - spare, high + spare), ("original", "decoded", "error"), values)


@dataclass(frozen=True, eq=False)
class ValuePatterns:
    """The distributions of what `WeightCounts` counts: histograms over any range follow from them at once."""

    found: Mapping[str, Distribution]

    def histogram(self, low: float, high: float, names: Iterable[str], bins: int = BINS) -> Histogram:
        """The counts of `names` over equal bins."""
        edges = np.linspace(low, high, bins + 1)
        counted = {name: self.found[name].histogram(edges) for name in names if name in self.found}
        first = self.found[next(iter(counted))]
        counts = {name: counts for name, (counts, _) in counted.items()}
        return Histogram(edges, counts, {name: beyond for name, (_, beyond) in counted.items()}, first.mean, first.std)


@dataclass(frozen=True)
class WeightPatterns(Question):
    """The original weights, what they decode to, and their errors, as distributions of the whole layer."""

    @staticmethod
    def resolve(low: float, high: float, bins: int) -> bool:
        """Whether so many even bins from `low` to `high` are no finer than what is known of any values."""
        return (high - low) / bins >= max(abs(low), abs(high)) * STEP

    def begin(self, subject: Subject) -> Pass:
        """Errors have cells of their own, as fine at their size as those of weights are at theirs."""
        largest = 2 * max(map(abs, subject.span))
        sizes = {"original": largest, "decoded": largest, "error": 2 * subject.largest_error}
        if subject.weights is None:
            del sizes["original"], sizes["error"]
        dtypes = {"original": subject.weights.dtype} if subject.weights is not None else {}
        counters = {name: Counter.of(dtypes.get(name, np.float32), size) for name, size in sizes.items()}

        def visit(block: Block) -> None:
            for name, counter in counters.items():
                values = {"original": block.weights, "decoded": block.decoded}.get(name)
                counter.add(block.errors if values is None else values)

        return Pass(visit, lambda _: ValuePatterns({name: counter.found() for name, counter in counters.items()}))


@dataclass(frozen=True)
class CodeCounts(_Counts):
    """Where the weights lie between the levels of their own set, in codes, and the codes themselves."""

    def begin(self, subject: Subject) -> Pass:
        """Half a code beyond both ends; what lies further out is clipped."""
        q = subject.quantized
        first, last = q.scheme.code_range

        def values(block: Block) -> Iterator[np.ndarray]:
            if block.weights is not None:
                yield code_units(block.weights, block, q)
            yield code_units(block.decoded, block, q)

        names = ("decoded",) if subject.weights is None else ("original", "decoded")
        return self._pass((first - 0.5, last + 0.5), names, values)


@dataclass(frozen=True)
class ErrorCounts(_Counts):
    """The errors, as they are or in steps of their set; needs the original weights."""

    steps: bool = False

    def begin(self, subject: Subject) -> Pass:
        """Symmetric about 0, up to the largest error; in steps, up to `STEPS_SHOWN`."""
        largest = subject.largest_error * (1 + 1 / BINS)
        most = STEPS_SHOWN if self.steps else largest if largest > 0 else 1e-12
        return self._pass((-most, most), ("error",), lambda block: [in_steps(block) if self.steps else block.errors])


def code_units(values: np.ndarray, block: Block, q: QTensor) -> np.ndarray:
    """Where values of a block lie between the levels of their set: a level lies at its code. Scratch memory."""
    from qinspect.quant import view_kernels
    from qinspect.quant.blocks import scratch

    units = scratch("units", values.size, np.dtype(np.float32)).reshape(values.shape)
    grid, runs = block.grid, (block.layout.line, block.layout.run, block.first)
    lowest = q.scheme.code_range[0]
    if grid.table is None:
        # From the value of the lowest code on, which is the highest level where a scale is negative.
        low = (np.float32(lowest) - grid.zero) * grid.scale + grid.offset
        view_kernels.to_code_units(values, *runs, grid.scale, low, lowest, units)
    elif grid.even:
        view_kernels.to_code_units(values, *runs, grid.step, grid.low, lowest, units)
    else:
        view_kernels.to_table_units(values, *runs, grid.scale, grid.offset, grid.table, units)
    return units


def in_steps(block: Block) -> np.ndarray:
    """The errors of a block in steps of their set. Scratch memory."""
    from qinspect.quant import view_kernels
    from qinspect.quant.blocks import scratch

    steps = scratch("steps", block.errors.size, np.dtype(np.float32)).reshape(block.errors.shape)
    view_kernels.to_steps(block.errors, block.layout.line, block.layout.run, block.first, block.grid.step, steps)
    return steps
