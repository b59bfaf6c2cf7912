"""The rows behind the table of layers: texts, colours and order, worked out when they are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QRegularExpression, Qt
from PySide6.QtGui import QColor

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme
from qinspect.session import LayerReport, stored_nbytes

COLUMNS = ("Layer", "SQNR", "bpw", "Size", "!", "Scheme", "RMSE", "Max error", "Shape", "Type")
NAME, SQNR, BPW, SIZE, NOTES, SCHEME, RMSE, MAX_ERROR, SHAPE, TYPE = range(len(COLUMNS))
TIPS = (
    "Name of the tensor in the file; leading words are shortened where there is no room.",
    "Signal to quantization noise ratio: 6 dB more halve the error. Worst first.",
    "Bits per weight, everything stored counted.",
    "Bytes under the layer's scheme, or in the file where the tensor is left alone.",
    "How many findings there are; select the layer to read them.",
    "What the recipe makes of the layer; shown where not all layers have the same.",
    "Root mean square error of a weight.",
    "Largest error of any weight.",
    "Its dimensions.",
    "Type in the file, or how it is packed.",
)
LARGEST_FIRST = (BPW, SIZE, NOTES, RMSE, MAX_ERROR, SHAPE)
NEVER = "Left alone: only floating-point tensors of two dimensions and more are quantized unless a rule names them."
BY_RECIPE = "Left alone by the recipe."

# Looking these up is slow in a model's hot path.
DISPLAY = int(Qt.ItemDataRole.DisplayRole)
TIP = int(Qt.ItemDataRole.ToolTipRole)
FOREGROUND = int(Qt.ItemDataRole.ForegroundRole)
ALIGNMENT = int(Qt.ItemDataRole.TextAlignmentRole)
FIRST_ORDER = int(Qt.ItemDataRole.InitialSortOrderRole)
VALUE = int(Qt.ItemDataRole.UserRole)
"""The number behind a cell, or None."""

Index = QModelIndex | QPersistentModelIndex
NOWHERE = QModelIndex()


class LayerModel(QAbstractTableModel):
    """Tensors with their reports, filtered and sorted; what has no figure stays below, whichever way it is sorted."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self._infos: dict[str, TensorInfo] = {}
        self._reports: dict[str, LayerReport] = {}
        self._schemes: dict[str, Scheme | None] = {}
        self._passing: list[str] = []
        self._shown: list[str] = []
        self._rows: dict[str, int] = {}
        self._sorted_by = SQNR, False

    # What Qt asks.

    def rowCount(self, parent: Index = NOWHERE) -> int:
        """Tensors that the filter lets through."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = NOWHERE) -> int:
        """One for each of COLUMNS."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = DISPLAY) -> Any:
        """Text, tip, colour or number of a cell."""
        if not index.isValid():
            return None
        name, column = self._shown[index.row()], index.column()
        if role == DISPLAY:
            return self.text(name, column)
        if role == ALIGNMENT:
            return _alignment(column)
        if role == FOREGROUND:
            return self._colour(name, column)
        if role == TIP:
            return self._tip(name, column)
        return self.value(name, column) if role == VALUE else None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY) -> Any:
        """Title, tip and first order of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(COLUMNS):
            return None
        if role == FIRST_ORDER:
            return Qt.SortOrder.DescendingOrder if section in LARGEST_FIRST else Qt.SortOrder.AscendingOrder
        texts = {DISPLAY: COLUMNS[section], TIP: TIPS[section]}
        return _alignment(section) if role == ALIGNMENT else texts.get(role)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Put the rows in order; the current row stays the current one."""
        self._sorted_by = column, order == Qt.SortOrder.DescendingOrder
        self.layoutAboutToBeChanged.emit()
        kept = self.persistentIndexList()
        names = [self._shown[index.row()] for index in kept]
        self._arrange()
        moved = [self.index(self._rows[name], index.column()) for name, index in zip(names, kept, strict=True)]
        self.changePersistentIndexList(kept, moved)
        self.layoutChanged.emit()

    # Filling.

    def show_infos(self, infos: tuple[TensorInfo, ...]) -> None:
        """Take over other tensors, known from headers alone; all are shown."""
        self._reports.clear()
        self._schemes.clear()
        self._infos = {info.name: info for info in sorted(infos, key=lambda info: natural(info.name))}
        self.filter(QRegularExpression())

    def filter(self, pattern: QRegularExpression) -> None:
        """Show the tensors in whose names the pattern is found."""
        self.beginResetModel()
        self._passing = [name for name in self._infos if pattern.match(name).hasMatch()]
        self._arrange()
        self.endResetModel()

    def show_schemes(self, schemes: Mapping[str, Scheme | None], reports: Iterable[LayerReport]) -> None:
        """Take over what the recipe makes of every tensor, and what was measured of that; older figures go."""
        self._schemes = dict(schemes)
        self._reports = {report.info.name: report for report in reports}
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, len(COLUMNS) - 1))

    @property
    def mixed(self) -> bool:
        """Whether the layers that a recipe is for have different schemes."""
        usual = (info.name for info in self._infos.values() if info.quantizable or info.qtype or self._scheme(info))
        return len({self._schemes.get(name) for name in usual}) > 1

    def show_report(self, report: LayerReport) -> None:
        """Put one layer's figures in its row."""
        name = report.info.name
        if name not in self._infos:
            return
        self._reports[name] = report
        if name in self._rows:
            row = self._rows[name]
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(COLUMNS) - 1))

    # Asking.

    @property
    def total(self) -> int:
        """All tensors, shown or not."""
        return len(self._infos)

    def name(self, row: int) -> str | None:
        """Full name of the tensor in a row."""
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def row(self, name: str) -> int | None:
        """Where a tensor is shown."""
        return self._rows.get(name)

    def text(self, name: str, column: int) -> str:
        """What a cell shows."""
        info, report = self._infos[name], self._reports.get(name)
        if column in (NAME, SHAPE, TYPE):
            return (printable(name), fmt.shape(info.shape), info.qtype or info.dtype)[(NAME, SHAPE, TYPE).index(column)]
        if column == SCHEME:
            return self.scheme_text(info)
        if column == NOTES and report is not None:
            return "!" if report.metrics is None else str(len(report.findings) or "")
        if column == SQNR and report is not None and report.metrics is None:
            return "error"
        value = self.value(name, column)
        if value is None and column in (SQNR, RMSE, MAX_ERROR, NOTES):
            return "·" if self._alone(info) else "" if report is None else fmt.NONE
        write = {SQNR: fmt.decibels, BPW: fmt.bits, SIZE: fmt.nbytes}.get(column, fmt.magnitude)
        return "" if value is None else write(value)

    def value(self, name: str, column: int) -> float | None:
        """The number behind a cell; None where there is none (yet)."""
        info, report = self._infos[name], self._reports.get(name)
        m = None if report is None else report.metrics
        if column == SHAPE:
            return float(info.size)
        if column in (SIZE, BPW):
            nbytes = m.nbytes if m is not None else stored_nbytes(info, self._scheme(info))
            return float(nbytes) if column == SIZE else 8 * nbytes / info.size if info.size else None
        if column == NOTES:
            return None if report is None else _gravity(report)
        if m is None:
            return None
        figure = {SQNR: m.sqnr_db, RMSE: m.rmse, MAX_ERROR: m.max_error}.get(column)
        return None if figure is None or math.isnan(figure) else figure

    # The rest.

    def _arrange(self) -> None:
        column, descending = self._sorted_by
        keys = {name: self._key(name, column) for name in self._passing}
        known = [name for name in self._passing if keys[name] is not None]
        without = [name for name in self._passing if keys[name] is None]
        known.sort(key=keys.__getitem__, reverse=descending)  # type: ignore[arg-type]
        self._shown = known + sorted(without, key=lambda name: self._alone(self._infos[name]))
        self._rows = {name: row for row, name in enumerate(self._shown)}

    def _key(self, name: str, column: int) -> float | str | None:
        """What a row is sorted by: what could not be measured is worst of all."""
        if column in (NAME, TYPE, SCHEME):
            return natural(self.text(name, column))
        report = self._reports.get(name)
        if column == SQNR and report is not None and report.metrics is None:
            return -math.inf
        return self.value(name, column)

    def _scheme(self, info: TensorInfo) -> Scheme | None:
        return self._schemes.get(info.name)

    def _alone(self, info: TensorInfo) -> bool:
        """Whether an export passes a tensor on that is not packed."""
        usual = info.quantizable and info.name not in self._schemes  # until the recipe is known
        return not (usual or self._scheme(info) or info.qtype)

    def scheme_text(self, info: TensorInfo) -> str:
        """What the recipe makes of a tensor."""
        scheme = self._scheme(info)
        return _label(scheme) if scheme else "as stored" if info.qtype else "left alone"

    def _colour(self, name: str, column: int) -> QColor | None:
        report = self._reports.get(name)
        if self._alone(self._infos[name]):
            return QColor(self.theme.muted)
        if column != NOTES or report is None:
            return None
        grave = {finding.severity for finding in report.findings}
        bad = report.metrics is None or "error" in grave
        return QColor(self.theme.bad if bad else self.theme.warning if "warning" in grave else self.theme.muted)

    def _tip(self, name: str, column: int) -> str:
        info, report = self._infos[name], self._reports.get(name)
        if column == NAME:
            return printable(name, 400)
        if column == SHAPE:
            return f"{info.size:,} weights"
        if column == SIZE:
            return f"{self.value(name, SIZE):,.0f} bytes; {info.nbytes:,} in the file"
        if self._alone(info) and column != TYPE:
            return BY_RECIPE if info.quantizable else NEVER
        if report is not None and report.error is not None:
            return report.error
        if report is not None and column == NOTES:
            return "\n".join(finding.text for finding in report.findings)
        return self.text(name, column)


def _gravity(report: LayerReport) -> float | None:
    """Findings by weight: an error outweighs any number of warnings, a warning any number of remarks."""
    if report.metrics is None:
        return math.inf
    return sum({"error": 10_000.0, "warning": 100.0}.get(each.severity, 1.0) for each in report.findings) or None


def _alignment(column: int) -> Qt.AlignmentFlag:
    right = column in (SQNR, RMSE, MAX_ERROR, BPW, SIZE, NOTES)
    return (Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignVCenter


@lru_cache
def _label(scheme: Scheme) -> str:
    """Few schemes, many tensors: a label takes a third of a millisecond."""
    return scheme.label


def natural(name: str) -> str:
    """A key under which layer.2 comes before layer.10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(8), name.lower())
