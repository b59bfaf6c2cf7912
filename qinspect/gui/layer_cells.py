"""How the table of layers draws its cells and takes keys and clicks.

Cells are drawn here from the texts of the model: over Qt's style, which asks nine times a cell, a page takes twice as
long, and thousands of layers are scrolled through without a stutter only if it is painted within a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QFont, QFontMetrics, QMouseEvent, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from qinspect.gui.layer_model import ALIGNMENTS, ROW, LayerModel
from qinspect.gui.layer_rows import NAME, SQNR, Block, Row
from qinspect.gui.names import shortened

if TYPE_CHECKING:
    from qinspect.gui.layer_table import LayerTable

ARROW = 20
"""Pixels at the left of a block's row where a click folds."""
MARGIN = 6
INDENT = 18
"""Pixels by which layers stand further in than their block."""
SELECTED = QStyle.StateFlag.State_Selected.value
FULL_DB = 48.0
"""The SQNR whose bar is full."""


class Rows(QTableView):
    """A table that takes the keys without choosing a row, which Qt would; `arrow_clicked` is for a block."""

    arrow_clicked = Signal(QModelIndex)

    def __init__(self, model: LayerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.setModel(model)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """A click on the arrow of a block folds, and selects nothing."""
        index = self.indexAt(event.position().toPoint())
        x = event.position().x() - self.visualRect(index).left()
        if index.isValid() and index.column() == NAME and x < ARROW and isinstance(index.data(ROW), Block):
            self.arrow_clicked.emit(index)
        else:
            super().mousePressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """What is current stays current, also nothing."""
        chosen = self.selectionModel()
        if chosen.currentIndex().isValid():
            super().focusInEvent(event)
            return
        with QSignalBlocker(chosen):
            super().focusInEvent(event)
            chosen.clearCurrentIndex()


class Cells(QStyledItemDelegate):
    """Draws every cell: names as long as there is room, a thin bar under an SQNR, so that the worst stand out."""

    def __init__(self, table: LayerTable) -> None:
        super().__init__(table)
        self._table = table
        self._model = table.model
        self._name, self._text = Fitted(_short_name), Fitted(_cut)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Background, text, bar."""
        row, column = self._model.entry(index.row()), index.column()
        if row is None:
            return
        box: QRect = option.rect  # type: ignore[attr-defined]
        if option.state.value & SELECTED:  # type: ignore[attr-defined]
            painter.fillRect(box, self._table.selection_colour)
        texts, colours = self._model.cell(row)
        painter.setPen(colours[column] or self._table.text_colour)
        room = box.adjusted(MARGIN, 0, -MARGIN, 0)
        if column == NAME:
            self._paint_name(painter, room, row, texts[NAME])
        else:
            shown = self._text(painter.fontMetrics(), 0, texts[column], room.width())
            painter.drawText(room, ALIGNMENTS[column], shown)
        if column == SQNR:
            self._paint_bar(painter, room, row)

    def _paint_name(self, painter: QPainter, room: QRect, row: Row, text: str) -> None:
        """A block has an arrow and stands out; its layers stand further in, without what is said there."""
        usual = painter.font()
        if isinstance(row, Block):
            painter.drawText(room, ALIGNMENTS[NAME], "▸" if self._model.is_folded(row) else "▾")
            bold = QFont(usual)
            bold.setWeight(QFont.Weight.DemiBold)
            painter.setFont(bold)
            room = room.adjusted(14, 0, 0, 0)
        elif (block := self._model.block_with(row)) is not None:
            text = text.removeprefix(f"{block.name}.")
            room = room.adjusted(INDENT, 0, 0, 0)
        shown = self._name(painter.fontMetrics(), painter.font().weight(), text, room.width())
        painter.drawText(room, ALIGNMENTS[NAME], shown)
        painter.setFont(usual)

    def _paint_bar(self, painter: QPainter, room: QRect, row: Row) -> None:
        value = self._model.rows.value(row, SQNR)
        if value is None or math.isinf(value):
            return
        theme = self._table.theme
        share = max(0.04, min(1.0, value / FULL_DB))
        colour = theme.bad if value < 6 else theme.warning if value < 14 else theme.good
        top = room.bottom() - 2
        painter.fillRect(room.left(), top, room.width(), 2, _colour(theme.line))
        painter.fillRect(room.left(), top, int(room.width() * share), 2, _colour(colour))


Fit = Callable[[QFontMetrics, str, int], str]


class Fitted:
    """Texts as long as there is room for, worked out once for each font and width."""

    MOST = 20_000

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        self._known: dict[tuple[str, int, int], str] = {}

    def __call__(self, metrics: QFontMetrics, weight: int, text: str, room: int) -> str:
        """`text`, shortened if need be; `weight` tells fonts apart."""
        key = text, weight, room
        found = self._known.get(key)
        if found is None:
            if len(self._known) > self.MOST:
                self._known.clear()
            found = self._known[key] = self._fit(metrics, text, room)
        return found


def _short_name(metrics: QFontMetrics, name: str, room: int) -> str:
    short = shortened(name, room, metrics.horizontalAdvance)
    return metrics.elidedText(short, Qt.TextElideMode.ElideMiddle, room)


def _cut(metrics: QFontMetrics, text: str, room: int) -> str:
    return metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)


@lru_cache
def _colour(name: str) -> QColor:
    return QColor(name)
