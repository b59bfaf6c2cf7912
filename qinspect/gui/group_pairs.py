"""The groups of A beside those of B: cell by cell on the finer of both grids, whatever their sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qinspect.session import Inspection
from qinspect.versus import Versus


@dataclass(frozen=True, eq=False)
class GroupPair:
    """A value of every cell on both sides, `[rows, cells]`; a cell is `run` columns of a row.

    `local` tells that cells lie along rows; else they are channels of another axis, or the whole tensor.
    """

    a: np.ndarray
    b: np.ndarray
    run: int
    local: bool


def paired(versus: Versus, a: np.ndarray, b: np.ndarray) -> GroupPair | None:
    """Values of the groups of both sides, `[rows, groups]` each; None where groups of one lie along another axis.

    A cell of the finer grid has the value of the coarser group in which its middle lies.
    """
    if b.shape[0] > 1 and versus.a.rows is not None and versus.b.rows is None:
        b = b[versus.a.rows]
    grids = [_grid(side, values) for side, values in ((versus.a, a), (versus.b, b))]
    runs = [grid for grid in grids if grid is not None]
    if len(runs) < 2:  # no groups along the rows: the same channels, or one value for all
        return _without_grid(versus, a, b)
    fine = min(runs, key=lambda grid: grid[0])
    centres = np.minimum(np.arange(fine[1]) * fine[0] + fine[0] // 2, fine[2] - 1)
    spread = [
        values[:, np.minimum(centres // run, groups - 1)]
        for values, (run, groups, _) in zip((a, b), runs, strict=True)
    ]  # fmt: skip
    shape = max(len(values) for values in spread), int(fine[1])
    return GroupPair(np.broadcast_to(spread[0], shape), np.broadcast_to(spread[1], shape), fine[0], local=True)


def _without_grid(versus: Versus, a: np.ndarray, b: np.ndarray) -> GroupPair | None:
    if a.shape != b.shape and 1 not in (a.size, b.size):
        return None
    own, shape = (versus.a, a.shape) if a.size >= b.size else (versus.b, b.shape)
    layout = own.scheme.layout(own.quantized.shape)
    a, b = (np.broadcast_to(each.reshape(1, 1) if each.size == 1 else each, shape) for each in (a, b))
    return GroupPair(a, b, layout.run, layout.local)


def _grid(side: Inspection, values: np.ndarray) -> tuple[int, int, int] | None:
    """Columns of a group, groups of a row, columns of a row, where groups lie along rows."""
    layout = side.scheme.layout(side.quantized.shape)
    return (layout.run, values.shape[1], layout.cols) if layout.local and values.shape[1] else None
