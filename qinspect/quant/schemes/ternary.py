"""Ternary: −1, 0 or 1 times one scale, twenty weights to a 32-bit word (BitNet b1.58, arXiv 2402.17764)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import Affine, as_scale
from qinspect.quant.packing import RowDigitPacking
from qinspect.quant.parameter import calibration_param, percentile_param
from qinspect.quant.scheme import Grid


@dataclass(frozen=True)
class Ternary(Affine):
    """Codes −1, 0, 1, rounded half to even; `w ≈ code·scale` with scale = mean|w|, or max|w|."""

    name: ClassVar[str] = "ternary"
    title: ClassVar[str] = "Ternary (1.6 bit)"
    summary: ClassVar[str] = "Minus one, zero or one times one scale; twenty weights share a 32-bit word."
    order: ClassVar[int] = 55
    centred: ClassVar[bool] = True

    bits: ClassVar[int] = 2  # type: ignore[misc]
    calibration: str = calibration_param("absmean", "minmax", "percentile", "mse")
    percentile: float = percentile_param()

    @property
    def code_range(self) -> tuple[int, int]:
        """−1 … 1."""
        return -1, 1

    @property
    def packing(self) -> RowDigitPacking:  # type: ignore[override]
        """Base-3 digits along each row."""
        return RowDigitPacking(3)

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale` alone."""
        return {"scale": self.scale_dtype}

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """The calibrated magnitude is the scale."""
        return {"scale": as_scale(np.maximum(-low, high), 1, self.scale_dtype)}

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """Minus the scale, zero, the scale."""
        scale = params["scale"].astype(np.float32)
        none = np.zeros_like(scale)
        return Grid(scale, none, none, scale, -scale, scale)
