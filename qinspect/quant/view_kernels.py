"""The loops behind what views draw, compiled by numba as those of `kernels.py` are and with the same arguments."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit, jit_sums

PLAIN, MAGNITUDE, SQUARE = range(3)
"""What `pool_sums` adds up."""

_PART = 256
"""Values whose bins are found at a time: by vector units, and counted while they are in the nearest cache."""


@jit_sums
def count_bins(x: np.ndarray, low: float, per_unit: float, counts: np.ndarray) -> tuple[float, float]:
    """Add to `counts` (int64, `bins + 2`) how many values fall in each of `bins` equal bins from `low` on.

    A bin is `1/per_unit` wide. The first and last entry count what lies outside; the top edge is in the last bin.
    Returned are the sum of the values and that of their squares.
    """
    outside = np.float64(counts.size - 1)
    unit = per_unit * (1 - 1e-12)
    tables = np.zeros((4, counts.size), np.int32)  # in turn: a value in the bin of the last need not wait for its count
    at = np.empty(_PART, np.int32)
    total = squares = 0.0
    flat = x.reshape(-1)
    for begin in range(0, flat.size, _PART):
        part = flat[begin : begin + _PART]
        for i in range(part.size):
            value = np.float64(part[i])
            total += value
            squares += value * value
            t = (value - low) * unit + 1.0
            inside = t if t > 0.0 else 0.0  # NaN as well: a place outside the table would be written to
            at[i] = np.int32(inside if inside < outside else outside)
        whole = part.size // 4 * 4
        for i in range(0, whole, 4):
            tables[0, at[i]] += np.int32(1)
            tables[1, at[i + 1]] += np.int32(1)
            tables[2, at[i + 2]] += np.int32(1)
            tables[3, at[i + 3]] += np.int32(1)
        for i in range(whole, part.size):
            tables[0, at[i]] += np.int32(1)
    for k in range(counts.size):
        counts[k] += tables[0, k] + tables[1, k] + tables[2, k] + tables[3, k]
    return total, squares


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
def to_steps(x: np.ndarray, line: int, run: int, first: int, step: np.ndarray, out: np.ndarray) -> None:
    """Each value in steps of its run."""
    flat = x.reshape(-1)
    steps = out.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            s = step[number % step.size]
            number += 1
            end = min(begin + run, start + line)
            part, into = flat[begin:end], steps[begin:end]
            for i in range(part.size):
                into[i] = part[i] / s


@jit
def to_relative(errors: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """`|error| / |weight|`; 0 where there is no error, infinite where a zero has one."""
    above, below, relative = errors.reshape(-1), x.reshape(-1), out.reshape(-1)
    for i in range(relative.size):
        relative[i] = abs(above[i]) / abs(below[i]) if above[i] != 0 else np.float32(0)


# Pooling folds the rows of a cell into one first, which vectorises, then neighbours in halves.


@jit
def pool_extreme(x: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Into each cell of `out` the value of largest magnitude, with its sign, of `factor × factor` values of `x`.

    `factor` is a power of two. Magnitudes are compared as integers, the sign moved to the lowest bit: NaN is largest.
    """
    one, last = np.uint32(1), np.uint32(31)
    bits, cells = x.view(np.uint32), out.view(np.uint32)
    cols = x.shape[1]
    keys = np.zeros(cols + factor, np.uint32)
    for i in range(out.shape[0]):
        keys[:] = 0
        for a in range(i * factor, min((i + 1) * factor, x.shape[0])):
            row = bits[a]
            for j in range(cols):
                key = np.uint32(row[j] << one) | np.uint32(row[j] >> last)
                keys[j] = max(keys[j], key)
        size, together = cols, factor
        while together > 1:
            size = (size + 1) // 2
            for j in range(size):
                keys[j] = max(keys[2 * j], keys[2 * j + 1])
            keys[size] = 0
            together //= 2
        into = cells[i]
        for j in range(into.size):
            into[j] = np.uint32(keys[j] >> one) | np.uint32(keys[j] << last)


@jit
def pool_sums(x: np.ndarray, factor: int, kind: int, out: np.ndarray) -> None:
    """Into each cell of `out` the sum of `factor × factor` values of `x`, of their magnitudes, or of their squares.

    `factor` is a power of two; `kind` is PLAIN, MAGNITUDE or SQUARE.
    """
    cols = x.shape[1]
    sums = np.zeros(cols + factor, np.float32)
    for i in range(out.shape[0]):
        sums[:] = 0
        for a in range(i * factor, min((i + 1) * factor, x.shape[0])):
            row = x[a]
            if kind == SQUARE:
                for j in range(cols):
                    sums[j] += row[j] * row[j]
            elif kind == MAGNITUDE:
                for j in range(cols):
                    sums[j] += abs(row[j])
            else:
                for j in range(cols):
                    sums[j] += row[j]
        size, together = cols, factor
        while together > 1:
            size = (size + 1) // 2
            for j in range(size):
                sums[j] = sums[2 * j] + sums[2 * j + 1]
            sums[size] = 0
            together //= 2
        out[i] = sums[: out.shape[1]]


LARGEST, LEAST, MEAN, RMS = range(4)
"""What `pool_cells` makes of a cell; the window numbers them alike."""


