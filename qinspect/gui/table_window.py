"""The values behind a picture, as a table that can be read, copied and saved."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from qinspect.gui.export import copy_tables
from qinspect.tables import Table

DISPLAY, ALIGNMENT = int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.TextAlignmentRole)
RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


class TableModel(QAbstractTableModel):
    """A table as Qt wants it; values become text as they are looked at."""

    def __init__(self, table: Table, parent: QWidget) -> None:
        super().__init__(parent)
        self.table = table

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """All rows."""
        return 0 if parent is not None and parent.isValid() else len(self.table.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """All columns."""
        return 0 if parent is not None and parent.isValid() else len(self.table.columns)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = DISPLAY) -> Any:
        """The text; numbers are aligned on their right."""
        column = self.table.columns[index.column()]
        if role == DISPLAY:
            return column.text(self.table.rows[index.row()][index.column()])
        if role == ALIGNMENT:
            return RIGHT if column.spec else LEFT
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY) -> Any:
        """Titles above, numbers of rows beside."""
        if role != DISPLAY:
            return None
        return self.table.columns[section].title if orientation == Qt.Orientation.Horizontal else str(section)


class _Values(QTableView):
    """Copies what is selected, not only the current cell."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+C."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_selected()
        else:
            super().keyPressEvent(event)

    @property
    def table(self) -> Table:
        """What is shown."""
        model = self.model()
        assert isinstance(model, TableModel)
        return model.table

    def copy_selected(self) -> None:
        """The selected cells' rows and columns, as a table."""
        table, chosen = self.table, self.selectionModel().selectedIndexes()
        rows = sorted({index.row() for index in chosen})
        columns = sorted({index.column() for index in chosen})
        if rows:
            part = tuple(tuple(table.rows[row][column] for column in columns) for row in rows)
            copy_tables((Table(table.caption, tuple(table.columns[column] for column in columns), part),))


class TableWindow(QDialog):
    """One page a table; `save_requested` asks for a file with all of them."""

    save_requested = Signal()

    def __init__(self, tables: tuple[Table, ...], title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        self.pages.setTabBarAutoHide(True)
        for table in tables:
            view = _Values()
            view.setModel(TableModel(table, view))
            view.setAccessibleName(table.caption)
            view.verticalHeader().setDefaultSectionSize(22)
            self.pages.addTab(view, table.caption)
        copy, save, close = QPushButton("Copy all"), QPushButton("Save as CSV…"), QPushButton("Close")
        copy.clicked.connect(lambda: copy_tables((self.view.table,)))
        save.clicked.connect(self.save_requested)
        close.clicked.connect(self.close)
        buttons = QHBoxLayout()
        buttons.addWidget(QLabel(f"{sum(len(table.rows) for table in tables):,} rows"))
        buttons.addStretch(1)
        for button in (copy, save, close):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.addWidget(self.pages, 1)
        column.addLayout(buttons)
        self.resize(640, 480)

    @property
    def view(self) -> _Values:
        """The table in front."""
        view = self.pages.currentWidget()
        assert isinstance(view, _Values)
        return view
