"""The loop that counts half-precision patterns, compiled as those of `kernels.py` are."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit
from qinspect.quant.lanes import (
    WIDTH,
    above,
    as_floats,
    bits,
    fill,
    least,
    least_of,
    load,
    load_some,
    magnitudes,
    most,
    most_of,
    multiply_add,
    put,
    total,
    truncated,
    where_below,
    widened,
)

CELLS = 1 << 16
"""Entries of a table of counts: the one of zero is in the middle, those of negative values before it."""


@jit
def count_patterns(
    x: np.ndarray, centre: float, factor: float, wide: bool, counts: np.ndarray, places: np.ndarray, sums: np.ndarray
) -> None:
    """Count each `(x − centre)·factor` (vector, float32) in the cell that begins at the pattern below it.

    Patterns are those of float16, or of bfloat16 where `wide`. What they cannot hold is counted in the end cells.
    `counts` is uint32 `[CELLS]`, `places` uint32 `[WIDTH]` memory. `sums` holds the sum of all x and of their squares,
    the smallest and the largest so far.
    """
    shift = np.uint32(16 if wide else 13)
    rest = np.uint32(0xFFFF if wide else 0x1FFF)
    # The patterns of float16 begin with the exponent −14, below which they are multiples of 2⁻²⁴.
    normal = np.uint32(0 if wide else 0x38800000)
    start, end = np.uint32(0 if wide else 112 << 10), np.uint32(0x7F80 if wide else 0x7C00)
    sum_, squares = fill(np.float64(0)), fill(np.float64(0))
    low, high = fill(np.float32(np.inf)), fill(np.float32(-np.inf))
    for i in range(0, x.size, WIDTH):
        count = x.size - i if x.size - i < WIDTH else WIDTH
        w = load(x, i) if count == WIDTH else load_some(x, i, count)
        low, high = least(low, w), most(high, w)
        value = (w - centre) * factor + np.float32(0)  # −0 becomes 0
        negative = bits(value) >> np.uint32(31)
        size = bits(magnitudes(value))
        small = magnitudes(value) * np.float32(2.0**24)
        small = least(small, np.float32(1024.0))
        steps = truncated(small)
        below_normal = steps + negative * above(small, as_floats(steps))
        # A negative value that is not a pattern itself lies above the next larger one.
        cell = where_below(size, normal, below_normal, ((size + negative * rest) >> shift) - start)
        cell = least(cell, end)
        put(places, 0, np.uint32(CELLS // 2) + cell - (cell + cell) * negative)
        for lane in range(count):
            counts[np.uint64(places[lane])] += np.uint32(1)
        if count == WIDTH:
            sum_, squares = sum_ + widened(w), multiply_add(widened(w), widened(w), squares)
        else:
            for lane in range(count):
                one = np.float64(x[i + lane])
                sums[0] += one
                sums[1] += one * one
    sums[0] += total(sum_)
    sums[1] += total(squares)
    lowest, highest = np.float64(least_of(low)), np.float64(most_of(high))
    sums[2] = lowest if lowest < sums[2] else sums[2]
    sums[3] = highest if highest > sums[3] else sums[3]
