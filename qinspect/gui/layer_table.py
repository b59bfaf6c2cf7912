"""The table of layers: search, sort by any column, worst first; figures fill in as they are measured."""

from __future__ import annotations

import math
import re
from typing import Any

from PySide6.QtCore import (
    QModelIndex,
    QPersistentModelIndex,
    QRegularExpression,
    QSortFilterProxyModel,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QBrush, QColor, QPainter, QResizeEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui import format as fmt
from qinspect.gui.theme import DARK, Theme
from qinspect.session import LayerReport

COLUMNS = ("Layer", "SQNR", "bpw", "Size", "!", "RMSE", "Max error", "Shape", "Type")
NAME, SQNR, BPW, SIZE, NOTES, RMSE, MAX_ERROR, SHAPE, TYPE = range(len(COLUMNS))
WIDTHS = (236, 72, 46, 64, 30, 64, 72, 92, 96)
TIPS = (
    "Name of the tensor in the file.",
    "Signal to quantization noise ratio: 6 dB more halve the error. Worst first.",
    "Bits per weight, everything stored counted.",
    "Bytes under the chosen scheme, or in the file where the tensor is left alone.",
    "How many findings there are; select the layer to read them.",
    "Root mean square error of a weight.",
    "Largest error of any weight.",
    "Its dimensions.",
    "Type in the file, or how it is packed.",
)

# Looking these up is slow in a model's hot path.
SORT = int(Qt.ItemDataRole.UserRole)
DISPLAY = int(Qt.ItemDataRole.DisplayRole)
TIP = int(Qt.ItemDataRole.ToolTipRole)
FOREGROUND = int(Qt.ItemDataRole.ForegroundRole)
LAST = math.inf
"""Sort key of what has no figure: below all others when the worst come first."""


class LayerTable(QWidget):
    """A filter box over the table. `picked` names the layer a person selects."""

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._items: dict[str, int] = {}
        self._infos: dict[str, TensorInfo] = {}
        self._model = QStandardItemModel(0, len(COLUMNS), self)
        self._model.setSortRole(SORT)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self._proxy.setSortRole(SORT)
        self._proxy.setFilterKeyColumn(NAME)
        self._proxy.setDynamicSortFilter(False)
        self._resort = QTimer(self)
        self._resort.setSingleShot(True)
        self._resort.setInterval(100)
        self._resort.timeout.connect(self.resort)
        self.filter = QLineEdit(self)
        self.view = QTableView(self)
        self._count = QLabel(self)
        self._build()

    def _build(self) -> None:
        self.filter.setPlaceholderText("Filter layers (text or regex)   Ctrl+F")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter layers")
        self.filter.textChanged.connect(self._on_filter)
        view = self.view
        view.setModel(self._proxy)
        view.setAccessibleName("Layers")
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTextElideMode(Qt.TextElideMode.ElideLeft)
        view.verticalHeader().hide()
        view.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        view.verticalHeader().setDefaultSectionSize(24)
        view.setItemDelegateForColumn(SQNR, QualityBar(self))
        self._model.setHorizontalHeaderLabels(list(COLUMNS))
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        for column, (width, tip) in enumerate(zip(WIDTHS, TIPS, strict=True)):
            view.setColumnWidth(column, width)
            item = self._model.horizontalHeaderItem(column)
            item.setToolTip(tip)
            item.setTextAlignment(_alignment(column))
        view.setSortingEnabled(True)
        view.sortByColumn(SQNR, Qt.SortOrder.AscendingOrder)
        view.selectionModel().currentRowChanged.connect(self._on_current)
        self._count.setObjectName("muted")
        row = QHBoxLayout()
        row.setContentsMargins(10, 10, 10, 6)
        row.addWidget(self.filter)
        foot = QHBoxLayout()
        foot.setContentsMargins(10, 2, 10, 6)
        foot.addWidget(self._count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(row)
        layout.addWidget(view)
        layout.addLayout(foot)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours; rows keep theirs until they are reported again."""
        self._theme = theme
        self.view.viewport().update()

    @property
    def theme(self) -> Theme:
        """The colours in use."""
        return self._theme

    # Filling.

    def show_infos(self, infos: tuple[TensorInfo, ...]) -> None:
        """Fill the table from headers alone."""
        self._model.removeRows(0, self._model.rowCount())
        self._items = {info.name: row for row, info in enumerate(infos)}
        self._infos = {info.name: info for info in infos}
        for info in infos:
            self._model.appendRow(self._row(info))
        self._on_filter(self.filter.text())
        self.resort()

    def _row(self, info: TensorInfo) -> list[QStandardItem]:
        cells = [QStandardItem() for _ in COLUMNS]
        for column, cell in enumerate(cells):
            cell.setTextAlignment(_alignment(column))
            cell.setData(LAST, SORT)
        shown = printable(info.name)
        _put(cells[NAME], shown, _natural(shown), tip=shown)
        cells[NAME].setData(info.name, SORT + 1)
        _put(cells[SHAPE], fmt.shape(info.shape), float(info.size), tip=f"{info.size:,} weights")
        _put(cells[TYPE], info.qtype or info.dtype, info.qtype or info.dtype, tip=info.qtype or info.dtype)
        self._blank(cells, info)
        return cells

    def _blank(self, cells: list[QStandardItem], info: TensorInfo) -> None:
        """A row without figures: what is left alone is shown in a quiet colour."""
        alone = not (info.quantizable or info.qtype)
        reason = "Left alone: only floating-point tensors of two dimensions and more are quantized." if alone else ""
        for column in (SQNR, RMSE, MAX_ERROR, BPW, NOTES):
            _put(cells[column], "·" if alone else "", LAST, tip=reason)
        _put(cells[SIZE], fmt.nbytes(info.nbytes), float(info.nbytes))
        if info.size:
            _put(cells[BPW], fmt.bits(8 * info.nbytes / info.size), 8 * info.nbytes / info.size)
        if alone:
            for cell in cells:
                cell.setForeground(QBrush(QColor(self._theme.muted)))

    def clear_figures(self) -> None:
        """Forget all figures: another scheme is being measured."""
        for name, row in self._items.items():
            self._blank([self._model.item(row, column) for column in range(len(COLUMNS))], self._infos[name])

    def show_report(self, report: LayerReport) -> None:
        """Put one layer's figures in its row."""
        row = self._items.get(report.info.name)
        if row is None:
            return
        cells = [self._model.item(row, column) for column in range(len(COLUMNS))]
        m = report.metrics
        if m is None:
            _put(cells[SQNR], "error", -LAST, tip=report.error or "")
            _put(cells[NOTES], "!", -LAST, tip=report.error or "")
            cells[NOTES].setForeground(QBrush(QColor(self._theme.bad)))
        else:
            key = LAST if math.isnan(m.sqnr_db) else min(m.sqnr_db, 1e9)
            _put(cells[SQNR], fmt.decibels(m.sqnr_db), key)
            _put(cells[RMSE], fmt.magnitude(m.rmse), -m.rmse if m.rmse == m.rmse else LAST)
            _put(cells[MAX_ERROR], fmt.magnitude(m.max_error), -m.max_error if m.max_error == m.max_error else LAST)
            _put(cells[BPW], fmt.bits(m.bpw), m.bpw)
            _put(cells[SIZE], fmt.nbytes(m.nbytes), float(m.nbytes))
            self._note(cells[NOTES], report)
        if not self._resort.isActive():
            self._resort.start()

    def _note(self, cell: QStandardItem, report: LayerReport) -> None:
        grave = [finding for finding in report.findings if finding.severity != "info"]
        text = f"{len(report.findings)}" if report.findings else ""
        tip = "\n".join(finding.text for finding in report.findings)
        _put(cell, text, -10.0 * len(grave) - len(report.findings), tip=tip)
        errors = any(finding.severity == "error" for finding in grave)
        colour = self._theme.bad if errors else self._theme.warning if grave else self._theme.muted
        cell.setForeground(QBrush(QColor(colour)))

    # Selecting, sorting and filtering.

    def select(self, name: str) -> None:
        """Make `name` the current row."""
        row = self._items.get(name)
        if row is not None:
            index = self._proxy.mapFromSource(self._model.index(row, NAME))
            self.view.setCurrentIndex(index)
            self.view.scrollTo(index)

    def select_first(self) -> None:
        """Make the first row shown the current one."""
        self.view.setCurrentIndex(self._proxy.index(0, NAME))

    def step(self, by: int) -> None:
        """Move the selection by some rows as they are shown."""
        row = max(0, min(self._proxy.rowCount() - 1, self.view.currentIndex().row() + by))
        self.view.setCurrentIndex(self._proxy.index(row, NAME))

    def names(self) -> list[str]:
        """Names of the rows as they are shown, from the top."""
        return [self._proxy.index(row, NAME).data(SORT + 1) for row in range(self._proxy.rowCount())]

    def text(self, name: str, column: int) -> str:
        """What a cell shows."""
        return str(self._model.item(self._items[name], column).text())

    def _on_current(self, index: QModelIndex) -> None:
        name = index.siblingAtColumn(NAME).data(SORT + 1)
        if name is not None:
            self.picked.emit(name)

    def _on_filter(self, text: str) -> None:
        pattern = QRegularExpression(text, QRegularExpression.PatternOption.CaseInsensitiveOption)
        if not pattern.isValid():
            pattern = QRegularExpression(
                QRegularExpression.escape(text), QRegularExpression.PatternOption.CaseInsensitiveOption
            )
        self._proxy.setFilterRegularExpression(pattern)
        shown, everything = self._proxy.rowCount(), self._model.rowCount()
        self._count.setText(f"{everything} tensors" if shown == everything else f"{shown} of {everything} tensors")

    def resort(self) -> None:
        """Put the rows in the order of the header again, as new figures ask for."""
        self._resort.stop()
        header = self.view.horizontalHeader()
        current = self.view.currentIndex()
        in_view = self.view.viewport().rect().intersects(self.view.visualRect(current))
        self._proxy.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())
        if current.isValid() and in_view:
            self.view.scrollTo(self.view.currentIndex())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Names take the room that the figures which matter most leave."""
        super().resizeEvent(event)
        others = sum(WIDTHS[column] for column in (SQNR, BPW, SIZE, NOTES)) + 24
        self.view.setColumnWidth(NAME, max(140, min(420, self.width() - others)))


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
        value = index.data(SORT)
        if not isinstance(value, float) or math.isinf(value):
            return
        theme = self._table.theme
        share = max(0.04, min(1.0, value / self.FULL_DB))
        colour = theme.bad if value < 6 else theme.warning if value < 14 else theme.good
        box = option.rect  # type: ignore[attr-defined]
        painter.fillRect(box.left() + 6, box.bottom() - 2, int((box.width() - 12) * share), 2, QColor(colour))


def _put(cell: QStandardItem, text: str, key: Any, *, tip: str = "") -> None:
    cell.setText(text)
    cell.setData(key, SORT)
    cell.setToolTip(tip)


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = (
        Qt.AlignmentFlag.AlignRight
        if column in (SQNR, RMSE, MAX_ERROR, BPW, SIZE, NOTES)
        else Qt.AlignmentFlag.AlignLeft
    )
    return side | Qt.AlignmentFlag.AlignVCenter


def _natural(name: str) -> str:
    """A key under which layer.2 comes before layer.10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(8), name.lower())
