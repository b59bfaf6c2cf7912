"""The weight matrix and what quantization does to every weight of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QSlider, QWidget

from qinspect import analysis
from qinspect import figures as fmt
from qinspect.analysis import Pooled, Pooling, Quantity
from qinspect.gui.axes import number
from qinspect.gui.colours import Kind, Look, Norm, Spread, limits
from qinspect.gui.comparing import Side
from qinspect.gui.controls import choice, toggle
from qinspect.gui.image import OVERVIEW, ImagePlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.matrix import POOLS, Matrix, minus
from qinspect.gui.plots import ZOOM_HINT, Plot
from qinspect.gui.pooling import Crop, Source
from qinspect.gui.views.plot_view import NO_REFERENCE, PlotView
from qinspect.session import Inspection
from qinspect.tables import Column, Table
from qinspect.versus import Versus

SIGNED, MAGNITUDE, SQUARED, RELATIVE, STEPS, ON_WEIGHTS, WEIGHTS, DECODED = range(8)
CHOICES = ("signed error", "|error|", "error²", "|error| / |weight|", "error in steps", "error on weights", "weights")

LOOKS = {
    SIGNED: Look("neutral", Kind.SIGNED),
    MAGNITUDE: Look("inferno", Kind.MAGNITUDE),
    SQUARED: Look("inferno", Kind.MAGNITUDE, norm=Norm.SQRT),
    RELATIVE: Look("inferno", Kind.MAGNITUDE, percent=99.0),
    STEPS: Look("inferno", Kind.MAGNITUDE),
    ON_WEIGHTS: Look("neutral", Kind.SIGNED),
    WEIGHTS: Look("neutral", Kind.SIGNED),
    DECODED: Look("neutral", Kind.SIGNED),
}
"""The colours of each quantity at first."""

SIGNS = (SIGNED, ON_WEIGHTS, WEIGHTS)
"""What has a sign is subtracted weight by weight, before it is pooled: A − B of what both decode to."""

DIFFERENCES = Look("neutral", Kind.SIGNED)
"""Colours of A − B, also where neither has a sign."""

POOLED_WORDS = {Pooling.LARGEST: "the largest", Pooling.RMS: "the root mean square", Pooling.MEAN: "the mean"}


class ErrorView(PlotView):
    """The error of every weight in one of several units, or the weights, as an image of the matrix."""

    name: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    order: ClassVar[int] = 40
    shows_plain: ClassVar[bool] = True

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
        self._matrices: list[Matrix] = []

    def controls(self) -> list[QWidget]:
        """What is shown, and what beside it."""
        return [self._choice, self._strips]

    def _on_choice(self, index: int) -> None:
        self._opacity.setVisible(index == ON_WEIGHTS)
        self.map.set_standard(LOOKS[index])
        self.redraw()

    # What is asked.

    def _what_of(self, inspection: Inspection | None) -> int:
        both = self.both()
        if both is not None and both.plain is not None and self.side != Side.A:
            if self.side == Side.SWIPE:
                return WEIGHTS if inspection is both.b else DECODED
            return WEIGHTS if self.side == Side.B else SIGNED
        known = inspection is None or inspection.weights is not None
        return self._choice.currentIndex() if known else WEIGHTS

    @property
    def _what(self) -> int:
        return self._what_of(self.inspection)

    def _asked(self, what: int) -> Pooled:
        """The pyramid that this choice is drawn from."""
        quantity = {RELATIVE: Quantity.RELATIVE, STEPS: Quantity.STEPS, WEIGHTS: Quantity.WEIGHT}
        quantity[DECODED] = Quantity.DECODED
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
        if self._strips_wanted:
            found.append(analysis.Marginals())
        return tuple(found)

    @property
    def _strips_wanted(self) -> bool:
        return self._strips.isChecked() and self.map.strips_fit

    def gap_questions(self) -> tuple[analysis.Question, ...]:
        """A − B, where it has a sign."""
        both = self.both()
        plain = both is not None and both.plain is not None
        if self._choice.currentIndex() not in SIGNS and self._truths_known() and not plain:
            return ()
        strips = (analysis.Marginals(),) if self._strips_wanted else ()
        return (Pooled(Quantity.ERROR, self.map.pooling), *strips)

    def _truths_known(self) -> bool:
        """Whether the errors of both sides are."""
        both = self.both()
        return both is None or not (both.a.weights is None or both.b.weights is None)

    # Drawing.

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The matrix, pooled to what a pixel covers."""
        self._choice.setEnabled(inspection.weights is not None)
        what = self._what
        self._hold(inspection, *(() if self.versus is None else (self.versus.b,)))
        self.map.quantity = "decoded weights" if what == DECODED or inspection.weights is None else CHOICES[what]
        under = self._source(WEIGHTS) if what == ON_WEIGHTS else None
        self.map.set_standard(LOOKS[what])
        self.map.show_under(under, self._weight_spread(), self._opacity.value() / 100)
        self.map.show_over(None)
        self._show(self._source(what), self._joint_overview(what), self._half_step(inspection, what), keep=keep)
        self._draw_strips()
        return self._sentence()

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """A on the left of the line and B on the right, or A − B."""
        self._choice.setEnabled(self._truths_known())
        if side == Side.SWIPE:
            said = self.draw(versus.a, keep)
            self.map.show_over(self._source(self._what_of(versus.b), 1))
            self.map.refresh()
            if versus.plain is not None:
                return f"A as it decodes left, B as it was right of the line. {said}"
            return f"A | B: {_both_errors(versus)}" if self._truths_known() else f"A left, B right of the line. {said}"
        what = self._what if self._truths_known() else WEIGHTS
        signed, gap = what in SIGNS, None if self.comparing is None else self.comparing.gap
        assert gap is not None or not signed
        self._hold(versus.a, versus.b, *([gap] if gap is not None and signed else []))
        self.map.quantity = "A − B, decoded" if signed else f"{CHOICES[what]}, A − B"
        self.map.set_standard(DIFFERENCES)
        self.map.show_under(None)
        self.map.show_over(None)
        overview = _overview(self._matrices[2], self._gap_asked, SIGNED) if signed else self._overview_gap(what)
        self._show(self._gap_source(what), overview, self._half_step(versus.a, SIGNED), keep=keep)
        self._draw_strips(gap if signed else None)
        return self._gap_sentence(what, overview)

    def _show(self, source: Source, values: np.ndarray, fallback: float, *, keep: bool) -> None:
        inspection, probe = self.inspection, self.probe
        assert inspection is not None and probe is not None
        inner = inspection.quantized.shape[1:]
        self.map.bottom.describe(f"column ({fmt.shape(inner)})" if len(inner) > 1 else "column", integer=True)
        shape = round(probe.rows * probe.spacing), probe.cols
        self.map.show_matrix(shape, source, values, keep=keep, fallback=fallback)

    def _hold(self, *inspections: Inspection) -> None:
        self._matrices = [self._matrix_of(each) for each in inspections]

    def _matrix_of(self, inspection: Inspection) -> Matrix:
        """The same as before, of the same inspection: it knows what has been decoded and asked for."""
        known = next((each for each in self._matrices if each.inspection is inspection), None)
        return known or Matrix(inspection, self.ask_at_rest)

    @property
    def _gap_asked(self) -> Pooled:
        return Pooled(Quantity.ERROR, self.map.pooling)

    def _joint_overview(self, what: int) -> np.ndarray:
        """Of both sides where B's is known, so that one colour means one value in both."""
        values, both = self._overview(what), self.both()
        if both is None:
            return values
        sides = [side for side in (both.a, both.b) if self._asked(self._what_of(side)) in side.answers]
        found = [_overview(self._matrix_of(side), self._asked(self._what_of(side)), what).ravel() for side in sides]
        return np.concatenate(found) if len(found) > 1 else values

    def _overview(self, what: int) -> np.ndarray:
        return _overview(self._matrices[0], self._asked(what), what)

    def _overview_gap(self, what: int) -> np.ndarray:
        """Of A − B as it is pooled in a picture of the whole: both are pooled alike, or as nearly as their rows are."""
        a, b = (_overview(matrix, self._asked(what), what) for matrix in self._matrices[:2])
        return a - b if a.shape == b.shape else np.concatenate([a.ravel(), -b.ravel()])

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

    def _draw_strips(self, of: Inspection | None = None) -> None:
        question = analysis.Marginals()
        probe = self.probe
        inspection = self.inspection if self.versus is None or self.side == Side.SWIPE else of
        if inspection is None or probe is None or not self._strips.isChecked() or question not in inspection.answers:
            self.map.show_strips(None, None)
            return
        found: analysis.MarginalSums = inspection.answers[question]
        of_weights = self._what == WEIGHTS and of is None
        cols, rows = (found.weight_cols, found.weight_rows) if of_weights else (found.cols, found.rows)
        self.map.show_strips(cols, rows, probe.spacing)

    def _source(self, what: int, number: int = 0) -> Source:
        def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
            found = self._matrices[number].crop(self._asked(what), view, per_pixel, self.map.pooling)
            values = _converted(found.values, what)
            return found if values is found.values else replace(found, values=values)

        return source

    def _gap_source(self, what: int) -> Source:
        """A − B: of the weights that both decode to, or of what the pixels of both show."""
        if what in SIGNS:
            return lambda view, per_pixel: self._matrices[2].crop(self._gap_asked, view, per_pixel, self.map.pooling)
        a, b = self._source(what), self._source(what, 1)
        return lambda view, per_pixel: minus(a(view, per_pixel), b(view, per_pixel))

    def learned(self) -> None:
        """Paint what is finer; the rest is as it was."""
        self.map.refresh()

    # Words.

    def _on_cropped(self) -> None:
        if self.inspection is not None:
            self._say_pooling()
            self.map.follow()

    def _say_pooling(self) -> None:
        pooled = self._pooled_words()
        self.hint = f"Each pixel: {pooled}." if pooled else ZOOM_HINT

    def _gap_sentence(self, what: int, values: np.ndarray) -> str:
        """How far A and B are apart, or where which of them is worse."""
        gap = None if self.comparing is None else self.comparing.gap
        self._say_pooling()
        if what in SIGNS:
            assert gap is not None
            if gap.metrics.exact:
                return "A and B decode to the same weights."
            return f"A − B: RMS {number(gap.metrics.rmse)}, largest {number(gap.metrics.max_error)}."
        low, high = limits(values)
        return f"A − B from {number(low)} to {number(high)}: above 0, A errs more."

    def _sentence(self) -> str:
        """The size of the error; what a pixel shows is the hint below the plot."""
        inspection = self.inspection
        assert inspection is not None
        self._say_pooling()
        if inspection.weights is None:
            return NO_REFERENCE
        both, m = self.both(), inspection.metrics
        if both is not None and both.plain is not None and self.side == Side.B:
            return "The weights as they were before they were packed."
        if m.exact:
            return "Every weight decodes exactly."
        steps = f" = {number(m.rmse_per_step, 2)} steps" if math.isfinite(m.rmse_per_step) else ""
        text = f"RMSE {number(m.rmse)}{steps}, largest error {'≥ ' * (inspection.part < 1)}{number(m.max_error)}"
        return f"{text}."

    def _pooled_words(self) -> str:
        found, pooling = self.map.crop, self.map.pooling
        if found is None or found.cell == (1, 1):
            return ""
        gap = self.versus is not None and self.side == Side.DIFFERENCE
        noun = "difference" if gap else "weight" if self._what == WEIGHTS else "error"
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
        if self.versus is not None:
            return where + self._tell_both(self.versus, probe.number(index), col)
        decoded = float(row.decoded[col])
        if row.weights is None:
            return f"{where}{number(decoded, 4)} decoded"
        weight = float(row.weights[col])
        error, step = decoded - weight, probe.step(index, col)
        steps = f", {number(abs(error) / step, 2)} steps" if step > 0 else ""
        sign = "+" if error > 0 else ""
        return f"{where}{number(weight, 4)} → {number(decoded, 4)}  (error {sign}{number(error, 3)}{steps})"

    def _tell_both(self, versus: Versus, row: int, col: int) -> str:
        """What a weight decodes to on both sides, and the difference."""
        values = []
        for side in (versus.a, versus.b):
            probe = self._matrix_of(side).probe
            held = probe.row(probe.index(row))
            original = held.weights if side is versus.b and versus.plain is not None else None
            values.append(float((held.decoded if original is None else original)[col]))
        difference = values[0] - values[1]
        sign = "+" if difference > 0 else ""
        return f"A {number(values[0], 4)}, B {number(values[1], 4)}  (A − B {sign}{number(difference, 3)})"

    def _tell_many(self, index: int, cols: tuple[int, int]) -> str:
        assert self.probe is not None
        row = self.probe.row(index)
        where = f"row {self.probe.number(index)}, columns {cols[0]} … {cols[1] - 1}"
        if row.weights is None:
            return where
        error = (row.decoded - row.weights)[slice(*cols)].astype(np.float64)
        rmse, most = float(np.sqrt(np.mean(error**2))), float(np.abs(error).max(initial=0))
        return f"{where}:  RMSE {number(rmse)}, largest error {number(most)}"


def _overview(matrix: Matrix, asked: Pooled, what: int) -> np.ndarray:
    """As pooled as in a picture of the whole, which pooling makes brighter than single weights are."""
    pyramid = matrix.pyramid(asked)
    return _converted(pyramid.levels[pyramid.level_for(max(pyramid.shape) / OVERVIEW)], what)


def _converted(values: np.ndarray, what: int) -> np.ndarray:
    """What is pooled, in the unit that is shown."""
    if what in (MAGNITUDE, STEPS):
        values = np.abs(values)
    elif what == SQUARED:
        values = np.square(values)
    return values


def _both_errors(versus: Versus) -> str:
    (rmse_a, most_a), (rmse_b, most_b) = ((s.metrics.rmse, s.metrics.max_error) for s in (versus.a, versus.b))
    return f"RMSE {number(rmse_a)} | {number(rmse_b)}, largest error {number(most_a)} | {number(most_b)}."
