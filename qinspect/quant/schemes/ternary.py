"""Ternary: −1, 0 or 1 times one scale, twenty weights to a 32-bit word (BitNet b1.58, arXiv 2402.17764)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qinspect.quant.parameter import calibration_param
from qinspect.quant.schemes.symmetric_n import SymmetricN


@dataclass(frozen=True)
class Ternary(SymmetricN):
    """`SymmetricN` with three levels; scale = mean|w|, or max|w|."""

    name: ClassVar[str] = "ternary"
    title: ClassVar[str] = "Ternary (1.6 bit)"
    summary: ClassVar[str] = "Minus one, zero or one times one scale; twenty weights share a 32-bit word."
    order: ClassVar[int] = 55

    levels: ClassVar[int] = 3  # type: ignore[misc]
    calibration: str = calibration_param("absmean", "minmax", "percentile", "mse")
