"""The table of layers: search, sort by any column, worst first; figures fill in as they are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from PySide6.QtCore import (
    QItemSelectionModel,
    QModelIndex,
    QPoint,
    QRegularExpression,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QGuiApplication,
    QKeySequence,
    QResizeEvent,
    QShortcut,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qinspect import figures as fmt
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.layer_cells import Cells, Rows
from qinspect.gui.layer_model import LayerModel
from qinspect.gui.layer_rows import BPW, COLUMNS, COMPARED, NAME, NOTES, SCHEME, SIZE, SQNR, Block
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme
from qinspect.session import LayerReport

WIDTHS = (236, 72, 46, 64, 30, 104, 64, 72, 92, 96, 62, 72, 72, 64)
RESORT_MS = 100

NARROW = 320
"""Pixels up to which names leave room for the change alone, without B's own figure."""


class LayerTable(QWidget):
    """A filter box over the table. `picked` names the layer a person selects."""

    picked = Signal(str)
    selection_changed = Signal(object)
    """Names of the rows that are selected together, as they are shown."""
    menu_requested = Signal(QPoint, object)
    """A context menu is asked for: where, and the text of the cell there, None beside all rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self.text_colour, self.selection_colour = QColor(DARK.text), QColor(DARK.selection)
        self._picked: str | None = None
        self.model = LayerModel(self)
        self._resort = QTimer(self)
        self._resort.setSingleShot(True)
        self._resort.setInterval(RESORT_MS)
        self._resort.timeout.connect(self.resort)
        self.filter = QLineEdit(self)
        self.group = QToolButton(self)
        self.view = Rows(self.model, self)
        self._count = QLabel(self)
        self._build()

    def _build(self) -> None:
        self.filter.setPlaceholderText("Filter: text or regex")
        self.filter.setToolTip("Part of a name, or a regular expression such as  layer\\.[0-3]\\..*query")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter layers")
        self.filter.textChanged.connect(self._on_filter)
        self.group.setText("Blocks")
        self.group.setCheckable(True)
        self.group.setToolTip(
            "Show layers in blocks, with the figures of each block; Left and Right fold and unfold one"
        )
        self.group.toggled.connect(self._on_group)
        self._build_view()
        self._count.setObjectName("muted")
        row = QHBoxLayout()
        row.setContentsMargins(10, 10, 10, 6)
        row.setSpacing(6)
        row.addWidget(self.filter, 1)
        row.addWidget(self.group)
        foot = QHBoxLayout()
        foot.setContentsMargins(10, 2, 10, 6)
        foot.addWidget(self._count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(row)
        layout.addWidget(self.view)
        layout.addLayout(foot)

    def _build_view(self) -> None:
        view = self.view
        view.setAccessibleName("Layers")
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setTabKeyNavigation(False)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTextElideMode(Qt.TextElideMode.ElideLeft)
        view.verticalHeader().hide()
        view.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        view.verticalHeader().setDefaultSectionSize(24)
        view.setItemDelegate(Cells(self))
        view.horizontalHeader().setHighlightSections(False)
        for column, width in enumerate(WIDTHS):
            view.setColumnWidth(column, width)
        view.setSortingEnabled(True)
        view.sortByColumn(SQNR, Qt.SortOrder.AscendingOrder)
        header = view.horizontalHeader()
        for column in (SCHEME, *COMPARED):
            view.setColumnHidden(column, True)
        for own, theirs in ((SQNR, COMPARED[:2]), (SIZE, COMPARED[2:])):  # beside the figures of A
            for at, column in enumerate(theirs, 1 + header.visualIndex(own)):
                header.moveSection(header.visualIndex(column), at)
        view.selectionModel().currentRowChanged.connect(self._on_current)
        view.selectionModel().selectionChanged.connect(lambda *_: self.selection_changed.emit(self.selected_names()))
        view.arrow_clicked.connect(self._toggle)
        view.doubleClicked.connect(self._toggle)
        for key, slot in (("Left", lambda: self._fold(True)), ("Right", lambda: self._fold(False))):
            folding = QShortcut(QKeySequence(key), view)
            folding.setContext(Qt.ShortcutContext.WidgetShortcut)
            folding.activated.connect(slot)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._on_menu)
        copying = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), view)
        copying.setContext(Qt.ShortcutContext.WidgetShortcut)
        copying.activated.connect(self.copy_rows)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.text_colour, self.selection_colour = QColor(theme.text), QColor(theme.selection)
        self.model.set_theme(theme)
        self.view.viewport().update()

    @property
    def theme(self) -> Theme:
        """The colours in use."""
        return self._theme

    # Filling.

    def show_infos(self, infos: tuple[TensorInfo, ...]) -> None:
        """Fill the table from headers alone."""
        self._picked = None
        self.model.show_infos(infos)
        self._on_filter(self.filter.text())

    def show_schemes(self, schemes: Mapping[str, Scheme | None], reports: Iterable[LayerReport]) -> None:
        """Show what the recipe makes of every tensor, and what was measured of that."""
        self.model.show_schemes(schemes, reports)
        mixed = self.model.rows.mixed
        if mixed == self.view.isColumnHidden(SCHEME):
            self.view.setColumnHidden(SCHEME, not mixed)
            self._fit_names()
        self._resort.start()

    def show_report(self, report: LayerReport) -> None:
        """Put one layer's figures in its row."""
        self.model.show_report(report)
        if not self._resort.isActive():
            self._resort.start()

    def compare(self, sizes: dict[str, int], reports: dict[str, LayerReport], exact: bool = False) -> None:
        """Show B beside the layers, and the change; without sizes there is none. `exact` weights have no figures."""
        self.model.compare(sizes, reports, exact=exact)
        hidden = not sizes
        if hidden != self.view.isColumnHidden(COMPARED[0]):
            if hidden and self.view.horizontalHeader().sortIndicatorSection() in COMPARED:
                self.view.sortByColumn(SQNR, Qt.SortOrder.AscendingOrder)
            for column in COMPARED:
                self.view.setColumnHidden(column, hidden)
            self._fit_names()
        self._resort.start()

    def show_other(self, name: str, report: LayerReport) -> None:
        """Put one layer's figures of B in its row."""
        self.model.show_other(name, report)
        if not self._resort.isActive():
            self._resort.start()

    # Selecting, sorting and filtering.

    def select(self, name: str) -> None:
        """Make `name` the current row."""
        self.model.reveal(name)
        row = self.model.row(name)
        if row is not None and row != self.view.currentIndex().row():
            self._make_current(row)

    def _make_current(self, row: int) -> None:
        """Select one row alone, whatever keys are held down."""
        index = self.model.index(row, NAME)
        how = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
        self.view.selectionModel().setCurrentIndex(index, how)
        self.view.scrollTo(index)

    def select_first(self) -> None:
        """Make the first layer shown the current one."""
        self._step_from(-1, 1)

    def step(self, by: int) -> None:
        """Move the selection to the next (1) or previous (−1) layer as they are shown."""
        self._step_from(self.view.currentIndex().row(), by)

    def _step_from(self, row: int, by: int) -> None:
        row += by
        while self.model.entry(row) is not None and self.model.name(row) is None:  # past the rows of blocks
            row += by
        if self.model.name(row) is not None:
            self._make_current(row)

    def selected_names(self) -> list[str]:
        """Names of the layers that are selected, from the top; of a block, all of its layers."""
        rows = sorted(index.row() for index in self.view.selectionModel().selectedRows())
        names: dict[str, None] = {}
        for entry in map(self.model.entry, rows):
            names |= dict.fromkeys(entry.members if isinstance(entry, Block) else [entry] if entry else [])
        return list(names)

    def names(self) -> list[str]:
        """Names of the layers as they are shown, from the top."""
        return [name for name in map(self.model.name, range(self.model.rowCount())) if name is not None]

    def text(self, name: str, column: int) -> str:
        """What a cell shows."""
        return self.model.rows.text(name, column)

    def _on_current(self, index: QModelIndex) -> None:
        name = self.model.name(index.row()) if index.isValid() else None
        if name is not None:
            self._picked = name
            self.picked.emit(name)

    def _on_filter(self, text: str) -> None:
        self.model.filter(_pattern(text))
        if self._picked is not None:
            self.select(self._picked)
        shown, everything = len(self.model.passing), self.model.total
        self._count.setText(("" if shown == everything else f"{shown} of ") + fmt.counted(everything, "tensor"))

    # Blocks.

    def _on_group(self, grouped: bool) -> None:
        self.model.group(grouped)
        if self._picked is not None:
            self.select(self._picked)

    def _toggle(self, index: QModelIndex) -> None:
        entry = self.model.entry(index.row())
        if isinstance(entry, Block):
            self.model.fold([entry.name], folded=not self.model.is_folded(entry))

    def _fold(self, folded: bool) -> None:
        """Fold the block of the current row, or unfold it."""
        entry = self.model.entry(self.view.currentIndex().row())
        block = entry if isinstance(entry, Block) else self.model.block_with(entry) if entry else None
        if block is not None and self.model.is_folded(block) != folded:
            self.model.fold([block.name], folded=folded)
            self._make_current(self.model.row(block) or 0)

    def resort(self) -> None:
        """Put the rows in the order of the header again, as new figures ask for."""
        self._resort.stop()
        header = self.view.horizontalHeader()
        current = self.view.currentIndex()
        in_view = self.view.viewport().rect().intersects(self.view.visualRect(current))
        self.model.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())
        if current.isValid() and in_view:
            self.view.scrollTo(self.view.currentIndex())

    # Copying.

    def copy_rows(self) -> None:
        """Copy the selected rows, their cells parted by tabs."""
        self._copy(sorted(index.row() for index in self.view.selectionModel().selectedRows()))

    def copy_table(self) -> None:
        """Copy all rows that are shown, under the titles of the columns."""
        self._copy(range(self.model.rowCount()), titled=True)

    def csv(self) -> str:
        """The layers that the filter lets through, in the order of the table, for a spreadsheet."""
        return self.model.rows.csv(self.model.passing)

    def _copy(self, rows: range | list[int], *, titled: bool = False) -> None:
        header = self.view.horizontalHeader()
        shown = [column for column in range(len(COLUMNS)) if not self.view.isColumnHidden(column)]
        columns = sorted(shown, key=header.visualIndex)
        lines = ["\t".join(COLUMNS[column] for column in columns)] if titled else []
        texts, entries = self.model.rows, [self.model.entry(row) for row in rows]
        for entry in (entry for entry in entries if entry is not None):
            lines.append("\t".join(texts.text(entry, column) for column in columns))
        if lines:
            QGuiApplication.clipboard().setText("\n".join(lines))

    def _on_menu(self, at: QPoint) -> None:
        index = self.view.indexAt(at)
        value = str(index.data()) if index.isValid() else None
        self.menu_requested.emit(self.view.viewport().mapToGlobal(at), value)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Names take the room that the figures which matter most leave."""
        super().resizeEvent(event)
        self._fit_names()

    def _fit_names(self) -> None:
        compared = not self.view.isColumnHidden(COMPARED[0])
        wanted = (
            (SQNR, *COMPARED[: 2 if self.width() > NARROW else 1]) if compared else (SQNR, BPW, SIZE, NOTES, SCHEME)
        )
        beside = [column for column in wanted if not self.view.isColumnHidden(column)]
        others = sum(WIDTHS[column] for column in beside) + 24
        self.view.setColumnWidth(NAME, max(92 if compared else 116, min(420, self.width() - others)))


def _pattern(text: str) -> QRegularExpression:
    """A regular expression where the text is one, else the text itself."""
    option = QRegularExpression.PatternOption.CaseInsensitiveOption
    pattern = QRegularExpression(text, option)
    return pattern if pattern.isValid() else QRegularExpression(QRegularExpression.escape(text), option)
