"""Where the weights lie and what they become: both distributions, and the levels between which they choose."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtWidgets import QWidget

from qinspect import analysis
from qinspect.analysis import CodeCounts, ErrorCounts, Histogram, ValuePatterns, WeightCounts, WeightPatterns
from qinspect.gui import bins
from qinspect.gui.axes import Axis, beside, number, short, signed_log
from qinspect.gui.bins import AXES, CODE, ERROR, STEPS, WEIGHT, Scope
from qinspect.gui.comparing import Side
from qinspect.gui.controls import choice, toggle
from qinspect.gui.counted_range import CountedRange
from qinspect.gui.linked import Spot
from qinspect.gui.plots import Plot, translucent
from qinspect.gui.probe import Probe
from qinspect.gui.views.plot_view import PlotView
from qinspect.session import Inspection
from qinspect.tables import Table
from qinspect.versus import Versus

BAR_PIXELS = 1.5
"""A bin in view is at least so wide."""

LEAST_BINS = 16
"""Zooming ends where so few bins of the finest histogram are in view."""

DEEPEST = 256
"""A finer histogram of what is in view is asked for, until one of its bins is so many times finer than at first."""

EMPTY = 0.6
"""Where a count of zero lies on a logarithmic axis."""

LAYER, ROW, GROUP = range(3)
SCOPES = ("layer", "row", "group")
BINS = ("auto", "32", "64", "128", "256", "512")


class HistogramView(PlotView):
    """Counts of original weights (filled), of decoded ones and of errors (lines) over the same bins."""

    name: ClassVar[str] = "histogram"
    title: ClassVar[str] = "Histogram"
    order: ClassVar[int] = 10
    shows_plain: ClassVar[bool] = True

    def __init__(self) -> None:
        plot = Plot(Axis("bottom"), Axis("left", "count", short), zooms=(True, False))
        super().__init__(plot)
        self.plot = plot
        self._levels = pg.PlotCurveItem(connect="pairs")
        self._curves = {
            "original": pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0),
            "error": pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0),
            "decoded": pg.PlotCurveItem([0, 1], [0], stepMode="center"),
            "b": pg.PlotCurveItem([0, 1], [0], stepMode="center"),
        }
        for item in (self._levels, *self._curves.values()):
            plot.addItem(item)
        self._axis = choice("Axis", "Weights, their places between the levels of their group, or errors", *AXES)
        self._scope = choice("Scope", "Of the whole layer, or of the selected row or group", *SCOPES)
        self._log = toggle("log", "Logarithmic count", "Logarithmic count", on=True)
        self._range = toggle("range", "Count a range", "Drag two ends, and read how many weights lie between them")
        self._bins = choice("Bins", "How many bins are in view", *BINS)
        self._axis.currentIndexChanged.connect(lambda _: self.redraw(keep=False))
        self._scope.currentIndexChanged.connect(lambda _: self.redraw(keep=False))
        for box in (self._log.toggled, self._range.toggled, self._bins.currentIndexChanged):
            box.connect(lambda _: self.redraw())
        self._region = CountedRange()
        plot.addItem(self._region, ignoreBounds=True)
        self._region.sigRegionChanged.connect(self._on_region)
        self._whole: Histogram | None = None
        self._shown: Histogram | None = None
        self._fine: analysis.Question | None = None
        self._drawn_as: tuple[object, ...] = ()
        self._at = Scope()
        plot.ranged.connect(self._on_ranged)

    def controls(self) -> list[QWidget]:
        """The axis, of what, linear or logarithmic; a range and the number of bins."""
        return [self._axis, self._scope, self._log, self._range, self._bins]

    # What is asked.

    def _axis_of(self, inspection: Inspection | None) -> int:
        """What was chosen; of codes alone there are no errors."""
        axis = self._axis.currentIndex()
        if self._plain and axis in (ERROR, STEPS):
            return WEIGHT
        known = inspection is None or inspection.weights is not None
        return axis if known or axis in (WEIGHT, CODE) else WEIGHT

    @property
    def _plain(self) -> bool:
        """Whether weights are shown that are under no scheme."""
        both = self.both()
        return both is not None and both.plain is not None and self.side == Side.B

    @property
    def _unit(self) -> int:
        return self._axis_of(self.inspection)

    def _question(self, axis: int, **limited: object) -> WeightCounts | CodeCounts | ErrorCounts:
        if axis in (ERROR, STEPS):
            return ErrorCounts(steps=axis == STEPS, **limited)  # type: ignore[arg-type]
        return (CodeCounts if axis == CODE else WeightCounts)(**limited)  # type: ignore[arg-type]

    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """Of the whole layer; rows are counted when they are drawn."""
        return (self._question(self._axis_of(inspection)),) if self._scope.currentIndex() == LAYER else ()

    def _scope_now(self) -> Scope:
        """The whole layer, or the row and group that are selected (the first, where none is)."""
        inspection, probe, kind = self.inspection, self.probe, self._scope.currentIndex()
        assert inspection is not None and probe is not None
        if kind == LAYER:
            return Scope(levels=0 if probe.layout.sets == 1 else None)
        pin = self.linked.pin or Spot(0, (0, 1))
        index = probe.index(pin.row or 0)
        first = pin.cols[0] if pin.cols else 0
        number, start, stop = probe.run_of(index, min(first, probe.cols - 1))
        title = f"row {probe.number(index)}"
        if kind == ROW:
            alone = stop - start >= probe.cols
            return Scope((index, index + 1), None, number if alone else None, title)
        start, stop = max(0, start), min(stop, probe.cols)
        return Scope((index, index + 1), (start, stop), number, f"{title}, columns {start} … {stop - 1}")

    def _counted(self) -> Histogram:
        scope, inspection = self._at, self.inspection
        assert inspection is not None
        if scope.rows is None:
            found: Histogram = self.answer(self._question(self._unit))
            return found
        question = self._question(self._unit, limits=self._limits_of(scope), rows=scope.rows, cols=scope.cols)
        row: Histogram = analysis.answer(inspection.subject, [question])[question]
        return row

    def _limits_of(self, scope: Scope) -> tuple[float, float] | None:
        """The axis of a row or group: what it holds. Codes and steps have the axis of the layer."""
        assert self.probe is not None and scope.rows is not None
        row, cols = self.probe.row(scope.rows[0]), slice(*scope.cols) if scope.cols else slice(None)
        decoded = row.decoded[cols]
        weights = decoded if row.weights is None else row.weights[cols]
        if self._unit == ERROR and row.weights is not None:
            most = float(np.abs(decoded - weights).max()) or 1e-12
            return -most * 1.001, most * 1.001
        if self._unit in (CODE, STEPS):
            return None
        low, high = float(min(decoded.min(), weights.min())), float(max(decoded.max(), weights.max()))
        spare = (high - low) / 100
        return low - spare, high + spare

    # Drawing.

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The curves, the levels, and what lies beyond the axis."""
        self._at = self._scope_now()
        counted = self._counted()
        self._draw_whole(inspection, bins.only_original(counted) if self._plain else counted, keep)
        assert self._whole is not None
        return self._sentence(inspection, self._whole)

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """What both decode to over the same bins, or the counts of A less those of B."""
        if versus.plain is not None and (side == Side.SWIPE or self._unit in (ERROR, STEPS)):
            self.versus = None  # beside what is decoded, the original is drawn anyway
            return self.draw(versus.a, keep)
        self._at = self._scope_now()
        a, b = self._counted_both(versus)
        if versus.plain is not None:
            b = bins.as_decoded(b)
        self._draw_whole(versus.a, bins.joined(a, b, subtract=side == Side.DIFFERENCE), keep)
        return bins.apart(a, b)

    def versus_questions(self, versus: Versus) -> list[tuple[Inspection, analysis.Question]]:
        """Of both sides over the same axis; rows are counted when they are drawn."""
        if self._scope.currentIndex() != LAYER:
            return []
        question = self._joint(versus)
        return [(versus.a, question), (versus.b, question)]

    def _joint(self, versus: Versus, **part: object) -> WeightCounts | CodeCounts | ErrorCounts:
        """The question of both sides."""
        axis = self._axis_of(versus.a) if versus.b.weights is not None else self._axis_of(versus.b)
        return self._question(axis, limits=bins.joint_limits(versus, axis), **part)

    def _counted_both(self, versus: Versus) -> tuple[Histogram, Histogram]:
        rows, cols = self._at.rows, self._at.cols
        if rows is None:
            question = self._joint(versus)
            return versus.a.answers[question], versus.b.answers[question]
        assert self.probe is not None
        number = Probe(versus.b).index(self.probe.number(rows[0]))
        found = []
        for side, row in ((versus.a, rows[0]), (versus.b, number)):
            question = self._joint(versus, rows=(row, row + 1), cols=cols)
            found.append(analysis.answer(side.subject, [question])[question])
        return found[0], found[1]

    def _draw_whole(self, inspection: Inspection, shown: Histogram, keep: bool) -> None:
        axis = self._unit
        self._whole = shown
        low, high = bins.range_of(shown)
        self.plot.bottom.describe(AXES[axis])
        name = "count, A − B" if self._subtracted else "count"
        self.plot.left.describe(
            name, short, integer=True, decades=self._logarithmic, signed=self._logarithmic and self._subtracted
        )
        content = QRectF(low, 0, high - low, 1)
        drawn_as = (axis, self._at.rows, self._at.cols, inspection.scheme.code_range if axis == CODE else None)
        keep = keep and drawn_as == self._drawn_as
        self._drawn_as = drawn_as
        least = content.width() * LEAST_BINS / analysis.BINS / DEEPEST
        self.plot.set_content(content, home=self._occupied(shown, content), least=(least, 0), keep=keep)
        self._region.setVisible(self._range.isChecked())
        if self._range.isChecked() and not keep:
            self._region.place(*self.plot.box.viewRange()[0])
        self._draw_range()

    def _on_ranged(self) -> None:
        if self.inspection is not None and self._whole is not None:
            self._ask_finer()
            self._draw_range()
            self.plot.follow()

    def _ask_finer(self) -> None:
        """Of a layer more can be known of what is in view than the bins of the whole say."""
        whole, (low, high) = self._whole, self.plot.box.viewRange()[0]
        assert whole is not None
        all_bins = (high - low) / (whole.edges[-1] - whole.edges[0]) * analysis.BINS
        if self._at.rows is not None or self.versus is not None or all_bins >= self.plot.area.width() / 2:
            return
        if self._finer() is not None:
            return
        if self._patterns is None and self._resolved and self.inspection is not None and self.inspection.part == 1:
            self.ask([WeightPatterns()])  # of a sample that is soon replaced it would not pay
            return
        room = (high - low) / 2
        self._fine = self._question(self._unit, limits=(low - room, high + room))
        self.ask_at_rest(self._fine)

    @property
    def _patterns(self) -> ValuePatterns | None:
        """What is known of the layer in half-precision steps: any zoom follows from it without another pass."""
        return None if self.inspection is None else self.inspection.answers.get(WeightPatterns())

    @property
    def _resolved(self) -> bool:
        """Whether these steps are fine enough for what is in view."""
        low, high = self.plot.box.viewRange()[0]
        bins_in_view = int(self.plot.area.width() / BAR_PIXELS)
        return self._unit in (WEIGHT, ERROR) and WeightPatterns.resolve(low, high, bins_in_view)

    def learned(self) -> None:
        """Finer bins."""
        if self.inspection is not None and self._whole is not None:
            self._on_ranged()

    def _finer(self) -> Histogram | None:
        """A finer histogram that covers what is in view, if there is one."""
        if self.inspection is None or self._at.rows is not None or self.versus is not None:
            return None
        low, high = self.plot.box.viewRange()[0]
        found: Histogram | None = None
        if self._patterns is not None and self._resolved and self._whole is not None:
            room = (high - low) / 2
            found = self._patterns.histogram(low - room, high + room, self._whole.counts)
        elif self._fine is not None and type(self._fine) is type(self._question(self._unit)):
            found = self.inspection.answers.get(self._fine)
        if found is None or self._whole is None:
            return None
        covers = found.edges[0] <= low and high <= found.edges[-1]
        worth = found.edges[1] - found.edges[0] < 0.5 * (self._whole.edges[1] - self._whole.edges[0])
        wide = high - low < 0.05 * (found.edges[-1] - found.edges[0])
        return found if covers and worth and not wide else None

    def _draw_range(self) -> None:
        """All that depends on the range in view: the width of bins, the height of the axis, levels."""
        assert self._whole is not None
        shown = self._shown = self._rebinned(self._finer() or self._whole)
        floor, top = self._heights(shown)
        self.plot.set_heights(floor, top)
        self._draw_curves(shown, floor)
        self._draw_levels(floor, top)

    def _rebinned(self, full: Histogram) -> Histogram:
        """Neighbouring bins together, so that no bar in view is narrower than it can be seen."""
        chosen = self._bins.currentText()
        most = max(32.0, self.plot.area.width() / BAR_PIXELS) if chosen == "auto" else float(chosen)
        low, high = self.plot.box.viewRange()[0]
        return bins.rebinned(full, low, high, most)

    def _height(self, counts: np.ndarray) -> np.ndarray:
        heights: np.ndarray = counts.astype(np.float64)
        if self._subtracted:
            return signed_log(counts) if self._logarithmic else heights
        return np.log10(np.maximum(heights, EMPTY)) if self._logarithmic else heights

    @property
    def _logarithmic(self) -> bool:
        """Differences have signs: theirs is the logarithm of their size, up or down."""
        return self._log.isChecked()

    @property
    def _subtracted(self) -> bool:
        """Whether A − B is drawn."""
        return self.versus is not None and self.side == Side.DIFFERENCE

    def _heights(self, shown: Histogram) -> tuple[float, float]:
        """Floor and top of the axis: where no weight, and where the fullest bin lies."""
        if self._subtracted:
            heights = self._height(np.concatenate(list(shown.counts.values())))
            low, high = min(0.0, float(heights.min())), max(1.0, float(heights.max()))
            return low - 0.04 * (high - low), high + 0.04 * (high - low)
        fullest = max(1, *(int(counts.max()) for name, counts in shown.counts.items() if self._is_main(name)))
        floor, top = self._height(np.array([0, fullest]))
        return float(floor), float(top + 0.04 * (top - floor))

    def _is_main(self, name: str) -> bool:
        """Whether the axis is for these counts: errors beside weights may stand out above it."""
        return name != "error" or self._logarithmic or self._unit in (ERROR, STEPS)

    def _draw_curves(self, shown: Histogram, floor: float) -> None:
        main = next(iter(shown.counts))
        for name, curve in self._curves.items():
            curve.setVisible(name in shown.counts)
            if name in shown.counts:
                colour = self._colour(name)
                filled = name == main and (name != "decoded" or self._subtracted)
                foot = 0.0 if self._subtracted else floor
                curve.setData(
                    shown.edges, self._height(shown.counts[name]), pen=pg.mkPen(colour),
                    fillLevel=foot if filled else None, brush=translucent(colour) if filled else None,
                )  # fmt: skip

    def _colour(self, name: str) -> str:
        theme = self.plot.theme
        return {"original": theme.weights, "decoded": theme.decoded, "error": theme.error, "b": theme.other}[name]

    def _occupied(self, shown: Histogram, content: QRectF) -> QRectF:
        """The part of the axis where anything lies: few codes may be used, few errors be large, few differ far out."""
        used = np.flatnonzero(sum(shown.counts.values()))
        if self._subtracted:
            used = bins.bulk(next(iter(shown.counts.values())))
        home = QRectF(content)
        size = shown.edges.size - 1
        if used.size and (self._subtracted or self._unit != WEIGHT):
            room = size // 80
            home.setLeft(shown.edges[max(0, used[0] - room)])
            home.setRight(shown.edges[min(size, used[-1] + 1 + room)])
        return home

    # Levels.

    def _draw_levels(self, floor: float, top: float) -> None:
        """Upright lines at the levels in view, or words that say why there are none."""
        positions, words = self._level_positions()
        self.hint = f"{self._beyond()} {words}".strip() if self._subtracted else words + self._beyond()
        if self._range.isChecked():
            self.hint = self._range_words()
        theme = self.plot.theme
        self._levels.setData(np.repeat(positions, 2), np.tile([floor, top], positions.size))
        self._levels.setPen(pg.mkPen(translucent(theme.level, 110)))
        assert self._shown is not None
        names = self._names()
        self.plot.legend = [
            (names[name], self._colour(name), "box" if name == "original" or len(self._shown.counts) == 1 else "line")
            for name in self._shown.counts
        ]
        if positions.size:
            self.plot.legend.append(("level", theme.level, "mark"))

    def _names(self) -> dict[str, str]:
        """What the curves are called: with B beside it, what is decoded is A's."""
        usual = {"original": "original", "decoded": "decoded", "error": "error"}
        if self._subtracted:
            return usual | {"decoded": "decoded, A − B", "error": "error, A − B"}
        return usual if self.versus is None else usual | {"decoded": "A", "error": "A", "b": "B"}

    def _level_positions(self) -> tuple[np.ndarray, str]:
        inspection, none, axis = self.inspection, np.empty(0), self._unit
        assert inspection is not None
        q, counts = inspection.quantized, inspection.usage.counts
        if self.versus is not None and self.versus.a.scheme != self.versus.b.scheme:
            return none, "Levels are drawn of one side alone: choose A or B."
        if axis in (ERROR, STEPS):
            return none, "Plain rounding leaves errors of up to half a step." if axis == STEPS else ""
        if axis == CODE:
            levels: np.ndarray = bins.codes_of(inspection)
        elif self._at.levels is not None:
            levels = np.sort(q.scheme.level_values(q, self._at.levels))
        else:
            return none, "Levels differ by group: see “code units”, or one group."
        low, high = self.plot.box.viewRange()[0]
        low, high, width = low - 1e-6 * (high - low), high + 1e-6 * (high - low), self.plot.area.width()
        inside = (levels >= low) & (levels <= high)
        used = inside & (counts > 0) if self._at.rows is None else inside
        if bins.can_be_told_apart(levels[inside], low, high, width):
            said = f", in use: {np.count_nonzero(used)}" if self._at.rows is None else ""
            return levels[inside], f"Levels in view: {np.count_nonzero(inside)}{said}."
        if bins.can_be_told_apart(levels[used], low, high, width):
            return levels[used], f"Drawn are only the levels in use: {np.count_nonzero(used)}."
        return none, f"{np.count_nonzero(inside):,} levels in view: zoom in to see them."

    # The range.

    def _on_region(self) -> None:
        if self._whole is not None:
            self.hint = self._range_words()
            self.readout.setText(self.hint)

    def _range_words(self) -> str:
        whole = self._finer() or self._whole
        assert whole is not None
        self._region.set_theme(self.plot.theme)
        return self._region.words(whole)

    # Words.

    def _sentence(self, inspection: Inspection, shown: Histogram) -> str:
        main = next(iter(shown.counts))
        what = {"original": "Mean", "decoded": "Decoded mean", "error": "Mean error"}[main]
        unit = {CODE: " codes", STEPS: " steps"}.get(self._unit, "")
        parts = [f"{what} {beside(shown.mean, shown.std)} ± {number(shown.std)}{unit}"]
        if self._at.title:
            parts.insert(0, self._at.title.capitalize())
        clipped = inspection.metrics.clipped
        if self._at.rows is None and self._unit == CODE and clipped > 0:
            parts.append(f"{number(100 * clipped, 2)} % beyond the end levels")
        if inspection.weights is None:
            parts.append("this file holds codes only: attach the original to compare")
        return "; ".join(parts) + "."

    def _beyond(self) -> str:
        """How many values the axis leaves out: they are never piled up at its ends."""
        assert self._whole is not None
        in_view = self.plot.box.viewRange()[0] if self._subtracted and self.plot.fitted else None
        return bins.beyond(self._whole, in_view)

    def tables(self) -> tuple[Table, ...]:
        """The bins in view, as they are drawn."""
        shown = self._shown
        if shown is None or self.inspection is None:
            return ()
        low, high = self.plot.box.viewRange()[0]
        return (bins.table(shown, low, high, self._names(), AXES[self._unit]),)

    # Places.

    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """A value alone: there is no telling which of the weights has it."""
        axis = self._unit
        if self._shown is not None and "error" in self._shown.counts and len(self._shown.counts) == 1:
            return Spot(steps=at.x()) if axis == STEPS else Spot(error=at.x())
        if axis == CODE and self.inspection is not None:
            first, last = self.inspection.scheme.code_range
            return Spot(code=min(max(round(at.x()), first), last), units=at.x())
        return Spot(value=at.x())

    def _place(self, spot: Spot | None) -> float | None:
        """Where a place lies on the axis."""
        if spot is None:
            return None
        axis = self._unit
        if axis == CODE:
            return spot.units if spot.units is not None else spot.code
        return spot.value if axis == WEIGHT else spot.error if axis == ERROR else spot.steps

    def mark(self, spot: Spot | None) -> None:
        """The middle of the bin, or the value itself where it is known."""
        self.plot.mark(self._place(spot))

    def show_pin(self, spot: Spot | None) -> None:
        """Another row or group is to be counted."""
        if self._scope.currentIndex() != LAYER and self._scope_now() != self._at:
            self.redraw(keep=False)

    def tell(self, spot: Spot) -> str:
        """The bin that the value lies in, and its counts."""
        shown, x = self._shown, self._place(spot)
        if shown is None or x is None or not shown.edges[0] <= x <= shown.edges[-1]:
            return ""
        size = shown.edges.size - 1
        index = min(max(int((x - shown.edges[0]) / (shown.edges[1] - shown.edges[0])), 0), size - 1)
        low, high = shown.edges[index : index + 2]
        text = f"{beside(low, high - low, 2)} … {beside(high, high - low, 2)}:  "
        names = self._names()
        return text + ", ".join(f"{counts[index]:,} {names[name]}" for name, counts in shown.counts.items())
