"""The values of small floating types, as codes: every finite one in ascending order, and what pattern it has."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np


@cache
def float_codes(dtype: np.dtype) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The values of a type of at most eight bits, ascending, and the place of each bit pattern among them.

    −0 is 0; NaN and infinities have the place −1.
    """
    limits: Any = ml_dtypes.finfo(dtype)
    with np.errstate(invalid="ignore"):
        return ascending(np.arange(1 << limits.bits, dtype=np.uint8).view(dtype).astype(np.float32))


def ascending(values: Any) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The same of what each bit pattern stands for."""
    values = np.asarray(values, np.float32)
    finite = np.isfinite(values)
    table = np.unique(values[finite] + np.float32(0))
    places = np.where(finite, np.searchsorted(table, np.where(finite, values, 0)), -1)
    return tuple(table.tolist()), tuple(places.tolist())
