"""FP4 E2M1, the four-bit float of the OCP microscaling formats: a sign, two bits of exponent, one of mantissa."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qinspect.quant.layout import Layout
from qinspect.quant.packing import BitPacking
from qinspect.quant.places import Place

_MAGNITUDES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)

TABLE = np.append(-_MAGNITUDES[:0:-1], _MAGNITUDES)
"""The 15 values, ascending; a code is an index here. Patterns 0 and 8 (−0) are the same value."""

PATTERN_OF_CODE = np.append(np.arange(15, 8, -1), np.arange(8)).astype(np.uint8)
CODE_OF_PATTERN = np.append(np.arange(7, 15), np.arange(7, -1, -1)).astype(np.uint8)
"""The code of each four-bit pattern."""

TABLE.flags.writeable = False


@dataclass(frozen=True)
class E2M1Packing:
    """Four-bit patterns as the standard has them, two a byte along each row, the first in the low half."""

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """`[rows, ceil(cols / 2)]`."""
        return BitPacking(4).shape(layout)

    def pack(self, codes: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Codes `[m, cols]` uint8 into `out` `[m, row bytes]`."""
        BitPacking(4).pack(PATTERN_OF_CODE[codes], layout, out)

    def unpack(self, data: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Stored rows `[m, row bytes]` into codes `[m, cols]`."""
        BitPacking(4).unpack(data, layout, out)
        out[...] = CODE_OF_PATTERN[out]

    def places(self, layout: Layout, start: int, stop: int) -> Iterator[Place]:
        """Two to a byte."""
        return BitPacking(4).places(layout, start, stop)
