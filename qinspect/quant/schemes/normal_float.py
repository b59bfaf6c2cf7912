"""Normal float: levels at the quantiles of a normal distribution (QLoRA, arXiv 2305.14314, appendix E)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from qinspect.quant.codebook import Codebook
from qinspect.quant.packing import Packing, row_packing
from qinspect.quant.parameter import calibration_param, param, percentile_param

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""As published; the formula gives them to about 1e-7."""


@cache
def normal_table(levels: int) -> np.ndarray:
    """Quantiles, −1 … 1: as many below zero as above, or one fewer, and zero itself, for which two have no room."""
    if levels == 2:
        return np.array([-1, 1], np.float32)
    tail = (1 / (2 * levels) + 1 / (2 * levels - 2)) / 2
    positive, negative = (_quantiles(tail, n) for n in (levels // 2, (levels - 1) // 2))
    table = np.array(NF4 if levels == 16 else [*-negative[::-1], 0.0, *positive], np.float32)
    table.flags.writeable = False
    return table


def _quantiles(tail: float, n: int) -> np.ndarray:
    """`n` positive quantiles at equal steps from the median (left out) to 1 − `tail`, the largest scaled to 1."""
    p = np.linspace(0.5, 1 - tail, n + 1)[1:]
    found: np.ndarray = np.array([NormalDist().inv_cdf(x) for x in p])
    return np.asarray(found / found[-1])


@dataclass(frozen=True)
class NormalFloat(Codebook):
    """Codes 0 … N−1; `w ≈ table[code]·scale` with scale = max|w| of the group. NF4 has 16 levels, NF3 eight."""

    name: ClassVar[str] = "normal_float"
    title: ClassVar[str] = "Normal float (NF4)"
    summary: ClassVar[str] = "Levels at the quantiles of a normal distribution, dense around zero, times one scale."
    order: ClassVar[int] = 60

    levels: int = param(16, "How many levels a weight may take; NF4 has 16.", low=2, high=256)
    calibration: str = calibration_param("minmax", "percentile", "mse")
    percentile: float = percentile_param()

    @property
    def table(self) -> np.ndarray:
        """−1 … 1."""
        return normal_table(self.levels)

    @property
    def packing(self) -> Packing:
        """Digits along each row; bit fields for a power of two."""
        return row_packing(self.levels)
