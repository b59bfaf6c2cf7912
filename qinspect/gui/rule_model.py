"""The rules of a recipe as a table that can be edited, and the layers that one of them reaches."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor

from qinspect import figures as fmt
from qinspect.errors import SchemeError, printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.plain import tip
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.session import Decided, stored_nbytes

PATTERN, SCHEME, PARAMETERS, DECIDES, SIZE = range(5)
TITLES = ("Layers", "Scheme", "Parameters", "Decides on", "Size")
TIPS = (
    "A name, or a pattern in which * stands for any characters and ? for one.",
    "What the layers are stored as, or that they stay as they are.",
    "Those that differ from the default or decide the size, as name=value.",
    "Layers that no rule above has decided on already.",
    "Bytes of these layers under the rule.",
)
ALONE = "leave alone"
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
NOWHERE = QModelIndex()
Index = QModelIndex | QPersistentModelIndex


class RuleModel(QAbstractTableModel):
    """Shows a recipe; what a person edits comes as `edited` with the recipe that would be, or is `refused` in words."""

    edited = Signal(object, str)
    refused = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self.recipe = Recipe(())
        self._decides: Counter[int | None] = Counter()
        self._nbytes: Counter[int | None] = Counter()

    def show_recipe(self, decided: Decided) -> None:
        """Take over another recipe, for a file that it decides on."""
        self.beginResetModel()
        self.recipe = recipe = decided.recipe
        self._decides, self._nbytes = Counter(), Counter()
        for info, at in zip(decided.infos, decided.positions, strict=True):
            self._decides[at] += 1
            self._nbytes[at] += stored_nbytes(info, None if at is None else recipe.rules[at].scheme)
        self.endResetModel()

    def rowCount(self, parent: Index = NOWHERE) -> int:
        """One for each rule, the first on top."""
        return 0 if parent.isValid() else len(self.recipe.rules)

    def columnCount(self, parent: Index = NOWHERE) -> int:
        """One for each of TITLES."""
        return 0 if parent.isValid() else len(TITLES)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """The first three columns can be edited, parameters where there are some."""
        usual = super().flags(index)
        alone = index.isValid() and self.recipe.rules[index.row()].scheme is None
        fixed = index.column() > PARAMETERS or (index.column() == PARAMETERS and alone)
        return usual if fixed else usual | Qt.ItemFlag.ItemIsEditable

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Titles of the columns, numbers of the rules."""
        if orientation == Qt.Orientation.Vertical:
            return str(section + 1) if role == Qt.ItemDataRole.DisplayRole else None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return RIGHT if section >= DECIDES else LEFT
        return {Qt.ItemDataRole.DisplayRole: TITLES, Qt.ItemDataRole.ToolTipRole: TIPS}.get(
            Qt.ItemDataRole(role), (None,) * len(TITLES)
        )[section]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tip and colour of a cell."""
        row, column = index.row(), index.column()
        scheme = self.recipe.rules[row].scheme
        if role == Qt.ItemDataRole.DisplayRole and column == PARAMETERS and scheme is not None:
            return scheme.label.removeprefix(scheme.name).strip()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return self._text(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return RIGHT if column >= DECIDES else LEFT
        if role == Qt.ItemDataRole.ForegroundRole and not self._decides[row]:
            return QColor(self.theme.muted)
        if role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[column] if self._decides[row] else "This rule decides on no layer of the open file."
        return None

    def _text(self, row: int, column: int) -> str:
        rule = self.recipe.rules[row]
        if column == PATTERN:
            return printable(rule.match, 400)
        if column == SCHEME:
            return rule.scheme.name if rule.scheme else ALONE
        if column == PARAMETERS:
            return parameters_text(rule.scheme)
        return fmt.counted(self._decides[row], "layer") if column == DECIDES else fmt.nbytes(self._nbytes[row])

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Ask for the recipe that an edited cell makes."""
        row, column, text = index.row(), index.column(), str(value).strip()
        if role != Qt.ItemDataRole.EditRole or text == self._text(row, column):
            return False
        try:
            rule = self._edited(self.recipe.rules[row], column, text)
        except SchemeError as error:
            self.refused.emit(str(error))
            return False
        self.edited.emit(self.recipe.replace(row, rule), f"rule {rule.match}")
        return True

    def _edited(self, rule: Rule, column: int, text: str) -> Rule:
        if column == PATTERN:
            if not text:
                raise SchemeError("a rule needs a pattern; * is every layer")
            return Rule(text, rule.scheme)
        if column == SCHEME:
            return Rule(rule.match, None if text == ALONE else make_scheme(text))
        if rule.scheme is None:
            raise SchemeError("what is left alone has no parameters")
        return Rule(rule.match, with_parameters(rule.scheme, text))

    # Whole rules.

    def moved(self, row: int, by: int) -> Recipe | None:
        """The recipe with a rule moved up or down; None at the end."""
        rules = list(self.recipe.rules)
        if not 0 <= row + by < len(rules):
            return None
        rules[row], rules[row + by] = rules[row + by], rules[row]
        return Recipe(tuple(rules))

    def without(self, rows: set[int]) -> Recipe:
        """The recipe without some rules."""
        return Recipe(tuple(rule for at, rule in enumerate(self.recipe.rules) if at not in rows))


