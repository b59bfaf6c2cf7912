"""Matrices as images: what is in view is pooled so that no outlier vanishes, and a bar says what colours mean."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter
from PySide6.QtWidgets import QGraphicsRectItem

from qinspect.analysis import Pooling
from qinspect.gui.axes import Axis
from qinspect.gui.colour_bar import ColourBar
from qinspect.gui.colours import Kind, Look, Spread, table_of
from qinspect.gui.plots import BOTTOM, RIGHT, TOP, Plot
from qinspect.gui.pooling import Crop, Source
from qinspect.gui.raster import Raster
from qinspect.gui.strips import Strip

OVERVIEW = 512
"""Cells along the longer side of a picture of the whole, from which the range of colours is found."""

MARK_PIXELS = 7
"""A mark around a place is at least so wide, however far out one has zoomed."""

GRIP_PIXELS = 6
"""So near, the mouse takes hold of the line between two images."""

SWIPE_STEP = 0.05
"""Share of the width by which a key moves it."""

STRIPS_FROM = 300, 240
"""Width and height in pixels from which a plot has room for strips beside the image."""


class ImagePlot(Plot):
    """A matrix as an image: row 0 on top, each cell centred on its row and column number."""

    cropped = Signal()
    """Zooming has changed how many weights a pixel pools: `crop` has another cell."""

    looked = Signal()
    """Another look has been chosen."""

    repooled = Signal()
    """Another way to pool has been chosen: what is shown must be asked for anew."""

    swiped = Signal(float)
    """Someone moves the line between two images: the share of the width that is left of it."""

    def __init__(self, columns: str, rows: str, look: Look) -> None:
        super().__init__(Axis("bottom", columns, integer=True), Axis("left", rows, integer=True))
        self.crop: Crop | None = None
        self.quantity = ""
        self.standard = self.look = look
        self.poolings: tuple[Pooling, ...] = (Pooling.LARGEST,)
        self.pooling = Pooling.LARGEST
        self.spread = Spread(0.0, 1.0)
        self.values = np.zeros(0, np.float32)
        """What the range of colours is found from."""
        self._source: Source | None = None
        self._under: Source | None = None
        self._over: Source | None = None
        self._split = 0.5
        self._dragged = False
        self._under_spread = Spread(0.0, 1.0)
        self._shape = 0, 0
        self._fallback = 1.0
        self._strips_wanted = False
        self._image, self._backdrop = Raster(), Raster()
        self._part = QGraphicsRectItem()  # right of the line: holds the image that is over the other
        self._part.setFlag(QGraphicsRectItem.GraphicsItemFlag.ItemClipsChildrenToShape)
        self._part.setPen(pg.mkPen(None))
        self._cover = Raster()
        self._cover.setParentItem(self._part)
        self._part.hide()
        self.bar = ColourBar()
        self.top, self.side = Strip(self, "top"), Strip(self, "right")
        self._pin, self._mark = QGraphicsRectItem(), QGraphicsRectItem()
        self.box.invertY(True)
        for item in (self._backdrop, self._image, self._part, self._pin, self._mark):
            self.box.addItem(item, ignoreBounds=True)
        for rect, height in ((self._pin, 40), (self._mark, 45)):
            rect.setZValue(height)
            rect.hide()
        self._places: dict[QGraphicsRectItem, QRectF] = {}
        layout = self.plotItem.layout
        layout.removeItem(self.plotItem.getAxis("top"))  # never shown
        layout.addItem(self.top, 1, 1)
        layout.addItem(self.side, 2, 3)
        layout.addItem(self.bar, 2, 5)  # as far out as pyqtgraph puts its own
        layout.setContentsMargins(0, TOP, 0, BOTTOM)
        self.ranged.connect(self._on_ranged)
        self.bar.clicked.connect(self.open_levels)
        self._arrange()

    # What is shown.

    def show_matrix(
        self, shape: tuple[int, int], source: Source, values: np.ndarray, *, keep: bool, fallback: float = 1.0
    ) -> None:
        """Show a matrix of `shape` whose cells come from `source`; `values` decide over the range of colours.

        Where all of them are 0 and the colours begin there, they end at `fallback`. With `keep` the range in view
        stays, unless the shape is another.
        """
        self._source, self.values, self._fallback = source, values, fallback
        rows, cols = shape
        self.set_content(QRectF(-0.5, -0.5, cols, rows), least=(4, 4), keep=keep and shape == self._shape)
        self._shape = shape
        self._recolour()
        self.refresh()

    def forget(self) -> None:
        """Let go of what was shown."""
        super().forget()
        self._source = self._under = None
        self.show_over(None)

    def show_under(self, source: Source | None, spread: Spread | None = None, opacity: float = 1.0) -> None:
        """Another image below in shades of grey, that of a matrix of the same shape; to be called before."""
        self._under = source
        self._under_spread = spread or self._under_spread
        self._backdrop.setVisible(source is not None)
        self._image.setOpacity(opacity if source is not None else 1.0)

    def show_over(self, source: Source | None) -> None:
        """Another image in the same colours right of a line that can be dragged; None shows none."""
        self._over = source
        self._part.setVisible(source is not None)
        self.viewport().update()

    def set_split(self, split: float) -> None:
        """Put the line at this share of the width."""
        self._split = split
        if self._over is not None:
            self._put_part()
            self.viewport().update()

    @property
    def split_pixel(self) -> float | None:
        """Where the line is, in pixels; None where there is none."""
        area = self.area
        return None if self._over is None else area.left() + self._split * area.width()

    def _put_part(self) -> None:
        view = self.box.viewRect()
        left = view.left() + self._split * view.width()
        self._part.setRect(QRectF(QPointF(left, view.top()), view.bottomRight()))

    def set_look(self, look: Look) -> None:
        """Show in other colours, or with other ends."""
        if look != self.look:
            self.look = look
            if self._source is not None:
                self._recolour()
                self.refresh()
            self.looked.emit()

    def set_standard(self, look: Look) -> None:
        """The look of another quantity. What a person has chosen stays as far as it suits."""
        if look == self.standard:
            return
        same_kind = look.kind == self.standard.kind
        chosen = self.look != self.standard
        self.standard = look
        self.look = self.look if chosen and same_kind and self.look.table != look.table else look

    def set_pooling(self, pooling: Pooling) -> None:
        """Let pixels show something else of the cells under them."""
        if pooling != self.pooling:
            self.pooling = pooling
            self.repooled.emit()

    def open_levels(self) -> None:
        """Let a person choose colours, ends and pooling."""
        from qinspect.gui.level_tool import open_levels

        if self._source is not None:
            open_levels(self)

    def _recolour(self) -> None:
        low, high = self.look.range_of(self.values)
        if self.look.kind != Kind.ANY and not high > 0:
            low, high = (-self._fallback if self.look.kind == Kind.SIGNED else 0.0), self._fallback
        self.spread = Spread.over(low, high, self.look.norm)
        table = table_of(self.look.table, self.theme)
        for item in (self._image, self._cover):
            item.set_table(table)
        self._backdrop.set_table(table_of("grey", self.theme))
        self.bar.set(table, self.spread, self.theme, self.values)

    def refresh(self) -> None:
        """Fetch and paint what is in view now."""
        area = self.area
        if self._source is None or area.width() < 1 or area.height() < 1:
            return
        view, ratio = self.box.viewRect(), self.devicePixelRatioF()
        per_pixel = view.height() / (area.height() * ratio), view.width() / (area.width() * ratio)
        self.crop = self._source(view, per_pixel)
        self._paint_crop(self._image, self.crop, self.spread)
        if self._under is not None:
            self._paint_crop(self._backdrop, self._under(view, per_pixel), self._under_spread)
        if self._over is not None:
            self._paint_crop(self._cover, self._over(view, per_pixel), self.spread)
            self._put_part()
        for item, place in self._places.items():
            self._put(item, place)

    def _paint_crop(self, item: Raster, crop: Crop, spread: Spread) -> None:
        item.show_cells(spread.indices(crop.values), crop.rect)

    def _on_range_changed(self, *_: object) -> None:
        super()._on_range_changed()
        if self._over is not None:
            self._put_part()

    def _on_ranged(self) -> None:
        self._arrange()
        before = self.crop
        self.refresh()
        if self.crop is not None and (before is None or before.cell != self.crop.cell):
            self.cropped.emit()

    # The line between two images.

    def _near_line(self, event: QMouseEvent) -> bool:
        line, at = self.split_pixel, event.position()
        return line is not None and self.area.contains(at) and abs(at.x() - line) <= GRIP_PIXELS

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take hold of the line, if it is there."""
        self._dragged = event.button() == Qt.MouseButton.LeftButton and self._near_line(event)
        if not self._dragged:
            super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the line, or tell by the cursor that it can be moved."""
        if self._dragged:
            area = self.area
            self.swiped.emit((event.position().x() - area.left()) / max(1.0, area.width()))
            return
        near = self._near_line(event)
        self.viewport().setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.CrossCursor)
        super().mouseMoveEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go of it."""
        if self._dragged:
            self._dragged = False
        else:
            super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Shift and an arrow move the line."""
        ways = {Qt.Key.Key_Left: -SWIPE_STEP, Qt.Key.Key_Right: SWIPE_STEP}
        by = ways.get(Qt.Key(event.key()))
        if by is not None and self._over is not None and event.modifiers() == Qt.KeyboardModifier.ShiftModifier:
            self.swiped.emit(self._split + by)
        else:
            super().keyPressEvent(event)

    def _draw_line(self, painter: QPainter) -> None:
        """The line, a grip in its middle, and which side is which."""
        line, area = self.split_pixel, self.area
        if line is None:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(pg.mkPen(self.theme.accent, width=2))
        painter.drawLine(QPointF(line, area.top()), QPointF(line, area.bottom()))
        painter.setBrush(QColor(self.theme.accent))
        painter.drawEllipse(QPointF(line, area.center().y()), 5, 5)
        for text, left in (("A", line - 22), ("B", line + 6)):
            box = QRectF(left, area.top() + 4, 16, 16)
            if area.contains(box):
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(self.theme.accent))
                painter.drawRoundedRect(box, 3, 3)
                painter.setPen(QColor(self.theme.on_accent))
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
        painter.setBrush(Qt.BrushStyle.NoBrush)

    # Strips.

    def show_strips(self, columns: np.ndarray | None, rows: np.ndarray | None, spacing: float = 1.0) -> None:
        """A number for every column and every row, as curves above and beside the image; None shows none."""
        self._strips_wanted = columns is not None and rows is not None
        for strip, values, apart in ((self.top, columns, 1.0), (self.side, rows, spacing)):
            strip.set(values, apart)
        self._arrange()

    @property
    def strips_fit(self) -> bool:
        """Whether there is room for strips."""
        return bool(self.width() >= STRIPS_FROM[0] and self.height() >= STRIPS_FROM[1])

    def _arrange(self) -> None:
        shown = self._strips_wanted and self.strips_fit
        for strip in (self.top, self.side):
            strip.set_shown(shown)
        self.bar.set_wide(self.width() >= STRIPS_FROM[0])

    # Places.

    def mark_cells(self, cells: QRectF | None) -> None:
        """A frame around the cells that the cursor means, here or in another view."""
        self._frame(self._mark, cells)

    def pin_cells(self, cells: QRectF | None) -> None:
        """A frame around the cells that are selected."""
        self._frame(self._pin, cells)

    def _frame(self, item: QGraphicsRectItem, cells: QRectF | None) -> None:
        item.setVisible(cells is not None)
        if cells is None:
            self._places.pop(item, None)
        else:
            self._places[item] = cells
            self._put(item, cells)

    def _put(self, item: QGraphicsRectItem, cells: QRectF) -> None:
        """Around the cells, but never smaller than can be seen."""
        area, view = self.area, self.box.viewRect()
        if area.width() < 1 or area.height() < 1:
            return
        wide = max(cells.width(), MARK_PIXELS * view.width() / area.width())
        high = max(cells.height(), MARK_PIXELS * view.height() / area.height())
        centre = cells.center()
        item.setRect(QRectF(centre.x() - wide / 2, centre.y() - high / 2, wide, high))
        pinned = item is self._pin
        item.setPen(pg.mkPen(self.theme.text if pinned else self.theme.accent, width=2 if pinned else 1))

    @property
    def around(self) -> tuple[object, ...]:
        """The quantity as well."""
        return (*super().around, self.quantity)

    def drawForeground(self, painter: QPainter, rect: QRectF) -> None:
        """The quantity over its colour bar, beside the names of the axes."""
        super().drawForeground(painter, rect)
        head = QRectF(6, 0, self.width() - 6 - RIGHT, TOP - 2)
        painter.setPen(QColor(self.theme.muted))
        painter.drawText(head, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.quantity)
        self._draw_line(painter)
