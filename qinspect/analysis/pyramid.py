"""Matrices too large to look at, pooled: the largest, the root mean square or the mean of square cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from qinspect.analysis.histogram import in_steps
from qinspect.analysis.question import Pass, Question, Subject
from qinspect.quant.layout import matrix_shape

if TYPE_CHECKING:
    from qinspect.quant.engine import Block

PYRAMID_CELLS = 1 << 22
"""The finest level of a pyramid has at most this many cells; below it, weights are read as they are."""

TOP_CELLS = 256
"""The coarsest level has no more along either side."""


class Quantity(StrEnum):
    """What is pooled."""

    WEIGHT = "weight"  # decoded, where the original is not known
    DECODED = "decoded"
    ERROR = "error"  # decoded − original
    RELATIVE = "relative"  # |error| / |weight|
    STEPS = "steps"  # error / step of its set


class Pooling(StrEnum):
    """What a cell keeps of its values."""

    LARGEST = "largest"  # by magnitude, with its sign: no outlier vanishes
    RMS = "rms"
    MEAN = "mean"
    MEAN_MAGNITUDE = "mean magnitude"


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A matrix of `shape` pooled by powers of two: `levels[f]` has cells of f × f values.

    The first begins at row and column `start`; those at the right and lower edge may hold fewer.
    """

    shape: tuple[int, int]
    pooling: Pooling
    levels: Mapping[int, np.ndarray]
    start: tuple[int, int] = (0, 0)

    @property
    def finest(self) -> int:
        """The smallest factor at hand."""
        return min(self.levels)

    def level_for(self, weights_per_pixel: float) -> int:
        """The coarsest factor that is not coarser than a pixel, else the finest there is."""
        fitting = [factor for factor in self.levels if factor <= max(1.0, weights_per_pixel)]
        return max(fitting) if fitting else self.finest


@dataclass(frozen=True)
class Pooled(Question):
    """One quantity of the matrix as a pyramid; with `rows`, `cols` and `factor`, one level of this part alone.

    Both begin at multiples of `factor`, a power of two. RELATIVE is the ratio of what is pooled of errors and of
    weights, but for LARGEST. ERROR, RELATIVE and STEPS are zero without the original weights.
    """

    quantity: Quantity
    pooling: Pooling = Pooling.LARGEST
    rows: tuple[int, int] | None = None  # type: ignore[misc]
    cols: tuple[int, int] | None = None
    factor: int | None = None

    def begin(self, subject: Subject) -> Pass:
        """Make room for the finest level; the others follow from it."""
        rows, cols = matrix_shape(subject.quantized.shape)
        start, stop = self.rows or (0, rows)
        left, right = self.cols or (0, cols)
        factor = self.factor or _least_factor(rows, cols)
        size = stop - start, right - left
        cells = -(-size[0] // factor), -(-size[1] // factor)
        ratio = self.quantity == Quantity.RELATIVE and self.pooling != Pooling.LARGEST
        pools = [np.zeros(cells, np.float32) for _ in range(1 + ratio)]

        def visit(block: Block) -> None:
            into = slice((block.start - start) // factor, -(-(block.stop - start) // factor))
            for values, out in zip(self._values(block, ratio), pools, strict=True):
                part = values if self.cols is None else np.ascontiguousarray(values[:, left:right])
                self._pool(part, factor, out[into])

        def finish(_: list[None]) -> Pyramid:
            one = self.rows is not None
            levels = {factor: pools}
            while not one and max(pools_of(levels).shape) > TOP_CELLS:
                largest = max(levels)
                levels[2 * largest] = [self._halved(pool) for pool in levels[largest]]
            found = {f: self._finished(level, f, size) for f, level in levels.items()}
            return Pyramid((rows, cols), self.pooling, found, (start, left))

        return Pass(visit, finish, factor)

    def _values(self, block: Block, ratio: bool) -> list[np.ndarray]:
        weights = block.decoded if block.weights is None else block.weights
        if ratio:
            return [block.errors, weights]
        if self.quantity == Quantity.RELATIVE:
            return [_relative(block, weights)]
        if self.quantity == Quantity.STEPS:
            return [in_steps(block)]
        if self.quantity == Quantity.ERROR:
            return [block.errors]
        return [block.decoded if self.quantity == Quantity.DECODED else weights]

    def _pool(self, x: np.ndarray, factor: int, out: np.ndarray) -> None:
        from qinspect.quant import view_kernels as kernels

        if self.pooling == Pooling.LARGEST:
            kernels.pool_extreme(x, factor, out)
        else:
            kind = {Pooling.RMS: kernels.SQUARE, Pooling.MEAN: kernels.PLAIN}.get(self.pooling, kernels.MAGNITUDE)
            ratio = self.quantity == Quantity.RELATIVE and kind == kernels.PLAIN  # of signs nothing is left
            kernels.pool_sums(x, factor, kernels.MAGNITUDE if ratio else kind, out)

    def _halved(self, x: np.ndarray) -> np.ndarray:
        from qinspect.quant import view_kernels as kernels

        out = np.empty((-(-x.shape[0] // 2), -(-x.shape[1] // 2)), np.float32)
        if self.pooling == Pooling.LARGEST:
            kernels.pool_extreme(x, 2, out)
        else:
            kernels.pool_sums(x, 2, kernels.PLAIN, out)
        return out

    def _finished(self, pools: list[np.ndarray], factor: int, size: tuple[int, int]) -> np.ndarray:
        """Means of sums, ratios of means."""
        if self.pooling == Pooling.LARGEST:
            return pools[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            if len(pools) > 1:
                found = pools[0] / pools[1]
                found[pools[0] == 0] = 0
            else:
                down, across = (np.minimum(factor, n - factor * np.arange(-(-n // factor))) for n in size)
                found = pools[0] / (down[:, None] * across).astype(np.float32)
        result: np.ndarray = np.sqrt(found) if self.pooling == Pooling.RMS else found
        return result


def pools_of(levels: Mapping[int, list[np.ndarray]]) -> np.ndarray:
    """The first pool of the coarsest level."""
    return levels[max(levels)][0]


def _least_factor(rows: int, cols: int) -> int:
    factor = 1
    while -(-rows // factor) * -(-cols // factor) > PYRAMID_CELLS:
        factor *= 2
    return factor


def _relative(block: Block, weights: np.ndarray) -> np.ndarray:
    from qinspect.quant import view_kernels
    from qinspect.quant.blocks import scratch

    out = scratch("relative", weights.size, np.dtype(np.float32)).reshape(weights.shape)
    view_kernels.to_relative(block.errors, weights, out)
    return out
