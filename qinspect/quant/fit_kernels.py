"""How parameters follow from the smallest and largest weight of each set, compiled as the loops of `kernels.py` are."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant.kernels import HALF_EVEN, jit
from qinspect.quant.lanes import (
    WIDTH,
    bits,
    fill,
    from_bits,
    least,
    load,
    magnitudes,
    most,
    most_of,
    put,
    truncated,
    where_below,
)  # fmt: skip
from qinspect.quant.rule import RANGE_FLOOR

RANGE, LARGEST, MINIMUM, ZERO_POINT = range(4)
"""Kinds of `rule.Rule`."""

FLOAT32, FLOAT16, BFLOAT16 = range(3)
"""Types in which parameters are stored."""


@jit
def fit(
    n: int, low: np.ndarray, high: np.ndarray, rule: tuple[int, float, int],
    scale: np.ndarray, second: np.ndarray, scale_patterns: np.ndarray, second_patterns: np.ndarray,
) -> None:  # fmt: skip
    """Scale and second parameter of `n` sets, as they are stored: in float32, and as patterns of 16-bit types (uint16).

    All vectors are `WIDTH` entries longer than that. `rule` is its kind, how many steps lie between the end levels (for
    `LARGEST` between zero and the last), and the stored type. The second parameter is the minimum for `RANGE` and
    `MINIMUM`, for `ZERO_POINT` the code that means zero.
    """
    kind, stored = rule[0], rule[2]
    steps = np.float32(rule[1])
    smallest = np.float32(2.0**-24 if stored == FLOAT16 else 2.0**-133 if stored == BFLOAT16 else 2.0**-149)
    nothing, unit = np.float32(0), np.float32(1)
    for i in range(0, n, WIDTH):
        bottom, top = load(low, i) + nothing, load(high, i) + nothing  # −0 becomes 0
        minimum = bottom
        if kind in (RANGE, MINIMUM):
            minimum, pattern = _stored(bottom, stored)
            put(second, i, minimum)
            put(second_patterns, i, pattern)
        if kind == RANGE:
            top, pattern = _stored(top, stored)
            span = most(top - minimum, np.float32(RANGE_FLOOR))
        elif kind == LARGEST:
            span = most(nothing - bottom, top)
        elif kind == MINIMUM:
            span = most(top - minimum, nothing)
        else:
            span = most(top, nothing) - least(bottom, nothing)
        if kind != RANGE:
            span = where_below(nothing - span, nothing, most(span / steps, smallest), unit)
        span, pattern = _stored(span, stored)
        put(scale, i, span)
        put(scale_patterns, i, pattern)
        if kind == ZERO_POINT:
            code = ((nothing - least(bottom, nothing) / span) + HALF_EVEN) - HALF_EVEN
            put(second, i, least(most(code, nothing), steps))


@jit
def _stored(values: Any, stored: int) -> Any:
    """Floats as a stored type holds them, and their patterns, rounded half to even; none is NaN."""
    held = bits(values)
    pattern = held
    if stored == FLOAT16:
        sign = held & np.uint32(0x80000000)
        # To 10 bits of mantissa; below 2⁻¹⁴ to a multiple of 2⁻²⁴, which is the last bit of numbers around ¾.
        normal = (held + np.uint32(0xFFF) + ((held >> np.uint32(13)) & np.uint32(1))) & np.uint32(0x7FFFE000)
        small = bits((magnitudes(values) + np.float32(0.75)) - np.float32(0.75))
        size = where_below(held & np.uint32(0x7FFFFFFF), np.uint32(0x38800000), small, normal)
        size = where_below(size, np.uint32(0x47800000), size, np.uint32(0x7F800000))
        held = size | sign
        pattern = where_below(
            size, np.uint32(0x38800000), truncated(from_bits(size) * np.float32(2.0**24)),
            (size >> np.uint32(13)) - np.uint32(112 << 10),
        )  # fmt: skip
        pattern = where_below(size, np.uint32(0x47800000), pattern, np.uint32(0x7C00)) | (sign >> np.uint32(16))
    elif stored == BFLOAT16:
        pattern = (held + np.uint32(0x7FFF) + ((held >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        held = pattern * np.uint32(0x10000)
    return from_bits(held), pattern


@jit
def levels(
    n: int, rule: tuple[int, float, int], code_range: tuple[int, int], low: np.ndarray, high: np.ndarray,
    scale: np.ndarray, second: np.ndarray, zero: np.ndarray, offset: np.ndarray,
    bottom: np.ndarray, top: np.ndarray, step: np.ndarray,
) -> bool:  # fmt: skip
    """What codes mean, as the schemes' `grid` says it; False where a level or a weight is not finite.

    All vectors are `WIDTH` entries longer than `n`, and those entries are zero in `low` and `high`.
    """
    lowest, highest, kind = np.float32(code_range[0]), np.float32(code_range[1]), rule[0]
    none = fill(np.float32(0))
    largest = fill(np.uint32(0))
    for i in range(0, n, WIDTH):
        s, z, o = load(scale, i), none, none
        if kind == ZERO_POINT:
            z = load(second, i)
        elif kind != LARGEST:
            o = load(second, i)
        if kind == RANGE:
            put(step, i, s / highest)
            a, b = o, s + o
        else:
            put(step, i, s)
            a, b = (lowest - z) * s + o, (highest - z) * s + o
        put(zero, i, z)
        put(offset, i, o)
        put(bottom, i, a)
        put(top, i, b)
        ends = most(bits(magnitudes(a)), bits(magnitudes(b)))
        largest = most(largest, most(ends, most(bits(magnitudes(load(low, i))), bits(magnitudes(load(high, i))))))
    fine: bool = most_of(largest) < np.uint32(0x7F800000)
    return fine
