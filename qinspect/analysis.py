"""What the views draw: frozen results computed from weights and their packed form, off the GUI thread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import Weights
from qinspect.quant.metrics import entropy_bits
from qinspect.quant.scheme import QTensor
from qinspect.task import Token

BINS = 1024
PYRAMID_CELLS = 1 << 22
"""The finest level of a pyramid has at most this many cells; below it, weights are read as they are."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the weights and of what they decode to, over the same bins.

    `edges` has one more entry than the counts. Values outside are counted in `below` and `above`, never put into the
    end bins. `weights` is None where there is no reference; mean and standard deviation are then the decoded ones'.
    """

    edges: np.ndarray
    weights: np.ndarray | None
    decoded: np.ndarray
    below: int
    above: int
    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """How often each code occurs, from `first` up."""

    first: int
    counts: np.ndarray

    @property
    def used(self) -> int:
        """Codes that occur at all."""
        return int(np.count_nonzero(self.counts))

    @property
    def entropy(self) -> float:
        """Bits a code would take with ideal coding."""
        return entropy_bits(self.counts)

    @property
    def bits_needed(self) -> int:
        """Bits that hold the codes used losslessly, as a smaller codebook."""
        return max(1, math.ceil(math.log2(max(1, self.used))))

    @property
    def sentence(self) -> str:
        """The occupancy in words."""
        text = f"{self.used} of {self.counts.size} codes used"
        if (1 << self.bits_needed) < self.counts.size:
            text += f"; {self.bits_needed} bit{'s' * (self.bits_needed > 1)} would hold this losslessly"
        return f"{text}; {self.entropy:.1f} bits of entropy"


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """The parameters of every group as matrices `[rows, groups]` by name: `scale`, `minimum`, and `step` if even.

    One row for channels of another axis than the first; one cell for a tensor with a single set. `across` and `down`
    name the axes.
    """

    values: Mapping[str, np.ndarray]
    across: str
    down: str
    group_size: int


@dataclass(frozen=True, eq=False)
class ErrorPyramid:
    """Signed error (decoded − weight) and weights of a matrix, pooled by factor: each cell keeps its largest magnitude.

    `shape` is the matrix's; `levels[f]` holds `(error, weights)` with cells of f × f weights. Without a reference the
    error is None.
    """

    shape: tuple[int, int]
    levels: Mapping[int, tuple[np.ndarray | None, np.ndarray]]

    @property
    def finest(self) -> int:
        """The smallest factor at hand."""
        return min(self.levels)

    def level_for(self, weights_per_pixel: float) -> int:
        """The coarsest factor that is not coarser than a pixel, else the finest there is."""
        fitting = [factor for factor in self.levels if factor <= max(1.0, weights_per_pixel)]
        return max(fitting) if fitting else self.finest


def histogram(
    q: QTensor, w: Any, limits: tuple[float, float], *, code_units: bool = False, token: Token | None = None
) -> Histogram:
    """Histogram of `w` (or None) and of `q` decoded, over `limits`; `code_units` counts positions between levels."""
    from qinspect.quant import engine, view_kernels

    low, high = map(float, limits)
    high = high if high > low else low + max(abs(low), 1e-12)
    per_unit = BINS / (high - low)
    counts = np.zeros((2, BINS + 2), np.int64)

    def work(block: engine.Block) -> tuple[np.ndarray, float, float]:
        found = np.zeros_like(counts)
        x = block.decoded if block.weights is None else block.weights
        moments = float(x.sum(dtype=np.float64)), float(np.einsum("ij,ij", x, x, dtype=np.float64))
        for values, into in ((block.weights, found[0]), (block.decoded, found[1])):
            if values is not None:
                view_kernels.count_bins(_units(values, block, q) if code_units else values, low, per_unit, into)
        return found, *moments

    parts = engine.visit(q, w, work, token)
    counts = sum((part[0] for part in parts), counts)
    n = max(1, math.prod(q.shape))
    mean = sum(part[1] for part in parts) / n
    std = math.sqrt(max(0.0, sum(part[2] for part in parts) / n - mean * mean))
    shown = counts[1] if w is None else counts[0]
    return Histogram(
        np.linspace(low, high, BINS + 1),
        None if w is None else counts[0, 1:-1],
        counts[1, 1:-1],
        int(shown[0]),
        int(shown[-1]),
        mean,
        std,
    )


def _units(values: np.ndarray, block: Any, q: QTensor) -> np.ndarray:
    from qinspect.quant import view_kernels

    units = np.empty_like(values)
    grid, runs = block.grid, (block.layout.line, block.layout.run, block.first)
    if grid.table is None:
        # From the value of the lowest code on, which is the highest level where a scale is negative.
        lowest = q.scheme.code_range[0]
        low = (np.float32(lowest) - grid.zero) * grid.scale + grid.offset
        view_kernels.to_code_units(values, *runs, grid.scale, low, lowest, units)
    elif grid.even:
        view_kernels.to_code_units(values, *runs, grid.step, grid.low, q.scheme.code_range[0], units)
    else:
        view_kernels.to_table_units(values, *runs, grid.scale, grid.offset, grid.table, units)
    return units


def scale_map(q: QTensor) -> ScaleMap:
    """Scale, lowest level and step of every parameter set of `q`, laid out as the matrix is."""
    layout = q.scheme.layout(q.shape)
    grid = q.scheme.grid_of(q.params)
    if layout.local:
        shape, across, down = (layout.rows, layout.runs_per_row), "group along the row", "row"
    else:
        shape, across, down = (1, layout.sets), "channel" if layout.sets > 1 else "tensor", ""
    named = {"scale": grid.scale, "minimum": grid.low} | ({"step": grid.step} if grid.even else {})
    return ScaleMap({name: array.reshape(shape) for name, array in named.items()}, across, down, layout.run)


def error_pyramid(q: QTensor, w: Any, *, token: Token | None = None) -> ErrorPyramid:
    """The error of `q` against `w` (or None), pooled so that no outlier vanishes when zoomed out."""
    from qinspect.quant import engine, view_kernels

    rows, cols = matrix_shape(q.shape)
    factor = 1
    while -(-rows // factor) * -(-cols // factor) > PYRAMID_CELLS:
        factor *= 2
    shape = -(-rows // factor), -(-cols // factor)
    error = None if w is None else np.zeros(shape, np.float32)
    weights = np.zeros(shape, np.float32)

    def work(block: engine.Block) -> None:
        part = slice(block.start // factor, -(-block.stop // factor))
        view_kernels.pool_extreme(block.decoded if block.weights is None else block.weights, factor, weights[part])
        if block.weights is not None and error is not None:
            np.subtract(block.decoded, block.weights, out=block.decoded)
            view_kernels.pool_extreme(block.decoded, factor, error[part])

    engine.visit(q, w, work, token, multiple=factor)
    levels: dict[int, tuple[np.ndarray | None, np.ndarray]] = {factor: (error, weights)}
    while max(weights.shape) > 256:
        factor *= 2
        error, weights = None if error is None else _halved(error), _halved(weights)
        levels[factor] = error, weights
    return ErrorPyramid((rows, cols), levels)


def _halved(x: np.ndarray) -> np.ndarray:
    from qinspect.quant import view_kernels

    out = np.empty((-(-x.shape[0] // 2), -(-x.shape[1] // 2)), np.float32)
    view_kernels.pool_extreme(x, 2, out)
    return out


def sample_rows(w: Weights, limit: int = 1 << 20) -> np.ndarray:
    """About `limit` weights as evenly spread whole rows of `w` (a copy), or `w` itself where it is not larger."""
    if w.ndim < 2 or w.size <= limit:
        return np.asarray(w)
    keep = max(1, limit * len(w) // w.size)
    return np.ascontiguousarray(w[:: max(1, len(w) // keep)][:keep])
