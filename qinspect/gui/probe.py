"""Single weights of an inspection: what they were, their codes, what they became, and which set they belong to."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from qinspect.errors import QInspectError
from qinspect.gui.linked import Spot
from qinspect.quant.blocks import BLOCK_WEIGHTS
from qinspect.quant.layout import matrix_shape
from qinspect.session import Inspection

ROWS_KEPT = 4


@dataclass(frozen=True, eq=False)
class Row:
    """One row: codes as integers, decoded and (if they are known) original weights as float32."""

    codes: np.ndarray
    decoded: np.ndarray
    weights: np.ndarray | None


class Probe:
    """Reads rows on this thread; numbers of rows are those of the whole layer, of which a sample has only some."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        q = inspection.quantized
        self.rows, self.cols = matrix_shape(q.shape)
        self.layer_rows = matrix_shape(inspection.info.shape)[0]
        self.layout = q.scheme.layout(q.shape)
        self._kept: OrderedDict[int, Row] = OrderedDict()

    @property
    def spacing(self) -> float:
        """How many rows of the layer each row at hand stands for."""
        return self.layer_rows / max(1, self.rows) if self._inspection.rows is not None else 1.0

    def number(self, index: int) -> int:
        """The number in the layer of a row at hand."""
        numbers = self._inspection.rows
        return index if numbers is None else int(numbers[index])

    def index(self, number: int) -> int:
        """The row at hand next to a row of the layer."""
        numbers = self._inspection.rows
        if numbers is None:
            return min(max(number, 0), self.rows - 1)
        return int(np.argmin(np.abs(numbers - number)))

    def at(self, y: float) -> int:
        """The row at hand that is drawn at `y`."""
        return min(max(int((y + 0.5) // self.spacing), 0), self.rows - 1)

    def centre(self, index: int) -> float:
        """Where a row at hand is drawn."""
        return (index + 0.5) * self.spacing - 0.5

    def row(self, index: int) -> Row:
        """A row at hand, kept while people look about in it."""
        if index not in self._kept:
            decoded, weights = self.block(index, index + 1)
            self._kept[index] = Row(self._codes(index), decoded[0], None if weights is None else weights[0])
            while len(self._kept) > ROWS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index]

    def _codes(self, index: int) -> np.ndarray:
        q = self._inspection.quantized
        rows = slice(index, index + 1) if len(q.shape) > 1 else None  # a vector is one row
        return q.scheme.codes(q, rows=rows).reshape(-1)

    def block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows at hand, decoded and original, in blocks small enough never to wait for the pool that others may fill.

        None for the latter where they are not known, or can no longer be read.
        """
        q = self._inspection.quantized
        decoded = np.empty((stop - start, self.cols), np.float32)
        size = max(1, BLOCK_WEIGHTS // max(1, self.cols))
        for first in range(start, stop, size):
            rows = slice(first, min(first + size, stop)) if len(q.shape) > 1 else None
            part = q.scheme.dequantize(q, rows=rows).reshape(-1, self.cols)
            decoded[first - start : first - start + len(part)] = part
        return decoded, self._originals(start, stop)

    def _originals(self, start: int, stop: int) -> np.ndarray | None:
        weights = self._inspection.weights
        if weights is None:
            return None
        try:
            rows = weights[start:stop] if weights.ndim > 1 else weights[:]
        except QInspectError:  # the file has changed: the next look at the layer says so
            return None
        found: np.ndarray = np.asarray(rows, np.float32).reshape(stop - start, self.cols)
        return found

    # Sets of parameters.

    def run_of(self, index: int, col: int) -> tuple[int, int, int]:
        """The set that a weight belongs to, and the columns from … to of this row that share it."""
        layout = self.layout
        line, within = divmod(index * layout.cols + col, layout.line)
        number = within // layout.run
        first = line * layout.line + number * layout.run - index * layout.cols
        stop = min(first + layout.run, first + layout.line - number * layout.run)
        run = line * layout.runs_per_line + number
        return run % layout.sets, first, stop

    def step(self, index: int, col: int) -> float:
        """The distance of levels around a weight; NaN where levels are uneven."""
        steps = self._inspection.scales.values.get("step")
        return float("nan") if steps is None else float(steps.reshape(-1)[self.run_of(index, col)[0]])

    def spot(self, index: int, col: int) -> Spot:
        """All that is known of a weight."""
        row = self.row(index)
        decoded = float(row.decoded[col])
        value = decoded if row.weights is None else float(row.weights[col])
        error, step = decoded - value, self.step(index, col)
        return Spot(
            self.number(index), (col, col + 1), int(row.codes[col]), value, self.units(index, col, value),
            None if row.weights is None else error, error / step if row.weights is not None and step > 0 else None,
        )  # fmt: skip

    def units(self, index: int, col: int, value: float) -> float:
        """Where a value lies between the levels of a weight's set, in codes."""
        q, number = self._inspection.quantized, self.run_of(index, col)[0]
        levels = q.scheme.level_values(q, number).astype(np.float64)
        first = q.scheme.code_range[0]
        if levels.size < 2:
            return float(first)
        if levels[0] > levels[-1]:
            levels = levels[::-1]
        below = min(max(int(np.searchsorted(levels, value)) - 1, 0), levels.size - 2)
        gap = levels[below + 1] - levels[below]
        return first + below + (float((value - levels[below]) / gap) if gap > 0 else 0.0)
