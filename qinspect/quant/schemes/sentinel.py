"""Sentinel: a fixed offset C1 and one scale, max|w| divided by e (SCHEMES section 2).

The recipe's description also names a "basin boundary C2" and an iteration F, but gives neither value nor formula: they
are not implemented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import BITS
from qinspect.quant.layout import Layout, per_tensor
from qinspect.quant.packing import BitPacking
from qinspect.quant.parameter import param
from qinspect.quant.scheme import Grid, Scheme

C1 = -0.007994021805953
SCALE_FLOOR = 1e-8


@dataclass(frozen=True)
class Sentinel(Scheme):
    """Codes −2^(b−1) … 2^(b−1)−1, rounded half to even; `w ≈ code·scale + C1` with one scale = max(max|w|/e, 1e-8).

    |w − C1|/scale never passes about e, so that 8-bit codes use about 7 of their 256 values.
    """

    name: ClassVar[str] = "sentinel"
    title: ClassVar[str] = "Sentinel (offset C₁)"
    summary: ClassVar[str] = "A fixed offset and one scale a tensor, max|w| / e: few of its codes are ever used."
    order: ClassVar[int] = 50

    bits: int = param(8, "Bits of a code.", choices=BITS, unit="bits")

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """One scale for the tensor."""
        return per_tensor(shape)

    @property
    def packing(self) -> BitPacking:
        """Bit fields along each row."""
        return BitPacking(self.bits)

    @property
    def code_range(self) -> tuple[int, int]:
        """−2^(b−1) … 2^(b−1)−1."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale` alone; the offset is a constant."""
        return {"scale": np.dtype(np.float32)}

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """From the largest magnitude."""
        scale = np.maximum(-low, high).astype(np.float64) / math.e
        return {"scale": np.maximum(scale, SCALE_FLOOR).astype(np.float32)}

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """Multiples of the scale beside C1."""
        scale = params["scale"].astype(np.float32)
        offset = np.full_like(scale, C1)
        low, high = self.code_range
        return Grid(
            scale,
            np.zeros_like(scale),
            offset,
            scale,
            scale * np.float32(low) + offset,
            scale * np.float32(high) + offset,
        )

    def leaves_alone(self, low: float, high: float) -> str | None:
        """Weights so small that the fixed offset lies beyond the end codes all decode to one value."""
        largest = max(-low, high)
        if largest == 0:
            return "all weights are zero, and would decode to C1"
        reach = max(largest / math.e, SCALE_FLOOR) * self.code_range[1]
        if reach < abs(C1):
            return (
                f"with max|w| {largest:.3g} the offset C1 lies beyond the last code: every weight decodes to one value"
            )
        return None
