"""How often each code is used, and which never are: in the whole layer, in every row, in every group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QWidget

from qinspect import analysis
from qinspect.analysis import CodeMap, RowCodes
from qinspect.gui.axes import Axis, number, plain, short
from qinspect.gui.colours import Kind, Look
from qinspect.gui.image import OVERVIEW, ImagePlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.plots import ZOOM_HINT, Plot, translucent
from qinspect.gui.pooling import Crop, crop, pooled
from qinspect.gui.probe import Probe
from qinspect.gui.views.plot_view import PlotView, choice, toggle
from qinspect.session import Inspection
from qinspect.tables import Column, Table

STRIP = 10
"""Height in pixels of the strip below zero where unused codes are marked."""

LEAST_HEIGHT = 2
"""Height in pixels of the bar of a code that occurs at all."""


@dataclass(frozen=True, eq=False)
class Bars:
    """Codes in view, `width` of them to a bar: left edges and shares in percent."""

    width: int
    left: np.ndarray
    share: np.ndarray


def bars(counts: np.ndarray, first: int, low: float, high: float, most: int) -> Bars:
    """Bars of the codes from `low` to `high`, no more than `most`: a power of two of codes to each where needed."""
    width = 1
    while (high - low) / width > max(1, most):
        width *= 2
    start = max(0, int(np.floor(low - first)) // width * width)
    stop = min(counts.size, int(np.ceil(high - first)) + 1)
    stop = min(counts.size, -(-stop // width) * width)
    starts = np.arange(start, max(stop, start + 1), width)
    share = np.add.reduceat(counts[: max(stop, start + 1)], starts) * (100 / max(1, int(counts.sum())))
    return Bars(width, starts + first - 0.5, share)


LAYER, ROWS, GROUPS = range(3)
SCOPES = ("layer", "rows", "groups")
IN_ORDER, FEWEST, LEAST_ENTROPY = range(3)
ORDERS = ("in order", "fewest codes first", "least entropy first")


class OccupancyView(PlotView):
    """A bar for every code that occurs, a mark for each that does not; or a map of the rows' or groups' codes."""

    name: ClassVar[str] = "occupancy"
    title: ClassVar[str] = "Occupancy"
    order: ClassVar[int] = 20

    def __init__(self) -> None:
        self.plot = Plot(Axis("bottom", "code", integer=True), Axis("left", "share, %"), zooms=(True, False))
        self.map = ImagePlot("code", "row", Look("viridis", Kind.MAGNITUDE))
        super().__init__(self.plot, self.map)
        self._used = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._unused = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._equal = pg.InfiniteLine(angle=0)
        for item in (self._used, self._unused, self._equal):
            self.plot.addItem(item)
        self._scope = choice("Scope", "Codes of the layer as bars, of every row or group as a map", *SCOPES)
        self._order = choice("Order", "The order of rows or groups in the map", *ORDERS)
        self._log = toggle("log", "Logarithmic share", "Logarithmic share")
        self._order.setEnabled(False)
        self._scope.currentIndexChanged.connect(self._on_scope)
        self._order.currentIndexChanged.connect(lambda _: self.redraw(keep=False))
        self._log.toggled.connect(lambda _: self.redraw())
        self._bars: Bars | None = None
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
        if self._scope.currentIndex() == LAYER:
            self.choose(self.plot)
            return self._draw_layer(inspection, keep)
        self.choose(self.map)
        return self._draw_map(keep)

    # Bars.

    def _draw_layer(self, inspection: Inspection, keep: bool) -> str:
        """The bars, and the share that each code would have if all were used alike."""
        counts = inspection.usage.counts
        first = inspection.usage.first
        content = QRectF(first - 0.5 - 0.01 * counts.size, 0, counts.size * 1.02, 1)
        self.plot.left.describe("share, %", short if self._log.isChecked() else plain, decades=self._log.isChecked())
        keep = keep and self._codes == (first, counts.size)
        self._codes = first, counts.size
        self.plot.set_content(content, least=(min(8, counts.size), 0), keep=keep)
        self._draw_bars(inspection)
        return inspection.usage.sentence + "."

    def _on_ranged(self) -> None:
        if self.inspection is not None and self.plot_in_front is self.plot:
            self._draw_bars(self.inspection)
            self.plot.follow()

    def _draw_bars(self, inspection: Inspection) -> None:
        usage, theme = inspection.usage, self.plot.theme
        low, high = self.plot.box.viewRange()[0]
        found = self._bars = bars(usage.counts, usage.first, low, high, int(self.plot.area.width()))
        equal = 100 * found.width / usage.counts.size
        floor, top = self._extent(found, equal)
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
        self._describe(found)

    def _height(self, share: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(share, 1e-30)) if self._log.isChecked() else share

    def _extent(self, found: Bars, equal: float) -> tuple[float, float]:
        """Where bars stand on the axis, and its top."""
        largest = max(float(found.share.max(initial=0)), equal)
        if not self._log.isChecked():
            return 0.0, largest * 1.05
        least = float(found.share[found.share > 0].min(initial=equal)) / 2
        floor, top = float(np.log10(least)), float(np.log10(largest))
        return floor, top + 0.05 * (top - floor)

    def _describe(self, found: Bars) -> None:
        theme = self.plot.theme
        self.plot.legend = [
            ("used", theme.decoded, "bar"),
            *([("unused", theme.unused, "bar")] if (found.share == 0).any() else []),
            ("equal", theme.level, "dashes"),
        ]
        self.hint = f"Each bar holds {found.width} codes: zoom in to see each." if found.width > 1 else ""

    # The map.

    def _draw_map(self, keep: bool) -> str:
        probe, found = self.probe, self.answer(self.questions(self.inspection)[0])
        assert probe is not None
        pieces = self._pieces = Pieces(found, self._order.currentIndex(), probe.spacing)
        shares = pieces.shares
        self.map.quantity = "share of its codes, %"
        self.map.left.describe("row" if pieces.order is None else "row by rank", integer=True)

        def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
            part = crop(shares, view, per_pixel, factor=(1, found.per_column), stretch=pieces.height)
            part.rect.translate(found.first, 0)
            return part

        codes = found.counts.shape[1] * found.per_column
        overview = pooled(shares, *(-(-size // OVERVIEW) for size in shares.shape))
        self.map.show_matrix((round(shares.shape[0] * pieces.height), codes), source, overview, keep=keep)
        self._say_pooling()
        return pieces.sentence

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

    def _level(self, inspection: Inspection, code: int) -> str:
        """The value that a code stands for, where that is the same everywhere."""
        q = inspection.quantized
        if q.scheme.layout(q.shape).sets != 1:
            return ""
        return f" = {number(float(q.scheme.level_values(q)[code - inspection.usage.first]), 4)}"


class Pieces:
    """A map of codes in an order, and where its lines lie: those of the matrix' own order beside its rows."""

    def __init__(self, found: CodeMap, order: int, spacing: float) -> None:
        self.found = found
        self.height = spacing * found.rows_per_piece / max(1, found.pieces)
        totals = np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
        self.shares: np.ndarray = (found.counts * (np.float32(100) / totals)).astype(np.float32)
        self.order: np.ndarray | None = None
        if order != IN_ORDER:
            entropy = np.round(found.entropy, 3)
            keys = (entropy, found.used) if order == FEWEST else (found.used, entropy)
            self.order = np.lexsort(keys)
            self.shares = self.shares[self.order]

    def at(self, y: float) -> int:
        """The piece drawn at `y`."""
        line = min(max(math.floor((y + 0.5) / self.height), 0), len(self.shares) - 1)
        return line if self.order is None else int(self.order[line])

    def centre(self, piece: int) -> float:
        """Where a piece is drawn."""
        line = piece if self.order is None else int(np.flatnonzero(self.order == piece)[0])
        return (line + 0.5) * self.height - 0.5

    def place(self, piece: int, run: int, cols: int) -> tuple[int, tuple[int, int]]:
        """The first row of a piece and its columns."""
        found = self.found
        line, number = divmod(piece, found.pieces)
        if not found.by_group:
            return line * found.rows_per_piece, (0, cols)
        wide = run * found.groups_per_piece
        return line, (number * wide, min((number + 1) * wide, cols))

    def piece(self, index: int, group: int | None) -> int | None:
        """The piece that a group of a row is in."""
        found = self.found
        if not found.by_group:
            return index // found.rows_per_piece
        return None if group is None else index * found.pieces + group // found.groups_per_piece

    def table(self, probe: Probe) -> Table:
        """What is counted of every piece, in the order that is seen."""
        found = self.found
        codes = range(found.first, found.first + found.counts.shape[1] * found.per_column, found.per_column)
        columns = (Column("row", "Row", "d"), *([Column("group", "Group", "d")] if found.by_group else []))
        columns += Column("codes_used", "Codes used", "d"), Column("entropy_bits", "Entropy, bits", ".3f")
        columns += tuple(Column(f"code {code}", f"Code {code_text(code)}", ",") for code in codes)
        rows = []
        for piece in range(len(found.used)) if self.order is None else self.order.tolist():
            line, number = divmod(piece, found.pieces)
            where = [probe.number(min(line * found.rows_per_piece, probe.rows - 1))]
            where += [number * found.groups_per_piece] if found.by_group else []
            usage = int(found.used[piece]), float(found.entropy[piece])
            rows.append((*where, *usage, *found.counts[piece].tolist()))
        return Table("Codes of every " + ("group" if found.by_group else "row"), columns, tuple(rows))

    @property
    def sentence(self) -> str:
        """How many codes the poorest and the richest use."""
        found = self.found
        noun = "group" if found.by_group else "row"
        together = found.groups_per_piece * found.rows_per_piece
        each = f"Each {noun}" if together == 1 else f"Each {together} {noun}s"
        low, high = int(found.used.min()), int(found.used.max())
        uses = f"{low}" if low == high else f"{low} to {high}"
        entropy = float(np.median(found.entropy))
        return f"{each} uses {uses} codes; median entropy {entropy:.1f} bits."


def steps(found: Bars, values: np.ndarray, between: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and values of a step curve; few bars get gaps between them, in which the curve falls to `between`."""
    gap = 0.12 * found.width if found.left.size <= 64 else 0.0
    if not gap:
        return np.append(found.left, found.left[-1] + found.width), values
    edges = np.column_stack((found.left + gap, found.left + found.width - gap)).ravel()
    heights = np.column_stack((values, np.full_like(values, between))).ravel()[:-1]
    return edges, heights


def code_text(code: int) -> str:
    """A code, with a true minus sign."""
    return f"{code}".replace("-", "−")


def share(count: int, counts: np.ndarray) -> str:
    """A count and its share of all."""
    if not count:
        return "never used"
    return f"{count:,} weights, {number(100 * count / max(1, int(counts.sum())))} %"
