"""The distribution of a layer's values from one pass: then any histogram, percentile or clipped share at once.

Values are counted by their half-precision patterns, 65,536 cells, which are fine where values are small. For values
that are such patterns, float16 and bfloat16 tensors, every answer is exact. Of float32 values each cell is known
exactly, and within a cell they are taken to be even. Smallest and largest value are always exact. Exports and
calibration do not look here: they use the weights themselves.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from qinspect.quant.blocks import Matrix, map_blocks, scratch
from qinspect.quant.lazy import Weights
from qinspect.task import Token

CELLS = 1 << 16

STEP = 2.0**-10
"""The width of a cell of float16 is at most this part of its values."""


@dataclass(frozen=True)
class Patterns:
    """Which patterns stand for values: those of bfloat16 where `wide`, else those of float16 times 2^−`shift`.

    So the finest that float16 has lie at the layer's own magnitudes.
    """

    wide: bool
    shift: int

    @staticmethod
    def of(dtype: Any, largest: float) -> Patterns:
        """Those that hold values of a type exactly, as far as any do; none of them is larger than `largest`."""
        if dtype == ml_dtypes.bfloat16:
            return Patterns(True, 0)
        exponent = math.frexp(largest)[1] if 0 < largest < math.inf else 0
        return Patterns(False, min(max(16 - exponent, -112), 126))

    @property
    def edges(self) -> np.ndarray:
        """Where cells begin, ascending, and where the last one ends: float64 `[CELLS + 1]`; empty cells are infinite.

        A cell has its own beginning and not its end; the value of a pattern is the beginning of its cell.
        """
        return _edges(self.wide, self.shift)


@lru_cache(maxsize=64)
def _edges(wide: bool, shift: int) -> np.ndarray:
    last = 0x7F80 if wide else 0x7C00
    numbers = np.arange(last, dtype=np.uint16)
    values = numbers.view(ml_dtypes.bfloat16 if wide else np.float16).astype(np.float64)
    half = np.full(CELLS // 2 + 1, np.inf)
    half[:last] = values * 2.0**-shift
    half[last] = 2.0 ** (128 if wide else 16 - shift)
    edges = np.concatenate([-half[:0:-1], half])
    edges.flags.writeable = False
    return edges


@dataclass(frozen=True, eq=False)
class Distribution:
    """How many values lie in each cell of `patterns`: int64 `[CELLS]`, ascending.

    `low` and `high` are the extreme values. `exact` says that every value is the beginning of its cell.
    """

    patterns: Patterns
    counts: np.ndarray
    low: float
    high: float
    mean: float
    std: float
    exact: bool

    @property
    def size(self) -> int:
        """How many values there are."""
        return int(self._up_to[-1])

    @cached_property
    def _up_to(self) -> np.ndarray:
        """How many values lie before each edge."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def _used(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges of the cells in use and how many values lie before each, without the outermost's empty ends."""
        edges = self.patterns.edges
        first, last = np.searchsorted(edges, [self.low, self.high], "right")
        inner = slice(first, last)
        ends = [self.low], edges[inner], [np.nextafter(self.high, math.inf)]
        return np.concatenate(ends), np.concatenate([[0.0], self._up_to[inner], [self.size]])

    def below(self, values: Any) -> np.ndarray:
        """How many values are smaller than each of `values` (float64): whole numbers where they are exact."""
        x = np.asarray(values, np.float64)
        if not self.size:
            return np.zeros_like(x)
        if self.exact:
            return np.asarray(self._up_to[np.searchsorted(self.patterns.edges, x, "left")], np.float64)
        return np.asarray(np.interp(x, *self._used))

    def histogram(self, edges: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """Counts (int64) between ascending `edges`, each with its lower edge, and how many lie below and above all."""
        before = np.floor(self.below(edges)).astype(np.int64)
        return np.diff(before), (int(before[0]), self.size - int(before[-1]))

    def percentile(self, percent: Any) -> np.ndarray:
        """The value that `percent` of 100 do not exceed, linear between neighbours as numpy has it."""
        place = np.asarray(percent, np.float64) / 100 * max(0, self.size - 1)
        if not self.size:
            return np.full_like(place, np.nan)
        lower, upper = self._at(np.floor(place)), self._at(np.ceil(place))
        return np.asarray(lower + (upper - lower) * (place - np.floor(place)))

    def _at(self, rank: np.ndarray) -> np.ndarray:
        """The values with these places in ascending order."""
        if self.exact:
            return np.asarray(self.patterns.edges[np.searchsorted(self._up_to, rank, "right") - 1])
        edges, before = self._used
        cell = np.searchsorted(before, rank, "right") - 1
        into = (rank - before[cell] + 0.5) / (before[cell + 1] - before[cell])
        found = edges[cell] + into * (edges[cell + 1] - edges[cell])
        return np.where(rank == 0, self.low, np.where(rank == self.size - 1, self.high, found))

    def clipped(self, low: float, high: float) -> float:
        """The share of values below `low` or above `high`."""
        inside = self.below(np.nextafter(high, math.inf)) - self.below(low)
        return float(1 - inside / self.size) if self.size else 0.0


class Counter:
    """Counts values as they come, on any thread; `found` is their distribution."""

    def __init__(self, patterns: Patterns, *, exact: bool = False, centre: float = 0.0) -> None:
        self._patterns, self._exact, self._centre = patterns, exact, np.float32(centre)
        self._own: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @staticmethod
    def of(dtype: Any, largest: float) -> Counter:
        """For values of a type, none of them larger than `largest`."""
        return Counter(Patterns.of(dtype, largest), exact=dtype in (np.float16, ml_dtypes.bfloat16))

    def add(self, values: np.ndarray) -> None:
        """Take in finite float32 values of any shape, C-contiguous."""
        from qinspect.quant import distribution_kernels

        thread = threading.get_ident()
        if thread not in self._own:
            self._own[thread] = np.zeros(CELLS, np.uint32), np.array([0, 0, np.inf, -np.inf])
        counts, sums = self._own[thread]
        distribution_kernels.count_patterns(
            values.reshape(-1), self._centre, np.float32(2.0**self._patterns.shift), self._patterns.wide,
            counts, scratch("places", 8, np.dtype(np.uint32)), sums,
        )  # fmt: skip

    def found(self) -> Distribution:
        """The distribution of all values so far."""
        own = list(self._own.values())
        counts = sum((table.astype(np.int64) for table, _ in own), np.zeros(CELLS, np.int64))
        counts.flags.writeable = False
        total, squares = (math.fsum(sums[i] for _, sums in own) for i in (0, 1))
        low, high = min((sums[2] for _, sums in own), default=0.0), max((sums[3] for _, sums in own), default=0.0)
        n = max(1, int(counts.sum()))
        std = math.sqrt(max(0.0, squares / n - (total / n) ** 2))
        made = Distribution(self._patterns, counts, float(low), float(high), total / n, std, self._exact)
        made.below(0.0)  # what all answers need is worked out here, not when the first one is waited for
        return made


def distribution(weights: Weights, token: Token | None = None) -> Distribution:
    """That of all finite `weights`, from two passes (one finds the extreme ones)."""
    from qinspect.quant import engine

    low, high = engine.extremes(weights, token and token.part(0, 0.4))
    counter = Counter.of(weights.dtype, max(abs(low), abs(high)))
    matrix = Matrix(weights)
    map_blocks(lambda a, b: counter.add(matrix.block(a, b)), matrix.rows, matrix.cols, token and token.part(0.4, 1))
    return counter.found()
