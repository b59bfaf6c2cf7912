"""The loops that calibration needs, compiled by numba as those of `kernels.py` are and with the same arguments."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import HALF_EVEN, jit, jit_sums


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
                t = (min(max(t, lowest), highest) + HALF_EVEN) - HALF_EVEN
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
