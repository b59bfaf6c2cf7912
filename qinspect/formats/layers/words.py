"""Codes in words, as several formats have them: streams of bits along rows, the lowest first."""

from __future__ import annotations

from typing import ClassVar

import ml_dtypes
import numpy as np

from qinspect.formats.layer import LayerFormat
from qinspect.quant.layout import Layout
from qinspect.quant.packing import BitPacking, read_bits


class WordLayers(LayerFormat):
    """Base of formats whose layers are words `qweight`, with `scales` and zero points `qzeros` in words beside them."""

    marks: ClassVar[tuple[str, ...]] = ("qweight",)

    def prefix(self, name: str) -> str | None:
        """By the codes."""
        return name.removesuffix("qweight") if name.endswith(".qweight") or name == "qweight" else None

    def arrays(self, prefix: str) -> list[str] | None:
        """The names of the three; None where one is missing."""
        names = [prefix + part for part in ("qweight", "scales", "qzeros")]
        return names if all(name in self.stored for name in names) else None


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
