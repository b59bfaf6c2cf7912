"""The loops that compare weights with what they decode to, with the arguments of `kernels.py`; and counts of codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant.kernels import inlined, jit
from qinspect.quant.lanes import (
    BYTES,
    WIDTH,
    above,
    count_equal,
    fill,
    first_lanes,
    least,
    load,
    load8,
    load_some,
    magnitudes,
    most,
    most_of,
    multiply_add,
    total,
    widened,
)  # fmt: skip

PIECE = 8 * WIDTH
"""So many small numbers are added up in float32 before their sum is widened."""


@jit
def error_sums(
    x: np.ndarray, decoded: np.ndarray, start: int, stop: int, strip: int, line: int, run: int, first: int,
    step: np.ndarray, low: np.ndarray, high: np.ndarray, smallest: np.ndarray, largest: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add to `sums` (float64, in the order of `metrics.SUMS`) all that error figures are made of.

    `low` and `high` bound what a set's codes can express; a weight beyond them by more than rounding is clipped.
    `smallest` and `largest` are the extreme weights of each run, which tell how closely it must be looked at.
    `decoded` begins with the weight at `start`. Each `strip` of weights, some whole rows, is summed up by itself, so
    that sums do not depend on how many are given at a time. Sums are float64; an error is rounded to float32 before it
    is squared, unless its run has weights far outside.
    """
    none, nothing = fill(np.float64(0)), fill(np.float32(0))
    k, begin, room, number = np.uint64(first % step.size), start, line, np.uint64(0)
    one, sets = np.uint64(1), np.uint64(step.size)
    while begin < stop:
        last = begin + strip if begin + strip < stop else stop
        ww, we, ee, ae, steps, rr, re = none, none, none, none, none, none, none
        worst, count = nothing, fill(np.uint32(0))
        while begin < last:
            end = begin + (run if run < room else room)
            whole, run_ee = end - (end - begin) % WIDTH, none
            lo, hi, width = low[k], high[k], step[k]
            size = abs(lo) if abs(lo) > abs(hi) else abs(hi)
            slack = np.float32(5e-7) * (size + (hi - lo))
            near = _nearness(lo, hi, size, slack, width, smallest[number], largest[number])
            if near == FAR:
                _far(x, decoded, start, begin, end, lo, hi, slack, width, sums)
                whole = begin
            for piece in range(begin, whole, PIECE):
                upto = piece + PIECE if piece + PIECE < whole else whole
                some_ae = nothing
                for i in range(piece, upto, WIDTH):
                    w = load(x, i)
                    e = load(decoded, i - start) - w
                    ww, we, run_ee, some_ae, worst = _added(w, e, ww, we, run_ee, some_ae, worst)
                ae = ae + widened(some_ae)
            if whole < end and near != FAR:
                left = end - whole
                w = first_lanes(load_some(x, whole, left), left)
                e = first_lanes(load_some(decoded, whole - start, left), left) - w
                ww, we, run_ee, some_ae, worst = _added(w, e, ww, we, run_ee, nothing, worst)
                ae = ae + widened(some_ae)
            if near == OUTSIDE:
                rr, re, count = _clipped(x, decoded, start, begin, end, lo, hi, slack, rr, re, count)
            ee = ee + run_ee
            if near != FAR:
                steps = multiply_add(run_ee, fill(1 / (np.float64(width) * np.float64(width))), steps)
            room -= end - begin
            begin, number = end, number + one
            room, k = room if room else line, k + one if k + one < sets else np.uint64(0)
        squares, products, errors = total(ww), total(we), total(ee)
        sums[0] += squares
        sums[1] += squares + 2 * products + errors
        sums[2] += squares + products
        sums[3] += errors
        sums[4] += total(ae)
        sums[5] += squares + total(rr)
        sums[6] += errors + total(re)
        sums[7] += total(steps)
        sums[8] += total(count)
        largest_error = np.float64(most_of(worst))
        sums[9] = largest_error if largest_error > sums[9] else sums[9]


INSIDE, OUTSIDE, FAR = range(3)
"""Where the weights of a run are: between the end levels but for rounding, up to a step outside, or anywhere."""


@inlined
def _nearness(low: float, high: float, size: float, slack: float, step: float, smallest: float, largest: float) -> int:
    """Which of these holds; where float32 cannot hold squares it is `FAR` as well. `size` is that of the end levels."""
    near = FAR
    if size < np.float32(1e15) and high - low > np.float32(1e-9):
        if smallest >= low - step and largest <= high + step:
            near = OUTSIDE
        if smallest >= low - slack and largest <= high + slack:
            near = INSIDE
    return near


