"""The plot under every view: calm axes, a grid, a crosshair, zoom and pan by mouse and keyboard, and a line of text."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFocusEvent,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPen,
)
from PySide6.QtWidgets import QApplication

from qinspect.gui.theme import DARK, Theme

pg.setConfigOptions(imageAxisOrder="row-major", antialias=False, useOpenGL=False, mouseRateLimit=0)

LEFT, TOP, RIGHT, BOTTOM = 46, 20, 12, 17
"""Pixels around the drawing area: numbers of the vertical axis, title and legend, half a number, name of the axis."""

ZOOM_STEP = 0.8
PAN_STEP = 0.1
"""What one key press does: zoom to this part of the range, move by this part of it."""


def number(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and a true minus sign: `−0.0431`, `1.20e−5`."""
    mantissa, e, exponent = f"{value:#.{digits}g}".partition("e")
    return (mantissa.rstrip(".") + (f"e{int(exponent)}" if e else "")).replace("-", "−")


def whole(value: float) -> str:
    """A count with its thousands apart: `1,048,576`."""
    return f"{round(value):,}".replace("-", "−")


def small_font() -> QFont:
    """The font inside plots: figures of one width, so that numbers do not jump as they change."""
    font = QFont(QApplication.font())
    font.setPixelSize(11)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def nice_step(span: float, parts: float) -> float:
    """The smallest of 1, 2, 5 × a power of ten that cuts `span` in no more than `parts`."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    least = span / max(1.0, parts)
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * (1 - 1e-9))


def steps_within(low: float, high: float, step: float) -> list[float]:
    """The multiples of `step` from `low` to `high`."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)] if last - first < 1000 else []


def plain(value: float, step: float) -> str:
    """A tick's number with as many decimals as the distance of ticks needs."""
    if step >= 1e6 or step < 1e-5:
        return "0" if abs(value) < step / 2 else f"{value:.3g}".replace("e-0", "e-").replace("-", "−")
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:.{places}f}".replace("-", "−") if abs(value) > step / 2 else "0"


def short(value: float, step: float) -> str:
    """A tick's count: `500`, `20k`, `1.5M`."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * (1 - 1e-9):
            return f"{value / unit:.4g}{name}"
    return plain(value, step)


class Axis(pg.AxisItem):  # type: ignore[misc]
    """Ticks at round numbers, as many as there is room for. `label(value, step)` writes them.

    With `decades` the axis holds log10 of its values.
    """

    def __init__(
        self, side: str, name: str = "", label: Callable[[float, float], str] = plain, *, integer: bool = False
    ) -> None:
        super().__init__(side, maxTickLength=3)
        self.name, self.label_of, self.integer, self.decades = name, label, integer, False
        self.enableAutoSIPrefix(False)
        self.setStyle(tickFont=small_font(), tickTextOffset=4, hideOverlappingLabels=12, tickAlpha=255)
        if side == "left":
            self.setWidth(LEFT)
        else:
            self.setHeight(20)

    def describe(
        self, name: str, label: Callable[[float, float], str] = plain, *, integer: bool = False, decades: bool = False
    ) -> None:
        """Change what the axis shows."""
        self.name, self.label_of, self.integer, self.decades = name, label, integer, decades
        self.picture = None
        self.update()

    def step(self, low: float, high: float, size: float) -> float:
        """The distance of ticks on an axis `size` pixels long."""
        step = nice_step(high - low, size / (30 if self.orientation == "left" else 64))
        if self.decades:
            return max(1.0, math.ceil(step))
        return max(1.0, step) if self.integer else step

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N803
        """One level of ticks, as pyqtgraph asks for them."""
        low, high = sorted((minVal, maxVal))
        step = self.step(low, high, size)
        values = steps_within(low, high, step)
        if self.decades and len(values) < 2:  # less than a decade: 1, 2 and 5 times its power
            decades = range(math.floor(low), math.ceil(high) + 1)
            values = [d + math.log10(m) for d in decades for m in (1, 2, 5) if low <= d + math.log10(m) <= high]
        return [(step, values)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The numbers at the ticks."""
        if self.decades:
            return [self.label_of(10.0**v, 10.0 ** math.floor(v + 1e-9)) for v in values]
        return [self.label_of(v, spacing) for v in values]


