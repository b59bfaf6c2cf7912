"""How schemes are told apart in plots: by colour and by shape, so that neither is needed alone."""

from __future__ import annotations

from pyqtgraph import functions as pg_functions
from pyqtgraph.graphicsItems.ScatterPlotItem import drawSymbol
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap

from qinspect.gui.theme import Theme
from qinspect.quant.scheme import registry

COLOURS = {
    "dark": ("#66aaff", "#ff7d87", "#5fc777", "#e5cf5a", "#7fdcf0", "#d884c6", "#f0a35e"),
    "light": ("#2f6db5", "#d03f50", "#1f8038", "#9c8412", "#1593b3", "#9a2f7d", "#b85a0c"),
}
"""After Paul Tol's "bright" scheme, lightened for dark and darkened for light grounds: distinct to the colour-blind."""
SHAPES = ("o", "t1", "t", "d", "star", "p", "s", "+", "x", "h", "t2")
"""As pyqtgraph names them. Their number has no factor in common with that of the colours."""


def shape_of(scheme: str) -> str:
    """The shape of a scheme's marks, by its name."""
    return SHAPES[_number(scheme) % len(SHAPES)]


def colour_of(scheme: str, theme: Theme) -> str:
    """The colour of a scheme's marks, by its name."""
    return palette(_number(scheme), theme)


def palette(number: int, theme: Theme) -> str:
    """The colours one after another, and again."""
    colours = COLOURS[theme.name]
    return colours[number % len(colours)]


def _number(scheme: str) -> int:
    names = registry.names()
    return names.index(scheme) if scheme in names else len(names)


def icon(scheme: str, theme: Theme) -> QIcon:
    """A scheme's mark, for lists."""
    pixmap = QPixmap(32, 32)
    pixmap.setDevicePixelRatio(2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    draw(painter, QPointF(8, 8), 9, shape_of(scheme), colour_of(scheme, theme))
    painter.end()
    return QIcon(pixmap)


def draw(painter: QPainter, at: QPointF, size: float, shape: str, colour: str, *, hollow: bool = False) -> None:
    """One mark, about `size` pixels large."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.translate(at)
    brush = QColor(0, 0, 0, 0) if hollow else QColor(colour)
    drawSymbol(painter, shape, size, QPen(QColor(colour), 0), pg_functions.mkBrush(brush))
    painter.restore()
