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


@jit
def error_sums(
    x: np.ndarray, decoded: np.ndarray, start: int, stop: int, strip: int, line: int, run: int, first: int,
    step: np.ndarray, low: np.ndarray, high: np.ndarray, smallest: np.ndarray, largest: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add to `sums` (float64, in the order of `metrics.SUMS`) all that error figures are made of.

    `low` and `high` bound what a set's codes can express; a weight beyond them by more than rounding is clipped.
    `smallest` and `largest` are the extreme weights of each run: most runs clip nothing, and need no closer look.
    `decoded` begins with the weight at `start`. Each `strip` of weights, some whole rows, is summed up by itself, so
    that sums do not depend on how many are given at a time.
    """
    none = fill(np.float64(0))
    k, begin, room, number = first % step.size, start, line, 0
    while begin < stop:
        last = begin + strip if begin + strip < stop else stop
        ww, we, ee, ae, rr, re, steps, worst = none, none, none, none, none, none, none, none
        clipped = np.uint32(0)
        while begin < last:
            end = begin + (run if run < room else room)
            whole = end - (end - begin) % WIDTH
            run_ww, run_ee = none, none
            for i in range(begin, whole, WIDTH):
                w, e = widened(load(x, i)), widened(load(decoded, i - start)) - widened(load(x, i))
                worst, ae, we = most(worst, magnitudes(e)), ae + magnitudes(e), multiply_add(w, e, we)
                run_ww, run_ee = multiply_add(w, w, run_ww), multiply_add(e, e, run_ee)
            if whole < end:
                w = widened(first_lanes(load_some(x, whole, end - whole), end - whole))
                e = widened(first_lanes(load_some(decoded, whole - start, end - whole), end - whole)) - w
                worst, ae, we = most(worst, magnitudes(e)), ae + magnitudes(e), multiply_add(w, e, we)
                run_ww, run_ee = multiply_add(w, w, run_ww), multiply_add(e, e, run_ee)
            ww, ee = ww + run_ww, ee + run_ee
            steps = steps + run_ee * (1 / (np.float64(step[k]) * np.float64(step[k])))
            lo, hi = low[k], high[k]
            slack = np.float32(5e-7) * ((abs(lo) if abs(lo) > abs(hi) else abs(hi)) + (hi - lo))
            if smallest[number] < lo - slack or largest[number] > hi + slack:
                run_ww, run_ee, outside = _within(x, decoded, start, begin, end, lo, hi, slack)
                clipped += outside
            rr, re = rr + run_ww, re + run_ee
            number += 1
            room -= end - begin
            begin, room, k = end, room if room else line, k + 1 if k + 1 < step.size else 0
        squares, products, errors = total(ww), total(we), total(ee)
        sums[0] += squares
        sums[1] += squares + 2 * products + errors
        sums[2] += squares + products
        sums[3] += errors
        sums[4] += total(ae)
        sums[5] += total(rr)
        sums[6] += total(re)
        sums[7] += total(steps)
        sums[8] += clipped
        largest_error = most_of(worst)
        sums[9] = largest_error if largest_error > sums[9] else sums[9]


@jit
def _within(
    x: np.ndarray, decoded: np.ndarray, start: int, begin: int, end: int, low: float, high: float, slack: float
) -> tuple[Any, Any, Any]:
    """Squares of a run's weights clipped to `low`…`high` and of the errors against these; how many were outside."""
    none = fill(np.float64(0))
    rr, re, outside = none, none, fill(np.uint32(0))
    for i in range(begin, end, WIDTH):
        w = load(x, i) if end - i >= WIDTH else first_lanes(load_some(x, i, end - i), end - i)
        r = least(most(w, low), high)
        d = load(decoded, i - start) if end - i >= WIDTH else load_some(decoded, i - start, end - i)
        if end - i < WIDTH:
            r, d = first_lanes(r, end - i), first_lanes(d, end - i)
        outside = outside + above(magnitudes(w - r), slack)
        inside, e = widened(r), widened(d) - widened(r)
        rr, re = multiply_add(inside, inside, rr), multiply_add(e, e, re)
    return rr, re, total(outside)


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
