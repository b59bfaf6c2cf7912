"""How the table of layers draws its cells and takes keys and clicks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSignalBlocker, Signal
from PySide6.QtGui import QColor, QFocusEvent, QFont, QMouseEvent, QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from qinspect.gui.layer_model import ROW, VALUE, LayerModel
from qinspect.gui.layer_rows import NAME, Block
from qinspect.gui.names import NameDelegate

if TYPE_CHECKING:
    from qinspect.gui.layer_table import LayerTable

ARROW = 20
"""Pixels at the left of a block's row where a click folds."""


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


class BlockNames(NameDelegate):
    """Names of layers under those of their blocks: without what is said there, and further in."""

    def __init__(self, table: LayerTable) -> None:
        super().__init__(table)
        self._model = table.model

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """A block's row has an arrow and stands out."""
        super().initStyleOption(option, index)
        if not self._model.grouped:
            return
        entry = index.data(ROW)
        if isinstance(entry, Block):
            arrow = "▸" if self._model.is_folded(entry) else "▾"
            option.text = f"{arrow}  {option.text}"  # type: ignore[attr-defined]
            option.font.setWeight(QFont.Weight.DemiBold)  # type: ignore[attr-defined]
        else:
            block = self._model.block_with(entry)
            within = entry.removeprefix(f"{block.name}.") if block else entry
            option.text = f"      {self.fitting(within, option, 24)}"  # type: ignore[attr-defined]


class QualityBar(QStyledItemDelegate):
    """Draws an SQNR with a thin bar under it, so that the worst layers stand out without reading."""

    FULL_DB = 48.0

    def __init__(self, table: LayerTable) -> None:
        super().__init__(table)
        self._table = table

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The cell as usual, then the bar."""
        super().paint(painter, option, index)
        value = index.data(VALUE)
        if not isinstance(value, float) or math.isinf(value):
            return
        theme = self._table.theme
        share = max(0.04, min(1.0, value / self.FULL_DB))
        colour = theme.bad if value < 6 else theme.warning if value < 14 else theme.good
        box = option.rect  # type: ignore[attr-defined]
        painter.fillRect(box.left() + 6, box.bottom() - 2, int((box.width() - 12) * share), 2, QColor(colour))
