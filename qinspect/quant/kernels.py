"""The loops that touch every weight, compiled by numba: single-threaded, GIL released, over a block of rows.

Arguments common to all: `x` and what else there is for each weight are vectors in memory order, of which the weights
from `start` to `stop` are meant, whole lines of them; `line`, `run` as in `layout.py`; parameter vectors are float32
with one entry a set, and run `first + k` uses entry `(first + k) % len`.

The first call waits for the compiler. Views of arrays, `min` and `max` cost it more time than loops: there are few.
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
    fetch,
    fill,
    least,
    least_of,
    load,
    load_some,
    most,
    most_of,
    most_signed,
    most_signed_of,
    put,
    put_pattern,
    put_some,
    truncated,
)  # fmt: skip

jit: Any = njit(nogil=True, cache=True, error_model="numpy")
inlined: Any = njit(nogil=True, error_model="numpy", inline="always")
"""For what kernels share: it becomes part of them before they are compiled."""
# Sums may be reordered to use vector units; nothing that decides a code is compiled with this.
jit_sums: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})

HALF_EVEN = np.float32(12582912.0)
"""1.5·2²³: added to a float32 below 2²², it rounds it to an integer, half to even, which the low bits then hold."""
HALF_EVEN_BITS = 0x4B400000

FETCHED = 1 << 16
"""Up to so many weights are encoded while as many that follow are fetched from memory: these come next."""


@jit
def ranges(x: np.ndarray, start: int, stop: int, line: int, run: int, low: np.ndarray, high: np.ndarray) -> None:
    """Smallest and largest value of each run, from the first entries of `low` and `high` on, as float32 patterns.

    Compared as integers, patterns order NaN beyond infinity, so that one unusual value cannot hide: signed, the largest
    is the largest positive value; unsigned, it is the most negative one.
    """
    if line == 1:
        for i in range(start, stop):
            low[i - start] = high[i - start] = x[i]
        return
    minus = np.uint32(0x80000000)
    begin, room, number = start, line, 0
    while begin < stop:
        end = begin + (run if run < room else room)
        whole = end - (end - begin) % WIDTH
        v = bits(load_some(x, begin, 1))
        positive, negative, nearest = v, v, v
        for i in range(begin, whole, WIDTH):
            v = bits(load(x, i))
            positive, negative, nearest = most_signed(positive, v), most(negative, v), least(nearest, v)
        if whole < end:
            v = bits(load_some(x, whole, end - whole))
            positive, negative, nearest = most_signed(positive, v), most(negative, v), least(nearest, v)
        # Where all have one sign, the unsigned least is the value nearest to zero.
        above_zero, below_zero, other = most_signed_of(positive), most_of(negative), least_of(nearest)
        put_pattern(low, number, below_zero if below_zero >= minus else other)
        put_pattern(high, number, other if above_zero >= minus else above_zero)
        room -= end - begin
        begin, room, number = end, room if room else line, number + 1


@jit
def encode_affine(
    x: np.ndarray, start: int, stop: int, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, high_code: int, codes: np.ndarray,
) -> None:  # fmt: skip
    """`codes = clamp(round_half_even((x − offset)/scale + zero), low_code, high_code) − low_code`, from entry 0 on."""
    ends = np.float32(low_code), np.float32(high_code)
    less = np.uint32(HALF_EVEN_BITS + low_code)
    begin = start
    while line == 1 and begin < stop:  # a set for each weight: eight of both at once
        k = (first + begin - start) % scale.size
        end = begin + scale.size - k if begin + scale.size - k < stop else stop
        for i in range(begin, end, WIDTH):
            j, n = k + i - begin, end - i
            if n >= WIDTH:
                found = bits(_rounded(load(x, i), load(scale, j), load(zero, j), load(offset, j), ends)) - less
                put(codes, i - start, found)
            else:
                sets = load_some(scale, j, n), load_some(zero, j, n), load_some(offset, j, n)
                put_some(
                    codes, i - start, n, bits(_rounded(load_some(x, i, n), sets[0], sets[1], sets[2], ends)) - less
                )
        begin = end
    ahead = stop - start if stop - start <= FETCHED else 0
    k, room = first % scale.size, line
    while begin < stop:
        s, z, o = scale[k], zero[k], offset[k]
        end = begin + (run if run < room else room)
        whole = end - (end - begin) % WIDTH
        for i in range(begin, whole, WIDTH):
            fetch(x, i + ahead)
            put(codes, i - start, bits(_rounded(load(x, i), s, z, o, ends)) - less)
        if whole < end:
            found = bits(_rounded(load_some(x, whole, end - whole), s, z, o, ends)) - less
            put_some(codes, whole - start, end - whole, found)
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0


@inlined
def _rounded(x: Any, scale: Any, zero: Any, offset: Any, ends: tuple[float, float]) -> Any:
    """The code of each weight plus `HALF_EVEN`: in the low bits of the pattern."""
    return least(most((x - offset) / scale + zero, ends[0]), ends[1]) + HALF_EVEN


@jit
def encode_linear(
    x: np.ndarray, start: int, stop: int, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, top: int, codes: np.ndarray,
) -> None:  # fmt: skip
    """Index of the nearest of `top + 1` even levels from `offset` to `offset + scale`; a tie takes the lower."""
    highest, last = np.float32(top), np.uint32(top)
    ahead = stop - start if stop - start <= FETCHED else 0
    k, begin, room = first % scale.size, start, line
    while begin < stop:
        per_step, o = highest / scale[k], offset[k]
        end = begin + (run if run < room else room)
        whole = end - (end - begin) % WIDTH
        for i in range(begin, whole, WIDTH):
            fetch(x, i + ahead)
            put(codes, i - start, last - _from_top(load(x, i), per_step, o, highest))
        if whole < end:
            found = _from_top(load_some(x, whole, end - whole), per_step, o, highest)
            put_some(codes, whole - start, end - whole, last - found)
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0


@inlined
def _from_top(x: Any, per_step: Any, offset: Any, highest: float) -> Any:
    """How many levels below the highest one, rounded half up."""
    return truncated((highest - least(most((x - offset) * per_step, np.float32(0)), highest)) + np.float32(0.5))


@jit
def encode_nearest(
    x: np.ndarray, start: int, stop: int, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, bounds: np.ndarray, codes: np.ndarray,
) -> None:  # fmt: skip
    """How many of the ascending `bounds` `(x − offset)/scale` exceeds.

    Comparing with all of them is five times as fast as a binary search with 16 levels, and as fast with 256.
    """
    k, begin, room = first % scale.size, start, line
    while begin < stop:
        end = begin + (run if run < room else room)
        for i in range(begin, end, WIDTH):
            count = fill(np.uint32(0))
            t = ((load(x, i) if end - i >= WIDTH else load_some(x, i, end - i)) - offset[k]) / scale[k]
            for j in range(bounds.size):
                count = count + above(t, bounds[j])
            if end - i >= WIDTH:
                put(codes, i - start, count)
            else:
                put_some(codes, i - start, end - i, count)
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0


@jit
def decode_affine(
    codes: np.ndarray, size: int, line: int, run: int, first: int,
    scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, low_code: int, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = (codes + low_code − zero)·scale + offset` for the first `size` codes."""
    begin, lowest = 0, np.float32(low_code)
    while line == 1 and begin < size:  # as in encode_affine
        k = (first + begin) % scale.size
        end = begin + scale.size - k if begin + scale.size - k < size else size
        for i in range(begin, end, WIDTH):
            j, n = k + i - begin, end - i
            if n >= WIDTH:
                put(out, i, (as_floats(load(codes, i)) - (load(zero, j) - lowest)) * load(scale, j) + load(offset, j))
            else:
                found = as_floats(load_some(codes, i, n)) - (load_some(zero, j, n) - lowest)
                put_some(out, i, n, found * load_some(scale, j, n) + load_some(offset, j, n))
        begin = end
    k, room = first % scale.size, line
    while begin < size:
        s, o = scale[k], offset[k]
        z = zero[k] - lowest
        end = begin + (run if run < room else room)
        whole = end - (end - begin) % WIDTH
        for i in range(begin, whole, WIDTH):
            put(out, i, (as_floats(load(codes, i)) - z) * s + o)
        if whole < end:
            put_some(out, whole, end - whole, (as_floats(load_some(codes, whole, end - whole)) - z) * s + o)
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0


