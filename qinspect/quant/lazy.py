"""Arrays that stay in their file, of which only the rows that are asked for are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_NEAR = 1 << 15
"""Bytes from one wanted row to the next up to which reading what lies between costs less than another read."""
_TOGETHER = 1 << 20
"""Bytes that are then read at a time."""


@dataclass(frozen=True, eq=False)
class LazyArray:
    """Stands for an array of one dimension or more, in C order, whose bytes `fetch(offset, nbytes)` reads (uint8).

    What is sliced or converted is an ordinary array. Whatever `fetch` raises comes out of that.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fetch: Callable[[int, int], np.ndarray]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows; the step is positive."""
        start, stop, step = rows.indices(len(self))
        if step == 1:
            return self._read(start, max(start, stop))
        numbers = range(start, max(start, stop), step)
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        pitch = max(1, step * self._row_bytes)
        together = max(1, _TOGETHER // pitch) if pitch <= _NEAR else 1
        for at in range(0, len(numbers), together):
            part = numbers[at : at + together]
            out[at : at + together] = self._read(part[0], part[-1] + 1)[::step]
        return out

    def _read(self, start: int, stop: int) -> np.ndarray:
        data = self.fetch(start * self._row_bytes, (stop - start) * self._row_bytes)
        return data.view(self.dtype).reshape(stop - start, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._read(0, len(self)), dtype)

    def reshape(self, *shape: int) -> LazyArray:
        """The same elements in another shape, one side of which may be −1."""
        known = math.prod(side for side in shape if side >= 0)
        sides = tuple(self.size // max(1, known) if side < 0 else side for side in shape)
        if math.prod(sides) != self.size:
            raise ValueError(f"{list(self.shape)} has other elements than {list(shape)}")
        return replace(self, shape=sides)

    def view(self, dtype: Any) -> LazyArray:
        """The same bytes as another type, along the last axis."""
        other = np.dtype(dtype)
        last, left = divmod(self.shape[-1] * self.dtype.itemsize, other.itemsize)
        if left:
            raise ValueError(f"{list(self.shape)} of {self.dtype} are no {other}")
        return replace(self, shape=(*self.shape[:-1], last), dtype=other)


Weights = np.ndarray | LazyArray
"""An array in memory or in a file."""
