"""The loops that touch every weight, compiled by numba: single-threaded, GIL released, over a block of rows.

numba computes with 64-bit integers unless told otherwise, which halves how many a vector holds: hence the many casts.

Arguments common to all: `x` float32 `[m, cols]`; `line`, `run` as in `layout.py`; parameter arrays are float32 with one
entry a set, and run `first + k` of the block uses entry `(first + k) % len`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from qinspect.quant.lanes import (
    WIDTH,
    above,
    as_floats,
    bits,
    fill,
    lane,
    least,
    least_of,
    load,
    load_codes,
    load_some,
    most,
    most_of,
    most_signed,
    most_signed_of,
    put,
    truncated,
)

jit: Any = njit(nogil=True, cache=True, error_model="numpy")
inlined: Any = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
# Sums may be reordered to use vector units; nothing that decides a code is compiled with this.
jit_sums: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})

HALF_EVEN = np.float32(12582912.0)
"""1.5·2²³: added to a float32 below 2²², it rounds it to an integer, half to even, which the low bits then hold."""
HALF_EVEN_BITS = 0x4B400000


@jit
def ranges(x: np.ndarray, line: int, run: int, low: np.ndarray, high: np.ndarray) -> None:
    """Smallest and largest value of each run, as float32 patterns (uint32).

    Compared as integers, patterns order NaN beyond infinity, so that one unusual value cannot hide: signed, the largest
    is the largest positive value; unsigned, it is the most negative one.
    """
    flat = x.reshape(-1)
    minus = np.uint32(0x80000000)
    number = 0
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            end = min(begin + run, start + line)
            first = bits(fill(flat[begin]))
            positive, negative, nearest = first, first, first
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                v = bits(load(flat, i))
                positive, negative, nearest = most_signed(positive, v), most(negative, v), least(nearest, v)
            if whole < end:
                v = bits(load_some(flat, whole, end - whole))
                positive, negative, nearest = most_signed(positive, v), most(negative, v), least(nearest, v)
            # Where all have one sign, the unsigned least is the value nearest to zero.
            above_zero, below_zero, other = most_signed_of(positive), most_of(negative), least_of(nearest)
            low[number] = below_zero if below_zero >= minus else other
            high[number] = other if above_zero >= minus else above_zero
            number += 1


@jit
def encode_affine(
    x: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, high_code: int, codes: np.ndarray,
) -> None:  # fmt: skip
    """`codes = clamp(round_half_even((x − offset)/scale + zero), low_code, high_code) − low_code`."""
    flat, out = x.reshape(-1), codes.reshape(-1)
    ends = np.float32(low_code), np.float32(high_code)
    less = np.uint32(HALF_EVEN_BITS + low_code)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            end = min(begin + run, start + line)
            s, z, o = scale[k], zero[k], offset[k]
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                put(out, i, bits(_rounded(load(flat, i), s, z, o, ends)) - less)
            if whole < end:
                t = _rounded(load_some(flat, whole, end - whole), s, z, o, ends)
                put_some(out, whole, bits(t) - less, end - whole)


@inlined
def _rounded(x: Any, scale: float, zero: float, offset: float, ends: tuple[float, float]) -> Any:
    """The code of each weight, as the low bits of the pattern of a float."""
    return least(most((x - offset) / scale + zero, ends[0]), ends[1]) + HALF_EVEN


@jit
def encode_linear(
    x: np.ndarray, line: int, run: int, first: int, scale: np.ndarray, offset: np.ndarray, top: int, codes: np.ndarray
) -> None:
    """Index of the nearest of `top + 1` even levels from `offset` to `offset + scale`; a tie takes the lower."""
    flat, out = x.reshape(-1), codes.reshape(-1)
    highest, last = np.float32(top), np.uint32(top)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            per_step, o = highest / scale[k], offset[k]
            end = min(begin + run, start + line)
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                put(out, i, last - _from_top(load(flat, i), per_step, o, highest))
            if whole < end:
                below = _from_top(load_some(flat, whole, end - whole), per_step, o, highest)
                put_some(out, whole, last - below, end - whole)


@inlined
def _from_top(x: Any, per_step: float, offset: float, highest: float) -> Any:
    """How many levels below the highest one, rounded half up."""
    t = highest - least(most((x - offset) * per_step, np.float32(0)), highest)
    return truncated(t + np.float32(0.5))


@jit
def encode_nearest(
    x: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, bounds: np.ndarray, codes: np.ndarray,
) -> None:  # fmt: skip
    """How many of the ascending `bounds` `(x − offset)/scale` exceeds.

    Comparing with all of them is five times as fast as a binary search with 16 levels, and as fast with 256.
    """
    flat, out = x.reshape(-1), codes.reshape(-1)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            end = min(begin + run, start + line)
            s, o = scale[k], offset[k]
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                put(out, i, _exceeded(load(flat, i), s, o, bounds))
            if whole < end:
                put_some(out, whole, _exceeded(load_some(flat, whole, end - whole), s, o, bounds), end - whole)


@inlined
def _exceeded(x: Any, scale: float, offset: float, bounds: np.ndarray) -> Any:
    t = (x - offset) / scale
    count = fill(np.uint32(0))
    for j in range(bounds.size):
        count = count + above(t, bounds[j])
    return count


@jit
def decode_affine(
    codes: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = (codes + low_code − zero)·scale + offset`."""
    flat = codes.reshape(-1)
    values = out.reshape(-1)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            s, o = scale[k], offset[k]
            z = zero[k] - np.float32(low_code)
            end = min(begin + run, start + line)
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                put(values, i, (as_floats(load_codes(flat, i)) - z) * s + o)
            for i in range(whole, end):
                values[i] = (np.float32(flat[i]) - z) * s + o


@jit
def decode_linear(
    codes: np.ndarray, line: int, run: int, first: int, scale: np.ndarray, offset: np.ndarray, top: int, out: np.ndarray
) -> None:
    """`out = level·scale + offset` of the `top + 1` levels `(linspace(−1, 1) + 1)/2`, to the bit."""
    flat = codes.reshape(-1)
    values = out.reshape(-1)
    highest, one, half = np.float32(top), np.float32(1), np.float32(0.5)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            s, o = scale[k], offset[k]
            end = min(begin + run, start + line)
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                code = as_floats(load_codes(flat, i))
                put(values, i, ((code + code - highest) / highest + one) * half * s + o)
            for i in range(whole, end):
                one_code = np.float32(flat[i])
                values[i] = ((one_code + one_code - highest) / highest + one) * half * s + o


@inlined
def put_some(array: np.ndarray, at: int, lanes: Any, count: int) -> None:
    """Store the first `count` lanes."""
    for i in range(count):
        array[at + i] = lane(lanes, i)


@jit
def decode_table(
    codes: np.ndarray, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, table: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = table[codes]·scale + offset`."""
    flat = codes.reshape(-1)
    values = out.reshape(-1)
    after = first % scale.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            s, o = scale[k], offset[k]
            end = min(begin + run, start + line)
            part, into = flat[begin:end], values[begin:end]
            for i in range(part.size):
                into[i] = table[part[i]] * s + o
