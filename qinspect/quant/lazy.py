"""Weights that stay where they are stored, of which only the rows that are asked for are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_NEAR = 1 << 15
"""Bytes from one wanted row to the next up to which reading what lies between costs less than another read."""
_TOGETHER = 1 << 20
"""Bytes that are then read at a time."""


@dataclass(frozen=True, eq=False)
class LazyRows:
    """Stands for an array of two dimensions or more; `read(start, stop)` gives some of its rows, read-only.

    What is sliced or converted is an ordinary array, the caller's own. Whatever `read` raises comes out of that.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows; the step is positive."""
        start, stop, step = rows.indices(len(self))
        stop = max(start, stop)
        if step == 1:
            return self.read(start, stop)
        numbers = range(start, stop, step)
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        pitch = max(1, step * out.nbytes // max(1, len(numbers)))
        together = max(1, _TOGETHER // pitch) if pitch <= _NEAR else 1
        for at in range(0, len(numbers), together):
            part = numbers[at : at + together]
            out[at : at + together] = self.read(part[0], part[-1] + 1)[::step]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.read(0, len(self)), dtype)


Weights = np.ndarray | LazyRows
"""Weights in memory or in a file."""
