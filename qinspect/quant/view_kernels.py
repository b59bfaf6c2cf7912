"""The loops behind what views draw, compiled by numba as those of `kernels.py` are and with the same arguments."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit


@jit
def count_bins(x: np.ndarray, low: float, per_unit: float, counts: np.ndarray) -> None:
    """Add to `counts` (int64, `bins + 2`) how many values fall in each of `bins` equal bins from `low` on.

    A bin is `1/per_unit` wide. The first and last entry count what lies outside; the top edge is in the last bin.
    """
    bins = counts.size - 2
    for value in x.reshape(-1):
        t = (np.float64(value) - low) * per_unit
        if t < 0:
            counts[0] += 1
        elif t < bins:
            counts[1 + np.int64(t)] += 1
        else:
            counts[bins if t <= bins * (1 + 1e-12) else bins + 1] += 1


@jit
def to_code_units(
    x: np.ndarray, line: int, run: int, first: int, step: np.ndarray, low: np.ndarray, low_code: int, out: np.ndarray
) -> None:
    """Where each weight lies between the levels of its run: `(x − low)/step + low_code`, before rounding to a code."""
    flat = x.reshape(-1)
    units = out.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % step.size
            number += 1
            s, o = step[k], low[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], units[begin:end]
            for i in range(part.size):
                into[i] = (part[i] - o) / s + np.float32(low_code)


@jit
def to_table_units(
    x: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, table: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """As `to_code_units` between the uneven levels of `table`; beyond its ends the end gaps go on."""
    flat = x.reshape(-1)
    units = out.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, o = scale[k], offset[k]
            for i in range(begin, min(begin + run, start + line)):
                t = (flat[i] - o) / s
                below = min(max(np.searchsorted(table, t) - 1, 0), table.size - 2)
                gap = table[below + 1] - table[below]
                units[i] = below + ((t - table[below]) / gap if gap > 0 else np.float32(0))


@jit
def pool_extreme(x: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Into each cell of `out` the value of largest magnitude, with its sign, of `factor × factor` values of `x`."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            best = np.float32(0)
            for a in range(i * factor, min((i + 1) * factor, x.shape[0])):
                for b in range(j * factor, min((j + 1) * factor, x.shape[1])):
                    if abs(x[a, b]) > abs(best):
                        best = x[a, b]
            out[i, j] = best
