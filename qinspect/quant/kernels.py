"""The loops that touch every weight, compiled by numba: single-threaded, GIL released, over a block of rows.

Arguments common to all: `x` float32 `[m, cols]`; `line`, `run` as in `layout.py`; parameter arrays are float32 with one
entry a set, and run `first + k` of the block uses entry `(first + k) % len`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

jit: Any = njit(nogil=True, cache=True, error_model="numpy")
# Sums may be reordered to use vector units; nothing that decides a code is compiled with this.
jit_sums: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})

_HALF_EVEN = np.float32(12582912.0)
"""1.5·2²³: adding and subtracting it rounds a float32 below 2²² to an integer, half to even."""


@jit
def ranges(bits: np.ndarray, line: int, run: int, low: np.ndarray, high: np.ndarray) -> None:
    """Smallest and largest value of each run, as order-preserving integers of the float32 patterns `bits` (int32).

    Integer comparison orders NaN beyond infinity, so that one unusual value cannot hide, and it vectorises.
    """
    flat = bits.reshape(-1)
    out = 0
    for start in range(0, flat.size, line):
        end = start + line
        for begin in range(start, end, run):
            part = flat[begin : min(begin + run, end)]
            smallest = np.int32(0x7FFFFFFF)
            largest = np.int32(-0x80000000)
            for i in range(part.size):
                key = part[i] ^ ((part[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
                smallest = min(smallest, key)
                largest = max(largest, key)
            low[out] = smallest
            high[out] = largest
            out += 1


@jit
def encode_affine(
    x: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, high_code: int, codes: np.ndarray,
) -> None:  # fmt: skip
    """`codes = clamp(round_half_even((x − offset)/scale + zero), low_code, high_code) − low_code`."""
    flat = x.reshape(-1)
    out = codes.reshape(-1)
    lowest = np.float32(low_code)
    highest = np.float32(high_code)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, z, o = scale[k], zero[k], offset[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], out[begin:end]
            for i in range(part.size):
                t = (part[i] - o) / s + z
                t = min(max(t, lowest), highest)
                t = (t + _HALF_EVEN) - _HALF_EVEN
                into[i] = np.int32(t - lowest)


@jit
def encode_linear(
    x: np.ndarray, line: int, run: int, first: int, scale: np.ndarray, offset: np.ndarray, top: int, codes: np.ndarray
) -> None:
    """Index of the nearest of `top + 1` even levels from `offset` to `offset + scale`; a tie takes the lower."""
    flat = x.reshape(-1)
    out = codes.reshape(-1)
    highest, last = np.float32(top), np.int32(top)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            per_step, o = highest / scale[k], offset[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], out[begin:end]
            for i in range(part.size):
                t = (part[i] - o) * per_step
                t = highest - min(max(t, np.float32(0)), highest)
                into[i] = last - np.int32(t + np.float32(0.5))


@jit
def encode_nearest(
    x: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, bounds: np.ndarray, codes: np.ndarray,
) -> None:  # fmt: skip
    """How many of the ascending `bounds` (a multiple of four) `(x − offset)/scale` exceeds.

    Comparing with all of them vectorises: with 16 levels it is five times as fast as a binary search, with 256 as fast.
    """
    flat = x.reshape(-1)
    out = codes.reshape(-1)
    size = 512
    places, counts = np.empty(size, np.float32), np.empty(size, np.int32)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, o = scale[k], offset[k]
            stop = min(begin + run, start + line)
            for at in range(begin, stop, size):
                part, into = flat[at : min(at + size, stop)], out[at : min(at + size, stop)]
                t, count = places[: part.size], counts[: part.size]
                for i in range(part.size):
                    t[i] = (part[i] - o) / s
                    count[i] = 0
                for j in range(0, bounds.size, 4):
                    a, b, c, d = bounds[j], bounds[j + 1], bounds[j + 2], bounds[j + 3]
                    for i in range(part.size):
                        count[i] += np.int32(t[i] > a) + np.int32(t[i] > b) + np.int32(t[i] > c) + np.int32(t[i] > d)
                for i in range(part.size):
                    into[i] = count[i]


@jit
def decode_affine(
    codes: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = (codes + low_code − zero)·scale + offset`."""
    flat = codes.reshape(-1)
    values = out.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, o = scale[k], offset[k]
            z = zero[k] - np.float32(low_code)
            end = min(begin + run, start + line)
            part, into = flat[begin:end], values[begin:end]
            for i in range(part.size):
                into[i] = (np.float32(part[i]) - z) * s + o


