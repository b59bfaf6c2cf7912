"""Codes in words, as several formats have them: streams of bits along rows, the lowest first."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from qinspect.quant.layout import Layout
from qinspect.quant.packing import BitPacking, read_bits


def stream_codes(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` codes of each row of `words` `[rows, n]`, of any integer type: uint8 `[rows, count]`."""
    rows = len(words)
    data = np.ascontiguousarray(words).view(np.uint8).reshape(rows, -1)
    out = np.empty((rows, count), np.uint8)
    if rows and count:
        read_bits(data.reshape(-1), bits, 8 * data.shape[1], 0, out)
    return out


def turned(array: np.ndarray) -> np.ndarray:
    """The transposed matrix, in memory of its own."""
    return np.ascontiguousarray(array.T)


def stream_bytes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes uint8 `[rows, cols]` as such a stream, rows padded to bytes: uint8 `[rows, n]`."""
    rows, cols = codes.shape
    layout = Layout(rows, cols, cols, cols, (1,))
    out = np.empty(BitPacking(bits).shape(layout), np.uint8)
    BitPacking(bits).pack(np.ascontiguousarray(codes), layout, out)
    return out


def powers_of_two(exponents: np.ndarray) -> np.ndarray:
    """Bytes that are powers of two, 127 for 1, as such numbers (E8M0); 255 is NaN."""
    return exponents.view(ml_dtypes.float8_e8m0fnu)
