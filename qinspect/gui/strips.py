"""Curves along the sides of an image: one number for every column or row, in step with what is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

if TYPE_CHECKING:
    from qinspect.gui.plots import Plot

DEPTH = 30
"""Pixels from a curve's foot to its largest value."""


class Strip(pg.GraphicsWidget):  # type: ignore[misc]
    """Lies on the "top" of a plot or on its "right"; 0 at the image, the largest value of all furthest from it."""

    def __init__(self, plot: Plot, side: str) -> None:
        super().__init__()
        self._plot, self._upright = plot, side == "right"
        self._values = np.zeros(0, np.float32)
        self._spacing, self._start = 1.0, -0.5
        self._shown = True
        self.set_shown(False)

    def set(self, values: np.ndarray | None, spacing: float = 1.0, start: float = -0.5) -> None:
        """Values of consecutive columns or rows, `spacing` apart, the first from `start` on; None for none."""
        self._values = np.zeros(0, np.float32) if values is None else values
        self._spacing, self._start = spacing, start
        self.update()

    def set_shown(self, shown: bool) -> None:
        """Take room, or none."""
        if shown == self._shown:
            return  # setting a size, even the same, has everything laid out and painted anew
        self._shown = shown
        self.setVisible(shown)
        if self._upright:
            self.setFixedWidth(DEPTH if shown else 0)
        else:
            self.setFixedHeight(DEPTH if shown else 0)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """The part in view, the largest of what shares a pixel."""
        size = self.size()
        length = size.height() if self._upright else size.width()
        low, high = self._plot.box.viewRange()[1 if self._upright else 0]
        most = float(self._values.max(initial=0))
        if not (self._values.size and most > 0 and high > low and length >= 1):
            return
        positions, values = self._pooled(low, high, length)
        along = (positions - low) / (high - low) * length
        if self._upright and not self._plot.box.yInverted():
            along = length - along
        across = np.minimum(values / most, 1) * (DEPTH - 4)
        x, y = (2 + across, along) if self._upright else (along, size.height() - 2 - across)
        outline = pg.arrayToQPath(x, y)
        painter.setClipRect(QRectF(0, 0, size.width(), size.height()))
        colour = QColor(self._plot.theme.error)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(colour, 1))
        painter.drawPath(outline)
        foot = 2.0 if self._upright else size.height() - 2
        for at in (-1, 0):
            outline.lineTo(*((foot, y[at]) if self._upright else (x[at], foot)))
        colour.setAlpha(60)
        painter.fillPath(outline, colour)

    def _pooled(self, low: float, high: float, length: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges of steps and their heights: two points a value."""
        spacing, first = self._spacing, self._start
        start = max(0, int((low - first) / spacing))
        stop = min(self._values.size, int((high - first) / spacing) + 1)
        together = max(1, int((stop - start) / length))
        start = start // together * together
        starts = np.arange(start, max(stop, start + 1), together)
        values = np.maximum.reduceat(self._values[: max(stop, start + 1)], starts)
        left = starts * spacing + first
        right = np.append(left[1:], left[-1] + together * spacing)
        return np.column_stack((left, right)).ravel(), np.repeat(values, 2)
