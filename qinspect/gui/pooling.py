"""The part of a matrix in view, pooled until no cell is smaller than a pixel, so that none is skipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QRectF


@dataclass(frozen=True, eq=False)
class Crop:
    """The part of a matrix that is painted: `values` `[m, n]`, each pooled of `cell` (rows, columns) weights.

    `rect` is where it lies, in rows and columns; a cell is centred on its row and column number.
    """

    values: np.ndarray
    rect: QRectF
    cell: tuple[int, int]


Source = Callable[[QRectF, tuple[float, float]], Crop]
"""From the range in view and the (rows, columns) that a pixel covers to what is painted."""

Pool = Callable[[np.ndarray, int, int], tuple[np.ndarray, tuple[int, int]]]
"""Makes one of each rows × cols cells; also tells how many cells it really took, at least so many."""


def largest(x: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The value of largest magnitude, with its sign."""
    high = low = x
    for axis, part in _passes(rows, cols):
        high, low = _every(high, part, axis, np.maximum), _every(low, part, axis, np.minimum)
    return (x if high is x else np.where(high >= -low, high, low)), (_composed(rows), _composed(cols))


def least(x: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The smallest value."""
    for axis, part in _passes(rows, cols):
        x = _every(x, part, axis, np.fmin)
    return x, (_composed(rows), _composed(cols))


def mean(x: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The mean; of cells at the edge, of what there is."""
    down, across = x.shape
    for axis, part in _passes(rows, cols):
        x = _every(x, part, axis, np.add)
    rows, cols = _composed(rows), _composed(cols)
    if (rows, cols) == (1, 1):
        return x, (1, 1)
    held = [np.minimum(pool, n - pool * np.arange(-(-n // pool))) for pool, n in ((rows, down), (cols, across))]
    return x / (held[0][:, None] * held[1]).astype(np.float32), (rows, cols)


def rms(x: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The root of the mean square; magnitudes where nothing is pooled."""
    values, pools = mean(np.square(x), rows, cols)
    return np.sqrt(values), pools


def _passes(rows: int, cols: int) -> list[tuple[int, int]]:
    """What to pool along which axis, so that each pass is a quick one."""
    passes = []
    for axis, pool in ((0, rows), (1, cols)):
        while pool > 1:
            part = pool if pool <= 32 else 16
            passes.append((axis, part))
            pool = -(-pool // part)
    return passes


def _composed(pool: int) -> int:
    """The least number from `pool` up that passes can reach."""
    unit = 1
    while pool > 32:
        pool = -(-pool // 16)
        unit *= 16
    return pool * unit


def _every(x: np.ndarray, pool: int, axis: int, extreme: np.ufunc) -> np.ndarray:
    """Strided passes: five times as fast as a reduction over a short axis, and ragged ends need no care."""
    y = x if axis == 0 else x.T
    out = y[::pool].copy()
    for k in range(1, pool):
        part = y[k::pool]
        extreme(out[: len(part)], part, out=out[: len(part)])
    return out if axis == 0 else out.T


def crop(
    matrix: np.ndarray,
    view: QRectF,
    per_pixel: tuple[float, float],
    *,
    factor: tuple[int, int] = (1, 1),
    stretch: float = 1.0,
    origin: int = 0,
    pool: Pool = largest,
) -> Crop:
    """The part of `matrix` in `view`.

    A value of `matrix` stands for `factor` (rows, columns); its first row has number `origin`. Rows lie `stretch` apart
    (a sample of rows is stretched over the whole).
    """
    high, wide = factor[0] * stretch, float(factor[1])
    pools = max(1, math.ceil(per_pixel[0] / high)), max(1, math.ceil(per_pixel[1] / wide))
    top = origin * stretch - 0.5
    i0, i1 = _span((view.top() - top) / high, (view.bottom() - top) / high, pools[0], matrix.shape[0])
    j0, j1 = _span((view.left() + 0.5) / wide, (view.right() + 0.5) / wide, pools[1], matrix.shape[1])
    values, pools = pool(matrix[i0:i1, j0:j1], *pools)
    rect = QRectF(
        j0 * wide - 0.5, top + i0 * high, values.shape[1] * pools[1] * wide, values.shape[0] * pools[0] * high
    )
    return Crop(values, rect, (pools[0] * factor[0], pools[1] * factor[1]))


def _span(low: float, high: float, pool: int, size: int) -> tuple[int, int]:
    """First and last cell of a range, at multiples of what is pooled, so that nothing shimmers while panning."""
    unit = _composed(pool)
    first = min(max(0, math.floor(low)), size - 1) // unit * unit
    return first, min(size, max(first + 1, -(-math.ceil(high) // unit) * unit))
