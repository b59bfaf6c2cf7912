"""The part of a matrix in view, pooled until no cell is smaller than a pixel, so that none is skipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

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


class Pool(IntEnum):
    """What is made of the cells that share a pixel, numbered as in `quant.view_kernels`."""

    LARGEST = 0  # by magnitude, with its sign
    LEAST = 1
    MEAN = 2
    RMS = 3


def pooled(
    x: np.ndarray, rows: int, cols: int, pool: Pool = Pool.LARGEST, part: tuple[slice, slice] | None = None
) -> np.ndarray:
    """Each rows × cols cells of `x` `[m, n]`, or of a part of it, as one float32; at the edge, of what there is."""
    from qinspect.quant import view_kernels  # loaded long since, by the thread that made `x`

    (top, bottom, _), (left, right, _) = (
        span.indices(size) for span, size in zip(part or (slice(None), slice(None)), x.shape, strict=True)
    )
    if (rows, cols) == (1, 1) and pool != Pool.RMS:
        return x[top:bottom, left:right]
    values = np.ascontiguousarray(x, np.float32)
    out = np.empty((-(-(bottom - top) // rows), -(-(right - left) // cols)), np.float32)
    if out.size:
        view_kernels.pool_cells(values, top, left, bottom, right, rows, cols, int(pool), out)
    return out


def crop(
    matrix: np.ndarray,
    view: QRectF,
    per_pixel: tuple[float, float],
    *,
    factor: tuple[int, int] = (1, 1),
    stretch: float = 1.0,
    origin: tuple[int, int] = (0, 0),
    pool: Pool = Pool.LARGEST,
) -> Crop:
    """The part of `matrix` in `view`.

    A value of `matrix` stands for `factor` (rows, columns); `origin` is its first row and column. Rows lie `stretch`
    apart (a sample of rows is stretched over the whole).
    """
    high, wide = factor[0] * stretch, float(factor[1])
    pools = max(1, math.ceil(per_pixel[0] / high)), max(1, math.ceil(per_pixel[1] / wide))
    top, left = origin[0] * stretch - 0.5, origin[1] - 0.5
    i0, i1 = _span((view.top() - top) / high, (view.bottom() - top) / high, pools[0], matrix.shape[0])
    j0, j1 = _span((view.left() - left) / wide, (view.right() - left) / wide, pools[1], matrix.shape[1])
    values = pooled(matrix, *pools, pool, (slice(i0, i1), slice(j0, j1)))
    rect = QRectF(
        left + j0 * wide, top + i0 * high, values.shape[1] * pools[1] * wide, values.shape[0] * pools[0] * high
    )
    return Crop(values, rect, (pools[0] * factor[0], pools[1] * factor[1]))


def _span(low: float, high: float, pool: int, size: int) -> tuple[int, int]:
    """First and last cell of a range, at multiples of what is pooled, so that nothing shimmers while panning."""
    first = min(max(0, math.floor(low)), size - 1) // pool * pool
    return first, min(size, max(first + 1, -(-math.ceil(high) // pool) * pool))
