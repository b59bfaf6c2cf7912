"""Whole blocks in one call: ranges, parameters, codes, then bytes or error sums, a strip of rows at a time.

A strip stays in the cache nearest to the core while the kernels of the other rooms follow each other on it. They are
the same that run one by one elsewhere, so that what comes out is the same too. Every run has parameters of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant.error_kernels import count_codes, error_sums
from qinspect.quant.fit_kernels import FLOAT32, RANGE, ZERO_POINT, fit, levels
from qinspect.quant.kernels import decode_affine, decode_linear, encode_affine, encode_linear, inlined, jit, ranges
from qinspect.quant.lanes import WIDTH, store
from qinspect.quant.packing_kernels import pack_bits, pack_digits

NONE: Any = np.int64(0)
"""A number that the compiler takes for any: for a literal 0 it would compile a kernel again."""


@jit
def quantize_block(
    x: np.ndarray, cols: int, run: int, rule: tuple[int, float, int], code_range: tuple[int, int],
    first: int, scales: np.ndarray, seconds: np.ndarray, sets: np.ndarray, patterns: np.ndarray, strip: int,
    codes: np.ndarray, packing: tuple[int, int], out: np.ndarray,
) -> bool:  # fmt: skip
    """Quantize the weights `x`, whole rows of `cols`, into the bytes `out`; False where something is not finite.

    `rule` is what `fit` takes; `scales` and `seconds` are the bytes in which the parameters of the whole tensor are
    stored, and `first` is the first set of the block. `packing` is base and digits, or the bits of a code and 0. The
    rest is memory for a `strip`: `codes`, what is known of its sets `[9, …]`, and `patterns` `[2, …]` of parameters.
    """
    each, begin = -(-cols // run), NONE
    while begin < x.size:
        end = begin + strip if begin + strip < x.size else x.size
        row, count = begin // cols, (end - begin) // cols
        found = out[begin:end] if packing[1] == 0 and packing[0] == 8 else codes
        n = count * each
        if not _encode(x, begin, end, cols, run, rule, code_range, n, sets, patterns, found):
            return False
        _keep(rule, first + row * each, n, sets, patterns, scales, seconds)
        if packing[1]:
            pack_digits(found, count, cols, run, packing[0], packing[1], out, row * each * -(-run // packing[1]))
        elif packing[0] != 8:
            pack_bits(found, count, cols, packing[0], out, row * ((cols * packing[0] + 7) // 8))
        begin = end
    return True


@jit
def measure_block(
    x: np.ndarray, cols: int, run: int, rule: tuple[int, float, int], code_range: tuple[int, int],
    first: int, scales: np.ndarray, seconds: np.ndarray, sets: np.ndarray, patterns: np.ndarray, strip: int,
    codes: np.ndarray, decoded: np.ndarray, counts: np.ndarray, tables: np.ndarray, sums: np.ndarray,
) -> bool:  # fmt: skip
    """The same, but codes are counted as by `count_codes`, and errors are summed up in `sums` (`metrics.SUMS`)."""
    each, begin = -(-cols // run), NONE
    scale, zero, offset = sets[SCALE], sets[ZERO], sets[OFFSET]
    while begin < x.size:
        end = begin + strip if begin + strip < x.size else x.size
        n = (end - begin) // cols * each
        if not _encode(x, begin, end, cols, run, rule, code_range, n, sets, patterns, codes):
            return False
        _keep(rule, first + begin // cols * each, n, sets, patterns, scales, seconds)
        if rule[0] == RANGE:
            decode_linear(codes, end - begin, cols, run, NONE, scale, offset, code_range[1], decoded)
        else:
            decode_affine(codes, end - begin, cols, run, NONE, scale, zero, offset, code_range[0], decoded)
        ends = sets[BOTTOM], sets[TOP]
        error_sums(
            x, decoded, begin, end, strip, cols, run, NONE, sets[STEP], ends[0], ends[1], sets[LOW], sets[HIGH], sums
        )
        count_codes(codes, end - begin, counts, tables)
        begin = end
    return True


LOW, HIGH, SCALE, SECOND, ZERO, OFFSET, BOTTOM, TOP, STEP = range(9)
"""Rows of `sets`."""


@jit
def _encode(
    x: np.ndarray, begin: int, end: int, cols: int, run: int, rule: tuple[int, float, int],
    code_range: tuple[int, int], n: int, sets: np.ndarray, patterns: np.ndarray, codes: np.ndarray,
) -> bool:  # fmt: skip
    """Ranges, parameters and codes of the weights `begin`…`end`; what is known of their `n` sets goes into `sets`."""
    low, high, scale, second = sets[LOW], sets[HIGH], sets[SCALE], sets[SECOND]
    ranges(x, begin, end, cols, run, low, high)
    for i in range(n, n + WIDTH):
        low[i] = high[i] = np.float32(0)
    fit(n, low, high, rule, scale, second, patterns[0], patterns[1])
    zero, offset = sets[ZERO], sets[OFFSET]
    if not levels(n, rule, code_range, low, high, scale, second, zero, offset, sets[BOTTOM], sets[TOP], sets[STEP]):
        return False
    if rule[0] == RANGE:
        encode_linear(x, begin, end, cols, run, NONE, scale, offset, code_range[1], codes)
    else:
        encode_affine(x, begin, end, cols, run, NONE, scale, zero, offset, code_range[0], code_range[1], codes)
    return True


@inlined
def _keep(
    rule: tuple[int, float, int], first: int, n: int, sets: np.ndarray, patterns: np.ndarray,
    scales: np.ndarray, seconds: np.ndarray,
) -> None:  # fmt: skip
    """Put parameters where they are stored, from set `first` on; there may be no second ones."""
    m = n if seconds.size else 0
    if rule[2] == FLOAT32:
        for i in range(n):
            store(scales, 4 * (first + i), sets[SCALE, i])
    else:
        for i in range(n):
            store(scales, 2 * (first + i), patterns[0, i])
    if rule[0] == ZERO_POINT:
        for i in range(m):
            seconds[first + i] = np.uint8(sets[SECOND, i])
    elif rule[2] == FLOAT32:
        for i in range(m):
            store(seconds, 4 * (first + i), sets[SECOND, i])
    else:
        for i in range(m):
            store(seconds, 2 * (first + i), patterns[1, i])
