"""The weight matrix and what quantization does to every weight of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QSlider, QWidget

from qinspect import analysis
from qinspect import figures as fmt
from qinspect.analysis import Pooled, Pooling, Pyramid, Quantity
from qinspect.gui.axes import number
from qinspect.gui.colours import Kind, Look, Norm, Spread, limits
from qinspect.gui.image import OVERVIEW, ImagePlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.plots import ZOOM_HINT, Plot
from qinspect.gui.pooling import Crop, Pool, Source, crop
from qinspect.gui.views.plot_view import NO_REFERENCE, PlotView, choice, toggle
from qinspect.session import Inspection
from qinspect.tables import Column, Table

EXACT_WEIGHTS = 1 << 20
"""So many weights are decoded for one picture on the GUI thread: about 5 ms. More, in a job."""

SIGNED, MAGNITUDE, SQUARED, RELATIVE, STEPS, ON_WEIGHTS, WEIGHTS = range(7)
CHOICES = ("signed error", "|error|", "error²", "|error| / |weight|", "error in steps", "error on weights", "weights")

LOOKS = {
    SIGNED: Look("neutral", Kind.SIGNED),
    MAGNITUDE: Look("inferno", Kind.MAGNITUDE),
    SQUARED: Look("inferno", Kind.MAGNITUDE, norm=Norm.SQRT),
    RELATIVE: Look("inferno", Kind.MAGNITUDE, percent=99.0),
    STEPS: Look("inferno", Kind.MAGNITUDE),
    ON_WEIGHTS: Look("neutral", Kind.SIGNED),
    WEIGHTS: Look("neutral", Kind.SIGNED),
}
"""The colours of each quantity at first."""

POOLS = {Pooling.LARGEST: Pool.LARGEST, Pooling.RMS: Pool.RMS, Pooling.MEAN: Pool.MEAN}
POOLED_WORDS = {Pooling.LARGEST: "the largest", Pooling.RMS: "the root mean square", Pooling.MEAN: "the mean"}


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a layer: what they decode to and, if it is known, what they were."""

    start: int
    stop: int
    decoded: np.ndarray
    weights: np.ndarray | None


