"""The plot of a sweep: a mark a point, its front, the limits, and what padding costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QKeyEvent, QPainter

from qinspect.gui import marks
from qinspect.gui.axes import Axis, small_font
from qinspect.gui.plots import Plot
from qinspect.gui.theme import Theme
from qinspect.quant.limits import DB_PER_BIT
from qinspect.quant.sweep import SweepPoint

REACH = 14
"""Pixels from the cursor within which a point is meant."""
WORTH_TELLING = 0.005
"""Bits a weight of padding from which on it is shown."""
EXACT_DB = 6
"""How far above all others points are drawn that have no error at all."""


@dataclass(frozen=True)
class Picture:
    """What is drawn: points and the padding of each in bits a weight, the present choice, and curves by levels.

    `errors` shows the largest error, in decades, in place of SQNR.
    """

    points: Sequence[SweepPoint]
    padding: Sequence[float]
    now: tuple[float, float] | None
    gaussian: Mapping[int, float]
    own: Mapping[int, float]
    errors: bool = False


class SweepPlot(Plot):
    """Quality against bits per weight. `pointed` tells the point under cursor or keys, `picked` the one chosen."""

    pointed = Signal(object)
    picked = Signal(object)

    def __init__(self) -> None:
        super().__init__(Axis("bottom", "bits per weight"), Axis("left", "SQNR, dB"))
        self._padding = pg.PlotCurveItem(connect="pairs")
        self._bound = pg.PlotCurveItem()
        self._gaussian = pg.PlotCurveItem(antialias=True)
        self._own = pg.PlotCurveItem(antialias=True)
        self._front = pg.PlotCurveItem(antialias=True)
        self._spots = pg.ScatterPlotItem(antialias=True)
        self._ring = pg.ScatterPlotItem(antialias=True, symbol="o", size=20)
        self._focus = pg.ScatterPlotItem(antialias=True, symbol="s", size=18)
        self._curves = (self._padding, self._bound, self._gaussian, self._own, self._front)
        for item in (*self._curves, self._spots, self._ring, self._focus):
            self.addItem(item)
        self._picture = Picture((), (), None, {}, {})
        self._xy = np.zeros((0, 2))
        self.at: int | None = None
        """The number of the point under the cursor or the keys."""
        self.hovered.connect(self._on_hovered)
        self.clicked.connect(self._on_clicked)
        self.set_theme(self.theme)

    @property
    def points(self) -> Sequence[SweepPoint]:
        """The points drawn."""
        return self._picture.points

    def show_picture(self, picture: Picture, *, keep: bool) -> None:
        """Draw it. With `keep` the range in view stays."""
        meant = self.points[self.at].scheme if self.at is not None else None
        self._picture = picture
        self._xy = self._places(picture)
        self.left.describe("largest error" if picture.errors else "SQNR, dB", decades=picture.errors)
        self._draw()
        self._range(keep)
        self._point(next((at for at, p in enumerate(picture.points) if p.scheme == meant), None))

    def set_theme(self, theme: Theme) -> None:
        """Take over colours, also of the marks."""
        super().set_theme(theme)
        self._draw()

    # Drawing.

    def _places(self, picture: Picture) -> np.ndarray:
        y = np.array([self._height(picture, point) for point in picture.points])
        finite = y[np.isfinite(y)]
        top = (float(finite.max()) if finite.size else 0.0) + EXACT_DB
        y = np.where(np.isposinf(y), top, y)
        return np.column_stack([[point.bpw for point in picture.points], y]) if picture.points else np.zeros((0, 2))

    @staticmethod
    def _height(picture: Picture, point: SweepPoint) -> float:
        if not picture.errors:
            return point.sqnr_db
        return math.log10(point.max_error) if point.max_error > 0 else math.nan

    def _draw(self) -> None:
        theme, picture = self.theme, self._picture
        spots = []
        for (x, y), point in zip(self._xy, picture.points, strict=True):
            if not math.isfinite(y):
                continue
            colour = QColor(marks.colour_of(point.scheme.name, theme))
            fill = QColor(colour)
            fill.setAlpha(230 if point.part == 1 else 0)
            size = 11 if point.pareto else 7
            symbol = marks.shape_of(point.scheme.name)
            spots.append({"pos": (x, y), "size": size, "symbol": symbol, "brush": fill, "pen": pg.mkPen(colour)})
        self._spots.setData(spots=spots)
        self._draw_curves()
        ring = [picture.now] if picture.now is not None else []
        self._ring.setData(pos=ring, pen=pg.mkPen(theme.text, width=2), brush=None)
        self._focus.setPen(pg.mkPen(theme.accent, width=2))
        self._focus.setBrush(None)
        self.legend = self._entries()
        self.viewport().update()

    def _draw_curves(self) -> None:
        theme, picture = self.theme, self._picture
        costs = np.where(np.isfinite(self._xy[:, 1]), np.array(picture.padding, np.float64), 0.0)
        right = self._xy[costs >= WORTH_TELLING]
        left = right - np.column_stack([costs[costs >= WORTH_TELLING], np.zeros(len(right))])
        ends = np.stack([left, right], axis=1).reshape(-1, 2)
        self._padding.setData(ends[:, 0], ends[:, 1], pen=pg.mkPen(theme.warning, width=1.5))
        front = sorted(
            (x, y) for (x, y), p in zip(self._xy, picture.points, strict=True) if p.pareto and math.isfinite(y)
        )
        xy = np.array(front).reshape(-1, 2)
        self._front.setData(xy[:, 0], xy[:, 1], pen=pg.mkPen(theme.text, width=1.2))
        dashes = pg.mkPen(theme.muted, width=1, style=Qt.PenStyle.DashLine)
        bits = np.array([0.0, 32.0]) if picture.gaussian and not picture.errors else np.zeros(0)
        self._bound.setData(bits, DB_PER_BIT * bits, pen=dashes)
        for item, curve, pen in (
            (self._gaussian, picture.gaussian, pg.mkPen(theme.level, width=1.5)),
            (self._own, picture.own, pg.mkPen(theme.good, width=1.5)),
        ):
            shown = {} if picture.errors else {n: db for n, db in curve.items() if math.isfinite(db)}
            item.setData(np.log2(np.array([*shown], np.float64)), np.array([*shown.values()]), pen=pen)

    def _entries(self) -> list[tuple[str, str, str]]:
        theme, picture = self.theme, self._picture
        entries = [("front", theme.text, "line")]
        if any(cost >= WORTH_TELLING for cost in picture.padding):
            entries.append(("padding", theme.warning, "line"))
        if not picture.errors and picture.gaussian:
            entries.append(("bound", theme.muted, "dashes"))
            entries.append(("best levels: Gaussian", theme.level, "line"))
        if not picture.errors and picture.own:
            entries.append(("this layer", theme.good, "line"))
        return entries

    def _range(self, keep: bool) -> None:
        """All points, the present choice, and a margin; from the smallest point's bits to the largest's."""
        xy = self._xy if self._picture.now is None else np.vstack([self._xy, self._picture.now])
        xy = xy[np.isfinite(xy).all(1)]
        if not len(xy):
            self.set_content(QRectF(1, 0, 8, 50), least=(0.1, 0.1), keep=keep)
            return
        (x0, y0), (x1, y1) = xy.min(0), xy.max(0)
        dx, dy = max(x1 - x0, 0.5), max(y1 - y0, 1.0 if not self._picture.errors else 0.5)
        home = QRectF(x0 - 0.06 * dx, y0 - 0.08 * dy, 1.12 * dx, 1.16 * dy)
        self.set_content(home.adjusted(-dx, -dy, dx, dy), home=home, least=(0.02 * dx, 0.02 * dy), keep=keep)

    # Pointing.

    def _point(self, at: int | None) -> None:
        self.at = at
        self._focus.setData(pos=[] if at is None else [tuple(self._xy[at])])
        self.pointed.emit(None if at is None else self.points[at])

    def nearest(self, view: QPointF) -> int | None:
        """The number of the point within reach of data coordinates."""
        if not len(self._xy):
            return None
        (x0, x1), (y0, y1) = self.box.viewRange()
        area = self.area
        scale = np.array([area.width() / (x1 - x0), area.height() / (y1 - y0)])
        gaps = np.hypot(*((self._xy - (view.x(), view.y())) * scale).T)
        gaps = np.where(np.isfinite(gaps), gaps, np.inf)
        at = int(np.argmin(gaps))
        return at if gaps[at] <= REACH else None

    def _on_hovered(self, view: QPointF | None) -> None:
        at = None if view is None else self.nearest(view)
        self.viewport().setCursor(Qt.CursorShape.CrossCursor if at is None else Qt.CursorShape.PointingHandCursor)
        if at != self.at:
            self._point(at)

    def _on_clicked(self, view: QPointF) -> None:
        at = self.nearest(view)
        if at is not None:
            self.picked.emit(self.points[at])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Page keys step along the front, Return takes the point; the rest as in every plot."""
        if event.key() in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            self.step(1 if event.key() == Qt.Key.Key_PageUp else -1)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.at is not None:
            self.picked.emit(self.points[self.at])
        else:
            super().keyPressEvent(event)

    def step(self, by: int) -> None:
        """To the next larger (1) or smaller (−1) point of the front from the one pointed at, or the present choice.

        Beyond the last there is only that.
        """
        front = sorted((p.nbytes, at) for at, p in enumerate(self.points) if p.pareto)
        if not front:
            return
        now = self.points[self.at].bpw if self.at is not None else (self._picture.now or (0.0, 0.0))[0]
        beyond = [at for _, at in front if (self.points[at].bpw - now) * by > 1e-9]
        ends = beyond or [at for _, at in front][::-by][:1]
        self._point(ends[0] if by > 0 else ends[-1])

    # Painting.

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """The schemes' marks in the corner where no point can be: few bits are never good."""
        super().drawForeground(painter, rect)
        names = list(dict.fromkeys(point.scheme.name for point in self.points))
        painter.setFont(small_font())
        metrics = QFontMetricsF(painter.font())
        height, area = metrics.height() + 2, self.area
        if not names or area.height() < height * (len(names) + 1):
            return
        width = max(metrics.horizontalAdvance(name) for name in names) + 26
        top = area.bottom() - height * len(names) - 6 if self._picture.errors else area.top() + 6
        corner = QPointF(area.left() + 6, top)
        ground = QColor(self.theme.plot)
        ground.setAlpha(215)
        painter.fillRect(QRectF(corner.x(), corner.y(), width, height * len(names)), ground)
        for number, name in enumerate(names):
            y = corner.y() + height * (number + 0.5)
            marks.draw(painter, QPointF(corner.x() + 10, y), 8, marks.shape_of(name), marks.colour_of(name, self.theme))
            painter.setPen(QColor(self.theme.muted))
            painter.drawText(QPointF(corner.x() + 20, y + metrics.ascent() / 2 - 1), name)
