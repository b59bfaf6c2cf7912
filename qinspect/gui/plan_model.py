"""The rows of an export's plan: what happens to every tensor, those with a remark on top."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.gui.plain import tip
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme
from qinspect.targets.target import Plan, PlanRow

COLUMNS = ("Tensor", "Written as", "Size")
TENSOR, WRITTEN, SIZE = range(len(COLUMNS))
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
NOWHERE = QModelIndex()


class PlanModel(QAbstractTableModel):
    """A table that costs nothing to fill, however many tensors there are."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self.rows: list[PlanRow] = []

    def show_plan(self, plan: Plan | None) -> None:
        """Show a plan's rows, or none."""
        self.beginResetModel()
        self.rows = [] if plan is None else sorted(plan.rows, key=lambda row: not has_remark(row))
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = NOWHERE) -> int:
        """One for each tensor."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = NOWHERE) -> int:
        """One for each of COLUMNS."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Title of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return RIGHT if section == SIZE else LEFT
        return COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tip and colour of a cell."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return (printable(row.name), written_as(row), fmt.nbytes(row.nbytes))[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            name = printable(row.name, 400)
            return tip(f"{name}\n{written_as(row)}, {row.nbytes:,} bytes" + (f"\n{row.note}" if row.note else ""))
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return RIGHT if column == SIZE else LEFT
        if role == Qt.ItemDataRole.ForegroundRole:
            return QColor(
                self.theme.warning if has_remark(row) else self.theme.text if row.scheme else self.theme.muted
            )
        return None


def written_as(row: PlanRow) -> str:
    """The scheme of a tensor, or what else it is stored as."""
    if row.scheme is None or row.stored_as in ("left out", "float32"):
        return row.stored_as or "unchanged"
    return _label(row.scheme)


@lru_cache
def _label(scheme: Scheme) -> str:
    """Few schemes, many tensors: a label takes a third of a millisecond."""
    return scheme.label


def has_remark(row: PlanRow) -> bool:
    """Whether something is said about a tensor that is packed: that one is left alone needs no remark."""
    return bool(row.note) and row.scheme is not None
