"""Symmetric: a scale and no offset, so that zero stays zero (SCHEMES section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import Affine
from qinspect.quant.parameter import calibration_param, percentile_param
from qinspect.quant.rule import Rule
from qinspect.quant.scheme import Grid


@dataclass(frozen=True)
class Symmetric(Affine):
    """Codes −2^(b−1) … 2^(b−1)−1, rounded half to even; `w ≈ code·scale` with scale = max|w| / (2^(b−1)−1)."""

    name: ClassVar[str] = "symmetric"
    title: ClassVar[str] = "Symmetric integer"
    summary: ClassVar[str] = "Signed integers times one scale; zero stays exactly zero."
    order: ClassVar[int] = 30
    centred: ClassVar[bool] = True

    calibration: str = calibration_param("minmax", "percentile", "mse")
    percentile: float = percentile_param()

    @property
    def code_range(self) -> tuple[int, int]:
        """−2^(b−1) … 2^(b−1)−1."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale` alone."""
        return {"scale": self.scale_dtype}

    @property
    def rule(self) -> Rule:
        """The largest magnitude gets the highest code."""
        return Rule("largest", self.code_range[1], self.scale_dtype)

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """Multiples of the scale."""
        scale = params["scale"].astype(np.float32)
        none = np.zeros_like(scale)
        low, high = self.code_range
        return Grid(scale, none, none, scale, scale * np.float32(low), scale * np.float32(high))
