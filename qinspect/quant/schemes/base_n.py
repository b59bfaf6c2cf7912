"""Base-N: evenly spaced levels between each group's minimum and maximum, packed as digits of one number a word.

Source: SCHEMES section 1, with 11 levels generalised to any number; `docs/schemes.md` has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import float_dtype
from qinspect.quant.layout import Layout, per_group
from qinspect.quant.packing import DigitPacking
from qinspect.quant.parameter import calibration_param, param, percentile_param
from qinspect.quant.rule import Rule
from qinspect.quant.scheme import Grid, Scheme


@cache
def linear_table(levels: int) -> np.ndarray:
    """`(linspace(−1, 1, levels) + 1)/2` in float32: where each level lies between minimum and maximum."""
    table = (np.linspace(-1, 1, levels, dtype=np.float32) + np.float32(1)) / np.float32(2)
    table.flags.writeable = False
    return table


def codebook(levels: int) -> np.ndarray:
    """The levels as files hold them: `linspace(−1, 1, levels)`, float32."""
    return np.linspace(-1, 1, levels, dtype=np.float32)


@dataclass(frozen=True)
class BaseN(Scheme):
    """Codes 0 … levels−1; `w ≈ table[code]·scale + min_val`, where `scale` is the group's whole range, not a step."""

    name: ClassVar[str] = "base_n"
    title: ClassVar[str] = "Base-N digits"
    summary: ClassVar[str] = (
        "Evenly spaced levels from each group's minimum to its maximum, many digits to a 32-bit word."
    )
    order: ClassVar[int] = 20

    levels: int = param(16, "How many levels a weight may take.", low=2, high=256)
    group_size: int = param(
        128, "Weights along a row that share a minimum and a range.", low=1, high=1 << 20, unit="weights"
    )
    param_dtype: str = param(
        "float16", "Type of each group's minimum and range.", choices=("float16", "bfloat16", "float32")
    )
    calibration: str = calibration_param("minmax", "percentile", "mse", "mse_ends")
    percentile: float = percentile_param()

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Groups along each row."""
        return per_group(shape, self.group_size)

    @property
    def packing(self) -> DigitPacking:
        """Digits in uint32 words."""
        return DigitPacking(self.levels)

    @property
    def code_range(self) -> tuple[int, int]:
        """0 … levels−1."""
        return 0, self.levels - 1

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`min_val` and `scale` a group."""
        return dict.fromkeys(("min_val", "scale"), float_dtype(self.param_dtype))

    @property
    def rule(self) -> Rule:
        """Both ends are rounded to the parameters' type first; the range is floored at `RANGE_FLOOR`."""
        return Rule("range", self.levels - 1, float_dtype(self.param_dtype), "min_val")

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """The table of levels, stretched over each group's range."""
        scale, minimum = _float32(params["scale"]), _float32(params["min_val"])
        step = scale / np.float32(self.levels - 1)
        return Grid(scale, np.zeros_like(scale), minimum, step, minimum, minimum + scale, linear_table(self.levels))


def _float32(array: np.ndarray) -> np.ndarray:
    """numpy's own conversion of half precision would take a tenth of the time of decoding."""
    from qinspect.quant import half_kernels

    return half_kernels.widen(array) if array.dtype == np.float16 else array.astype(np.float32)
