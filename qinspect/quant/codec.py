"""Weights to codes and back under a grid: which kernel does it."""

from __future__ import annotations

import numpy as np

from qinspect.quant import kernels
from qinspect.quant.blocks import scratch
from qinspect.quant.layout import Layout
from qinspect.quant.scheme import Grid, Scheme


def encode(scheme: Scheme, x: np.ndarray, layout: Layout, first: int, grid: Grid) -> np.ndarray:
    """The codes of a block of rows, less the lowest code, in this thread's scratch memory."""
    found = scratch("codes", x.size, scheme.code_dtype)
    low, high = scheme.code_range
    block = x.reshape(-1), 0, x.size, layout.line, layout.run, first
    if grid.table is None:
        kernels.encode_affine(*block, grid.scale, grid.zero, grid.offset, low, high, found)
    elif grid.even:
        kernels.encode_linear(*block, grid.scale, grid.offset, high, found)
    else:
        kernels.encode_nearest(*block, grid.scale, grid.offset, boundaries(grid.table), found)
    return found.reshape(x.shape)


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
    block = found.reshape(-1), found.size, layout.line, layout.run, first
    values = out.reshape(-1)
    if grid.table is None:
        kernels.decode_affine(*block, grid.scale, grid.zero, grid.offset, scheme.code_range[0], values)
    elif grid.even:
        kernels.decode_linear(*block, grid.scale, grid.offset, grid.table.size - 1, values)
    else:
        kernels.decode_table(*block, grid.scale, grid.offset, grid.table, values)
