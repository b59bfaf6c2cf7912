"""What calibration looks at: a block of rows whose sets are its own, or a whole tensor, read once a fold.

Sums are float64 and added in the order of the blocks, so that no choice depends on threads.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant import kernels
from qinspect.quant.blocks import Matrix, map_blocks
from qinspect.quant.layout import Layout
from qinspect.task import Token

T = TypeVar("T")


class Sample(ABC):
    """Weights whose parameter sets are calibrated together."""

    def __init__(self, layout: Layout, sets: int, weight: np.ndarray | None = None) -> None:
        self.layout = layout
        self.sets = sets
        self.weight = np.ones(layout.cols, np.float32) if weight is None else weight
        """What the squared error counts in each column."""

    @property
    @abstractmethod
    def sizes(self) -> np.ndarray:
        """Weights in each set."""

    @abstractmethod
    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest weight of every set."""

    @abstractmethod
    def fold(self, work: Callable[[np.ndarray], np.ndarray], by: np.ufunc = np.add) -> np.ndarray:
        """`work(rows)`, which gives `[k, runs]`, over all weights, reduced to `[k, sets]`."""

    def _reduced(self, part: np.ndarray, by: np.ufunc) -> np.ndarray:
        # A row's runs are as many as the sets, or a multiple: axis 2 of [a, b, c, d] has its c sets b times in a row.
        reduced: np.ndarray = by.reduce(part.reshape(len(part), -1, self.sets), axis=1)
        return reduced


class BlockSample(Sample):
    """A block of rows, every run of which is a set."""

    def __init__(self, x: np.ndarray, layout: Layout, weight: np.ndarray | None = None) -> None:
        super().__init__(layout, len(x) * layout.runs_per_row, weight)
        self._x = x

    @property
    def sizes(self) -> np.ndarray:
        """The last of a line may have fewer."""
        line = np.minimum(self.layout.run, self.layout.line - np.arange(0, self.layout.line, self.layout.run))
        return np.tile(line, self.sets // line.size)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """From one look."""
        return run_ranges(self._x, self.layout)

    def fold(self, work: Callable[[np.ndarray], np.ndarray], by: np.ufunc = np.add) -> np.ndarray:
        """At once."""
        return self._reduced(work(self._x), by)


class TensorSample(Sample):
    """All rows of a tensor, which is not empty."""

    def __init__(self, matrix: Matrix, layout: Layout, token: Token, weight: np.ndarray | None = None) -> None:
        super().__init__(layout, layout.sets, weight)
        self._matrix = matrix
        self._token = token

    @property
    def sizes(self) -> np.ndarray:
        """All alike."""
        return np.full(self.sets, self._matrix.rows * self._matrix.cols // self.sets)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """From one pass."""
        low, minus_high = self.fold(self._ends, np.minimum)
        return low, -minus_high

    def _ends(self, x: np.ndarray) -> np.ndarray:
        low, high = run_ranges(x, self.layout)
        return np.stack([low, -high])

    def fold(self, work: Callable[[np.ndarray], np.ndarray], by: np.ufunc = np.add) -> np.ndarray:
        """In one pass."""
        total = _InOrder(by)

        def one(start: int, stop: int) -> None:
            total.add(start, stop, self._reduced(work(self._matrix.block(start, stop)), by))

        over_weights(one, self._matrix, self._token)
        assert total.value is not None
        return total.value


def column_weights(importance: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """What errors count in each column of the matrix, float32, from one number an input channel."""
    if importance is None:
        return None
    given = np.asarray(importance, np.float32)
    channels = shape[1] if len(shape) > 1 else math.prod(shape)
    if given.shape != (channels,):
        raise SchemeError(f"the importance has shape {list(given.shape)}; there are {channels} input channels")
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise SchemeError("the importance of an input channel is a finite number, 0 or more")
    return np.repeat(given, math.prod(shape[2:]))


class _InOrder:
    """Combines what blocks give, from any thread, in the order of the blocks."""

    def __init__(self, by: np.ufunc) -> None:
        self.value: np.ndarray | None = None
        self._by = by
        self._next = 0
        self._waiting: dict[int, tuple[int, np.ndarray]] = {}
        self._lock = threading.Lock()

    def add(self, start: int, stop: int, part: np.ndarray) -> None:
        """Take in the result of rows `start`…`stop`."""
        with self._lock:
            self._waiting[start] = stop, part
            while self._next in self._waiting:
                self._next, part = self._waiting.pop(self._next)
                self.value = part if self.value is None else self._by(self.value, part)


def run_ranges(x: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest weight of every run of a block; raises NotFiniteError."""
    values = np.empty((2, len(x) * layout.runs_per_row), np.float32)
    kernels.ranges(x.reshape(-1), 0, x.size, layout.line, layout.run, *values)
    if not np.isfinite(values).all():
        raise NotFiniteError
    values += np.float32(0)  # −0 becomes 0
    return values[0], values[1]


class NotFiniteError(Exception):
    """A block holds NaN or infinities; how many there are in all is counted once, by whoever catches this."""


def over_weights(work: Callable[[int, int], T], matrix: Matrix, token: Token | None) -> list[T]:
    """`map_blocks` over all rows; weights that are not finite end in one SchemeError that says how many."""
    try:
        return map_blocks(work, matrix.rows, matrix.cols, token)
    except NotFiniteError:
        pass

    def odd(start: int, stop: int) -> np.ndarray:
        x = matrix.block(start, stop)
        return np.array([np.count_nonzero(np.isnan(x)), np.count_nonzero(np.isinf(x))])

    nan, inf = np.sum(map_blocks(odd, matrix.rows, matrix.cols, token), axis=0)
    found = " and ".join(f"{n} {what}" for n, what in ((nan, "NaN"), (inf, "infinite")) if n)
    raise SchemeError(
        f"{found} of {matrix.rows * matrix.cols} weights: repair the checkpoint or leave this tensor alone"
    )
