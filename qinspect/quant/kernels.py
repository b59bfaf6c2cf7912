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

HALF_EVEN = np.float32(12582912.0)
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
                t = (t + HALF_EVEN) - HALF_EVEN
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
    flat = codes.reshape(-1)
    if counts.size > 256:
        for code in flat:
            counts[code] += 1
        return
    # Four tables in turn: a code that follows its like need not wait for the count before it.
    tables = np.zeros((4, counts.size), np.int64)
    whole = flat.size // 4 * 4
    for i in range(0, whole, 4):
        tables[0, flat[i]] += 1
        tables[1, flat[i + 1]] += 1
        tables[2, flat[i + 2]] += 1
        tables[3, flat[i + 3]] += 1
    for i in range(whole, flat.size):
        tables[0, flat[i]] += 1
    for k in range(counts.size):
        counts[k] += tables[0, k] + tables[1, k] + tables[2, k] + tables[3, k]