class Plot(pg.PlotWidget):  # type: ignore[misc]
    """A drawing area between two axes. The wheel zooms, a drag pans, Home fits; `hovered` follows the cursor."""

    hovered = Signal(object)
    """Data coordinates (QPointF) under the cursor, None when it leaves."""

    def __init__(self, bottom: Axis, left: Axis, *, zooms: tuple[bool, bool] = (True, True)) -> None:
        super().__init__(background=None, axisItems={"bottom": bottom, "left": left}, enableMenu=False)
        self.bottom, self.left = bottom, left
        self.theme: Theme = DARK
        self.legend: list[tuple[str, str, str]] = []
        self._home = QRectF(0, 0, 1, 1)
        self._cursor: QPointF | None = None
        self.box = self.plotItem.vb
        self.plotItem.hideButtons()
        self.plotItem.layout.setContentsMargins(0, TOP, RIGHT, BOTTOM)
        self.box.disableAutoRange()
        self.box.setMouseEnabled(*zooms)
        self.cross = [pg.InfiniteLine(angle=angle) for angle in (90, 0)]
        for line in self.cross:
            line.setZValue(50)
            line.hide()
            self.box.addItem(line, ignoreBounds=True)
        self.setCacheMode(self.CacheModeFlag.CacheNone)  # the background holds the grid, which moves
        self.viewport().setAutoFillBackground(False)
        self.setMinimumSize(120, 90)
        self.box.sigRangeChanged.connect(lambda *_: self.viewport().update())

    def sizeHint(self) -> QSize:
        """The same for every plot, so that views share a window evenly whatever they hold."""
        return QSize(360, 240)

    def minimumSizeHint(self) -> QSize:
        """Small: four views share a window."""
        return QSize(120, 90)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.theme = theme
        for axis in (self.bottom, self.left):
            axis.setPen(theme.line)
            axis.setTickPen(theme.line)
            axis.setTextPen(theme.muted)
        for line in self.cross:
            line.setPen(pg.mkPen(theme.muted, width=1, style=Qt.PenStyle.DotLine))
        self.viewport().update()

    def set_content(
        self, content: QRectF, *, home: QRectF | None = None, least: tuple[float, float], keep: bool = False
    ) -> None:
        """What may be looked at (`content`), what fits at first (`home`) and the least range to zoom to.

        With `keep` a range that someone zoomed to stays.
        """
        stays = keep and not self.fitted
        self._home = content if home is None else home
        self.box.setLimits(
            xMin=content.left(), xMax=content.right(), yMin=content.top(), yMax=content.bottom(),
            minXRange=min(least[0], content.width()), minYRange=min(least[1], content.height()),
        )  # fmt: skip
        if not stays:
            self.fit()

    def set_heights(self, low: float, high: float) -> None:
        """Range of an upright axis that is not for zooming."""
        self._home = QRectF(self._home.left(), low, self._home.width(), high - low)
        self.box.setLimits(yMin=low, yMax=high, minYRange=0)
        self.box.setYRange(low, high, padding=0)

    @property
    def fitted(self) -> bool:
        """Whether all is in view."""
        now, home = self.box.viewRect(), self._home
        near = 1e-6
        return (
            abs(now.left() - home.left()) <= near * home.width()
            and abs(now.right() - home.right()) <= near * home.width()
            and abs(now.top() - home.top()) <= near * home.height()
            and abs(now.bottom() - home.bottom()) <= near * home.height()
        )

    def fit(self) -> None:
        """Bring all into view."""
        self.box.setRange(self._home, padding=0)

    @property
    def area(self) -> QRectF:
        """The drawing area in pixels."""
        rect: QRectF = self.box.sceneBoundingRect()
        return rect

    # The mouse.

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the cursor."""
        super().mouseMoveEvent(event)
        self._cursor = event.position()
        self.follow()

    def leaveEvent(self, event: QEvent) -> None:
        """Forget the cursor."""
        super().leaveEvent(event)
        self._cursor = None
        self.follow()

    def enterEvent(self, event: QEnterEvent) -> None:
        """Nothing but the cursor's shape."""
        self.setCursor(Qt.CursorShape.CrossCursor)
        super().enterEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Left to the frame around, which enlarges the view."""
        event.ignore()

    def follow(self) -> None:
        """Tell once more what is under the cursor, which may have changed under it."""
        inside = self._cursor is not None and self.area.contains(self._cursor)
        for line in self.cross:
            line.setVisible(inside)
        self.hovered.emit(self.box.mapSceneToView(self._cursor) if inside else None)

    def mark(self, x: float | None, y: float | None = None) -> None:
        """Put the crosshair at these data coordinates; None hides a line."""
        for line, at in zip(self.cross, (x, y), strict=True):
            line.setVisible(at is not None)
            if at is not None:
                line.setPos(at)

    # The keyboard.

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows pan, + and − zoom, Home fits."""
        key = Qt.Key(event.key())
        moves = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}
        if key in moves:
            self._pan(*moves[key])
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._zoom(ZOOM_STEP)
        elif key in (Qt.Key.Key_Minus, Qt.Key.Key_Underscore):
            self._zoom(1 / ZOOM_STEP)
        elif key == Qt.Key.Key_Home:
            self.fit()
        else:
            event.ignore()

    def _pan(self, right: int, up: int) -> None:
        rect, free = self.box.viewRect(), self.box.mouseEnabled()
        down = -up if self.box.yInverted() else up
        self.box.translateBy(
            x=right * PAN_STEP * rect.width() if free[0] else None,
            y=down * PAN_STEP * rect.height() if free[1] else None,
        )

    def _zoom(self, factor: float) -> None:
        self.box.scaleBy([factor if free else None for free in self.box.mouseEnabled()])

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show that keys go here, to those who came by key."""
        super().focusInEvent(event)
        if event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason):
            self.box.setBorder(pg.mkPen(self.theme.accent))

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """The ring goes."""
        super().focusOutEvent(event)
        self.box.setBorder(None)

    # Painting.

    def drawBackground(self, painter: QPainter, rect: QRectF) -> None:
        """The area and its grid: one call, a fifth of what axis grids cost."""
        area = self.area
        painter.fillRect(area, QColor(self.theme.plot))
        painter.setPen(QColor(self.theme.grid))
        (x0, x1), (y0, y1) = self.box.viewRange()
        lines = []
        for x in self.bottom.tickValues(x0, x1, area.width())[0][1]:
            at = self.box.mapViewToScene(QPointF(x, y0)).x()
            lines.append(QLineF(at, area.top(), at, area.bottom()))
        for y in self.left.tickValues(y0, y1, area.height())[0][1]:
            at = self.box.mapViewToScene(QPointF(x0, y)).y()
            lines.append(QLineF(area.left(), at, area.right(), at))
        painter.drawLines(lines)

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """Names of the axes and the legend, outside the area."""
        painter.setFont(small_font())
        painter.setPen(QColor(self.theme.muted))
        area = self.area
        head = QRectF(6, 0, self.width() - 6 - RIGHT, TOP - 2)
        centre = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(head, Qt.AlignmentFlag.AlignLeft | centre, self.left.name)
        foot = QRectF(area.left(), self.height() - BOTTOM - 2, area.width(), BOTTOM)
        painter.drawText(foot, Qt.AlignmentFlag.AlignHCenter | centre, self.bottom.name)
        self._draw_legend(painter, head)

    def _draw_legend(self, painter: QPainter, head: QRectF) -> None:
        """Entries `(text, colour, form)` from right to left; the form is box, line, dashes or mark."""
        metrics = QFontMetricsF(painter.font())
        right, middle = head.right(), head.center().y()
        for text, colour, form in reversed(self.legend):
            width = metrics.horizontalAdvance(text)
            painter.setPen(QColor(self.theme.muted))
            painter.drawText(QPointF(right - width, middle + metrics.ascent() / 2 - 1), text)
            self._draw_swatch(painter, QRectF(right - width - 16, middle - 4, 11, 8), colour, form)
            right -= width + 28

    def _draw_swatch(self, painter: QPainter, rect: QRectF, colour: str, form: str) -> None:
        painter.setPen(QPen(QColor(colour), 2 if form == "line" else 1))
        if form == "box":
            painter.fillRect(rect, translucent(colour))
            painter.drawRect(rect)
        elif form in ("line", "dashes"):
            if form == "dashes":
                painter.setPen(QPen(QColor(colour), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(rect.left(), rect.center().y()), QPointF(rect.right(), rect.center().y()))
        else:
            painter.drawLine(QPointF(rect.center().x(), rect.top()), QPointF(rect.center().x(), rect.bottom()))


def translucent(colour: str, alpha: int = 90) -> QColor:
    """The colour of a filled area under lines."""
    result = QColor(colour)
    result.setAlpha(alpha)
    return result