class ErrorView(PlotView):
    """The error of every weight in one of several units, or the weights, as an image of the matrix."""

    name: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    order: ClassVar[int] = 40

    def __init__(self) -> None:
        self.map = ImagePlot("column", "row", LOOKS[SIGNED])
        self.map.poolings = tuple(POOLS)
        super().__init__(self.map)
        self._choice = choice("Quantity", "What the image shows", *CHOICES)
        self._strips = toggle(
            "Σ", "Row and column RMS", "Root mean square of every column and row, beside the image", on=True
        )
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(10, 100)
        self._opacity.setValue(70)
        self._opacity.setFixedWidth(60)
        self._opacity.setToolTip("How much the error covers the weights")
        self._opacity.setAccessibleName("Opacity of the error over the weights")
        self._opacity.hide()
        self.foot.addWidget(self._opacity)
        self._choice.currentIndexChanged.connect(self._on_choice)
        self._strips.toggled.connect(lambda _: self.redraw())
        self._opacity.valueChanged.connect(lambda _: self.redraw())
        self.map.repooled.connect(self.redraw)
        self.map.cropped.connect(self._on_cropped)
        self._exact: Rows | None = None
        self._fine: Pooled | None = None

    def controls(self) -> list[QWidget]:
        """What is shown, and what beside it."""
        return [self._choice, self._strips]

    def _on_choice(self, index: int) -> None:
        self._opacity.setVisible(index == ON_WEIGHTS)
        self.map.set_standard(LOOKS[index])
        self.redraw()

    # What is asked.

    def _what_of(self, inspection: Inspection | None) -> int:
        known = inspection is None or inspection.weights is not None
        return self._choice.currentIndex() if known else WEIGHTS

    @property
    def _what(self) -> int:
        return self._what_of(self.inspection)

    def _asked(self, what: int) -> Pooled:
        """The pyramid that this choice is drawn from."""
        quantity = {RELATIVE: Quantity.RELATIVE, STEPS: Quantity.STEPS, WEIGHTS: Quantity.WEIGHT}
        pooling = self.map.pooling
        if what == SQUARED and pooling == Pooling.MEAN:
            pooling = Pooling.RMS
        elif what in (MAGNITUDE, STEPS) and pooling == Pooling.MEAN:
            pooling = Pooling.MEAN_MAGNITUDE
        return Pooled(quantity.get(what, Quantity.ERROR), pooling)

    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """The pyramid, that of the weights below it, and the strips if there is room for them."""
        what = self._what_of(inspection)
        found: list[analysis.Question] = [self._asked(what)]
        if what == ON_WEIGHTS:
            found.append(self._asked(WEIGHTS))
        if self._strips.isChecked() and self.map.strips_fit:
            found.append(analysis.Marginals())
        return tuple(found)

    # Drawing.

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The matrix, pooled to what a pixel covers."""
        self._exact = None
        self._choice.setEnabled(inspection.weights is not None)
        what, probe = self._what, self.probe
        assert probe is not None
        self.map.set_standard(LOOKS[what])
        self.map.quantity = CHOICES[what] if inspection.weights is not None else "decoded weights"
        inner = inspection.quantized.shape[1:]
        self.map.bottom.describe(f"column ({fmt.shape(inner)})" if len(inner) > 1 else "column", integer=True)
        rows, cols = probe.rows, probe.cols
        under = self._source(WEIGHTS) if what == ON_WEIGHTS else None
        self.map.show_under(under, self._weight_spread(), self._opacity.value() / 100)
        values = self._overview(what)
        shape = round(rows * probe.spacing), cols
        fallback = self._half_step(inspection, what)
        self.map.show_matrix(shape, self._source(what), values, keep=keep, fallback=fallback)
        self._draw_strips()
        return self._sentence()

    def _overview(self, what: int) -> np.ndarray:
        """As pooled as in a picture of the whole, which pooling makes brighter than single weights are."""
        pyramid: Pyramid = self.answer(self._asked(what))
        return _converted(pyramid.levels[pyramid.level_for(max(pyramid.shape) / OVERVIEW)], what)

    def _weight_spread(self) -> Spread | None:
        if self._what != ON_WEIGHTS:
            return None
        low, high = LOOKS[WEIGHTS].range_of(self._overview(WEIGHTS))
        return Spread.over(low, high, Norm.LINEAR)

    def _half_step(self, inspection: Inspection, what: int) -> float:
        """The end of the colours where there is no error at all: what rounding may cost."""
        if what in (STEPS, RELATIVE):
            return 0.5
        step = limits(inspection.scales.values.get("step", np.zeros(1)))[1]
        half = step / 2 if step > 0 else 1.0
        return half * half if what == SQUARED else half

    def _draw_strips(self) -> None:
        question = analysis.Marginals()
        inspection, probe = self.inspection, self.probe
        if inspection is None or probe is None or not self._strips.isChecked() or question not in inspection.answers:
            self.map.show_strips(None, None)
            return
        found: analysis.MarginalSums = inspection.answers[question]
        of_weights = self._what == WEIGHTS
        cols, rows = (found.weight_cols, found.weight_rows) if of_weights else (found.cols, found.rows)
        self.map.show_strips(cols, rows, probe.spacing)

    def _source(self, what: int) -> Source:
        def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
            found = self._crop(what, view, per_pixel)
            values = _converted(found.values, what)
            return found if values is found.values else replace(found, values=values)

        return source

    def _crop(self, what: int, view: QRectF, per_pixel: tuple[float, float]) -> Crop:
        """From the coarsest level that is fine enough: of the pyramid, of what was asked for since, or decoded now."""
        inspection, probe = self.inspection, self.probe
        assert inspection is not None and probe is not None
        asked, spacing = self._asked(what), probe.spacing
        pyramid: Pyramid = self.answer(asked)
        pool = POOLS[self.map.pooling]
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
        assert self.probe is not None
        if self._exact is None or start < self._exact.start or stop > self._exact.stop:
            start, stop = start // 32 * 32, min(self.probe.rows, -(-stop // 32) * 32)
            self._exact = Rows(start, stop, *self.probe.block(start, stop))
        return self._exact

    def _exact_values(self, rows: Rows, asked: Pooled) -> np.ndarray:
        if rows.weights is None:
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
        assert self.inspection is not None and self.probe is not None
        layout, steps = self.probe.layout, self.inspection.scales.values.get("step")
        if steps is None:
            return np.full(1, np.nan, np.float32)
        flat = np.arange(start * layout.cols, stop * layout.cols).reshape(stop - start, layout.cols)
        line, within = np.divmod(flat, layout.line)
        found: np.ndarray = steps.reshape(-1)[(line * layout.runs_per_line + within // layout.run) % layout.sets]
        return found

    def _fine_level(self, asked: Pooled, view: QRectF, rows: tuple[int, int], per_pixel: float) -> Pyramid | None:
        """One level of what is in view and some around it, if it is known; else it is asked for, and comes later."""
        assert self.inspection is not None and self.probe is not None
        factor = 1 << int(math.log2(max(1.0, per_pixel / 2)))
        cols = max(0, math.floor(view.left())), min(self.probe.cols, math.ceil(view.right()) + 1)
        held = self._fine
        if held is not None and held.rows is not None and held.cols is not None and held.factor == factor:
            same = (held.quantity, held.pooling) == (asked.quantity, asked.pooling)
            inside = held.rows[0] <= rows[0] and rows[1] <= held.rows[1]
            if same and inside and held.cols[0] <= cols[0] and cols[1] <= held.cols[1]:
                found: Pyramid | None = self.inspection.answers.get(held)
                if found is None:
                    self.ask_at_rest(held)
                return found
        around = (_around(rows, factor, self.probe.rows), _around(cols, factor, self.probe.cols))
        self._fine = replace(asked, rows=around[0], cols=around[1], factor=factor)
        self.ask_at_rest(self._fine)
        return None

    def learned(self) -> None:
        """Paint what is finer; the rest is as it was."""
        self.map.refresh()

    # Words.

    def _on_cropped(self) -> None:
        if self.inspection is not None:
            self.summarise(self._sentence())
            self.map.follow()

    def _sentence(self) -> str:
        """The size of the error, and what a pixel shows; the latter is also the hint below the plot."""
        inspection, pooled = self.inspection, self._pooled_words()
        assert inspection is not None
        self.hint = f"Each pixel: {pooled}." if pooled else ZOOM_HINT
        if inspection.weights is None:
            return NO_REFERENCE
        m = inspection.metrics
        if m.exact:
            return "Every weight decodes exactly."
        steps = f" = {number(m.rmse_per_step, 2)} steps" if math.isfinite(m.rmse_per_step) else ""
        text = f"RMSE {number(m.rmse)}{steps}, largest error {'≥ ' * (inspection.part < 1)}{number(m.max_error)}"
        return f"{text}."

    def _pooled_words(self) -> str:
        found, pooling = self.map.crop, self.map.pooling
        if found is None or found.cell == (1, 1):
            return ""
        noun = "weight" if self._what == WEIGHTS else "error"
        if self._what == SQUARED and pooling != Pooling.LARGEST:
            return f"the mean squared error of {fmt.shape(found.cell)} weights"
        return f"{POOLED_WORDS[pooling]} {noun} of {fmt.shape(found.cell)} weights"

    def tables(self) -> tuple[Table, ...]:
        """The cells of the image in view, with the numbers of their first row and column."""
        found, probe = self.map.crop, self.probe
        if found is None or probe is None:
            return ()
        down, across = (found.rect.height() / found.values.shape[0], found.rect.width() / found.values.shape[1])
        left = [round(found.rect.left() + 0.5 + across * j) for j in range(found.values.shape[1])]
        top = [probe.number(probe.at(found.rect.top() + down * (i + 0.5))) for i in range(found.values.shape[0])]
        columns = (Column("row", "Row", "d"), *(Column(f"column {col}", f"Column {col}", ".4g") for col in left))
        rows = tuple((row, *values) for row, values in zip(top, found.values.tolist(), strict=True))
        pooled = self._pooled_words()
        return (Table(f"{self.map.quantity}{f': {pooled}' if pooled else ''}", columns, rows),)

    # Places.

    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """The weight there."""
        probe = self.probe
        assert probe is not None
        index, col = probe.at(at.y()), min(max(math.floor(at.x() + 0.5), 0), probe.cols - 1)
        return probe.spot(index, col)

    def mark(self, spot: Spot | None) -> None:
        """The weight, or the weights of the group."""
        cells = self._cells(spot)
        self.map.mark_cells(cells)
        if cells is None:
            self.map.mark()
        else:
            self.map.mark(None if spot is None or spot.cols is None else cells.center().x(), cells.center().y())

    def show_pin(self, spot: Spot | None) -> None:
        """A frame around the selected weight."""
        self.map.pin_cells(self._cells(spot))

    def _cells(self, spot: Spot | None) -> QRectF | None:
        if spot is None or spot.row is None or self.probe is None:
            return None
        index, (first, stop) = self.probe.index(spot.row), spot.cols or (0, self.probe.cols)
        spacing = self.probe.spacing
        return QRectF(first - 0.5, self.probe.centre(index) - spacing / 2, stop - first, spacing)

    def extent(self, plot: Plot) -> Extent | None:
        """Both axes."""
        (x0, x1), (y0, y1) = plot.box.viewRange()
        return Extent((y0, y1), (x0, x1))

    def zoom_to(self, extent: Extent) -> None:
        """Both axes."""
        self.map.look_at(extent.cols, extent.rows)

    def tell(self, spot: Spot) -> str:
        """The weight: what it was, what it became, and the difference in steps; of a group, its error."""
        probe = self.probe
        if spot.row is None or probe is None:
            return ""
        index = probe.index(spot.row)
        if spot.cols is None or spot.cols[1] - spot.cols[0] > 1:
            return self._tell_many(index, spot.cols or (0, probe.cols))
        col, row = spot.cols[0], probe.row(index)
        where = f"row {probe.number(index)}, column {col}:  "
        decoded = float(row.decoded[col])
        if row.weights is None:
            return f"{where}{number(decoded, 4)} decoded"
        weight = float(row.weights[col])
        error, step = decoded - weight, probe.step(index, col)
        steps = f", {number(abs(error) / step, 2)} steps" if step > 0 else ""
        sign = "+" if error > 0 else ""
        return f"{where}{number(weight, 4)} → {number(decoded, 4)}  (error {sign}{number(error, 3)}{steps})"

    def _tell_many(self, index: int, cols: tuple[int, int]) -> str:
        assert self.probe is not None
        row = self.probe.row(index)
        where = f"row {self.probe.number(index)}, columns {cols[0]} … {cols[1] - 1}"
        if row.weights is None:
            return where
        error = (row.decoded - row.weights)[slice(*cols)].astype(np.float64)
        rmse, most = float(np.sqrt(np.mean(error**2))), float(np.abs(error).max(initial=0))
        return f"{where}:  RMSE {number(rmse)}, largest error {number(most)}"


def _around(span: tuple[int, int], factor: int, size: int) -> tuple[int, int]:
    """Half as much again to either side, from a multiple of the factor on."""
    room = (span[1] - span[0]) // 2
    return max(0, span[0] - room) // factor * factor, min(size, span[1] + room)


def _converted(values: np.ndarray, what: int) -> np.ndarray:
    """What is pooled, in the unit that is shown."""
    if what in (MAGNITUDE, STEPS):
        values = np.abs(values)
    elif what == SQUARED:
        values = np.square(values)
    return values
