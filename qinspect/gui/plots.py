"""The plot under every view: calm axes, a grid, a crosshair, zoom and pan by mouse and keyboard, and a line of text."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QEvent, QLineF, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPen,
    QWheelEvent,
)

from qinspect.gui.axes import Axis, small_font
from qinspect.gui.theme import DARK, Theme

pg.setConfigOptions(imageAxisOrder="row-major", antialias=False, useOpenGL=False, mouseRateLimit=0)

TOP, RIGHT, BOTTOM = 20, 12, 17
"""Pixels around area and axes: for the upright axis' name and the legend, half a number, the other axis' name."""

REFRESH_DELAY_MS = 12
"""Changes of the range in view that come within this time are answered once."""

ZOOM_HINT = "Wheel zooms, drag pans, double-click fits."

CLICK_PIXELS = 4
"""Whoever moves the mouse further between press and release drags."""

ZOOM_STEP = 0.8
PAN_STEP = 0.1
"""What one key press does: zoom to this part of the range, move by this part of it."""

MOVES: dict[int, tuple[int, int]] = {
    Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1),
}  # fmt: skip


class Plot(pg.PlotWidget):  # type: ignore[misc]
    """A drawing area between two axes. The wheel zooms, a drag pans, a double-click fits."""

    hovered = Signal(object)
    """Data coordinates (QPointF) under the cursor, None when it leaves."""

    clicked = Signal(object)
    """Data coordinates (QPointF) of a click that was no drag."""

    moved = Signal()
    """A person has zoomed or panned."""

    ranged = Signal()
    """The range in view or the size in pixels has changed, a moment ago: detail may be drawn to suit."""

    def __init__(self, bottom: Axis, left: Axis, *, zooms: tuple[bool, bool] = (True, True)) -> None:
        super().__init__(background=None, axisItems={"bottom": bottom, "left": left}, enableMenu=False)
        self.bottom, self.left = bottom, left
        self.theme: Theme = DARK
        self.legend: list[tuple[str, str, str]] = []
        self._home = QRectF(0, 0, 1, 1)
        self._limits: dict[str, float] = {}
        self._cursor: QPointF | None = None
        self._pressed: QPointF | None = None
        self.box = self.plotItem.vb
        self.plotItem.hideButtons()
        menu = self.plotItem.ctrlMenu  # never shown, but made all the same; without a parent it would outlive the plot
        menu.setParent(self, menu.windowFlags())
        for side in ("top", "right"):
            self.plotItem.getAxis(side).unlinkFromView()  # never shown
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
        self.viewport().setCursor(Qt.CursorShape.CrossCursor)
        self.setMinimumSize(120, 90)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(REFRESH_DELAY_MS)
        self._pause.timeout.connect(self.ranged)
        self.box.sigRangeChangedManually.connect(self.moved)
        self.box.sigRangeChanged.connect(self._on_range_changed)
        self.box.sigResized.connect(self._on_range_changed)

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
        self._limit(
            xMin=content.left(), xMax=content.right(), yMin=content.top(), yMax=content.bottom(),
            minXRange=min(least[0], self._home.width()), minYRange=min(least[1], self._home.height()),
        )  # fmt: skip
        if not stays:
            self.fit()

    def _limit(self, **limits: float) -> None:
        """Limits of the range in view; the same again would have pyqtgraph work it out once more."""
        limits = self._limits | limits
        if limits != self._limits:
            self._limits = limits
            self.box.setLimits(**limits)

    def set_heights(self, low: float, high: float) -> None:
        """The range of an upright axis that is not for zooming."""
        self._home = QRectF(self._home.left(), low, self._home.width(), high - low)
        self._limit(yMin=low, yMax=high, minYRange=0)
        self.box.setYRange(low, high, padding=0)

    def forget(self) -> None:
        """What was drawn is no longer of interest."""
        self.settle()

    def settle(self) -> None:
        """All that suits the range in view is drawn: `ranged` is not needed for the changes so far.

        What pyqtgraph would find out as it paints, it finds out now, and so are the items told of that have changed:
        else it would be painted twice, and each plot in a pass of its own through all that lies under it.
        """
        self.scene().prepareForPaint()
        QCoreApplication.sendPostedEvents(self.scene(), QEvent.Type.MetaCall.value)
        self._pause.stop()

    def _on_range_changed(self, *_: object) -> None:
        self.viewport().update()
        self._pause.start()

    @property
    def fitted(self) -> bool:
        """Whether all is in view."""
        now, home = self.box.viewRect(), self._home
        across = max(abs(now.left() - home.left()), abs(now.right() - home.right()))
        down = max(abs(now.top() - home.top()), abs(now.bottom() - home.bottom()))
        return bool(across <= 1e-6 * home.width() and down <= 1e-6 * home.height())

    def fit(self) -> None:
        """Bring all into view."""
        self.box.setRange(self._home, padding=0)

    def look_at(self, across: tuple[float, float] | None = None, down: tuple[float, float] | None = None) -> None:
        """Bring a range of either axis into view, as far as the limits allow; None leaves an axis as it is."""
        if across is not None:
            self.box.setXRange(*across, padding=0)
        if down is not None:
            self.box.setYRange(*down, padding=0)

    @property
    def area(self) -> QRectF:
        """The drawing area in pixels."""
        rect: QRectF = self.box.mapRectToScene(self.box.rect())
        return rect

    # The mouse.

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom about the cursor, also when several steps come between two frames: pyqtgraph maps as last painted."""
        self.box.prepareForPaint()
        super().wheelEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """A click may begin."""
        left = event.button() == Qt.MouseButton.LeftButton
        self._pressed = event.position() if left and self.area.contains(event.position()) else None
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """A click, where it ends near the press."""
        super().mouseReleaseEvent(event)
        start, self._pressed = self._pressed, None
        if start is not None and (event.position() - start).manhattanLength() < CLICK_PIXELS:
            self.clicked.emit(self.box.mapSceneToView(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the cursor."""
        self.box.prepareForPaint()
        super().mouseMoveEvent(event)
        self._cursor = event.position()
        self.follow()

    def leaveEvent(self, event: QEvent) -> None:
        """Forget the cursor."""
        super().leaveEvent(event)
        self._cursor = None
        self.follow()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """All in view again."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.fit()
            self.moved.emit()

    def follow(self) -> None:
        """Tell once more what is under the cursor, which may have changed under it."""
        inside = self._cursor is not None and self.area.contains(self._cursor)
        self.hovered.emit(self.box.mapSceneToView(self._cursor) if inside else None)

    def mark(self, x: float | None = None, y: float | None = None) -> None:
        """Put the crosshair at these data coordinates; None hides a line."""
        for line, at in zip(self.cross, (x, y), strict=True):
            line.setVisible(at is not None)
            if at is not None:
                line.setPos(at)

    # The keyboard.

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows pan, + and − zoom, Home fits."""
        key = event.key()
        if event.modifiers() & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier):
            event.ignore()  # a shortcut of the window
        elif key in MOVES:
            self._pan(*MOVES[key])
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._zoom(ZOOM_STEP)
        elif key in (Qt.Key.Key_Minus, Qt.Key.Key_Underscore):
            self._zoom(1 / ZOOM_STEP)
        elif key == Qt.Key.Key_Home:
            self.fit()
            self.moved.emit()
        else:
            event.ignore()

    def _pan(self, right: int, up: int) -> None:
        rect, free = self.box.viewRect(), self.box.mouseEnabled()
        down = -up if self.box.yInverted() else up
        self.box.translateBy(
            x=right * PAN_STEP * rect.width() if free[0] else None,
            y=down * PAN_STEP * rect.height() if free[1] else None,
        )
        self.moved.emit()

    def _zoom(self, factor: float) -> None:
        self.box.scaleBy([factor if free else None for free in self.box.mouseEnabled()])
        self.moved.emit()

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

    @property
    def around(self) -> tuple[object, ...]:
        """What is written around the area, which pyqtgraph does not know of: when it changes, all must be painted."""
        return self.left.name, self.bottom.name, tuple(self.legend)

    def drawBackground(self, painter: QPainter, rect: QRectF) -> None:
        """The area and its grid: one call, a fifth of what axis grids cost."""
        area = self.area
        painter.fillRect(area, QColor(self.theme.plot))
        painter.setPen(QColor(self.theme.grid))
        across = (area.left() + x for x in self.bottom.places())
        down = (area.top() + y for y in self.left.places())
        painter.drawLines(
            [QLineF(x, area.top(), x, area.bottom()) for x in across]
            + [QLineF(area.left(), y, area.right(), y) for y in down]
        )

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
        """Entries `(text, colour, form)`, the last at the right; the form is box, bar, line, dashes or mark.

        What would run into the axis' name is left out.
        """
        metrics = QFontMetricsF(painter.font())
        right, middle = head.right(), head.center().y()
        taken = head.left() + metrics.horizontalAdvance(self.left.name) + 10
        for text, colour, form in reversed(self.legend):
            width = metrics.horizontalAdvance(text)
            if right - width - 16 < taken:
                break
            painter.setPen(QColor(self.theme.muted))
            painter.drawText(QPointF(right - width, middle + metrics.ascent() / 2 - 1), text)
            self._draw_swatch(painter, QRectF(right - width - 16, middle - 4, 11, 8), colour, form)
            right -= width + 26

    def _draw_swatch(self, painter: QPainter, rect: QRectF, colour: str, form: str) -> None:
        painter.setPen(QPen(QColor(colour), 2 if form == "line" else 1))
        if form == "box":
            painter.fillRect(rect, translucent(colour))
            painter.drawRect(rect)
        elif form == "bar":
            painter.fillRect(rect, QColor(colour))
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
