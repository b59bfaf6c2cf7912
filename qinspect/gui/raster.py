"""Cells of a table of colours as an item of a plot."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QImage, QPainter, qRgb
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget


class Raster(pg.GraphicsObject):  # type: ignore[misc]
    """Shows indices `[rows, cols]`, uint8, row 0 at the top of its rectangle, in the colours of a table `[256, 3]`.

    pyqtgraph's own image turns the table into colours, and itself about, each time that it is drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = np.zeros((256, 3), np.uint8)
        self._colours: list[int] = []
        self._cells = np.zeros((0, 0), np.uint8)
        self._image = QImage()
        self._rect = QRectF()

    def set_table(self, table: np.ndarray) -> None:
        """Other colours."""
        if not np.array_equal(table, self.table) or not self._colours:
            self.table = table
            self._colours = [qRgb(*colour) for colour in table.tolist()]
            self._image.setColorTable(self._colours)
            self.update()

    def show_cells(self, cells: np.ndarray, rect: QRectF) -> None:
        """Other cells, which lie in `rect`, in data coordinates."""
        if rect != self._rect:
            self.prepareGeometryChange()
            self._rect = QRectF(rect)
        self._cells = np.ascontiguousarray(cells)  # kept: the picture has no memory of its own
        rows, cols = self._cells.shape
        self._image = QImage(self._cells.data, cols, rows, cols, QImage.Format.Format_Indexed8)
        self._image.setColorTable(self._colours)
        self.update()

    def boundingRect(self) -> QRectF:
        """Where the cells lie."""
        return self._rect

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Every cell in one colour, none blended with its neighbours."""
        if self._cells.size:
            painter.drawImage(self._rect, self._image)
