"""All layers at a glance: SQNR and size of each in the model's order, coloured by the block that it belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QShowEvent
from PySide6.QtWidgets import QStackedLayout, QVBoxLayout, QWidget

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui import marks
from qinspect.gui.axes import Axis, small_font
from qinspect.gui.block_axis import BlockAxis
from qinspect.gui.controller import Controller
from qinspect.gui.controls import toggle
from qinspect.gui.frame import ElidedLabel
from qinspect.gui.plain import PlainLabel
from qinspect.gui.plots import Plot
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import TAB, View
from qinspect.session import LayerReport, original_nbytes, stored_nbytes
from qinspect.tables import Column, Table

EXACT = math.inf
HINT = "Point at a layer to read it, click to select it. Left and right go from layer to layer."
NOTHING = "There is nothing to show: no floating tensor of two dimensions or more."
REDRAW_MS = 60
BAND_ALPHA = 60
COLUMNS = (
    Column("layer", "Layer"), Column("block", "Block"), Column("scheme", "Stored as"),
    Column("sqnr_db", "SQNR, dB", ".2f"), Column("nbytes", "Bytes", "d"), Column("before", "Bytes before", "d"),
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """What is drawn of one layer: SQNR in dB (NaN where it is not known), bytes under the recipe and before.

    `b_sqnr_db` and `b_nbytes` are B's, where something is attached.
    """

    info: TensorInfo
    block: str
    stored_as: str
    sqnr_db: float
    nbytes: int
    before: int
    b_sqnr_db: float = math.nan
    b_nbytes: int | None = None


class LayersView(View):
    """Two plots over the same layers: dots for SQNR above, bars for size below."""

    name: ClassVar[str] = "layers"
    title: ClassVar[str] = "Layers"
    order: ClassVar[int] = 45
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self.bars: list[Bar] = []
        self.quality = LayersPlot("SQNR, dB")
        self.sizes = LayersPlot("size")
        self.plots = (self.quality, self.sizes)
        self.readout = ElidedLabel(self)
        self.message = PlainLabel(self)
        self._dots = pg.ScatterPlotItem(antialias=True, size=9)
        self._others = pg.ScatterPlotItem(antialias=True, size=11)
        self._between = pg.PlotCurveItem(connect="pairs")
        self._before, self._after = Bars(), Bars()
        self.log = toggle("log", "Log sizes", "Sizes in powers of ten, so that small layers are seen beside large ones")
        self._later = QTimer(self)
        self._build()
        self.setFocusProxy(self.quality)
        self.setAccessibleName(self.title)

    # Building.

    def _build(self) -> None:
        self._later.setSingleShot(True)
        self._later.setInterval(REDRAW_MS)
        self._later.timeout.connect(self._draw)
        self.log.toggled.connect(lambda _: self._draw())
        for item in (self._between, self._dots, self._others):
            self.quality.addItem(item)
        for item in (self._before, self._after):
            self.sizes.addItem(item)
        self.sizes.box.setXLink(self.quality.box)
        for plot, text in ((self.quality, "SQNR of layers"), (self.sizes, "Size of layers")):
            plot.setAccessibleName(text)
            plot.hovered.connect(self._on_hovered)
            plot.clicked.connect(self._on_clicked)
            plot.stepped.connect(self._on_stepped)
        for label in (self.readout, self.message):
            label.setObjectName("muted")
        self.readout.setFont(small_font())
        self.readout.setFixedHeight(18)
        self.message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        drawing = QWidget(self)
        column = QVBoxLayout(drawing)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.quality, 3)
        column.addWidget(self.sizes, 2)
        column.addWidget(self.readout)
        self._pages = QStackedLayout()
        self._pages.addWidget(self.message)
        self._pages.addWidget(drawing)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 4)
        layout.addLayout(self._pages)

    def controls(self) -> list[QWidget]:
        """The scale of sizes."""
        return [self.log]

    def attach(self, controller: Controller) -> None:
        """Follow figures, recipe and selection."""
        self._controller = controller
        for signal in (controller.opened, controller.recipe_changed, controller.reported, controller.attached):
            signal.connect(lambda *_: self._draw_later())
        controller.analysed.connect(self._draw)
        for signal in (controller.comparing.compared, controller.comparing.reported, controller.comparing.attached):
            signal.connect(lambda *_: self._draw_later())
        controller.selected.connect(lambda _: self._mark())

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        for plot in self.plots:
            plot.set_theme(theme)
        self.sizes.legend = [("before", theme.unused, "bar"), ("as stored", theme.accent, "bar")]
        self._draw()

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what came while nobody could see it."""
        super().showEvent(event)
        self._draw()

    def subject(self) -> str:
        """How many layers there are to see."""
        return fmt.counted(len(self.bars), "layer") if self.bars else ""

    def tables(self) -> tuple[Table, ...]:
        """The figures of all layers."""
        rows = ((b.info.name, b.block, b.stored_as, b.sqnr_db, b.nbytes, b.before) for b in self.bars)
        return (Table("Layers", COLUMNS, tuple(rows)),) if self.bars else ()

    # Drawing.

    def _draw_later(self) -> None:
        if self.isVisible() and not self._later.isActive():
            self._later.start()

    def _draw(self) -> None:
        self._later.stop()
        controller = self._controller
        if controller is None or not self.isVisible():
            return
        before = [bar.info for bar in self.bars]
        self.bars = self._read(controller)
        if not self.bars:
            opened = controller.session.checkpoint is not None
            self.message.setText(
                "There is nothing to show: no floating tensor of two dimensions or more."
                if opened
                else "Open a checkpoint."
            )
            self._pages.setCurrentIndex(0)
            self.summarised.emit("")
            return
        self._pages.setCurrentIndex(1)
        keep = before == [bar.info for bar in self.bars]
        for plot in self.plots:
            plot.blocks.show_blocks([bar.block for bar in self.bars])
        self._draw_quality(keep)
        self._draw_size(keep)
        self._mark()
        sentence = self._sentence()
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)
        self.readout.setText(HINT)

    def _read(self, controller: Controller) -> list[Bar]:
        recipe, reports = controller.recipe, controller.session.reports
        theirs = controller.comparing.figures()
        found = []
        for info in controller.session.infos:
            scheme = recipe.scheme_for(info)
            if scheme is None and not (info.quantizable or info.qtype):
                continue
            report: LayerReport | None = reports.get((info.name, scheme))
            figures = report.metrics if report is not None else None
            sqnr_db = figures.sqnr_db if figures is not None else math.nan
            stored_as = scheme.label if scheme is not None else info.qtype or "left alone"
            sizes = stored_nbytes(info, scheme), original_nbytes(info)
            other = theirs.get(info.name, (math.nan, None))
            found.append(Bar(info, block_of(info.name), stored_as, sqnr_db, *sizes, *other))
        return found

    def _colours(self) -> list[str]:
        """One for each layer; neighbouring blocks differ."""
        blocks = list(dict.fromkeys(bar.block for bar in self.bars))
        return [marks.palette(blocks.index(bar.block), self.quality.theme) for bar in self.bars]

    def _draw_quality(self, keep: bool) -> None:
        theme = self.quality.theme
        values, theirs = (np.array([getattr(bar, name) for bar in self.bars]) for name in ("sqnr_db", "b_sqnr_db"))
        both = np.concatenate([values, theirs])
        finite = both[np.isfinite(both)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        top = high + max(3.0, 0.08 * (high - low))
        heights = np.where(values == EXACT, top, values)
        shown = np.flatnonzero(np.isfinite(heights))
        colours = self._colours()
        self._dots.setData(
            x=shown, y=heights[shown], pen=None, brush=[pg.mkBrush(colours[at]) for at in shown],
            symbol=["t1" if values[at] == EXACT else "o" for at in shown],
        )  # fmt: skip
        self.quality.legend = [("exact", theme.muted, "mark")] if (values == EXACT).any() else []
        self._draw_others(heights, theirs)
        bottom = min(0.0, low)
        room = 0.06 * (top - bottom)
        self._place(self.quality, bottom - room * (bottom < 0), top + room, keep)

    def _draw_others(self, heights: np.ndarray, theirs: np.ndarray) -> None:
        """A ring for B, and a line from it to A."""
        theme, known = self.quality.theme, np.flatnonzero(np.isfinite(theirs))
        self._others.setData(x=known, y=theirs[known], pen=pg.mkPen(theme.other, width=2), brush=None)
        between = known[np.isfinite(heights[known])]
        self._between.setData(
            np.repeat(between, 2).astype(np.float64), np.column_stack([heights[between], theirs[between]]).ravel()
        )
        self._between.setPen(pg.mkPen(theme.level))
        if known.size:
            self.quality.legend.append(("B", theme.other, "line"))

    def _draw_size(self, keep: bool) -> None:
        theme = self.sizes.theme
        before, after = (np.array([getattr(bar, field) for bar in self.bars]) for field in ("before", "nbytes"))
        decades = self.log.isChecked()
        self.sizes.left.describe("size", lambda value, _: fmt.nbytes(value), decades=decades)
        if decades:
            before, after = (np.log10(np.maximum(values, 1)) for values in (before, after))
        both = np.concatenate([before, after])
        low = max(0.0, math.floor(float(both.min()))) if decades else 0.0
        high = max(1.0, float(both.max()))
        self._before.show_bars(before, [theme.unused] * len(before), low)
        self._after.show_bars(after, self._colours(), low)
        self._place(self.sizes, low, high + 0.08 * (high - low), keep)

    def _place(self, plot: LayersPlot, low: float, high: float, keep: bool) -> None:
        content = QRectF(-0.7, low, len(self.bars) + 0.4, high - low)
        plot.set_content(content, least=(min(6.0, content.width()), 0), keep=keep)
        plot.set_heights(low, high)

    def _mark(self) -> None:
        """Show where the selected layer is."""
        controller = self._controller
        names = [bar.info for bar in self.bars]
        at = names.index(controller.info) if controller is not None and controller.info in names else None
        for plot in self.plots:
            plot.select(at)

    def _sentence(self) -> str:
        measured = [bar for bar in self.bars if math.isfinite(bar.sqnr_db)]
        nbytes, before = (sum(getattr(bar, field) for bar in self.bars) for field in ("nbytes", "before"))
        size = f"{fmt.nbytes(nbytes)} of {fmt.nbytes(before)} in {fmt.counted(len(self.bars), 'layer')}."
        if not measured:
            return size
        worst = min(measured, key=lambda bar: bar.sqnr_db)
        largest = max(self.bars, key=lambda bar: bar.nbytes)
        share = fmt.percent(largest.nbytes / max(1, nbytes))
        return (
            f"Worst {printable(worst.info.name, 60)}, {fmt.decibels(worst.sqnr_db)}; largest "
            f"{printable(largest.info.name, 60)}, {share} of {size}"
        )

    # Pointing.

    def _at(self, view: QPointF | None) -> int | None:
        at = None if view is None else round(view.x())
        return at if at is not None and 0 <= at < len(self.bars) else None

    def _on_hovered(self, view: QPointF | None) -> None:
        at = self._at(view)
        for plot in self.plots:
            plot.mark(at)
        if at is None:
            self.readout.setText(HINT if self.bars else "")
            return
        bar = self.bars[at]
        quality = "not measured" if math.isnan(bar.sqnr_db) else fmt.decibels(bar.sqnr_db)
        sizes = f"{fmt.nbytes(bar.nbytes)} of {fmt.nbytes(bar.before)}"
        told = f"{printable(bar.info.name)}:  {quality}, {sizes}, {bar.stored_as}"
        if bar.b_nbytes is not None:
            told += f";  B {fmt.decibels(bar.b_sqnr_db)}, {fmt.nbytes(bar.b_nbytes)}"
        self.readout.setText(told)

    def _on_clicked(self, view: QPointF) -> None:
        self._select(self._at(view))

    def _on_stepped(self, by: int) -> None:
        now = self.quality.selected
        self._select(0 if now is None else min(max(now + by, 0), len(self.bars) - 1))

    def _select(self, at: int | None) -> None:
        if at is not None and self._controller is not None and self.bars:
            self._controller.select(self.bars[at].info.name)


class LayersPlot(Plot):
    """A plot over layers: `stepped` tells that arrows go to the next layer or back."""

    stepped = Signal(int)

    def __init__(self, name: str) -> None:
        self.selected: int | None = None
        self._band = pg.LinearRegionItem(movable=False)
        self.blocks = BlockAxis()
        super().__init__(self.blocks, Axis("left", name), zooms=(True, False))
        self._band.setZValue(-5)
        self._band.hide()
        self.addItem(self._band)
        self.set_theme(self.theme)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        super().set_theme(theme)
        band = QColor(theme.muted)
        band.setAlpha(BAND_ALPHA)  # a tint that is no colour of a block, nor taken for a bar
        self._band.setBrush(band)
        for line in self._band.lines:
            line.setPen(pg.mkPen(theme.muted, width=1, style=Qt.PenStyle.DotLine))

    def select(self, at: int | None) -> None:
        """Mark a layer."""
        self.selected = at
        self._band.setVisible(at is not None)
        if at is not None:
            self._band.setRegion((at - 0.5, at + 0.5))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right step; the rest as in every plot."""
        plain = event.modifiers() in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
        if plain and event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            self.stepped.emit(1 if event.key() == Qt.Key.Key_Right else -1)
        else:
            super().keyPressEvent(event)


class Bars(pg.GraphicsObject):  # type: ignore[misc]
    """Upright bars at 0, 1, 2 …, each in its colour; thousands cost a few milliseconds."""

    WIDTH = 0.8

    def __init__(self) -> None:
        super().__init__()
        self._rects: dict[str, list[QRectF]] = {}
        self._bounds = QRectF()

    def show_bars(self, heights: np.ndarray, colours: Sequence[str], base: float) -> None:
        """Other bars, from `base` up."""
        self.prepareGeometryChange()
        self._rects = {}
        for at, (height, colour) in enumerate(zip(heights.tolist(), colours, strict=True)):
            self._rects.setdefault(colour, []).append(QRectF(at - self.WIDTH / 2, base, self.WIDTH, height - base))
        self._bounds = QRectF(-self.WIDTH, base, len(heights) + 1, float(max(heights, default=base)) - base)
        self.update()

    def boundingRect(self) -> QRectF:
        """All bars."""
        return self._bounds

    def paint(self, painter: QPainter, *_: object) -> None:
        """A call for each colour."""
        painter.setPen(Qt.PenStyle.NoPen)
        for colour, rects in self._rects.items():
            painter.setBrush(QColor(colour))
            painter.drawRects(rects)


def block_of(name: str) -> str:
    """The block that a layer belongs to: its name up to the first number, `h.3`; of others their first word."""
    found = re.match(r"(.*?\.)?\d+(?=\.)", name)
    return found.group() if found else name.partition(".")[0]
