"""What schemes with a codebook share: a table of levels around zero, times one scale a group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import as_scale, float_dtype
from qinspect.quant.layout import Layout, per_group
from qinspect.quant.parameter import param
from qinspect.quant.scheme import Grid, Scheme


@dataclass(frozen=True)
class Codebook(Scheme):
    """Base of schemes with `w ≈ table[code]·scale`: the largest magnitude of a group gets the outermost level."""

    centred: ClassVar[bool] = True

    group_size: int = param(64, "Weights along a row that share a scale.", low=1, high=1 << 20, unit="weights")
    param_dtype: str = param("float16", "Type of the scales.", choices=("float16", "bfloat16", "float32"))

    @property
    @abstractmethod
    def table(self) -> np.ndarray:
        """The levels, ascending float32; the last is the largest magnitude."""

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Groups along each row."""
        return per_group(shape, self.group_size)

    @property
    def code_range(self) -> tuple[int, int]:
        """0 … levels−1, in the order of the levels."""
        return 0, self.table.size - 1

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale` a group."""
        return {"scale": float_dtype(self.param_dtype)}

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """From the largest magnitude; 0 for weights that are all zero where no level is."""
        largest = np.maximum(-low, high)
        scale = as_scale(largest, self.table[-1], float_dtype(self.param_dtype))
        return {"scale": scale if (self.table == 0).any() else np.where(largest > 0, scale, scale.dtype.type(0))}

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """The table, times the scale."""
        return stretched(self.table, params["scale"].astype(np.float32))


def stretched(table: np.ndarray, scale: np.ndarray) -> Grid:
    """The grid of uneven levels `table[code]·scale`."""
    none = np.zeros_like(scale)
    return Grid(scale, none, none, np.full_like(scale, np.nan), table[0] * scale, table[-1] * scale, table, even=False)
