"""The parameters of every group and how well they serve: where scales are large, and which groups suffer."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QLabel, QWidget

from qinspect import analysis
from qinspect import figures as fmt
from qinspect.gui.axes import Axis, number, plain
from qinspect.gui.colours import limits
from qinspect.gui.comparing import Side
from qinspect.gui.controls import choice, toggle
from qinspect.gui.group_pairs import GroupPair, paired
from qinspect.gui.group_parameters import (
    DIFFERENCES,
    PARAMETERS,
    Parameter,
    both_text,
    capital,
    lacking,
    steps_instead,
    unit,
    value_text,
)
from qinspect.gui.image import OVERVIEW, ImagePlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.plots import ZOOM_HINT, Plot
from qinspect.gui.pooling import Pool, Source, crop, pooled
from qinspect.gui.strips import Strip
from qinspect.gui.views.plot_view import PlotView
from qinspect.session import Inspection
from qinspect.tables import Column, Table
from qinspect.versus import Versus

SHAPE_BINS = 64


class ScalesView(PlotView):
    """A heat map of one parameter, a curve where there is one set a row, numbers where there is one in all."""

    name: ClassVar[str] = "scales"
    title: ClassVar[str] = "Scales"
    order: ClassVar[int] = 30

    def __init__(self) -> None:
        self.map = ImagePlot("group along the row", "row", PARAMETERS[0].look)
        self.curve = Plot(Axis("bottom", "row", integer=True), Axis("left", "scale"), zooms=(True, False))
        self._shape = Strip(self.curve, "right")
        self.curve.plotItem.layout.addItem(self._shape, 2, 3)
        super().__init__(self.map, self.curve)
        self._line = pg.PlotDataItem(autoDownsample=True, downsampleMethod="peak", clipToView=True)
        self.curve.addItem(self._line)
        self._single = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self.add(self._single)
        self._which = choice("Parameter", "Which parameter is shown", *(each.title for each in PARAMETERS))
        self._sort = toggle("sort", "Sort rows", "Rows in the order of their mean, the largest first")
        self._which.currentIndexChanged.connect(lambda _: self.redraw())
        self._sort.toggled.connect(lambda _: self.redraw())
        self.map.cropped.connect(self._on_cropped)
        self._other = pg.PlotDataItem(autoDownsample=True, downsampleMethod="peak", clipToView=True)
        self._other.setZValue(-1)  # A lies over B
        self.curve.addItem(self._other)
        self._pair: GroupPair | None = None
        self._values = np.zeros((0, 0), np.float32)
        self._order: np.ndarray | None = None

    def controls(self) -> list[QWidget]:
        """The parameter and the order of rows."""
        return [self._which, self._sort]

    @property
    def _parameter(self) -> Parameter:
        """The one shown: what was chosen, where all that is drawn has it."""
        sides = () if self.versus is None else (self.versus.a, self.versus.b)
        found, both = self._parameter_of(self.inspection, *sides), self.both()
        if found.field == "scale" and both is not None and both.plain is None and steps_instead(both.a, both.b):
            return next(each for each in PARAMETERS if each.field == "step")
        return found

    def _parameter_of(self, *inspections: Inspection | None) -> Parameter:
        chosen = next(each for each in PARAMETERS if each.title == self._which.currentText())
        known = all(chosen.title not in lacking(each) for each in inspections if each is not None)
        return chosen if known else PARAMETERS[0]

    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """What the parameter comes from."""
        question = self._parameter_of(inspection).question
        return () if question is None else (question,)

    def versus_questions(self, versus: Versus) -> list[tuple[Inspection, analysis.Question]]:
        """The same of both sides, where both have it."""
        question = self._parameter_of(versus.a, versus.b).question
        return [] if question is None else [(versus.a, question), (versus.b, question)]

    # Drawing.

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Offer what this layer has before asking for it."""
        if inspection is not None:
            self._offer(inspection)
        super().show_inspection(inspection, message)

    def _offer(self, inspection: Inspection) -> None:
        missing = lacking(inspection)
        offered = [each.title for each in PARAMETERS if each.title not in missing]
        if offered != [self._which.itemText(at) for at in range(self._which.count())]:
            chosen = self._which.currentText()
            self._which.blockSignals(True)
            self._which.clear()
            self._which.addItems(offered)
            self._which.setCurrentIndex(max(0, self._which.findText(chosen)))
            self._which.blockSignals(False)

    def values_of(self, parameter: Parameter, of: Inspection | None = None) -> np.ndarray:
        """The parameter of every group, `[rows, groups]`."""
        inspection = of or self.inspection
        assert inspection is not None
        scales = inspection.scales
        if parameter.question is None:
            return scales.values[parameter.field]
        found: np.ndarray = getattr(inspection.answers[parameter.question], parameter.field)
        return found.reshape(scales.shape)

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """As a map, a curve or a number."""
        parameter, self._pair = self._parameter, None
        values = self._values = self.values_of(parameter)
        self._begin(values)
        self._draw(parameter, keep)
        return self._sentence(parameter)

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """Both sides on the finer of their grids, or A − B on it."""
        parameter = self._parameter
        a, b = (self.values_of(parameter, of) for of in (versus.a, versus.b))
        pair = self._pair = paired(versus, a, b)
        if pair is None:
            return f"{self.draw(versus.a, keep)} B has its parameters along another axis: only A is shown."
        self._begin(pair.a)
        with np.errstate(invalid="ignore"):
            self._values = pair.a - pair.b if side == Side.DIFFERENCE else pair.a
        self._draw(parameter, keep)
        if pair.a.size == 1:
            sides = [value_text(parameter, float(each.flat[0])) for each in (pair.a, pair.b)]
            return f"One {parameter.title} for the whole tensor: A {sides[0]}, B {sides[1]}."
        counted = _counted(pair.a.shape, self.probe.layer_rows if self.probe and pair.local else 1)
        return f"{self._of_both(parameter, pair)}; {counted}."

    def _of_both(self, parameter: Parameter, pair: GroupPair) -> str:
        """From where to where the difference goes, or either side."""
        title, end = self._titled(parameter), unit(parameter)

        def ends(values: np.ndarray) -> str:
            return " … ".join(map(number, limits(values))) + end

        if self.side == Side.DIFFERENCE:
            return f"{title}, A − B: {ends(pair.a - pair.b)}"
        return f"{title}: A {ends(pair.a)}, B {ends(pair.b)}"

    def _titled(self, parameter: Parameter) -> str:
        """The name of what is drawn, and why it is not what was chosen."""
        instead = parameter.field == "step" and self._which.currentText() == "scale"
        return capital(parameter.title) + " (scales differ in kind)" * instead

    def _begin(self, values: np.ndarray) -> None:
        """Rows in their order; the lines of B are for curves of both sides."""
        self._other.setData([], [])
        self.map.show_over(None)
        self._sort.setEnabled(values.shape[0] > 1)
        self._order = self._sorted(values) if self._sort.isChecked() and values.shape[0] > 1 else None

    def _draw(self, parameter: Parameter, keep: bool) -> None:
        if self._values.size == 1:
            self._draw_single()
        elif min(self._values.shape) == 1:
            self._draw_curve(parameter, keep)
        else:
            self._draw_map(parameter, keep)

    @staticmethod
    def _sorted(values: np.ndarray) -> np.ndarray:
        """Rows by their mean, the largest first."""
        finite = np.where(np.isfinite(values), values, np.float32(0))
        return np.argsort(-finite.mean(axis=1, dtype=np.float64), kind="stable")

    @property
    def _row_axis(self) -> str:
        return "row" if self._order is None else "row by rank"

    def _draw_map(self, parameter: Parameter, keep: bool) -> None:
        assert self.probe is not None
        self.choose(self.map)
        gap = self._subtracted
        self.map.set_standard(DIFFERENCES if gap else parameter.look)
        name = f"{parameter.title}, A − B" if gap else parameter.title
        self.map.quantity = f"{name}, {parameter.unit}" if parameter.unit else name
        self.map.left.describe(self._row_axis, integer=True)
        pool = Pool.LARGEST if gap else parameter.pool
        values, stretch = self._in_order(self._values), self.probe.spacing
        if self._pair is not None and not gap:
            self.map.show_over(_source(self._in_order(self._pair.b), stretch, pool))
        overviews = [_overview(each, pool) for each in (values, *self._beside(parameter))]
        overview = overviews[0] if len(overviews) == 1 else np.concatenate([each.ravel() for each in overviews])
        shape = round(values.shape[0] * stretch), values.shape[1]
        self.map.show_matrix(shape, _source(values, stretch, pool), overview, keep=keep)
        self._say_pooling()

    def _in_order(self, values: np.ndarray) -> np.ndarray:
        return values if self._order is None else values[self._order]

    @property
    def _subtracted(self) -> bool:
        """Whether A − B is drawn."""
        return self._pair is not None and self.side == Side.DIFFERENCE

    def _beside(self, parameter: Parameter) -> list[np.ndarray]:
        """What else the colours are to suit: the other side, so that one colour means one value on both."""
        both = self.both()
        if both is None or self._subtracted or any(parameter.title in lacking(each) for each in (both.a, both.b)):
            return []
        sides = [side for side in (both.a, both.b) if side is not self.inspection]
        known = [side for side in sides if parameter.question is None or parameter.question in side.answers]
        return [self.values_of(parameter, of=side) for side in known]

    def _say_pooling(self) -> None:
        found = self.map.crop
        if found is None or found.cell == (1, 1):
            self.hint = ZOOM_HINT
        else:
            pooled_as = "the largest difference" if self._subtracted else self._parameter.pooled
            self.hint = f"Each pixel: {pooled_as} of {fmt.shape(found.cell)} groups."

    def _on_cropped(self) -> None:
        self._say_pooling()
        self.map.follow()

    def _draw_curve(self, parameter: Parameter, keep: bool) -> None:
        assert self.inspection is not None and self.probe is not None
        self.choose(self.curve)
        by_row = self._values.shape[1] == 1
        self.hint = ZOOM_HINT
        self.curve.bottom.describe(self._row_axis if by_row else self.inspection.scales.across, plain, integer=True)
        name = f"{parameter.title}, A − B" if self._subtracted else parameter.title
        self.curve.left.describe(f"{name}, {parameter.unit}" if parameter.unit else name)
        values = self._in_order(self._values).reshape(-1)
        spacing = self.probe.spacing if by_row else 1.0
        dots = values.size <= 64
        theme = self.curve.theme
        self._line.setData(
            (np.arange(values.size) + 0.5) * spacing - 0.5, values.astype(np.float64), pen=pg.mkPen(theme.accent),
            symbol="o" if dots else None, symbolSize=5, symbolBrush=theme.accent, symbolPen=None, antialias=True,
        )  # fmt: skip
        low, high = limits(values)
        self.curve.legend = []
        if self._pair is not None and not self._subtracted:
            other = self._in_order(self._pair.b).reshape(-1)
            at = (np.arange(other.size) + 0.5) * spacing - 0.5
            self._other.setData(at, other.astype(np.float64), pen=pg.mkPen(theme.other), antialias=True)
            low, high = min(low, limits(other)[0]), max(high, limits(other)[1])
            self.curve.legend = [("A", theme.accent, "line"), ("B", theme.other, "line")]
        low = 0.0 if 0 < low < 0.5 * high else low
        room = 0.06 * (high - low) or max(abs(low) * 0.1, 1e-12)
        low, high = low - room * (low != 0), high + room
        content = QRectF(-0.5, low, values.size * spacing, 1)
        self.curve.set_content(content, least=(min(8.0, content.width()), 0), keep=keep)
        self.curve.set_heights(low, high)
        finite = values[np.isfinite(values)]
        counts = np.histogram(finite, SHAPE_BINS, (low, high))[0].astype(np.float32)
        self._shape.set(np.sqrt(counts), (high - low) / SHAPE_BINS, low)
        self._shape.set_shown(self.curve.width() > 230)

    def _draw_single(self) -> None:
        assert self.inspection is not None
        self.choose(self._single)
        self.hint = ""
        theme, shown = self.map.theme, self._parameter
        if self._pair is not None:
            self._single.setText(both_text(theme, shown, float(self._pair.a.flat[0]), float(self._pair.b.flat[0])))
            return
        known = [each for each in PARAMETERS if self._which.findText(each.title) >= 0]
        rest = " &nbsp;·&nbsp; ".join(
            f"{each.title} {value_text(each, float(self.values_of(each).flat[0]))}"
            for each in known
            if each != shown and (each.question is None or each.question in self.inspection.answers)
        )
        text = value_text(shown, float(self._values.flat[0]))
        self._single.setText(
            f"<p style='color:{theme.muted}; margin:0'>one {shown.title} for the whole tensor</p>"
            f"<p style='font-size:30px; color:{theme.text}; margin:6px'>{text}</p>"
            f"<p style='color:{theme.muted}; margin:0'>{rest}</p>"
        )

    # Words.

    def _sentence(self, parameter: Parameter) -> str:
        assert self.inspection is not None and self.probe is not None
        values = self._values
        if values.size == 1:
            return f"One {parameter.title} for the whole tensor: {value_text(parameter, float(values.flat[0]))}."
        finite = values[np.isfinite(values)]
        low, high = limits(values)
        middle = float(np.median(finite)) if finite.size else math.nan
        sets = _counted(values.shape, self.probe.layer_rows if self.inspection.scales.down else 1)
        numbers = f"{number(low)} … {number(high)}{unit(parameter)}"
        return f"{self._titled(parameter)} {numbers}, median {number(middle)}; {sets}."

    def tables(self) -> tuple[Table, ...]:
        """All that is known of the groups, in the order that is seen."""
        inspection, probe = self.inspection, self.probe
        if inspection is None or probe is None:
            return ()
        if self._pair is not None:
            return (self._pair_table(self._pair),)
        answers = inspection.answers
        offered = [each for each in PARAMETERS if self._which.findText(each.title) >= 0]
        known = [each for each in offered if each.question is None or each.question in answers]
        rows, groups = inspection.scales.shape
        order = np.arange(rows) if self._order is None else self._order
        place = Column("row", "Row", "d"), Column("group", "Group", "d")
        if not inspection.scales.down:
            place = Column("row", "Row", "d"), Column("channel", inspection.scales.across.split()[0].capitalize(), "d")
        columns = (*place, *(Column(each.field, each.title.capitalize(), ".6g") for each in known))
        numbers = [probe.number(int(row)) for row in order]
        cells = (self.values_of(each)[order].reshape(-1).tolist() for each in known)
        where = np.repeat(numbers, groups).tolist(), np.tile(np.arange(groups), rows).tolist()
        return (Table("Groups", columns, tuple(zip(*where, *cells, strict=True))),)

    def _pair_table(self, pair: GroupPair) -> Table:
        """Both sides of every cell, and A − B."""
        assert self.probe is not None
        rows, cells = pair.a.shape
        order = np.arange(rows) if self._order is None else self._order
        numbers = [self.probe.number(int(row)) if pair.local else int(row) for row in order]
        where = np.repeat(numbers, cells).tolist(), np.tile(np.arange(cells), rows).tolist()
        sides = [each[order].reshape(-1).tolist() for each in (pair.a, pair.b, pair.a - pair.b)]
        titles = (("a", "A"), ("b", "B"), ("difference", "A − B"))
        columns = Column("row", "Row", "d"), Column("group", "Group", "d")
        values = tuple(Column(name, title, ".6g") for name, title in titles)
        return Table(capital(self._parameter.title), (*columns, *values), tuple(zip(*where, *sides, strict=True)))

    # Places.

    @property
    def _run(self) -> int:
        """Columns of a cell as it is drawn."""
        assert self.probe is not None
        return self.probe.layout.run if self._pair is None else self._pair.run

    def _group(self, spot: Spot) -> tuple[int, int] | None:
        """Row and column in the map of the group that a place lies in."""
        probe, shape = self.probe, self._values.shape
        if probe is None or spot.row is None:
            return None
        index = probe.index(spot.row)
        if spot.cols is None:
            return (index, 0) if shape[1] == 1 else None
        if self._pair is not None and self._pair.local:
            return (index, min(spot.cols[0] // self._run, shape[1] - 1)) if shape[1] else None
        run = probe.run_of(index, spot.cols[0])[0]
        if spot.cols[1] > probe.run_of(index, spot.cols[0])[2]:
            return (index, 0) if shape[1] == 1 and shape[0] > 1 else None
        return divmod(run, shape[1]) if shape[1] else None

    def _drawn_row(self, row: int) -> int:
        return row if self._order is None else int(np.flatnonzero(self._order == row)[0])

    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """The group there."""
        probe, groups = self.probe, self._values.shape[1]
        assert probe is not None
        if plot is self.map:
            row, group = probe.at(at.y()), min(max(math.floor(at.x() + 0.5), 0), groups - 1)
        elif groups == 1:
            row, group = probe.at(at.x()), 0
        else:
            return self._channel(min(max(math.floor(at.x() + 0.5), 0), groups - 1))
        if self._order is not None:
            row = int(self._order[row])
        if self._pair is not None and self._pair.local:
            first = min(group * self._run, probe.cols - 1)
            return Spot(probe.number(row), (first, min(first + self._run, probe.cols)))
        runs = max(1, probe.layout.runs_per_row)
        first = min(group * probe.layout.run, probe.cols - 1) if runs > 1 else 0
        return Spot(probe.number(row), probe.run_of(row, first)[1:])

    def _channel(self, number: int) -> Spot | None:
        """The first weights of a channel of another axis."""
        assert self.probe is not None
        line = number * self.probe.layout.line
        row, col = divmod(line, max(1, self.probe.cols))
        return Spot(self.probe.number(row), self.probe.run_of(row, col)[1:])

    def mark(self, spot: Spot | None) -> None:
        """The group, or its place on the curve."""
        group = None if spot is None else self._group(spot)
        for plot in self.plots:
            plot.mark()
        self.map.mark_cells(self._cells(group))
        if group is None or self.probe is None:
            return
        row, col = self._drawn_row(group[0]), group[1]
        if self.plot_in_front is self.map:
            self.map.mark(col, self.probe.centre(row))
        elif self._values.shape[1] == 1:
            self.curve.mark(self.probe.centre(row))
        else:
            self.curve.mark(col)

    def show_pin(self, spot: Spot | None) -> None:
        """A frame around the selected group."""
        self.map.pin_cells(self._cells(None if spot is None else self._group(spot)))

    def _cells(self, group: tuple[int, int] | None) -> QRectF | None:
        if group is None or self.probe is None:
            return None
        spacing = self.probe.spacing
        centre = self.probe.centre(self._drawn_row(group[0]))
        return QRectF(group[1] - 0.5, centre - spacing / 2, 1, spacing)

    def extent(self, plot: Plot) -> Extent | None:
        """Groups stand for their columns."""
        assert self.probe is not None
        (x0, x1), (y0, y1) = plot.box.viewRange()
        run = self._run
        if plot is self.curve:
            return Extent((x0, x1)) if self._values.shape[1] == 1 and self._order is None else None
        cols = (x0 + 0.5) * run - 0.5, min((x1 + 0.5) * run, self.probe.cols) - 0.5
        return Extent((y0, y1) if self._order is None else None, cols)

    def zoom_to(self, extent: Extent) -> None:
        """The groups of the columns in view."""
        if self.probe is None:
            return
        run, rows = self._run, extent.rows if self._order is None else None
        if self.plot_in_front is self.map:
            cols = None if extent.cols is None else tuple((x + 0.5) / run - 0.5 for x in extent.cols)
            self.map.look_at(cols, rows)  # type: ignore[arg-type]
        elif self._values.shape[1] == 1:
            self.curve.look_at(rows)

    def tell(self, spot: Spot) -> str:
        """The group and its parameters."""
        group, probe, inspection = self._group(spot), self.probe, self.inspection
        if group is None or probe is None or inspection is None:
            return ""
        scales, pair, shown = inspection.scales, self._pair, self._parameter
        if pair is not None:
            where = f"row {probe.number(group[0])}, columns from {group[1] * pair.run}" if pair.local else f"{group[1]}"
            a, b = float(pair.a[group]), float(pair.b[group])
            return f"{where}:  A {value_text(shown, a)}, B {value_text(shown, b)}  (A − B {value_text(shown, a - b)})"
        if not scales.down:
            where = f"{scales.across.split()[0]} {group[1]}"
        else:
            where = f"row {probe.number(group[0])}" + f", group {group[1]}" * (self._values.shape[1] > 1)
        said = [f"{name} {number(float(array[group]), 4)}" for name, array in scales.values.items() if name != "range"]
        if self._parameter.question is not None or self._parameter.field == "range":
            said.insert(0, f"{self._parameter.title} {value_text(self._parameter, float(self._values[group]))}")
        return f"{where}:  {', '.join(said)}"


def _source(values: np.ndarray, stretch: float, pool: Pool) -> Source:
    return lambda view, per_pixel: crop(values, view, per_pixel, stretch=stretch, pool=pool)


def _overview(values: np.ndarray, pool: Pool) -> np.ndarray:
    """As pooled as in a picture of the whole, which pooling makes brighter than single groups are."""
    rows, cols = (-(-size // OVERVIEW) for size in values.shape)
    return pooled(values, rows, cols, pool)


def _counted(shape: tuple[int, ...], layer_rows: int) -> str:
    """How many groups there are, in rows of the whole layer."""
    rows, across = layer_rows if layer_rows > 1 else shape[0], shape[1]
    return f"{fmt.shape((rows, across))} groups" if min(rows, across) > 1 else f"{rows * across:,} sets"
