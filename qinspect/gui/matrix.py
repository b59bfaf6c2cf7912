"""Quantities of a layer's matrix as images: from pyramids, from finer parts asked for, or decoded at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PySide6.QtCore import QRectF

from qinspect.analysis import Pooled, Pooling, Pyramid, Quantity
from qinspect.gui.pooling import Crop, Pool, crop
from qinspect.gui.probe import Probe
from qinspect.session import Inspection

EXACT_WEIGHTS = 1 << 20
"""So many weights are decoded for one picture on the GUI thread: about 5 ms. More, in a job."""

POOLS = {Pooling.LARGEST: Pool.LARGEST, Pooling.RMS: Pool.RMS, Pooling.MEAN: Pool.MEAN}


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a layer: what they decode to and, if it is known, what they were."""

    start: int
    stop: int
    decoded: np.ndarray
    weights: np.ndarray | None


class Matrix:
    """One inspection as a matrix to look at; `ask` is called with finer parts that are wanted, and may come later."""

    def __init__(self, inspection: Inspection, ask: Callable[[Pooled, Inspection], None]) -> None:
        self.inspection = inspection
        self.probe = Probe(inspection)
        self._ask = ask
        self._exact: Rows | None = None
        self._fine: Pooled | None = None

    def pyramid(self, asked: Pooled) -> Pyramid:
        """The answer to a question that has been asked."""
        found: Pyramid = self.inspection.answers[asked]
        return found

    def crop(self, asked: Pooled, view: QRectF, per_pixel: tuple[float, float], pooling: Pooling) -> Crop:
        """From the coarsest level that is fine enough: of the pyramid, of what was asked for since, or decoded now."""
        probe, spacing = self.probe, self.probe.spacing
        pyramid, pool = self.pyramid(asked), POOLS[pooling]
        least = min(per_pixel[0] / spacing, per_pixel[1])
        if math.ceil(least) < pyramid.finest:
            start, stop = probe.at(view.top()), probe.at(view.bottom()) + 1
            if (stop - start) * probe.cols <= EXACT_WEIGHTS:
                rows = self._exact_rows(start, stop)
                values = self._exact_values(rows, asked)
                return crop(values, view, per_pixel, stretch=spacing, origin=(rows.start, 0), pool=pool)
            fine = self._fine_level(asked, view, (start, stop), least)
            if fine is not None:
                factor = fine.finest
                return crop(
                    fine.levels[factor], view, per_pixel, factor=(factor, factor), stretch=spacing, origin=fine.start,
                    pool=pool,
                )  # fmt: skip
        factor = pyramid.level_for(least / 2)
        return crop(pyramid.levels[factor], view, per_pixel, factor=(factor, factor), stretch=spacing, pool=pool)

    def _exact_rows(self, start: int, stop: int) -> Rows:
        """The rows in view, decoded. Kept while panning within them."""
        if self._exact is None or start < self._exact.start or stop > self._exact.stop:
            start, stop = start // 32 * 32, min(self.probe.rows, -(-stop // 32) * 32)
            self._exact = Rows(start, stop, *self.probe.block(start, stop))
        return self._exact

    def _exact_values(self, rows: Rows, asked: Pooled) -> np.ndarray:
        if rows.weights is None or asked.quantity == Quantity.DECODED:
            return rows.decoded
        if asked.quantity == Quantity.WEIGHT:
            return rows.weights
        error: np.ndarray = rows.decoded - rows.weights
        if asked.quantity == Quantity.RELATIVE:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(error == 0, np.float32(0), np.abs(error) / np.abs(rows.weights))
        return error / self._steps(rows.start, rows.stop) if asked.quantity == Quantity.STEPS else error

    def _steps(self, start: int, stop: int) -> np.ndarray:
        """The step of every weight of these rows; NaN where levels are uneven."""
        layout, steps = self.probe.layout, self.inspection.scales.values.get("step")
        if steps is None:
            return np.full(1, np.nan, np.float32)
        flat = np.arange(start * layout.cols, stop * layout.cols).reshape(stop - start, layout.cols)
        line, within = np.divmod(flat, layout.line)
        found: np.ndarray = steps.reshape(-1)[(line * layout.runs_per_line + within // layout.run) % layout.sets]
        return found

    def _fine_level(self, asked: Pooled, view: QRectF, rows: tuple[int, int], per_pixel: float) -> Pyramid | None:
        """One level of what is in view and some around it, if it is known; else it is asked for, and comes later."""
        factor = 1 << int(math.log2(max(1.0, per_pixel / 2)))
        cols = max(0, math.floor(view.left())), min(self.probe.cols, math.ceil(view.right()) + 1)
        held = self._fine
        if held is not None and held.rows is not None and held.cols is not None and held.factor == factor:
            same = (held.quantity, held.pooling) == (asked.quantity, asked.pooling)
            inside = held.rows[0] <= rows[0] and rows[1] <= held.rows[1]
            if same and inside and held.cols[0] <= cols[0] and cols[1] <= held.cols[1]:
                found: Pyramid | None = self.inspection.answers.get(held)
                if found is None:
                    self._ask(held, self.inspection)
                return found
        around = (_around(rows, factor, self.probe.rows), _around(cols, factor, self.probe.cols))
        self._fine = replace(asked, rows=around[0], cols=around[1], factor=factor)
        self._ask(self._fine, self.inspection)
        return None


def minus(a: Crop, b: Crop) -> Crop:
    """A − B, cell by cell; of B, which may be pooled from other rows, the cell around the middle of A's."""
    if a.values.shape == b.values.shape and a.rect == b.rect:
        return replace(a, values=a.values - b.values)
    down = _nearest(a.rect.top(), a.rect.height(), a.values.shape[0], b.rect.top(), b.rect.height(), b.values.shape[0])
    across = _nearest(
        a.rect.left(), a.rect.width(), a.values.shape[1], b.rect.left(), b.rect.width(), b.values.shape[1]
    )
    return replace(a, values=a.values - b.values[np.ix_(down, across)])


def _nearest(start: float, length: float, cells: int, other: float, others_length: float, others: int) -> np.ndarray:
    centres = start + (np.arange(cells) + 0.5) * (length / cells)
    found: np.ndarray = np.clip(((centres - other) / others_length * others).astype(int), 0, others - 1)
    return found


def _around(span: tuple[int, int], factor: int, size: int) -> tuple[int, int]:
    """Half as much again to either side, from a multiple of the factor on."""
    room = (span[1] - span[0]) // 2
    return max(0, span[0] - room) // factor * factor, min(size, span[1] + room)
