"""What the colours of an image mean: a strip with numbers, and how many values have which colour."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QGraphicsSceneMouseEvent, QStyleOptionGraphicsItem, QWidget

from qinspect.gui.axes import nice_step, number, plain, room_for, small_font, steps_within
from qinspect.gui.colours import Norm, Spread, sampled
from qinspect.gui.theme import DARK, Theme

NUMBERS, SHAPE = 58, 22
"""Pixels for the strip of colours with its numbers, and for the distribution beside it."""

SHAPE_BINS = 48


class ColourBar(pg.GraphicsWidget):  # type: ignore[misc]
    """As high as the image beside it. A click asks for the tool that changes it."""

    clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._spread = Spread(0.0, 1.0)
        self._image = QImage()
        self._theme: Theme = DARK
        self._counts = np.zeros(0)
        self._wide = True
        self._marks: list[tuple[float, str]] = []
        self._marked_for = 0.0
        self.setFixedWidth(NUMBERS + SHAPE)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click for colours, limits and how values spread between them")

    def set(self, table: np.ndarray, spread: Spread, theme: Theme, values: np.ndarray) -> None:
        """Colours, how values spread over them, and some of the values."""
        rows = np.ascontiguousarray(table[-2::-1, None, :])  # the last colour is for no value
        self._image = QImage(rows.data, 1, len(rows), 3, QImage.Format.Format_RGB888).copy()
        self._spread, self._theme = spread, theme
        self._marks = []
        places = spread.places(sampled(values).astype(np.float32, copy=False))
        self._counts = np.histogram(places, SHAPE_BINS, (0.0, 1.0))[0]
        self.update()

    def set_wide(self, wide: bool) -> None:
        """Whether there is room for the distribution."""
        if wide != self._wide:
            self._wide = wide
            self.setFixedWidth(NUMBERS + SHAPE * wide)

    def mousePressEvent(self, event: QGraphicsSceneMouseEvent) -> None:
        """Take the press, so that its release comes here too."""
        event.setAccepted(event.button() == Qt.MouseButton.LeftButton)

    def mouseReleaseEvent(self, event: QGraphicsSceneMouseEvent) -> None:
        """A click."""
        if self.rect().contains(event.pos()):
            self.clicked.emit()

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """The strip, a mark and a number at round values, the distribution on its left."""
        height = self.size().height()
        left = 6.0 + SHAPE * self._wide
        if self._wide:
            self._paint_shape(painter, QRectF(4, 0, SHAPE, height))
        strip = QRectF(left, 0, 10, height)
        painter.drawImage(strip, self._image)
        painter.setPen(QColor(self._theme.line))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(strip)
        painter.setFont(small_font())
        taken = math.inf
        for place, text in self._placed(height):
            y = strip.bottom() - place * height
            centre = min(max(y, 6), height - 6)
            if not -1e-6 <= place <= 1 + 1e-6 or taken - centre < 11:
                continue
            taken = centre
            painter.setPen(QColor(self._theme.line))
            painter.drawLine(QPointF(strip.right(), y), QPointF(strip.right() + 3, y))
            painter.setPen(QColor(self._theme.muted))
            box = QRectF(strip.right() + 6, centre - 8, NUMBERS, 16)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, text)

    def _paint_shape(self, painter: QPainter, box: QRectF) -> None:
        """How many values have each colour: the fuller, the further left; the root, so that few are seen too."""
        if not self._counts.any():
            return
        widths = np.sqrt(self._counts / self._counts.max()) * box.width()
        edges = box.bottom() - np.repeat(np.linspace(0, 1, widths.size + 1), 2) * box.height()
        across = np.concatenate([[0.0], np.repeat(widths, 2), [0.0]])
        painter.fillPath(pg.arrayToQPath(box.right() - across, edges), QColor(self._theme.line))

    def _placed(self, height: float) -> list[tuple[float, str]]:
        """Numbers and where they stand, 0…1 from below."""
        if not self._marks or height != self._marked_for:
            self._marked_for, ticks = height, self._ticks(height)
            places = self._spread.places(np.array([value for value, _ in ticks]))
            self._marks = [(float(place), text) for place, (_, text) in zip(places, ticks, strict=True)]
        return self._marks

    def _ticks(self, height: float) -> list[tuple[float, str]]:
        """Round values from low to high, and their numbers."""
        low, high = self._spread.low, self._spread.high
        if self._spread.norm == Norm.LOG and high > 10 * low:
            decades = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
            return [(10.0**k, number(10.0**k, 1)) for k in decades]
        step = nice_step(high - low, room_for(height, upright=True))
        values = steps_within(low, high, step)
        if len(values) < 2 or high - low < 1e-3 * max(abs(low), abs(high)):  # almost constant: the ends say all
            return [(low, number(low)), (high, number(high))] if height > 40 else [(high, number(high))]
        return [(value, plain(value, step)) for value in values]
