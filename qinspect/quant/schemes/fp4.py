"""FP4: the sixteen patterns of a four-bit float, E2M1, times one scale a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.codebook import Codebook
from qinspect.quant.e2m1 import TABLE, E2M1Packing
from qinspect.quant.parameter import calibration_param, percentile_param


@dataclass(frozen=True)
class FP4(Codebook):
    """`w ≈ e2m1·scale` with e2m1 = 0, ±0.5, ±1, ±1.5, ±2, ±3, ±4, ±6 and scale = max|w| / 6 of the group."""

    name: ClassVar[str] = "fp4"
    title: ClassVar[str] = "FP4 (E2M1)"
    summary: ClassVar[str] = "A four-bit float times one scale: fine near zero, coarse at the ends."
    order: ClassVar[int] = 70

    calibration: str = calibration_param("minmax", "percentile", "mse")
    percentile: float = percentile_param()

    @property
    def table(self) -> np.ndarray:
        """−6 … 6."""
        return TABLE

    @property
    def packing(self) -> E2M1Packing:
        """Patterns of the standard."""
        return E2M1Packing()