@inlined
def _added(w: Any, e: Any, ww: Any, we: Any, ee: Any, ae: Any, worst: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The sums with eight more weights and their errors: all but those of their magnitudes are float64."""
    size, wide, error = magnitudes(e), widened(w), widened(e)
    return (
        multiply_add(wide, wide, ww), multiply_add(wide, error, we), multiply_add(error, error, ee), ae + size,
        most(worst, size),
    )  # fmt: skip


@inlined
def _clipped(
    x: np.ndarray, decoded: np.ndarray, start: int, begin: int, end: int, low: float, high: float, slack: float,
    rr: Any, re: Any, count: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """By how much `w²` and `e²` differ when a run's weights are clipped, and how many are: all added to what is given.

    In a loop of its own it has registers enough.
    """
    nothing, whole = fill(np.float32(0)), end - (end - begin) % WIDTH
    for piece in range(begin, whole, PIECE):
        some_wd, some_de, some_dd = nothing, nothing, nothing
        for i in range(piece, piece + PIECE if piece + PIECE < whole else whole, WIDTH):
            w = load(x, i)
            beyond = w - least(most(w, low), high)
            some_wd = multiply_add(w, beyond, some_wd)
            some_de = multiply_add(load(decoded, i - start) - w, beyond, some_de)
            some_dd = multiply_add(beyond, beyond, some_dd)
            count = count + above(magnitudes(beyond), slack)
        rr = rr + widened(some_dd - (some_wd + some_wd))
        re = re + widened(some_dd + (some_de + some_de))
    if whole < end:
        left = end - whole
        w, d = load_some(x, whole, left), load_some(decoded, whole - start, left)
        beyond = first_lanes(w - least(most(w, low), high), left)
        e = d - w
        rr = rr + widened(beyond * beyond - (w * beyond + w * beyond))
        re = re + widened(beyond * beyond + (e * beyond + e * beyond))
        count = count + above(magnitudes(beyond), slack)
    return rr, re, count


@jit
def _far(
    x: np.ndarray, decoded: np.ndarray, start: int, begin: int, end: int,
    low: float, high: float, slack: float, step: float, sums: np.ndarray,
) -> None:  # fmt: skip
    """All sums of a run of which some weights are far outside: what is inside must not be lost beside their errors."""
    none = fill(np.float64(0))
    ww, we, ee, ae, rr, re, worst, count = none, none, none, none, none, none, none, fill(np.uint32(0))
    whole = end - (end - begin) % WIDTH
    for i in range(begin, end, WIDTH):
        if i < whole:
            w, d = load(x, i), load(decoded, i - start)
            r = least(most(w, low), high)
        else:
            w, d = load_some(x, i, end - i), load_some(decoded, i - start, end - i)
            r = first_lanes(least(most(w, low), high), end - i)
            w, d = first_lanes(w, end - i), first_lanes(d, end - i)
        count = count + above(magnitudes(w - r), slack)
        wide, inside = widened(w), widened(r)
        e, rest = widened(d) - wide, widened(d) - inside
        worst, ae, we = most(worst, magnitudes(e)), ae + magnitudes(e), multiply_add(wide, e, we)
        ww, ee = multiply_add(wide, wide, ww), multiply_add(e, e, ee)
        rr, re = multiply_add(inside, inside, rr), multiply_add(rest, rest, re)
    squares, products, errors = total(ww), total(we), total(ee)
    sums[0] += squares
    sums[1] += squares + 2 * products + errors
    sums[2] += squares + products
    sums[3] += errors
    sums[4] += total(ae)
    sums[5] += total(rr)
    sums[6] += total(re)
    sums[7] += errors / (np.float64(step) * np.float64(step))
    sums[8] += total(count)
    largest_error = most_of(worst)
    sums[9] = largest_error if largest_error > sums[9] else sums[9]


TABLES = 4 * 256
"""Entries of the memory (uint32) that `count_codes` needs."""


@jit
def count_codes(codes: np.ndarray, size: int, counts: np.ndarray, tables: np.ndarray) -> None:
    """Add to `counts` (int64) how often each code occurs among the first `size`."""
    done = 0
    if counts.size <= 256:
        for i in range(tables.size):
            tables[i] = np.uint32(0)
        if counts.size <= 16:
            done = _count_few(codes, size, counts, tables)
        else:
            done = _count_bytes(codes, size, counts, tables)
    for i in range(done, size):
        counts[codes[i]] += 1


@inlined
def _count_few(codes: np.ndarray, size: int, counts: np.ndarray, tables: np.ndarray) -> int:
    """Compare with every code there is, 256 codes at a time, which is faster for few than looking each one up.

    Returns how many codes were counted. The entries of `tables` hold four counts each.
    """
    whole = size // (8 * BYTES) * 8 * BYTES
    room = 31  # a byte holds eight times as much
    for begin in range(0, whole, 8 * BYTES):
        for code in range(counts.size):
            count_equal(tables, BYTES // 4 * code, codes, begin, np.uint8(code))
        room -= 1
        if room == 0 or begin + 8 * BYTES == whole:
            room = 31
            for i in range(BYTES // 4 * counts.size):
                held = tables[i]
                pairs = (held & np.uint32(0x00FF00FF)) + ((held >> np.uint32(8)) & np.uint32(0x00FF00FF))
                counts[i // (BYTES // 4)] += np.int64((pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16)))
                tables[i] = np.uint32(0)
    return whole


@inlined
def _count_bytes(codes: np.ndarray, size: int, counts: np.ndarray, tables: np.ndarray) -> int:
    """Look each up in one of four tables: a code that follows its like need not wait for the count before it."""
    whole = size // 8 * 8
    for begin in range(0, whole, 8):
        held = load8(codes, begin)
        for j in range(8):
            tables[np.uint64(256 * (j % 4)) + (held & np.uint64(0xFF))] += np.uint32(1)
            held >>= np.uint64(8)
    for i in range(counts.size):
        counts[i] += np.int64(tables[i]) + tables[256 + i] + tables[512 + i] + tables[768 + i]
    return whole
