"""What the textbook schemes share: codes of a fixed number of bits, and one scale a tensor, channel or group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from qinspect.quant.layout import Granularity, Layout, per_channel, per_group, per_tensor
from qinspect.quant.packing import BitPacking
from qinspect.quant.parameter import param
from qinspect.quant.scheme import Scheme

BITS = (2, 3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True)
class Affine(Scheme):
    """Base of schemes with `bits`-bit codes at any granularity."""

    bits: int = param(8, "Bits of a code.", choices=BITS, unit="bits")
    granularity: str = param("tensor", "What shares a scale.", choices=tuple(map(str, Granularity)))
    group_size: int = param(
        128,
        "Weights along a row that share a scale.",
        low=1,
        high=1 << 20,
        unit="weights",
        needs=("granularity", "group"),
    )
    axis: int = param(0, "The axis that keeps one scale per index.", low=0, high=7, needs=("granularity", "channel"))
    param_dtype: str = param("float32", "Type of the scales.", choices=("float16", "bfloat16", "float32"))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """As `granularity` says."""
        if self.granularity == Granularity.GROUP:
            return per_group(shape, self.group_size)
        if self.granularity == Granularity.CHANNEL:
            return per_channel(shape, self.axis)
        return per_tensor(shape)

    @property
    def packing(self) -> BitPacking:
        """Bit fields along each row."""
        return BitPacking(self.bits)

    @property
    def scale_dtype(self) -> np.dtype:
        """`param_dtype` as numpy knows it."""
        return float_dtype(self.param_dtype)


def float_dtype(name: str) -> np.dtype:
    """The numpy type of a parameter type's name."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def as_scale(span: np.ndarray, steps: int, dtype: np.dtype) -> np.ndarray:
    """`span / steps` as stored: rounded to `dtype` but never down to 0; 1 where the span is 0."""
    limits: Any = ml_dtypes.finfo(dtype)
    stored = np.maximum(span / np.float32(steps), np.float32(limits.smallest_subnormal)).astype(dtype)
    return np.where(span > 0, stored, np.ones(1, dtype)).astype(dtype)
