"""The loops that compare weights with what they decode to, with the arguments of `kernels.py`; and counts of codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant.kernels import inlined, jit
from qinspect.quant.lanes import (
    WIDTH,
    above,
    fill,
    first_lanes,
    least,
    load,
    load_some,
    magnitudes,
    most,
    most_of,
    multiply_add,
    total,
    widened,
)


@jit
def error_sums(
    x: np.ndarray, decoded: np.ndarray, line: int, run: int, first: int,
    step: np.ndarray, low: np.ndarray, high: np.ndarray, smallest: np.ndarray, largest: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add to `sums` (float64, in the order of `metrics.SUMS`) all that error figures are made of.

    `low` and `high` bound what a set's codes can express; a weight beyond them by more than rounding is clipped.
    `smallest` and `largest` are the extreme weights of each run: most runs clip nothing, and need no closer look.
    """
    flat, values = x.reshape(-1), decoded.reshape(-1)
    none = fill(np.float64(0))
    ww, we, ee, ae, rr, re, steps, worst = none, none, none, none, none, none, none, none
    clipped = number = 0
    after = first % step.size
    for start in range(0, flat.size, line):
        for begin in range(start, start + line, run):
            k = after
            after = k + 1 if k + 1 < step.size else 0
            lo, hi = low[k], high[k]
            slack = np.float32(5e-7) * (max(abs(lo), abs(hi)) + (hi - lo))
            end = min(begin + run, start + line)
            run_ww, run_ee = none, none
            whole = end - (end - begin) % WIDTH
            for i in range(begin, whole, WIDTH):
                w = widened(load(flat, i))
                e = widened(load(values, i)) - w
                size = magnitudes(e)
                worst, ae = most(worst, size), ae + size
                run_ww, we, run_ee = multiply_add(w, w, run_ww), multiply_add(w, e, we), multiply_add(e, e, run_ee)
            if whole < end:
                w = widened(first_lanes(load_some(flat, whole, end - whole), end - whole))
                e = widened(first_lanes(load_some(values, whole, end - whole), end - whole)) - w
                size = magnitudes(e)
                worst, ae = most(worst, size), ae + size
                run_ww, we, run_ee = multiply_add(w, w, run_ww), multiply_add(w, e, we), multiply_add(e, e, run_ee)
            ww, ee = ww + run_ww, ee + run_ee
            steps = steps + run_ee * (1 / (np.float64(step[k]) * np.float64(step[k])))
            if smallest[number] < lo - slack or largest[number] > hi + slack:
                run_ww, run_ee, outside = _within(flat, values, begin, end, lo, hi, slack)
                clipped += outside
            rr, re = rr + run_ww, re + run_ee
            number += 1
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
    sums[9] = max(sums[9], most_of(worst))


@inlined
def _within(
    flat: np.ndarray, values: np.ndarray, begin: int, end: int, low: float, high: float, slack: float
) -> tuple[Any, Any, Any]:
    """Squares of a run's weights clipped to `low`…`high` and of the errors against these; how many were outside."""
    none = fill(np.float64(0))
    rr, re, outside = none, none, fill(np.uint32(0))
    whole = end - (end - begin) % WIDTH
    for i in range(begin, whole, WIDTH):
        w = load(flat, i)
        r = least(most(w, low), high)
        outside = outside + above(magnitudes(w - r), slack)
        inside = widened(r)
        e = widened(load(values, i)) - inside
        rr, re = multiply_add(inside, inside, rr), multiply_add(e, e, re)
    if whole < end:
        w = first_lanes(load_some(flat, whole, end - whole), end - whole)
        r = first_lanes(least(most(w, low), high), end - whole)
        outside = outside + above(magnitudes(w - r), slack)
        inside = widened(r)
        e = widened(first_lanes(load_some(values, whole, end - whole), end - whole)) - inside
        rr, re = multiply_add(inside, inside, rr), multiply_add(e, e, re)
    return rr, re, np.int64(total(outside))


@jit
def count_codes(codes: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` (int64) how often each code occurs."""
    flat = codes.reshape(-1)
    if counts.size <= 16:
        _count_few(flat, counts)
    elif counts.size > 256:
        for code in flat:
            counts[code] += 1
    else:
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


LANES = 128


@jit
def _count_few(flat: np.ndarray, counts: np.ndarray) -> None:
    """Compare with every code there is, many at once: for few codes faster than to look each one up.

    Bytes count up to 255 in each of `LANES` lanes, eight codes of a lane at a time.
    """
    tallies = np.zeros((counts.size, LANES), np.uint8)
    whole = flat.size // (8 * LANES)
    for block in range(whole):
        part = flat[block * 8 * LANES : (block + 1) * 8 * LANES]
        a, b, c, d = part[:LANES], part[LANES : 2 * LANES], part[2 * LANES : 3 * LANES], part[3 * LANES : 4 * LANES]
        e, f, g, h = (
            part[4 * LANES : 5 * LANES], part[5 * LANES : 6 * LANES], part[6 * LANES : 7 * LANES], part[7 * LANES :]
        )  # fmt: skip
        for k in range(counts.size):
            code, tally = np.uint8(k), tallies[k]
            for i in range(LANES):
                low = np.uint8(a[i] == code) + np.uint8(b[i] == code) + np.uint8(c[i] == code) + np.uint8(d[i] == code)
                high = np.uint8(e[i] == code) + np.uint8(f[i] == code) + np.uint8(g[i] == code) + np.uint8(h[i] == code)
                tally[i] = np.uint8(tally[i] + low + high)
        if block % 31 == 30 or block == whole - 1:
            for k in range(counts.size):
                total = 0
                for i in range(LANES):
                    total += tallies[k, i]
                    tallies[k, i] = 0
                counts[k] += total
    for i in range(whole * 8 * LANES, flat.size):
        counts[flat[i]] += 1
