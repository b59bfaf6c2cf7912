"""How often each code is used, and which never are: in the whole layer, in every row, in every group."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QWidget

from qinspect import analysis
from qinspect.analysis import CodeUsage, RowCodes
from qinspect.gui.axes import Axis, number, plain, short
from qinspect.gui.code_pieces import IN_ORDER, ORDERS, Bars, Pieces, bars, code_text, share, source_of, steps
from qinspect.gui.colours import Kind, Look, limits
from qinspect.gui.comparing import Side
from qinspect.gui.controls import choice, toggle
from qinspect.gui.image import OVERVIEW, ImagePlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.plots import ZOOM_HINT, Plot, translucent
from qinspect.gui.pooling import Source, pooled
from qinspect.gui.probe import Probe
from qinspect.gui.views.plot_view import PlotView
from qinspect.session import Inspection
from qinspect.tables import Column, Table
from qinspect.versus import Versus

STRIP = 10
"""Height in pixels of the strip below zero where unused codes are marked."""

LEAST_HEIGHT = 2
"""Height in pixels of the bar of a code that occurs at all."""


SHARES, DIFFERENCES = Look("viridis", Kind.MAGNITUDE), Look("neutral", Kind.SIGNED)
"""Colours of a map, and of A − B."""

LAYER, ROWS, GROUPS = range(3)
SCOPES = ("layer", "rows", "groups")


class OccupancyView(PlotView):
    """A bar for every code that occurs, a mark for each that does not; or a map of the rows' or groups' codes."""

    name: ClassVar[str] = "occupancy"
    title: ClassVar[str] = "Occupancy"
    order: ClassVar[int] = 20

    def __init__(self) -> None:
        self.plot = Plot(Axis("bottom", "code", integer=True), Axis("left", "share, %"), zooms=(True, False))
        self.map = ImagePlot("code", "row", SHARES)
        super().__init__(self.plot, self.map)
        self._used = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._unused = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._equal = pg.InfiniteLine(angle=0)
        self._other = pg.PlotCurveItem([0, 1], [0], stepMode="center")
        for item in (self._used, self._unused, self._equal, self._other):
            self.plot.addItem(item)
        self._scope = choice("Scope", "Codes of the layer as bars, of every row or group as a map", *SCOPES)
        self._order = choice("Order", "The order of rows or groups in the map", *ORDERS)
        self._log = toggle("log", "Logarithmic share", "Logarithmic share")
        self._order.setEnabled(False)
        self._scope.currentIndexChanged.connect(self._on_scope)
        self._order.currentIndexChanged.connect(lambda _: self.redraw(keep=False))
        self._log.toggled.connect(lambda _: self.redraw())
        self._bars: Bars | None = None
        self._gap = False
        self._codes = 0, 0
        self._pieces: Pieces | None = None
        self.plot.ranged.connect(self._on_ranged)
        self.map.cropped.connect(self._on_cropped)

    def controls(self) -> list[QWidget]:
        """Of what, in which order, linear or logarithmic."""
        return [self._scope, self._order, self._log]

    def _on_scope(self, scope: int) -> None:
        self._order.setEnabled(scope != LAYER)
        self._log.setEnabled(scope == LAYER)
        self.redraw(keep=False)

    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """Bars need no more than is known; maps do."""
        scope = self._scope.currentIndex()
        return () if scope == LAYER else (RowCodes(groups=scope == GROUPS),)

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The bars, or the map."""
        self._gap = False
        self.map.show_over(None)
        if self._scope.currentIndex() == LAYER:
            self.choose(self.plot)
            return self._draw_layer(inspection, keep)
        self.choose(self.map)
        return self._draw_map(keep)

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """Bars of A with those of B over them, or A − B; maps beside each other, or subtracted."""
        same = versus.a.scheme.code_range == versus.b.scheme.code_range
        if self._scope.currentIndex() != LAYER:
            return self._draw_maps(versus, side, keep)
        self.choose(self.plot)
        self._gap = same and side == Side.DIFFERENCE
        self._draw_layer(versus.a, keep)
        others = versus.b.usage
        if side == Side.SWIPE or not same:
            end = "" if same or side == Side.SWIPE else "; shares of other codes are not subtracted"
            return f"A uses {_used(versus.a.usage)}, B {_used(others)}{end}."
        shares = [usage.counts / max(1, int(usage.counts.sum())) for usage in (versus.a.usage, others)]
        low, high = limits(100 * (shares[0] - shares[1]))
        return f"A − B: {number(low, 2)} … {number(high, 2)} percentage points of the weights a code."

    # Bars.

    def _draw_layer(self, inspection: Inspection, keep: bool) -> str:
        """The bars, and the share that each code would have if all were used alike."""
        counts = inspection.usage.counts
        first = inspection.usage.first
        last = first + counts.size
        if self.versus is not None:
            other = self.versus.b.usage
            first, last = min(first, other.first), max(last, other.first + other.counts.size)
        size = last - first
        content = QRectF(first - 0.5 - 0.01 * size, 0, size * 1.02, 1)
        self._log.setEnabled(not self._gap)
        name = "share, A − B, %" if self._gap else "share, %"
        self.plot.left.describe(name, short if self._logarithmic else plain, decades=self._logarithmic)
        keep = keep and self._codes == (first, size)
        self._codes = first, size
        self.plot.set_content(content, least=(min(8, size), 0), keep=keep)
        self._draw_bars(inspection)
        return inspection.usage.sentence + "."

    def _on_ranged(self) -> None:
        if self.inspection is not None and self.plot_in_front is self.plot:
            self._draw_bars(self.inspection)
            self.plot.follow()

    def _draw_bars(self, inspection: Inspection) -> None:
        usage, theme = inspection.usage, self.plot.theme
        low, high = self.plot.box.viewRange()[0]
        room = int(self.plot.area.width())
        found = self._bars = bars(usage.counts, usage.first, low, high, room)
        other = None if self.versus is None else self.versus.b.usage
        beside = None if other is None else bars(other.counts, other.first, low, high, room)
        self._other.setVisible(beside is not None and not self._gap)
        if self._gap and beside is not None:
            self._draw_gap(found, beside)
            return
        equal = 100 * found.width / usage.counts.size
        floor, top = self._extent(found, equal)
        if beside is not None:
            other_floor, other_top = self._extent(beside, equal)
            floor, top = min(floor, other_floor), max(top, other_top)
        strip = (top - floor) * STRIP / max(1.0, self.plot.area.height() - STRIP)
        self.plot.set_heights(floor - strip, top)
        used = found.share > 0
        least = floor + LEAST_HEIGHT / STRIP * strip  # seen, however rare
        edges, values = steps(found, np.where(used, np.maximum(self._height(found.share), least), floor), floor)
        self._used.setData(edges, values, fillLevel=floor, brush=translucent(theme.decoded, 190), pen=None)
        edges, values = steps(found, np.where(used, floor - 0.9 * strip, floor - 0.3 * strip), floor - 0.9 * strip)
        self._unused.setData(edges, values, fillLevel=floor - 0.9 * strip, brush=pg.mkBrush(theme.unused), pen=None)
        self._equal.setPen(pg.mkPen(theme.level, style=Qt.PenStyle.DashLine))
        self._equal.setPos(float(self._height(np.array([equal]))[0]))
        if beside is not None:
            edges, values = np.append(beside.left, beside.left[-1] + beside.width), self._height(beside.share)
            self._other.setData(edges, np.maximum(values, floor), pen=pg.mkPen(theme.other, width=2))
        self._describe(found)

    def _draw_gap(self, a: Bars, b: Bars) -> None:
        """By how much more of A's weights have a code than of B's."""
        theme, share = self.plot.theme, a.share - b.share
        most = float(np.abs(share).max(initial=0)) * 1.05 or 1.0
        self.plot.set_heights(-most, most)
        edges, values = steps(a, share, 0.0)
        self._used.setData(edges, values, fillLevel=0.0, brush=translucent(theme.decoded, 190), pen=None)
        self._unused.setData([0, 1], [0], fillLevel=0.0, brush=None, pen=None)
        self._equal.setPen(pg.mkPen(theme.level, style=Qt.PenStyle.DashLine))
        self._equal.setPos(0.0)
        self.plot.legend = [("A − B", theme.decoded, "bar")]
        self.hint = f"Each bar holds {a.width} codes: zoom in to see each." if a.width > 1 else ""

    @property
    def _logarithmic(self) -> bool:
        """Differences have signs, and no logarithm."""
        return self._log.isChecked() and not self._gap

    def _height(self, share: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(share, 1e-30)) if self._logarithmic else share

    def _extent(self, found: Bars, equal: float) -> tuple[float, float]:
        """Where bars stand on the axis, and its top."""
        largest = max(float(found.share.max(initial=0)), equal)
        if not self._logarithmic:
            return 0.0, largest * 1.05
        least = float(found.share[found.share > 0].min(initial=equal)) / 2
        floor, top = float(np.log10(least)), float(np.log10(largest))
        return floor, top + 0.05 * (top - floor)

    def _describe(self, found: Bars) -> None:
        theme = self.plot.theme
        self.plot.legend = [
            ("used" if self.versus is None else "A", theme.decoded, "bar"),
            *([("B", theme.other, "line")] if self.versus is not None else []),
            *([("unused", theme.unused, "bar")] if (found.share == 0).any() else []),
            ("equal", theme.level, "dashes"),
        ]
        self.hint = f"Each bar holds {found.width} codes: zoom in to see each." if found.width > 1 else ""

    # The map.

    def _draw_map(self, keep: bool) -> str:
        probe, found = self.probe, self.answer(self.questions(self.inspection)[0])
        assert probe is not None
        pieces = self._pieces = Pieces(found, self._order.currentIndex(), probe.spacing)
        self.map.quantity = "share of its codes, %"
        self.map.set_standard(SHARES)
        self._show_pieces(pieces, source_of(pieces), pieces.shares, keep)
        return pieces.sentence

    def _show_pieces(self, pieces: Pieces, source: Source, values: np.ndarray, keep: bool) -> None:
        found, shares = pieces.found, pieces.shares
        self.map.left.describe("row" if pieces.order is None else "row by rank", integer=True)
        codes = found.counts.shape[1] * found.per_column
        overview = pooled(values, *(-(-size // OVERVIEW) for size in values.shape))
        self.map.show_matrix((round(shares.shape[0] * pieces.height), codes), source, overview, keep=keep)
        self._say_pooling()

    def _draw_maps(self, versus: Versus, side: Side, keep: bool) -> str:
        """Two maps of the same pieces and codes, else A's alone."""
        self.choose(self.map)
        question, probe = self.questions(versus.a)[0], self.probe
        assert probe is not None
        a, b = versus.a.answers[question], versus.b.answers[question]
        codes = a.counts.shape[1:] == b.counts.shape[1:] and (a.first, a.per_column) == (b.first, b.per_column)
        same, gap = codes and len(a.counts) == len(b.counts), side == Side.DIFFERENCE
        self.map.show_over(None)
        if not codes or (gap and not same):
            what = "codes" if not codes else "groups: choose “rows” to subtract them"
            self._draw_map(keep)
            return f"Only A is shown: B has other {what}."
        pieces = self._pieces = Pieces(a, self._order.currentIndex() if same else IN_ORDER, probe.spacing)
        others = Pieces(b, IN_ORDER, Probe(versus.b).spacing)
        if not same:
            self.map.set_standard(SHARES)
            self.map.quantity = "share of its codes, %"
            self.map.show_over(source_of(others))
            self._show_pieces(pieces, source_of(pieces), pieces.shares, keep)
            return "A left, B right of the line; each in groups of its own size, in their order."
        other = others.shares if pieces.order is None else others.shares[pieces.order]
        self.map.quantity = "share, A − B, %" if gap else "share of its codes, %"
        self.map.set_standard(DIFFERENCES if gap else SHARES)
        values = pieces.shares - other if gap else pieces.shares
        if not gap:
            self.map.show_over(source_of(pieces, other))
        self._show_pieces(pieces, source_of(pieces, values), values, keep)
        low, high = limits(pieces.shares - other)
        return f"A − B: {number(low, 2)} … {number(high, 2)} percentage points of a row's or group's weights a code."

    def _say_pooling(self) -> None:
        found, pieces = self.map.crop, self._pieces
        if found is None or pieces is None:
            return
        together = found.cell[0] * pieces.found.groups_per_piece * pieces.found.rows_per_piece
        what = "groups" if pieces.found.by_group else "rows"
        self.hint = ZOOM_HINT if together == 1 else f"Each pixel: the largest share in {together:,} {what}."

    def _on_cropped(self) -> None:
        self._say_pooling()
        self.map.follow()

    # Places.

    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """A code; in the map also whose."""
        inspection, pieces, probe = self.inspection, self._pieces, self.probe
        assert inspection is not None
        first, last = inspection.scheme.code_range
        code = min(max(math.floor(at.x() + 0.5), first), last)
        if plot is self.plot or pieces is None or probe is None:
            return Spot(code=code, units=float(code))
        index, cols = pieces.place(pieces.at(at.y()), probe.layout.run, probe.cols)
        return Spot(probe.number(min(index, probe.rows - 1)), cols, code)

    def mark(self, spot: Spot | None) -> None:
        """The code's bar; in the map, row or group as well."""
        code = None if spot is None else spot.code
        self.plot.mark(self._bar_centre(code))
        piece = self._piece_of(spot)
        y = None if piece is None or self._pieces is None else self._pieces.centre(piece)
        self.map.mark(code, y)

    def _bar_centre(self, code: int | None) -> float | None:
        found = self._bars
        if code is None or found is None or found.width == 1 or self.inspection is None:
            return code
        usage = self.inspection.usage
        start = (code - usage.first) // found.width * found.width
        return usage.first + (start + min(start + found.width, usage.counts.size) - 1) / 2

    def show_pin(self, spot: Spot | None) -> None:
        """A frame around the selected row or group."""
        piece, pieces = self._piece_of(spot), self._pieces
        if piece is None or pieces is None or self.inspection is None:
            self.map.pin_cells(None)
            return
        first, last = self.inspection.scheme.code_range
        y = pieces.centre(piece) - pieces.height / 2
        self.map.pin_cells(QRectF(first - 0.5, y, last - first + 1, pieces.height))

    def _piece_of(self, spot: Spot | None) -> int | None:
        if spot is None or spot.row is None or self._pieces is None or self.probe is None:
            return None
        index = self.probe.index(spot.row)
        group = self.probe.run_of(index, spot.cols[0])[0] if spot.cols else None
        runs = max(1, self.probe.layout.runs_per_row)
        return self._pieces.piece(index, None if group is None else group % runs)

    def extent(self, plot: Plot) -> Extent | None:
        """The rows of a map in the matrix' own order."""
        if plot is not self.map or self._pieces is None or self._pieces.order is not None:
            return None
        return Extent(rows=tuple(plot.box.viewRange()[1]))

    def zoom_to(self, extent: Extent) -> None:
        """The same rows."""
        if self.plot_in_front is self.map and self._pieces is not None and self._pieces.order is None:
            self.map.look_at(down=extent.rows)

    def tables(self) -> tuple[Table, ...]:
        """Every code of the layer; in a map, every row or group."""
        if self.inspection is None:
            return ()
        if self.plot_in_front is self.map and self._pieces is not None and self.probe is not None:
            return (self._pieces.table(self.probe),)
        usage = self.inspection.usage
        size = max(1, int(usage.counts.sum()))
        columns = (
            Column("code", "Code", "d"),
            Column("count", "Weights", ","),
            Column("share_percent", "Share, %", ".4g"),
        )
        codes = range(usage.first, usage.first + usage.counts.size)
        rows = tuple((code, n, 100 * n / size) for code, n in zip(codes, usage.counts.tolist(), strict=True))
        return (Table("Code occupancy", columns, rows),)

    # Words.

    def tell(self, spot: Spot) -> str:
        """The code: what it stands for, its count and share; in the map, of the row or group."""
        if self.inspection is None:
            return ""
        if self.plot_in_front is self.map:
            piece = self._piece_of(spot)
            return "" if piece is None or self._pieces is None else self._tell_piece(piece, spot)
        usage, found = self.inspection.usage, self._bars
        if found is None or spot.code is None:
            return ""
        code = spot.code
        if self.versus is not None and found.width == 1:
            shares = (self._share_of(side.usage, code) for side in (self.versus.a, self.versus.b))
            return f"code {code_text(code)}:  A {next(shares)}, B {next(shares)}"
        if found.width == 1:
            count = int(usage.counts[code - usage.first])
            return f"code {code_text(code)}{self._level(self.inspection, code)}:  {share(count, usage.counts)}"
        start = (code - usage.first) // found.width * found.width
        stop = min(start + found.width, usage.counts.size)
        count = int(usage.counts[start:stop].sum())
        codes = f"codes {code_text(usage.first + start)} … {code_text(usage.first + stop - 1)}"
        return f"{codes}:  {share(count, usage.counts)}"

    def _tell_piece(self, piece: int, spot: Spot) -> str:
        pieces, probe = self._pieces, self.probe
        assert pieces is not None and probe is not None
        found = pieces.found
        index, _ = pieces.place(piece, probe.layout.run, probe.cols)
        where = f"row {probe.number(min(index, probe.rows - 1))}"
        if found.by_group:
            where += f", group {piece % found.pieces * found.groups_per_piece}"
        said = f"{where}:  {found.used[piece]} codes used, {found.entropy[piece]:.2f} bits"
        if spot.code is None:
            return said
        column = (spot.code - found.first) // found.per_column
        return f"{said}; code {code_text(spot.code)}: {share(int(found.counts[piece, column]), found.counts[piece])}"

    def _share_of(self, usage: CodeUsage, code: int) -> str:
        at = code - usage.first
        if not 0 <= at < usage.counts.size:
            return "has no such code"
        return f"{number(100 * int(usage.counts[at]) / max(1, int(usage.counts.sum())))} %"

    def _level(self, inspection: Inspection, code: int) -> str:
        """The value that a code stands for, where that is the same everywhere."""
        q = inspection.quantized
        if q.scheme.layout(q.shape).sets != 1:
            return ""
        return f" = {number(float(q.scheme.level_values(q)[code - inspection.usage.first]), 4)}"


def _used(usage: CodeUsage) -> str:
    return f"{usage.used} of {usage.counts.size} codes ({usage.entropy:.1f} bits)"