@jit
def decode_linear(
    codes: np.ndarray, size: int, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, top: int, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = level·scale + offset` of the `top + 1` levels `(linspace(−1, 1) + 1)/2`, to the bit."""
    highest = np.float32(top)
    k, begin, room = first % scale.size, 0, line
    while begin < size:
        s, o = scale[k], offset[k]
        end = begin + (run if run < room else room)
        whole = end - (end - begin) % WIDTH
        for i in range(begin, whole, WIDTH):
            put(out, i, _level(as_floats(load(codes, i)), highest) * s + o)
        if whole < end:
            put_some(out, whole, end - whole, _level(as_floats(load_some(codes, whole, end - whole)), highest) * s + o)
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0


@inlined
def _level(code: Any, highest: float) -> Any:
    return ((code + code - highest) / highest + np.float32(1)) * np.float32(0.5)


@jit
def decode_table(
    codes: np.ndarray, size: int, line: int, run: int, first: int,
    scale: np.ndarray, offset: np.ndarray, table: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """`out = table[codes]·scale + offset`."""
    k, begin, room = first % scale.size, 0, line
    while begin < size:
        s, o = scale[k], offset[k]
        end = begin + (run if run < room else room)
        part, into = codes[begin:end], out[begin:end]
        for i in range(part.size):
            into[i] = table[part[i]] * s + o
        room -= end - begin
        begin, room, k = end, room if room else line, k + 1 if k + 1 < scale.size else 0
