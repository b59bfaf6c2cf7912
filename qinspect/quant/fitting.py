"""Parameters fitted to weights: block by block, or all first where rows share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qinspect.errors import ParameterOverflowError
from qinspect.quant.blocks import Matrix
from qinspect.quant.calibrate import place_counts, ranges
from qinspect.quant.codec import encode
from qinspect.quant.sample import BlockSample, Sample, TensorSample
from qinspect.quant.scheme import Grid, Scheme
from qinspect.task import Token


class Fitted:
    """Weights and the parameters fitted to them: block by block, or all first where rows share parameters."""

    def __init__(
        self,
        scheme: Scheme,
        matrix: Matrix,
        arrays: dict[str, np.ndarray],
        token: Token | None,
        weight: np.ndarray | None = None,
    ) -> None:
        self.scheme = scheme
        self.matrix = matrix
        self.layout = scheme.layout(matrix.shape)
        self.token = token or Token()
        """For what is left to do after fitting."""
        self._arrays = {name: array.reshape(-1) for name, array in arrays.items()}
        self._weight = weight
        self._grid: Grid | None = None
        self._learned: dict[str, np.ndarray] = {}
        if scheme.tensor_params():
            self._learn()
        if not (matrix.rows and matrix.cols):
            none = np.zeros(self.layout.sets, np.float32)
            self._grid = self._fit(none, none, 0)
        elif not self.layout.local:
            self._grid = self._calibrated(TensorSample(matrix, self.layout, self.token.part(0, 0.5), weight), 0)
            self.token = self.token.part(0.5, 1)

    def _learn(self) -> None:
        counts = np.zeros(1, np.int64)
        if self.matrix.rows and self.matrix.cols:
            counts = place_counts(self.scheme, self.matrix, self.layout, self.token.part(0, 0.5))
            self.token = self.token.part(0.5, 1)
        self._learned = self.scheme.learn(counts)
        for name, array in self._learned.items():
            self._arrays[name][...] = array

    def encode(self, x: np.ndarray, start: int) -> tuple[np.ndarray, Grid]:
        """The codes (in scratch memory) of a block of rows, of which `start` is the first, and the grid of its sets."""
        grid = self._grid or self._calibrated(
            BlockSample(x, self.layout, self._weight), start * self.layout.runs_per_row
        )
        return encode(self.scheme, x, self.layout, self.layout.first_run(start), grid), grid

    def _calibrated(self, sample: Sample, first: int) -> Grid:
        return self._fit(*ranges(self.scheme, sample), first)

    def _fit(self, low: np.ndarray, high: np.ndarray, first: int) -> Grid:
        """Fit the sets from `first` on, put their parameters in place, and tell what codes mean under them."""
        with np.errstate(over="ignore", invalid="ignore"):
            params = self.scheme.fit(low, high)
            grid = self.scheme.grid(params | self._learned)
        for name, array in params.items():
            self._arrays[name][first : first + array.size] = array
        fine = np.isfinite(grid.low) & np.isfinite(grid.high)
        if not fine.all():
            bad = int(np.argmin(fine))
            where = f"{self._place(first + bad)}, where weights run from {low[bad]:.6g} to {high[bad]:.6g}"
            raise _overflow({name: array[bad] for name, array in params.items()}, where)
        return grid

    def _place(self, number: int) -> str:
        if len(self.layout.sets_shape) == 2:
            return "row {}, group {}".format(*divmod(number, self.layout.runs_per_row))
        return "the tensor" if self.layout.sets == 1 else f"channel {number}"


def _overflow(params: Mapping[str, Any], where: str) -> ParameterOverflowError:
    """What to say of parameters under which not every code has a finite value."""
    for name, value in params.items():
        if value.dtype != np.float32 and not np.isfinite(np.float32(value)):
            return ParameterOverflowError(f"{name} does not fit {value.dtype} in {where}", "choose param_dtype=float32")
    return ParameterOverflowError(f"levels overflow float32 in {where}", "scale this tensor down or leave it alone")
