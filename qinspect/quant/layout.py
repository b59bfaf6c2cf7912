"""Which weights share parameters: a tensor seen as rows, lines and runs.

Every tensor is a matrix `[rows, cols]`: its first axis, and everything else flattened (a vector is one row). In memory
order it is cut into *lines*, each line into *runs* of consecutive weights that share one set of parameters; the last
run of a line may be shorter. Run `r` uses parameter set `r % sets`. Three numbers so describe every granularity:

| granularity  | line                    | run            | sets          |
|--------------|-------------------------|----------------|---------------|
| tensor       | cols                    | cols           | 1             |
| channel      | weights behind the axis | the whole line | shape[axis]   |
| group        | cols                    | group_size     | rows × groups |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from qinspect.errors import SchemeError

STRIP = 1 << 13
"""About how many weights are handled together: they and their codes stay in the cache nearest to a core."""


class Granularity(StrEnum):
    """How many weights share one set of parameters."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    GROUP = "group"


@dataclass(frozen=True)
class Layout:
    """The runs of one tensor; `sets_shape` is the shape in which parameters are stored."""

    rows: int
    cols: int
    line: int
    run: int
    sets_shape: tuple[int, ...]

    @property
    def sets(self) -> int:
        """Number of parameter sets."""
        return math.prod(self.sets_shape)

    @property
    def runs_per_line(self) -> int:
        """Runs in one line, the last of which may be short."""
        return -(-self.line // self.run) if self.line else 0

    @property
    def runs_per_row(self) -> int:
        """Runs in one row of the matrix."""
        return (self.cols // self.line) * self.runs_per_line if self.line else 0

    @property
    def local(self) -> bool:
        """Whether every run has its own parameters, so that a block of rows can be encoded alone."""
        return self.sets == self.rows * self.runs_per_row

    @property
    def strip(self) -> int:
        """Weights in as many whole rows, at least one, as are handled together."""
        return self.cols * max(1, STRIP // max(1, self.cols))

    @property
    def ragged(self) -> int:
        """Weights in the short last run of a line; 0 where the run divides it."""
        return self.line % self.run if self.run else 0

    def first_run(self, row: int) -> int:
        """Number of a row's first run, counted from the block that starts there if the runs are local."""
        return 0 if self.local else row * self.runs_per_row

    def sets_of(self, start: int, stop: int) -> slice:
        """The parameter sets that a block of rows needs: its own if the runs are local, else all."""
        return slice(start * self.runs_per_row, stop * self.runs_per_row) if self.local else slice(None)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """`(rows, cols)` under which a tensor of any dimensions is handled: its first axis, and the rest flattened."""
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


def per_tensor(shape: tuple[int, ...]) -> Layout:
    """One set of parameters for all weights."""
    rows, cols = matrix_shape(shape)
    return Layout(rows, cols, cols, cols, (1,))


def per_channel(shape: tuple[int, ...], axis: int) -> Layout:
    """One set for each index of `axis`, the axis that keeps a scale per index."""
    if not -len(shape) <= axis < len(shape):
        raise SchemeError(f"axis {axis} does not exist in a tensor of shape {list(shape)}; choose another axis")
    axis %= len(shape)
    rows, cols = matrix_shape(shape)
    line = math.prod(shape[axis + 1 :])
    return Layout(rows, cols, line, line, (shape[axis],))


def per_group(shape: tuple[int, ...], group_size: int) -> Layout:
    """One set for each `group_size` weights along a row; a shorter row is one group, a ragged tail another."""
    rows, cols = matrix_shape(shape)
    run = min(group_size, cols)
    return Layout(rows, cols, cols, run, (rows, -(-cols // run) if run else 0))
