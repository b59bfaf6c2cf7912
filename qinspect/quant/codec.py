"""Weights to codes and back under a grid: which kernel does it."""

from __future__ import annotations

import numpy as np

from qinspect.quant import kernels
from qinspect.quant.blocks import scratch
from qinspect.quant.layout import Layout
from qinspect.quant.scheme import Grid, Scheme


def encode(scheme: Scheme, x: np.ndarray, layout: Layout, first: int, grid: Grid) -> np.ndarray:
    """The codes of a block of rows, less the lowest code, in this thread's scratch memory."""
    found = scratch("codes", x.size, scheme.code_dtype).reshape(x.shape)
    low, high = scheme.code_range
    line, run = layout.line, layout.run
    if grid.table is None:
        kernels.encode_affine(x, line, run, first, grid.scale, grid.zero, grid.offset, low, high, found)
    elif grid.even:
        kernels.encode_linear(x, line, run, first, grid.scale, grid.offset, high, found)
    else:
        kernels.encode_nearest(x, line, run, first, grid.scale, grid.offset, boundaries(grid.table), found)
    return found


def boundaries(table: np.ndarray) -> np.ndarray:
    """The midpoints of neighbouring levels, rounded down to float32: a float32 above one is nearer to the upper level.

    Of equal levels only the lowest is ever taken.
    """
    exact = (table[:-1].astype(np.float64) + table[1:]) / 2
    middle = exact.astype(np.float32)
    middle = np.where(middle > exact, np.nextafter(middle, np.float32(-np.inf)), middle)
    middle[table[:-1] == table[1:]] = np.inf
    return np.asarray(np.minimum.accumulate(middle[::-1])[::-1])


def decode(scheme: Scheme, found: np.ndarray, layout: Layout, first: int, grid: Grid, out: np.ndarray) -> None:
    """The inverse: what the codes of a block stand for."""
    line, run = layout.line, layout.run
    if grid.table is None:
        low = scheme.code_range[0]
        kernels.decode_affine(found, line, run, first, grid.scale, grid.zero, grid.offset, low, out)
    elif grid.even:
        kernels.decode_linear(found, line, run, first, grid.scale, grid.offset, grid.table.size - 1, out)
    else:
        kernels.decode_table(found, line, run, first, grid.scale, grid.offset, grid.table, out)
