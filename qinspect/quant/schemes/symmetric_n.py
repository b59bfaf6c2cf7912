"""Symmetric with any number of levels: integers on both sides of zero, as digits or bits along each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qinspect.quant.packing import Packing, row_packing
from qinspect.quant.parameter import param
from qinspect.quant.schemes.symmetric import Symmetric


@dataclass(frozen=True)
class SymmetricN(Symmetric):
    """`Symmetric` with codes −⌊N/2⌋ … ⌊(N−1)/2⌋ and scale = max|w| / ⌊(N−1)/2⌋; for N = 2^b it is the same."""

    name: ClassVar[str] = "symmetric_n"
    title: ClassVar[str] = "Symmetric, N levels"
    summary: ClassVar[str] = "Any number of signed integers times one scale, many to a 32-bit word; zero stays zero."
    order: ClassVar[int] = 35

    bits: ClassVar[int] = 8  # type: ignore[misc]
    levels: int = param(11, "How many levels a weight may take.", low=3, high=256)

    @property
    def code_range(self) -> tuple[int, int]:
        """−⌊N/2⌋ … ⌊(N−1)/2⌋."""
        return -(self.levels // 2), (self.levels - 1) // 2

    @property
    def packing(self) -> Packing:  # type: ignore[override]
        """Digits along each row; bit fields for a power of two."""
        return row_packing(self.levels)