def parameters_text(scheme: Scheme | None) -> str:
    """`bits=4, group_size=64`: the parameters that differ from the default, and bits and group size."""
    if scheme is None:
        return ""
    shown = [
        (p.name, getattr(scheme, p.name))
        for p in scheme.active_parameters()
        if p.name in ("bits", "group_size") or getattr(scheme, p.name) != p.default
    ]
    return ", ".join(f"{name}={value}" for name, value in shown)


def with_parameters(scheme: Scheme, text: str) -> Scheme:
    """`scheme` with these parameters and the rest at their defaults; SchemeError says what does not fit."""
    known = {p.name: p for p in scheme.parameters()}
    given: dict[str, Any] = {}
    for part in filter(None, re.split(r"[,\s]+", text)):
        name, equals, value = part.partition("=")
        if not equals:
            raise SchemeError(f"write parameters as name=value, not {part!r}")
        if name not in known:
            raise SchemeError(f"{scheme.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
        try:
            given[name] = known[name].type(value)
        except ValueError:
            raise SchemeError(f"{name} is a number, not {value!r}") from None
        needs = known[name].needs
        if needs is not None:  # a group size asks for groups
            given.setdefault(*needs)
    assert {f.name for f in fields(scheme)} == known.keys()
    return type(scheme)(**given)


class MatchModel(QAbstractTableModel):
    """The layers that a rule's pattern reaches, and the rule that decides on each."""

    COLUMNS = ("Layer", "Decided by", "Scheme")
    TIPS = (
        "Name of the tensor in the file.",
        "The first rule whose pattern matches the name, by its number.",
        "What the rule stores the tensor as.",
    )

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self._recipe = Recipe(())
        self._rows: list[tuple[TensorInfo, int | None]] = []
        self._own: int | None = None

    def show_matches(self, recipe: Recipe, infos: Sequence[TensorInfo], own: int | None) -> None:
        """List what rule `own` applies to; all tensors where it is None."""
        self.beginResetModel()
        self._recipe, self._own = recipe, own
        rule = None if own is None else recipe.rules[own]
        self._rows = [(info, recipe.position(info)) for info in infos if rule is None or rule.applies(info)]
        self._rows.sort(key=lambda row: own is not None and row[1] != own)
        self.endResetModel()

    @property
    def sentence(self) -> str:
        """How many there are."""
        if self._own is None:
            return f"{fmt.counted(len(self._rows), 'tensor')} in the file"
        own = sum(at == self._own for _, at in self._rows)
        taken = len(self._rows) - own
        above = f"; {taken} of them decided by a rule above" if taken else ""
        return f"Rule {self._own + 1} matches {fmt.counted(len(self._rows), 'layer')}{above}"

    def name(self, row: int) -> str:
        """Full name of the tensor in a row."""
        return self._rows[row][0].name

    def rowCount(self, parent: Index = NOWHERE) -> int:
        """One for each layer."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = NOWHERE) -> int:
        """One for each of COLUMNS."""
        return 0 if parent.isValid() else len(self.COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return LEFT
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.TIPS[section]
        return self.COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text and colour of a cell: what another rule decides on is muted."""
        info, at = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            rule = None if at is None else self._recipe.rules[at]
            scheme = rule.scheme if rule else None
            decided = "no rule" if rule is None or at is None else f"{at + 1}:  {printable(rule.match, 80)}"
            stays = "as stored" if info.qtype else "left alone"
            return (printable(info.name), decided, scheme.label if scheme else stays)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(printable(info.name, 400))
        if role == Qt.ItemDataRole.ForegroundRole and (at is None or (self._own is not None and at != self._own)):
            return QColor(self.theme.muted)
        return None
