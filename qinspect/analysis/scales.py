"""The parameters of every set, laid out as the matrix is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qinspect.quant.scheme import QTensor


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """The parameters of every set as matrices `[rows, groups]`: `scale`, `minimum`, `range`, and `step` if even.

    One row for channels of another axis than the first; one cell for a tensor with a single set. `across` and `down`
    name the axes.
    """

    values: Mapping[str, np.ndarray]
    across: str
    down: str
    group_size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of every matrix."""
        rows, groups = self.values["scale"].shape
        return rows, groups


def scale_map(q: QTensor) -> ScaleMap:
    """Scale, lowest level, range of the levels and step of every parameter set of `q`."""
    layout = q.scheme.layout(q.shape)
    grid = q.scheme.grid_of(q.params)
    if layout.local:
        shape, across, down = (layout.rows, layout.runs_per_row), "group along the row", "row"
    else:
        shape, across, down = (1, layout.sets), "channel" if layout.sets > 1 else "tensor", ""
    named = {"scale": grid.scale, "minimum": grid.low, "range": grid.high - grid.low}
    if grid.even:
        named["step"] = grid.step
    return ScaleMap({name: array.reshape(shape) for name, array in named.items()}, across, down, layout.run)
