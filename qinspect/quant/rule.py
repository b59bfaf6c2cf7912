"""How a scheme's parameters follow from the smallest and largest weight of a set, as data that a kernel can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

RANGE_FLOOR = 1e-5
"""The smallest range that a set is given by the rule `range`; finer detail within it is lost."""

PADDING = 8
"""So much longer than there are sets are vectors that the kernels of `fit_kernels` fill."""


@dataclass(frozen=True)
class Rule:
    """One of the usual ways from a range to a `scale` and perhaps a second parameter.

    | kind         | scale                              | second                                             |
    |--------------|------------------------------------|----------------------------------------------------|
    | `range`      | high − low, both as stored         | low                                                |
    | `largest`    | max(−low, high) / steps            |                                                    |
    | `minimum`    | (high − low as stored) / steps     | low                                                |
    | `zero_point` | range with zero in it / steps      | the code of zero, unsigned integer of `code_dtype` |

    Every float is rounded to `dtype`. A scale is at least the smallest number above zero, and 1 where the range is 0;
    that of `range` is at least `RANGE_FLOOR`.
    """

    kind: str
    steps: int
    dtype: np.dtype
    second: str | None = None
    """Name of the second parameter."""
    code_dtype: Any = np.uint8

    @property
    def numbers(self) -> tuple[int, float, int]:
        """Kind, steps and type, as `fit_kernels` wants them."""
        types = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
        kinds = "range", "largest", "minimum", "zero_point"
        return kinds.index(self.kind), float(self.steps), types.index(self.dtype)

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters as stored for sets whose weights lie in `low`…`high` (float32 vectors)."""
        from qinspect.quant import fit_kernels

        n = low.size
        values, patterns = np.zeros((4, n + PADDING), np.float32), np.zeros((2, n + PADDING), np.uint16)
        values[0, :n], values[1, :n] = low, high
        fit_kernels.fit(n, values[0], values[1], self.numbers, values[2], values[3], *patterns)
        scale, second = (values[2:] if self.dtype == np.float32 else patterns.view(self.dtype))[:, :n]
        if self.kind == "zero_point":
            second = values[3, :n].astype(self.code_dtype)
        return {"scale": scale} if self.second is None else {"scale": scale, self.second: second}
