"""A run of weights with what it became, and a plot for it whose levels have their codes beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QColor, QFontMetricsF, QPainter

from qinspect.gui.axes import Axis, small_font
from qinspect.gui.plots import RIGHT, Plot

CODE_ROOM = 12
"""Pixels between levels from which their codes are written beside them."""


@dataclass(frozen=True, eq=False)
class Group:
    """A run of weights with what it became; `start`…`stop` are its columns, `number` is its set."""

    index: int
    number: int
    start: int
    stop: int
    codes: np.ndarray
    decoded: np.ndarray
    weights: np.ndarray | None
    levels: np.ndarray

    @property
    def errors(self) -> np.ndarray | None:
        """Decoded less original."""
        return None if self.weights is None else self.decoded - self.weights

    @property
    def outside(self) -> np.ndarray:
        """Which weights lie beyond the end levels by more than rounding, as `kernels.error_sums` has it."""
        if self.weights is None or not self.levels.size:
            return np.zeros(self.codes.size, bool)
        low, high = float(self.levels.min()), float(self.levels.max())
        slack = 5e-7 * (max(abs(low), abs(high)) + (high - low))
        found: np.ndarray = (self.weights < low - slack) | (self.weights > high + slack)
        return found


class LevelPlot(Plot):
    """A plot whose levels have their codes written at the right."""

    def __init__(self) -> None:
        super().__init__(Axis("bottom", "column", integer=True), Axis("left", "weight"))
        self.levels: list[tuple[int, float]] = []
        self.plotItem.layout.setContentsMargins(0, 20, RIGHT + 22, 17)

    @property
    def around(self) -> tuple[object, ...]:
        """The levels as well."""
        return (*super().around, tuple(self.levels))

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """Codes of those levels that are in view, as far as there is room."""
        super().drawForeground(painter, rect)
        painter.setFont(small_font())
        painter.setPen(QColor(self.theme.muted))
        area = self.area
        painter.drawText(QPointF(area.right() + 2, self.height() - 6), "code")
        taken = math.inf
        height = QFontMetricsF(painter.font()).ascent()
        for code, value in sorted(self.levels, key=lambda level: level[1]):
            y = self.box.mapViewToScene(QPointF(0, value)).y()
            if area.top() <= y <= area.bottom() and taken - y >= CODE_ROOM:
                taken = y
                painter.drawText(QPointF(area.right() + 6, y + height / 2 - 1), f"{code}".replace("-", "−"))
