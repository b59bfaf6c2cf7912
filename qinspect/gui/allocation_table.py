"""The table of a budget: names stretch, and what is the same everywhere gives way where there is little room."""

from __future__ import annotations

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from qinspect.gui.allocation_model import BPW, LAYER, SCHEME, SIZE, SQNR, TIE, TITLES, WEIGHT, AllocationModel
from qinspect.gui.names import NameDelegate

NARROW = 600
WIDTHS = {BPW: 48, SQNR: 66, SIZE: 66, WEIGHT: 56, TIE: 36}


class AllocationTable(QTableView):
    """Shows an `AllocationModel`."""

    def __init__(self, model: AllocationModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers = model
        self.setModel(model)
        self.setAccessibleName("Layers of the budget")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.horizontalHeader().setHighlightSections(False)
        self.setItemDelegateForColumn(LAYER, NameDelegate(self))
        for column in range(len(TITLES)):
            stretches = column in (LAYER, SCHEME)
            how = QHeaderView.ResizeMode.Stretch if stretches else QHeaderView.ResizeMode.Fixed
            self.horizontalHeader().setSectionResizeMode(column, how)
            if not stretches:
                self.setColumnWidth(column, WIDTHS[column])

    def selected_rows(self) -> list[int]:
        """From the top down."""
        return sorted(index.row() for index in self.selectionModel().selectedRows())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Columns give way."""
        super().resizeEvent(event)
        self.choose_columns()

    def choose_columns(self) -> None:
        """Hide what is the same everywhere, if there is little room."""
        narrow = self.width() < NARROW
        self.setColumnHidden(WEIGHT, narrow and not self._layers.weighted)
        self.setColumnHidden(TIE, narrow and not self._layers.tied)
