"""Asymmetric: a scale and an offset, so that every code lies inside the weights' range (SCHEMES section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import Affine
from qinspect.quant.parameter import calibration_param, param, percentile_param
from qinspect.quant.rule import Rule
from qinspect.quant.scheme import Grid


@dataclass(frozen=True)
class Asymmetric(Affine):
    """Codes 0 … 2^b−1; `w ≈ (code − zero_point)·scale`, or `code·scale + minimum`, with scale = range / (2^b−1).

    The plain formula clamps the zero point and so destroys a tensor whose range leaves out zero (1.9 dB at 8 bits for a
    layer norm around 1). Here the range is extended to include zero, or the minimum is kept as a float.
    """

    name: ClassVar[str] = "asymmetric"
    title: ClassVar[str] = "Asymmetric integer"
    summary: ClassVar[str] = "Unsigned integers over the range of the weights, with a zero point or a float minimum."
    order: ClassVar[int] = 40

    offset: str = param(
        "zero_point",
        "zero_point: an integer code means 0.0, the range is extended to include it. minimum: a float, no extension.",
        choices=("zero_point", "minimum"),
    )
    calibration: str = calibration_param("minmax", "percentile", "mse", "mse_ends")
    percentile: float = percentile_param()

    @property
    def code_range(self) -> tuple[int, int]:
        """0 … 2^b−1."""
        return 0, (1 << self.bits) - 1

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale`, and `zero_point` (uint8, for 16 bits uint16) or `minimum`."""
        if self.offset == "minimum":
            return {"scale": self.scale_dtype, "minimum": self.scale_dtype}
        return {"scale": self.scale_dtype, "zero_point": self.code_dtype}

    @property
    def rule(self) -> Rule:
        """The ends of the range get the end codes."""
        return Rule(self.offset, self.code_range[1], self.scale_dtype, self.offset, self.code_dtype)

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """Evenly spaced from the end that code 0 stands for."""
        scale = params["scale"].astype(np.float32)
        none = np.zeros_like(scale)
        top = np.float32(self.code_range[1])
        if self.offset == "minimum":
            minimum = params["minimum"].astype(np.float32)
            return Grid(scale, none, minimum, scale, minimum, minimum + scale * top)
        zero = params["zero_point"].astype(np.float32)
        return Grid(scale, zero, none, scale, -zero * scale, (top - zero) * scale)