@jit
def pool_cells(
    x: np.ndarray, top: int, left: int, bottom: int, right: int, rows: int, cols: int, kind: int, out: np.ndarray
) -> None:
    """Rows `top`…`bottom` and columns `left`…`right` of `x`, rows × cols to each cell of `out`.

    Of LARGEST magnitude with its sign, the LEAST (of what is a number), the MEAN, or the root mean square. A cell at
    the edge has what there is.
    """
    high, low, wide = np.empty(right - left, np.float32), np.empty(right - left, np.float32), right - left
    for i in range(out.shape[0]):
        first, stop = top + i * rows, min(top + (i + 1) * rows, bottom)
        row = x[first, left:right]
        if kind == RMS:
            for j in range(wide):
                high[j] = row[j] * row[j]
        else:
            for j in range(wide):
                high[j] = low[j] = row[j]
        for a in range(first + 1, stop):
            row = x[a, left:right]
            if kind == LARGEST:
                for j in range(wide):
                    high[j] = max(high[j], row[j])
                    low[j] = min(low[j], row[j])
            elif kind == LEAST:
                for j in range(wide):
                    low[j] = row[j] if row[j] < low[j] or low[j] != low[j] else low[j]
            elif kind == MEAN:
                for j in range(wide):
                    high[j] += row[j]
            else:
                for j in range(wide):
                    high[j] += row[j] * row[j]
        for k in range(out.shape[1]):
            begin, end = k * cols, min((k + 1) * cols, wide)
            up, down = high[begin], low[begin]
            if kind == LARGEST:
                for j in range(begin + 1, end):
                    up, down = max(up, high[j]), min(down, low[j])
                out[i, k] = up if up >= -down else down
            elif kind == LEAST:
                for j in range(begin + 1, end):
                    down = low[j] if low[j] < down or down != down else down
                out[i, k] = down
            else:
                for j in range(begin + 1, end):
                    up += high[j]
                up /= np.float32((end - begin) * (stop - first))
                out[i, k] = np.sqrt(up) if kind == RMS else up


@jit
def add_squares(x: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> None:
    """The sum of squares of each row of `x` into `rows`, of each column added to `cols` (both float64)."""
    for i in range(x.shape[0]):
        total = 0.0
        row = x[i]
        for j in range(row.size):
            square = np.float64(row[j]) * np.float64(row[j])
            total += square
            cols[j] += square
        rows[i] = total


@jit_sums
def run_sums(
    x: np.ndarray, errors: np.ndarray, line: int, run: int, first: int, low: np.ndarray, high: np.ndarray,
    sums: np.ndarray,
) -> None:  # fmt: skip
    """Add to `sums` float64 `[4, sets]`, set by set: Σw², Σe², how many are clipped; the last keeps the float32 pattern
    of the largest |e|, as an integer.

    What counts as clipped is as in `kernels.error_sums`.
    """
    flat, wrong = x.reshape(-1), errors.reshape(-1)
    bits = errors.view(np.int32).reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % low.size
            number += 1
            lo, hi = low[k], high[k]
            slack = np.float32(5e-7) * (max(abs(lo), abs(hi)) + (hi - lo))
            end = min(begin + run, start + line)
            weights, part = flat[begin:end], wrong[begin:end]
            ww = ee = 0.0
            outside = np.int32(0)
            for i in range(weights.size):
                w, e = np.float64(weights[i]), np.float64(part[i])
                outside += np.int32(abs(weights[i] - min(max(weights[i], lo), hi)) > slack)
                ww += w * w
                ee += e * e
            largest = np.int32(0)
            for i in range(begin, end):
                largest = max(largest, bits[i] & np.int32(0x7FFFFFFF))
            sums[0, k] += ww
            sums[1, k] += ee
            sums[2, k] += outside
            magnitude = np.int64(largest)
            sums[3, k] = max(sums[3, k], np.float64(magnitude))


@jit
def count_runs(
    codes: np.ndarray, line: int, piece: int, table: np.ndarray, per_column: int,
    counts: np.ndarray, used: np.ndarray, entropy: np.ndarray,
) -> None:  # fmt: skip
    """The use of codes in pieces of up to `piece` consecutive weights of a line, one after another.

    For each, how many codes occur (`used`), the bits a code would take with ideal coding (`entropy`), and how often
    `per_column` codes together occur (`counts` uint32 `[pieces, columns]`, or of no columns). `table` holds a zero for
    every code, before and after.
    """
    flat = codes.reshape(-1)
    number = 0
    for start in range(0, flat.size, line):
        end = min(start + line, flat.size)
        for begin in range(start, end, piece):
            part = flat[begin : min(begin + piece, end)]
            for code in part:
                table[code] += 1
            logs = 0.0
            some = 0
            for code in part:
                n = table[code]
                if n > 0:  # not met before
                    table[code] = 0
                    logs += n * np.log2(np.float64(n))
                    some += 1
                    if counts.shape[1] > 0:
                        counts[number, code // per_column] += np.uint32(n)
            used[number] = some
            entropy[number] = max(0.0, np.log2(np.float64(part.size)) - logs / part.size)
            number += 1
