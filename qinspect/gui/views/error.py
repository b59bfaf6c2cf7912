"""The weight matrix and what quantization does to every weight of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtWidgets import QWidget

from qinspect import figures as fmt
from qinspect.errors import QInspectError
from qinspect.gui.axes import number
from qinspect.gui.image import OVERVIEW, Crop, ImagePlot, crop, diverging, limits, magnitude, spread
from qinspect.gui.plots import ZOOM_HINT
from qinspect.gui.views.plot_view import (
    NO_REFERENCE,
    PlotView,
    choice,
    row_at,
    row_centre,
    row_number,
    row_spacing,
    toggle,
)
from qinspect.quant.blocks import BLOCK_WEIGHTS
from qinspect.session import Inspection

ERROR, MAGNITUDE, WEIGHTS = range(3)
CHOICES = ("signed error", "|error|", "weights")

EXACT_WEIGHTS = 1 << 20
"""So many weights are decoded for one picture where the pyramid is too coarse: about 5 ms."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a layer: what they decode to and, if it is known, what they were."""

    start: int
    stop: int
    decoded: np.ndarray
    weights: np.ndarray | None


def rows_of(inspection: Inspection, start: int, stop: int) -> Rows:
    """Decode rows on this thread, in blocks small enough never to wait for the pool that other work may fill."""
    q, (_, cols) = inspection.quantized, inspection.errors.shape
    decoded = np.empty((stop - start, cols), np.float32)
    size = max(1, BLOCK_WEIGHTS // cols)
    for first in range(start, stop, size):
        rows = slice(first, min(first + size, stop)) if len(q.shape) > 1 else None  # a vector is one row
        part = q.scheme.dequantize(q, rows=rows).reshape(-1, cols)
        decoded[first - start : first - start + len(part)] = part
    return Rows(start, stop, decoded, _weights_of(inspection, start, stop))


def _weights_of(inspection: Inspection, start: int, stop: int) -> np.ndarray | None:
    """The original weights of these rows, if they are known and can still be read."""
    weights, cols = inspection.weights, inspection.errors.shape[1]
    if weights is None:
        return None
    try:
        rows = weights[start:stop] if weights.ndim > 1 else weights[:]
    except QInspectError:  # the file has changed: the next look at the layer says so
        return None
    return rows.reshape(stop - start, cols).astype(np.float32)


class ErrorView(PlotView):
    """Signed error, its magnitude, or the weights, as an image of the matrix."""

    name: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    order: ClassVar[int] = 40

    def __init__(self) -> None:
        self._map = ImagePlot("column", "row")
        super().__init__(self._map)
        self._choice = choice("What the image shows", *CHOICES)
        self._full = toggle("max", "Colours reach the very largest value, not only 99.9 % of them")
        self._choice.currentIndexChanged.connect(lambda _: self.redraw())
        self._full.toggled.connect(lambda _: self.redraw())
        self._map.cropped.connect(self._on_cropped)
        self._drawn: Rows | None = None
        self._told: Rows | None = None

    def controls(self) -> list[QWidget]:
        """What is shown and the range of colours."""
        return [self._choice, self._full]

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The matrix, pooled to what a pixel covers."""
        self._drawn = self._told = None
        self._choice.setEnabled(inspection.weights is not None)
        what = self._what(inspection)
        self._map.quantity = CHOICES[what] if inspection.weights is not None else "decoded weights"
        rows, cols = inspection.errors.shape
        inner = inspection.quantized.shape[1:]
        self._map.bottom.describe(f"column ({fmt.shape(inner)})" if len(inner) > 1 else "column", integer=True)
        shape = round(rows * row_spacing(inspection)), cols
        table = magnitude() if what == MAGNITUDE else diverging(self._map.theme)

        def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
            return self._source(inspection, what, view, per_pixel)

        self._map.show_matrix(shape, source, self._levels(inspection, what), table, keep=keep)
        return self._sentence(inspection)

    def _what(self, inspection: Inspection) -> int:
        return WEIGHTS if inspection.weights is None else self._choice.currentIndex()

    def _levels(self, inspection: Inspection, what: int) -> tuple[float, float]:
        """Symmetric about 0, from 0 for magnitudes. Without any error, half a step: what rounding may cost."""
        pyramid = inspection.errors
        # As pooled as in a picture of the whole, which pooling makes brighter than single weights are.
        factor = max(pyramid.levels) if self._full.isChecked() else pyramid.level_for(max(pyramid.shape) / OVERVIEW)
        values = self._values(inspection, what, factor)
        low, high = limits(values) if self._full.isChecked() else spread(values)
        most = max(-low, high)
        if not most > 0:
            step = limits(inspection.scales.values["step"])[1]
            most = step / 2 if step > 0 else 1.0
        return (0.0 if what == MAGNITUDE else -most), most

    def _values(self, inspection: Inspection, what: int, factor: int) -> np.ndarray:
        error, weights = inspection.errors.levels[factor]
        if what == WEIGHTS or error is None:
            return weights
        return np.abs(error) if what == MAGNITUDE else error

    def _source(self, inspection: Inspection, what: int, view: QRectF, per_pixel: tuple[float, float]) -> Crop:
        pyramid, spacing = inspection.errors, row_spacing(inspection)
        least = min(per_pixel[0] / spacing, per_pixel[1])
        if least < pyramid.finest > 1:
            rows = self._visible_rows(inspection, view, spacing)
            if rows is not None:
                values = _exact(rows, what)
                return crop(values, view, per_pixel, stretch=spacing, origin=rows.start)
        factor = pyramid.level_for(least / 2)
        error, weights = pyramid.levels[factor]
        values = weights if what == WEIGHTS or error is None else error
        found = crop(values, view, per_pixel, factor=(factor, factor), stretch=spacing)
        return Crop(np.abs(found.values), found.rect, found.cell) if what == MAGNITUDE else found

    def _visible_rows(self, inspection: Inspection, view: QRectF, spacing: float) -> Rows | None:
        """The rows in view, decoded; None if they are too many for one frame. Kept while panning within them."""
        rows, cols = inspection.errors.shape
        start, stop = row_at(view.top(), spacing, rows), row_at(view.bottom(), spacing, rows) + 1
        if self._drawn is None or start < self._drawn.start or stop > self._drawn.stop:
            start, stop = start // 32 * 32, min(rows, -(-stop // 32) * 32)
            if (stop - start) * cols > EXACT_WEIGHTS:
                return None
            self._drawn = rows_of(inspection, start, stop)
        return self._drawn

    # Words.

    def _on_cropped(self) -> None:
        if self.inspection is not None:
            self.summarise(self.inspection, self._sentence(self.inspection))
            self._map.follow()

    def _sentence(self, inspection: Inspection) -> str:
        """The size of the error, and what a pixel shows; the latter is also the hint below the plot."""
        pooling = self._pooling(inspection)
        self.hint = f"Each pixel: {pooling}." if pooling else ZOOM_HINT
        if inspection.weights is None:
            return NO_REFERENCE
        m = inspection.metrics
        if m.exact:
            return "Every weight decodes exactly."
        steps = f" = {number(m.rmse_per_step, 2)} steps" if math.isfinite(m.rmse_per_step) else ""
        text = f"RMSE {number(m.rmse)}{steps}, largest error {'≥ ' * (inspection.part < 1)}{number(m.max_error)}"
        return f"{text}."

    def _pooling(self, inspection: Inspection) -> str:
        found = self._map.crop
        if found is None or found.cell == (1, 1):
            return ""
        noun = "weight" if self._what(inspection) == WEIGHTS else "error"
        return f"the largest {noun} of {fmt.shape(found.cell)} weights"

    def tell(self, inspection: Inspection, at: QPointF) -> str:
        """The weight under the cursor: what it was, what it became, and the difference in steps."""
        rows, cols = inspection.errors.shape
        spacing = row_spacing(inspection)
        row, col = row_at(at.y(), spacing, rows), row_at(at.x(), 1, cols)
        self._map.mark(col, row_centre(row, spacing))
        if self._told is None or self._told.start != row:
            self._told = rows_of(inspection, row, row + 1)
        where = f"row {row_number(row, spacing)}, column {col}:  "
        decoded = float(self._told.decoded[0, col])
        if self._told.weights is None:
            return f"{where}{number(decoded, 4)} decoded"
        weight = float(self._told.weights[0, col])
        error, step = decoded - weight, _step(inspection, row, col)
        steps = f", {number(abs(error) / step, 2)} steps" if step > 0 else ""
        sign = "+" if error > 0 else ""
        return f"{where}{number(weight, 4)} → {number(decoded, 4)}  (error {sign}{number(error, 3)}{steps})"


def _exact(rows: Rows, what: int) -> np.ndarray:
    if rows.weights is None:
        return rows.decoded
    if what == WEIGHTS:
        return rows.weights
    error: np.ndarray = rows.decoded - rows.weights
    return np.abs(error) if what == MAGNITUDE else error


def _step(inspection: Inspection, row: int, col: int) -> float:
    """The distance of levels in the parameter set of one weight; NaN where levels are uneven."""
    q = inspection.quantized
    layout = q.scheme.layout(q.shape)
    line, within = divmod(row * layout.cols + col, layout.line)
    run = line * layout.runs_per_line + within // layout.run
    steps = inspection.scales.values["step"].reshape(-1)
    return float(steps[run % layout.sets])
