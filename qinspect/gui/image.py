"""Matrices as images: what is in view is pooled so that no outlier vanishes, and a bar says what colours mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

from qinspect.gui.axes import Axis, nice_step, number, plain, room_for, small_font, steps_within
from qinspect.gui.plots import BOTTOM, RIGHT, TOP, Plot
from qinspect.gui.theme import Theme

BAR_WIDTH = 58
"""Pixels for the strip of colours and its numbers."""

OVERVIEW = 512
"""Cells along the longer side of a picture of the whole, from which the range of colours is found."""

SAMPLE = 1 << 16
"""Cells looked at to find the range of colours."""

# Blue to orange over a dark centre: lightness grows evenly to both ends, and both are told apart without red or green.
_DIVERGING_DARK = {
    0.0: "#a6d8ff", 0.2: "#5ca6f0", 0.36: "#2f639f", 0.5: "#14171c", 0.64: "#9a5410", 0.8: "#ee9a3c", 1.0: "#ffd592",
}  # fmt: skip


def diverging(theme: Theme) -> np.ndarray:
    """Colours for signed values, neutral at 0: uint8 `[256, 3]`."""
    if theme.name == "dark":
        places = list(_DIVERGING_DARK)
        channels = np.array([QColor(colour).getRgb() for colour in _DIVERGING_DARK.values()], np.float64)
        at = np.linspace(0, 1, 256)
        return np.column_stack([np.interp(at, places, channels[:, k]) for k in range(3)]).round().astype(np.uint8)
    return _named("CET-CBD1")


def magnitude() -> np.ndarray:
    """Colours for values from 0 up."""
    return _named("inferno")


def sequential() -> np.ndarray:
    """Colours for values of any range."""
    return _named("viridis")


def _named(name: str) -> np.ndarray:
    table: np.ndarray = pg.colormap.get(name).getLookupTable(nPts=256, alpha=False)
    return table


@dataclass(frozen=True, eq=False)
class Crop:
    """The part of a matrix that is painted: `values` `[m, n]`, each the extreme of `cell` (rows, columns) weights.

    `rect` is where it lies, in rows and columns; a cell is centred on its row and column number.
    """

    values: np.ndarray
    rect: QRectF
    cell: tuple[int, int]


Source = Callable[[QRectF, tuple[float, float]], Crop]
"""From the range in view and the (rows, columns) that a pixel covers to what is painted."""


def crop(
    matrix: np.ndarray,
    view: QRectF,
    per_pixel: tuple[float, float],
    *,
    factor: tuple[int, int] = (1, 1),
    stretch: float = 1.0,
    origin: int = 0,
) -> Crop:
    """The part of `matrix` in `view`, pooled until no cell is smaller than a pixel, so that none is skipped.

    A value of `matrix` stands for `factor` (rows, columns); its first row has number `origin`. Rows lie `stretch` apart
    (a sample of rows is stretched over the whole).
    """
    high, wide = factor[0] * stretch, float(factor[1])
    pools = max(1, math.ceil(per_pixel[0] / high)), max(1, math.ceil(per_pixel[1] / wide))
    top = origin * stretch - 0.5
    i0, i1 = _span((view.top() - top) / high, (view.bottom() - top) / high, pools[0], matrix.shape[0])
    j0, j1 = _span((view.left() + 0.5) / wide, (view.right() + 0.5) / wide, pools[1], matrix.shape[1])
    values, pools = pooled(matrix[i0:i1, j0:j1], *pools)
    rect = QRectF(
        j0 * wide - 0.5, top + i0 * high, values.shape[1] * pools[1] * wide, values.shape[0] * pools[0] * high
    )
    return Crop(values, rect, (pools[0] * factor[0], pools[1] * factor[1]))


def _span(low: float, high: float, pool: int, size: int) -> tuple[int, int]:
    """First and last cell of a range, at multiples of what is pooled, so that nothing shimmers while panning."""
    unit = _composed(pool)
    first = min(max(0, math.floor(low)), size - 1) // unit * unit
    return first, min(size, max(first + 1, -(-math.ceil(high) // unit) * unit))


def _composed(pool: int) -> int:
    """The least number from `pool` up that `pooled` can reach."""
    unit = 1
    while pool > 32:
        pool = -(-pool // 16)
        unit *= 16
    return pool * unit


def pooled(x: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The value of largest magnitude, with its sign, of each rows × cols cells; with the numbers really pooled."""
    high = low = x
    for axis, pool in ((0, rows), (1, cols)):
        while pool > 1:
            part = pool if pool <= 32 else 16
            high, low = _every(high, part, axis, np.maximum), _every(low, part, axis, np.minimum)
            pool = -(-pool // part)
    return (x if high is x else np.where(high >= -low, high, low)), (_composed(rows), _composed(cols))


def _every(x: np.ndarray, pool: int, axis: int, extreme: np.ufunc) -> np.ndarray:
    """Strided passes: five times as fast as a reduction over a short axis, and ragged ends need no care."""
    y = x if axis == 0 else x.T
    out = y[::pool].copy()
    for k in range(1, pool):
        part = y[k::pool]
        extreme(out[: len(part)], part, out=out[: len(part)])
    return out if axis == 0 else out.T


def spread(values: np.ndarray, percent: float = 99.9) -> tuple[float, float]:
    """From the (100 − percent)th to the percent-th percentile of the finite values, of a sample of them."""
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 0.0
    low, high = np.percentile(sample, (100 - percent, percent))
    return float(low), float(high)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


class ColourBar(pg.GraphicsWidget):  # type: ignore[misc]
    """What colours mean: a strip with numbers, as high as the image beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedWidth(BAR_WIDTH)
        self._levels = 0.0, 1.0
        self._image = QImage()
        self._line, self._text = QColor(), QColor()

    def set(self, table: np.ndarray, levels: tuple[float, float], theme: Theme) -> None:
        """Colours, the values at the ends, and the colours of line and numbers."""
        rows = np.ascontiguousarray(table[::-1, None, :])
        self._image = QImage(rows.data, 1, len(rows), 3, QImage.Format.Format_RGB888).copy()
        self._levels = levels
        self._line, self._text = QColor(theme.line), QColor(theme.muted)
        self.update()

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """The strip, a mark and a number at round values."""
        strip = QRectF(8, 0, 10, self.size().height())
        painter.drawImage(strip, self._image)
        painter.setPen(self._line)
        painter.drawRect(strip)
        painter.setFont(small_font())
        for value, text in self._ticks(strip.height()):
            low, high = self._levels
            y = strip.bottom() - (value - low) / (high - low) * strip.height()
            painter.setPen(self._line)
            painter.drawLine(QPointF(strip.right(), y), QPointF(strip.right() + 3, y))
            painter.setPen(self._text)
            centre = min(max(y, 6), strip.height() - 6)
            painter.drawText(QRectF(strip.right() + 6, centre - 8, BAR_WIDTH, 16), Qt.AlignmentFlag.AlignVCenter, text)

    def _ticks(self, height: float) -> list[tuple[float, str]]:
        low, high = self._levels
        step = nice_step(high - low, room_for(height, upright=True))
        values = steps_within(low, high, step)
        if len(values) < 2 or high - low < 1e-3 * max(abs(low), abs(high)):  # almost constant: the ends say all
            return [(low, number(low)), (high, number(high))] if height > 40 else [(high, number(high))]
        return [(value, plain(value, step)) for value in values]


class ImagePlot(Plot):
    """A matrix as an image: row 0 on top, each cell centred on its row and column number."""

    cropped = Signal()
    """Zooming has changed how many weights a pixel pools: `crop` has another cell."""

    def __init__(self, columns: str, rows: str) -> None:
        super().__init__(Axis("bottom", columns, integer=True), Axis("left", rows, integer=True))
        self.crop: Crop | None = None
        self.quantity = ""
        self._source: Source | None = None
        self._shape = 0, 0
        self._levels = 0.0, 1.0
        self._image = pg.ImageItem(autoDownsample=False)
        self.bar = ColourBar()
        self.box.invertY(True)
        self.box.addItem(self._image, ignoreBounds=True)
        self.plotItem.layout.addItem(self.bar, 2, 5)  # as far out as pyqtgraph puts its own
        self.plotItem.layout.setContentsMargins(0, TOP, 0, BOTTOM)
        self.ranged.connect(self._on_ranged)

    def show_matrix(
        self, shape: tuple[int, int], source: Source, levels: tuple[float, float], table: np.ndarray, *, keep: bool
    ) -> None:
        """Show a matrix of `shape` whose cells come from `source`, colours of `table` spread over `levels`.

        With `keep` the range in view stays, unless the shape is another.
        """
        low, high = levels
        if not high > low:
            room = max(abs(low) * 1e-6, 1e-12)
            low, high = low - room, high + room
        self._source, self._levels = source, (low, high)
        self._image.setLookupTable(table)
        self._image.setLevels((low, high), update=False)
        self.bar.set(table, (low, high), self.theme)
        rows, cols = shape
        self.set_content(QRectF(-0.5, -0.5, cols, rows), least=(4, 4), keep=keep and shape == self._shape)
        self._shape = shape
        self.refresh()

    def refresh(self) -> None:
        """Fetch and paint what is in view now."""
        area = self.area
        if self._source is None or area.width() < 1 or area.height() < 1:
            return
        view, ratio = self.box.viewRect(), self.devicePixelRatioF()
        per_pixel = view.height() / (area.height() * ratio), view.width() / (area.width() * ratio)
        self.crop = self._source(view, per_pixel)
        self._image.setImage(self.crop.values, autoLevels=False, levels=self._levels)
        self._image.setRect(self.crop.rect)

    def _on_ranged(self) -> None:
        before = self.crop
        self.refresh()
        if self.crop is not None and (before is None or before.cell != self.crop.cell):
            self.cropped.emit()

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """The quantity over its colour bar, beside the names of the axes."""
        super().drawForeground(painter, rect)
        head = QRectF(6, 0, self.width() - 6 - RIGHT, TOP - 2)
        painter.setPen(QColor(self.theme.muted))
        painter.drawText(head, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.quantity)