@jit
def decode_table(
    codes: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, table: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = table[codes]·scale + offset`."""
    flat = codes.reshape(-1)
    values = out.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, o = scale[k], offset[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], values[begin:end]
            for i in range(part.size):
                into[i] = table[part[i]] * s + o


@jit_sums
def error_sums(
    x: np.ndarray, decoded: np.ndarray, line: int, run: int, first: int,
    step: np.ndarray, low: np.ndarray, high: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add to `sums` (float64, in the order of `metrics.SUMS`) all that error figures are made of, but the last entry.

    `low` and `high` bound what a run's codes can express; a weight beyond them by more than rounding is clipped.
    `decoded` is left holding the errors, for `largest_magnitude`, which would not vectorise in this loop.
    """
    flat = x.reshape(-1)
    values = decoded.reshape(-1)
    number = first
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % step.size
            number += 1
            lo, hi = low[k], high[k]
            slack = np.float32(5e-7) * (max(abs(lo), abs(hi)) + (hi - lo))
            end = min(begin + run, start + line)
            weights, errors = flat[begin:end], values[begin:end]
            ww = dd = wd = ee = ae = rr = re = 0.0
            outside = np.int32(0)
            for i in range(weights.size):
                w, d = np.float64(weights[i]), np.float64(errors[i])
                inside = min(max(weights[i], lo), hi)
                outside += np.int32(abs(weights[i] - inside) > slack)
                r = np.float64(inside)
                e = d - w
                errors[i] = e
                ww += w * w
                dd += d * d
                wd += w * d
                ee += e * e
                ae += abs(e)
                rr += r * r
                re += (d - r) * (d - r)
            sums[0] += ww
            sums[1] += dd
            sums[2] += wd
            sums[3] += ee
            sums[4] += ae
            sums[5] += rr
            sums[6] += re
            sums[7] += ee / (np.float64(step[k]) * np.float64(step[k]))
            sums[8] += outside


@jit
def round_trip(
    x: np.ndarray, line: int, run: int, scale: np.ndarray, zero: np.ndarray, offset: np.ndarray,
    low_code: int, high_code: int, out: np.ndarray,
) -> None:  # fmt: skip
    """What `decode_affine` makes of the codes of `encode_affine`."""
    flat = x.reshape(-1)
    values = out.reshape(-1)
    lowest = np.float32(low_code)
    highest = np.float32(high_code)
    number = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % scale.size
            number += 1
            s, z, o = scale[k], zero[k], offset[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], values[begin:end]
            for i in range(part.size):
                t = (part[i] - o) / s + z
                t = (min(max(t, lowest), highest) + _HALF_EVEN) - _HALF_EVEN
                into[i] = (t - z) * s + o


@jit_sums
def squared_errors(
    x: np.ndarray, decoded: np.ndarray, line: int, run: int, weight: np.ndarray, sums: np.ndarray
) -> None:
    """The squared differences of each run, times the `weight` of each column."""
    flat = x.reshape(-1)
    values = decoded.reshape(-1)
    out = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            end = min(begin + run, start + line)
            part, other = flat[begin:end], values[begin:end]
            column = begin % weight.size
            each = weight[column : column + part.size]
            total = 0.0
            for i in range(part.size):
                e = np.float64(other[i] - part[i])
                total += e * e * np.float64(each[i])
            sums[out] = total
            out += 1


@jit_sums
def sum_magnitudes(x: np.ndarray, line: int, run: int, sums: np.ndarray) -> None:
    """The sum of |value| of each run (float64)."""
    flat = x.reshape(-1)
    out = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            total = 0.0
            for value in flat[begin : min(begin + run, start + line)]:
                total += abs(np.float64(value))
            sums[out] = total
            out += 1


@jit
def count_below(x: np.ndarray, line: int, run: int, limits: np.ndarray, counts: np.ndarray) -> None:
    """How many magnitudes of each run have float32 patterns below the limit of its set."""
    flat = x.reshape(-1).view(np.int32)
    out = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            limit = limits[out % limits.size]
            part = flat[begin : min(begin + run, start + line)]
            found = np.int32(0)
            for i in range(part.size):
                found += np.int32((part[i] & np.int32(0x7FFFFFFF)) < limit)
            counts[out] = found
            out += 1


@jit
def smallest_from(x: np.ndarray, line: int, run: int, limits: np.ndarray, found: np.ndarray) -> None:
    """The smallest such pattern of each run that is not below the limit; 2³¹−1 if there is none."""
    flat = x.reshape(-1).view(np.int32)
    out = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            limit = limits[out % limits.size]
            part = flat[begin : min(begin + run, start + line)]
            smallest = np.int32(0x7FFFFFFF)
            for i in range(part.size):
                magnitude = part[i] & np.int32(0x7FFFFFFF)
                smallest = min(smallest, magnitude if magnitude >= limit else np.int32(0x7FFFFFFF))
            found[out] = smallest
            out += 1


@jit
def largest_magnitude(bits: np.ndarray) -> int:
    """The float32 pattern (as an integer) of the largest |value| among the patterns `bits` (int32)."""
    largest = np.int32(0)
    flat = bits.reshape(-1)
    for i in range(flat.size):
        largest = max(largest, flat[i] & np.int32(0x7FFFFFFF))
    return int(largest)


@jit
def count_codes(codes: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` (int64) how often each code occurs."""
    for code in codes.reshape(-1):
        counts[code] += 1


@jit
def count_places(x: np.ndarray, line: int, run: int, reach: np.ndarray, each: np.ndarray, counts: np.ndarray) -> None:
    """Add `each` of a run's set to the entry of `counts` (int64) nearest to each of its weights; they span ±`reach`."""
    flat = x.reshape(-1)
    middle = np.float32(counts.size // 2)
    number = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = number % reach.size
            number += 1
            r, unit = reach[k], each[k]
            for value in flat[begin : min(begin + run, start + line)]:
                counts[np.int32(value / r * middle + middle + np.float32(0.5))] += unit


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
