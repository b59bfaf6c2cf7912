"""MXFP4: FP4 with a power of two for every 32 weights (OCP Microscaling Formats specification 1.0, section 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.codebook import Codebook, stretched
from qinspect.quant.e2m1 import TABLE, E2M1Packing
from qinspect.quant.parameter import param
from qinspect.quant.scheme import Grid

BIAS = 127
"""A stored byte is the exponent plus this; 255 stands for NaN."""

TOP_EXPONENT = 2
"""Of the largest E2M1 value, 6 = 1.5·2²."""


@dataclass(frozen=True)
class MXFP4(Codebook):
    """`w ≈ e2m1·2^e` with e = floor(log2 max|w|) − 2 of the group, stored as e + 127 in a byte (E8M0).

    Magnitudes between 6 and 8 times 2^e are clipped to 6.
    """

    name: ClassVar[str] = "mxfp4"
    title: ClassVar[str] = "MXFP4"
    summary: ClassVar[str] = "A four-bit float times a power of two shared by 32 weights."
    order: ClassVar[int] = 80

    group_size: int = param(32, "Weights along a row that share an exponent.", low=1, high=1 << 20, unit="weights")
    param_dtype: ClassVar[str] = "uint8"  # type: ignore[misc]

    @property
    def table(self) -> np.ndarray:
        """−6 … 6."""
        return TABLE

    @property
    def packing(self) -> E2M1Packing:
        """Patterns of the standard."""
        return E2M1Packing()

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """The exponent of the largest magnitude, less that of the largest level; 0 for a group of zeros."""
        largest = np.maximum(-low, high)
        exponent = np.where(largest > 0, np.frexp(largest)[1] - 1 - TOP_EXPONENT, 0)
        return {"scale": (np.clip(exponent, -BIAS, BIAS) + BIAS).astype(np.uint8)}

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """The table, times the power of two."""
        stored = params["scale"]
        scale = np.ldexp(np.float32(1), stored.astype(np.int32) - BIAS)
        return stretched(self.table, np.where(stored == 255, np.float32(np.nan), scale))
