"""The layers of a budget: what each takes, which are kept as they are, what their errors count, which are tied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.plain import tip
from qinspect.gui.theme import DARK, Theme
from qinspect.planning.budget import POOR_DB, Allocation, is_poor
from qinspect.planning.wishes import Wishes
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepPoint

LAYER, SCHEME, BPW, SQNR, SIZE, WEIGHT, TIE = range(7)
TITLES = ("Layer", "Takes", "bpw", "SQNR", "Size", "Weight", "Tie")
TIPS = (
    "Check a layer to keep what it takes now, whatever the limit.",
    "The scheme that the plan gives this layer; coloured where the recipe has another.",
    "Bits per weight, with everything that is stored.",
    f"Signal to quantization noise of this layer; red under {POOR_DB:g} dB, where errors are a third of the weights.",
    "Bytes of this layer.",
    "What the squared error of this layer counts; double-click to change it.",
    "Layers with the same number take the same scheme.",
)
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
NOWHERE = QModelIndex()
Index = QModelIndex | QPersistentModelIndex
# Looked up once: an attribute of an enumeration costs as much as all the rest of a call.
DISPLAY, EDIT, CHECK = (
    int(role) for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.CheckStateRole)
)
ALIGN, COLOUR, TIP = (
    int(role)
    for role in (Qt.ItemDataRole.TextAlignmentRole, Qt.ItemDataRole.ForegroundRole, Qt.ItemDataRole.ToolTipRole)
)


class AllocationModel(QAbstractTableModel):
    """One row a layer, in the model's order. `locked` and `weighed` carry what a person changed: name and value."""

    locked = Signal(str, bool)
    weighed = Signal(str, float)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self.infos: Sequence[TensorInfo] = ()
        self._points: Mapping[str, SweepPoint] = {}
        self._now: Mapping[str, Scheme | None] = {}
        self._errors: Mapping[str, str] = {}
        self._staying: Collection[str] = ()
        self._wishes = Wishes()
        self._ties: dict[str, int] = {}

    def show_layers(self, infos: Sequence[TensorInfo]) -> None:
        """Other layers."""
        self.beginResetModel()
        self.infos, self._points = infos, {}
        self.endResetModel()

    def show_allocation(
        self,
        allocation: Allocation | None,
        now: Mapping[str, Scheme | None],
        errors: Mapping[str, str],
        staying: Collection[str] = (),
    ) -> None:
        """What layers take under a plan, beside what the recipe gives them, why some have no point, and which stay."""
        self._staying = staying
        self._points = {} if allocation is None else allocation.points
        self._now, self._errors = now, errors
        self._changed(SCHEME, SIZE)

    def show_wishes(self, wishes: Wishes) -> None:
        """What a person has fixed."""
        self._wishes = wishes
        groups = wishes.groups(info.name for info in self.infos)
        self._ties = {name: number for number, tie in enumerate(groups, 1) for name in tie}
        self._changed(LAYER, TIE)

    @property
    def tied(self) -> bool:
        """Whether any layers are tied."""
        return bool(self._ties)

    @property
    def weighted(self) -> bool:
        """Whether errors of some layers count more than those of others."""
        return bool(self._wishes.weights)

    def _changed(self, first: int, last: int) -> None:
        if self.infos:
            self.dataChanged.emit(self.index(0, first), self.index(len(self.infos) - 1, last))

    def rowCount(self, parent: Index = NOWHERE) -> int:
        """One for each layer."""
        return 0 if parent.isValid() else len(self.infos)

    def columnCount(self, parent: Index = NOWHERE) -> int:
        """One for each of TITLES."""
        return 0 if parent.isValid() else len(TITLES)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Names have a check box, weights can be edited."""
        usual = super().flags(index)
        if index.column() == LAYER:
            return usual | Qt.ItemFlag.ItemIsUserCheckable
        return usual | Qt.ItemFlag.ItemIsEditable if index.column() == WEIGHT else usual

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY) -> Any:
        """Titles of the columns."""
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == ALIGN:
            return LEFT if section <= SCHEME else RIGHT
        return TITLES[section] if role == DISPLAY else TIPS[section] if role == TIP else None

    def data(self, index: Index, role: int = DISPLAY) -> Any:
        """Text, check, tip and colour of a cell."""
        info, column = self.infos[index.row()], index.column()
        if role in (DISPLAY, EDIT):
            return self.text(info, column)
        if role == ALIGN:
            return LEFT if column <= SCHEME else RIGHT
        if role == CHECK and column == LAYER:
            return Qt.CheckState.Checked if info.name in self._wishes.kept else Qt.CheckState.Unchecked
        if role == COLOUR:
            return self._colour(info, column)
        why = self._errors.get(info.name, TIPS[column])
        return tip(f"{printable(info.name, 400)}\n{why}") if role == TIP else None

    def text(self, info: TensorInfo, column: int) -> str:
        """What a cell says."""
        point = self._points.get(info.name)
        if column == LAYER:
            return printable(info.name, 200)
        if column == WEIGHT:
            return f"{self._wishes.weights.get(info.name, 1.0):g}"
        if column == TIE:
            return str(self._ties.get(info.name, ""))
        if point is None:
            missing = "cannot be measured" if info.name in self._errors else "not measured yet"
            missing = "stays as it is" if info.name in self._staying else missing
            return missing if column == SCHEME else fmt.NONE
        if column == SCHEME:
            return _label(point.scheme)
        if column == BPW:
            return fmt.bits(point.bpw)
        if column == SQNR:
            return ("⚠ " if is_poor(point) else "") + ("≈ " if point.part < 1 else "") + fmt.decibels(point.sqnr_db)
        return fmt.nbytes(point.nbytes)

    def _colour(self, info: TensorInfo, column: int) -> QColor | None:
        point = self._points.get(info.name)
        if point is None:
            return QColor(self.theme.muted)
        if column == SQNR and is_poor(point):
            return QColor(self.theme.bad)
        changed = column == SCHEME and point.scheme != self._now.get(info.name)
        return QColor(self.theme.accent) if changed else None

    def setData(self, index: Index, value: Any, role: int = EDIT) -> bool:
        """Tell of a lock, or of another weight."""
        name, column = self.infos[index.row()].name, index.column()
        if role == CHECK and column == LAYER:
            self.locked.emit(name, Qt.CheckState(value) == Qt.CheckState.Checked)
            return True
        if role != EDIT or column != WEIGHT:
            return False
        try:
            weight = float(str(value).replace(",", "."))
        except ValueError:
            return False
        if not 0 < weight < 1e12:
            return False
        self.weighed.emit(name, weight)
        return True


@lru_cache(4096)
def _label(scheme: Scheme) -> str:
    """Few schemes, many layers: a label takes a third of a millisecond."""
    return scheme.label
