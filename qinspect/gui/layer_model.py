"""The table of layers as Qt wants it: rows in order, filtered, in blocks that fold; cells worked out once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QRegularExpression, Qt
from PySide6.QtGui import QColor

from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.layer_rows import (
    BPW,
    COLUMNS,
    COMPARED,
    D_SIZE,
    D_SQNR,
    LARGEST_FIRST,
    MAX_ERROR,
    NOTES,
    RMSE,
    SIZE,
    SQNR,
    TIPS,
    Block,
    LayerRows,
    Row,
    blocks,
    natural,
)
from qinspect.gui.plain import tip
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme
from qinspect.session import LayerReport

# Looking these up is slow in a model's hot path.
DISPLAY = int(Qt.ItemDataRole.DisplayRole)
TIP = int(Qt.ItemDataRole.ToolTipRole)
FOREGROUND = int(Qt.ItemDataRole.ForegroundRole)
ALIGNMENT = int(Qt.ItemDataRole.TextAlignmentRole)
FIRST_ORDER = int(Qt.ItemDataRole.InitialSortOrderRole)
VALUE = int(Qt.ItemDataRole.UserRole)
"""The number behind a cell, or None."""
ROW = VALUE + 1
"""The row as it is: a name or a block."""
_RIGHT = (Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value
_LEFT = (Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter).value
ALIGNMENTS = [
    _RIGHT if column in (SQNR, RMSE, MAX_ERROR, BPW, SIZE, NOTES, *COMPARED) else _LEFT
    for column in range(len(COLUMNS))
]

Index = QModelIndex | QPersistentModelIndex
NOWHERE = QModelIndex()


class LayerModel(QAbstractTableModel):
    """Tensors with their reports, filtered and sorted, in blocks or not."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows = LayerRows()
        self.grouped = False
        self._folded: set[str] = set()
        self._filtered = False
        self._passing: list[str] = []
        self._shown: list[Row] = []
        self._places: dict[Row, int] = {}
        self._blocks: list[Block] = []
        self._block_of: dict[str, Block] = {}
        self._sorted_by = SQNR, False
        self._cells: dict[Row, tuple[list[str], list[QColor | None]]] = {}
        self.set_theme(DARK)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._muted = QColor(theme.muted)
        self._better, self._worse = QColor(theme.good), QColor(theme.bad)
        self._grave = {"error": QColor(theme.bad), "warning": QColor(theme.warning), "info": self._muted}
        self._cells.clear()

    # What Qt asks.

    def rowCount(self, parent: Index = NOWHERE) -> int:
        """Tensors that the filter lets through, and blocks."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = NOWHERE) -> int:
        """One for each of COLUMNS."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = DISPLAY) -> Any:
        """Text, tip, colour or number of a cell."""
        if not index.isValid():
            return None
        row, column = self._shown[index.row()], index.column()
        if role == DISPLAY:
            return self.cell(row)[0][column]
        if role == ALIGNMENT:
            return ALIGNMENTS[column]
        if role == FOREGROUND:
            return self.cell(row)[1][column]
        if role == TIP:
            return tip(self.rows.tip(row, column))
        return self.rows.value(row, column) if role == VALUE else row if role == ROW else None

    def cell(self, row: Row) -> tuple[list[str], list[QColor | None]]:
        """Texts and colours of a row, by column: painting asks for them over and over."""
        found = self._cells.get(row)
        if found is None:
            texts = [self.rows.text(row, column) for column in range(len(COLUMNS))]
            alone = isinstance(row, str) and self.rows.alone(row)
            colours: list[QColor | None] = [self._muted if alone else None] * len(COLUMNS)
            if not alone and texts[NOTES]:
                colours[NOTES] = self._grave[self.rows.severity(row)]
            for column in (D_SQNR, D_SIZE):
                change = self.rows.value(row, column) if self.rows.other_sizes else None
                if change and texts[column][:1] in "+−":
                    colours[column] = self._better if (change > 0) == (column == D_SQNR) else self._worse
            found = self._cells[row] = texts, colours
        return found

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY) -> Any:
        """Title, tip and first order of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(COLUMNS):
            return None
        if role == FIRST_ORDER:
            return Qt.SortOrder.DescendingOrder if section in LARGEST_FIRST else Qt.SortOrder.AscendingOrder
        texts = {DISPLAY: COLUMNS[section], TIP: TIPS[section]}
        return ALIGNMENTS[section] if role == ALIGNMENT else texts.get(role)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Put the rows in order; the current row stays the current one."""
        self._sorted_by = column, order == Qt.SortOrder.DescendingOrder
        self._rearrange()

    # Filling.

    def show_infos(self, infos: tuple[TensorInfo, ...]) -> None:
        """Take over other tensors, known from headers alone; all are shown."""
        self._cells.clear()
        self._folded.clear()
        self.rows = LayerRows({info.name: info for info in sorted(infos, key=lambda info: natural(info.name))})
        self.filter(QRegularExpression())

    def filter(self, pattern: QRegularExpression) -> None:
        """Show the tensors in whose names the pattern is found; of blocks that are folded, too."""
        self.beginResetModel()
        self._filtered = bool(pattern.pattern())
        self._passing = [name for name in self.rows.infos if not self._filtered or pattern.match(name).hasMatch()]
        self._arrange()
        self.endResetModel()

    def show_schemes(self, schemes: Mapping[str, Scheme | None], reports: Iterable[LayerReport]) -> None:
        """Take over what the recipe makes of every tensor, and what was measured of that; older figures go."""
        self._cells.clear()
        self.rows.decide(dict(schemes), reports)
        self._changed(0, len(self._shown) - 1)

    def show_report(self, report: LayerReport) -> None:
        """Put one layer's figures in its row, and in that of its block."""
        name = report.info.name
        if name not in self.rows.infos:
            return
        block = self._block_of.get(name)
        self.rows.report(report, *(() if block is None else (block,)))
        self._repaint(name)

    def compare(self, sizes: dict[str, int], reports: dict[str, LayerReport], *, exact: bool) -> None:
        """Put B beside the layers; without sizes there is none."""
        self._cells.clear()
        self.rows.compare(sizes, reports, exact=exact)
        self._changed(0, len(self._shown) - 1)

    def show_other(self, name: str, report: LayerReport) -> None:
        """Put one layer's figures of B in its row, and in that of its block."""
        if name in self.rows.infos:
            block = self._block_of.get(name)
            self.rows.report_other(name, report, *(() if block is None else (block,)))
            self._repaint(name)

    def _repaint(self, name: str) -> None:
        """A layer's row has changed, and that of its block."""
        block = self._block_of.get(name)
        for row in (name,) if block is None else (name, block):
            self._cells.pop(row, None)
            if row in self._places:
                self._changed(self._places[row], self._places[row])

    def _changed(self, first: int, last: int) -> None:
        if last >= first:
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(COLUMNS) - 1))

    # Blocks.

    def group(self, grouped: bool) -> None:
        """Show blocks, or layers alone."""
        if grouped != self.grouped:
            self.beginResetModel()
            self.grouped = grouped
            self._arrange()
            self.endResetModel()

    def is_folded(self, block: Block) -> bool:
        """Whether the layers of a block are out of sight; what a filter finds is not."""
        return block.name in self._folded and not self._filtered

    def fold(self, names: Iterable[str], folded: bool) -> None:
        """Put the layers of blocks out of sight, or back."""
        self._folded = self._folded | set(names) if folded else self._folded - set(names)
        self._rearrange()

    @property
    def block_names(self) -> list[str]:
        """All blocks there are."""
        return [block.name for block in self._blocks]

    # Asking.

    @property
    def total(self) -> int:
        """All tensors, shown or not."""
        return len(self.rows.infos)

    @property
    def passing(self) -> list[str]:
        """The tensors that the filter lets through, also those of folded blocks."""
        return self._passing

    def block_with(self, name: str) -> Block | None:
        """The block that a layer is in, where blocks are shown."""
        return self._block_of.get(name)

    def entry(self, row: int) -> Row | None:
        """The layer or the block in a row."""
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def name(self, row: int) -> str | None:
        """Full name of the tensor in a row; None for a block."""
        entry = self.entry(row)
        return entry if isinstance(entry, str) else None

    def row(self, name: Row) -> int | None:
        """Where a tensor is shown."""
        return self._places.get(name)

    def reveal(self, name: str) -> None:
        """Unfold the block that a tensor is in."""
        block = self._block_of.get(name)
        if block is not None and self.is_folded(block):
            self.fold([block.name], folded=False)

    # The rest.

    def _arrange(self) -> None:
        column, descending = self._sorted_by
        for old in self._blocks:
            self._cells.pop(old, None)
        self._blocks = blocks(self._passing) if self.grouped else []
        self._block_of = {name: block for block in self._blocks for name in block.members}
        if self.grouped:
            self._shown = []
            for block in self.rows.ordered(self._blocks, column, descending=descending):
                self._shown.append(block)
                if isinstance(block, Block) and not self.is_folded(block):
                    self._shown += self.rows.ordered(block.members, column, descending=descending)
        else:
            self._shown = self.rows.ordered(self._passing, column, descending=descending)
        self._places = {row: at for at, row in enumerate(self._shown)}

    def _rearrange(self) -> None:
        """Other rows or another order, while what is current or selected stays so as far as it is still shown."""
        self.layoutAboutToBeChanged.emit()
        kept = self.persistentIndexList()
        before = [self._shown[index.row()] for index in kept]
        self._arrange()
        self.changePersistentIndexList(
            kept, [self._moved(row, i.column()) for row, i in zip(before, kept, strict=True)]
        )
        self.layoutChanged.emit()

    def _moved(self, row: Row, column: int) -> QModelIndex:
        """Where a row is now: that of its block if it was folded away."""
        at = self._places.get(row)
        if at is None and isinstance(row, str) and row in self._block_of:
            at = self._places[self._block_of[row]]
        return QModelIndex() if at is None else self.index(at, column)
