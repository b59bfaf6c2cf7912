"""The recipe: its rules as a table that can be edited, and below which layers each of them decides on."""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QSplitter,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.gui import recipe_files
from qinspect.gui.controller import Controller
from qinspect.gui.names import NameDelegate
from qinspect.gui.plain import PlainLabel
from qinspect.gui.rule_model import ALONE, DECIDES, PARAMETERS, PATTERN, SCHEME, SIZE, MatchModel, RuleModel
from qinspect.gui.scopes import Scope
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import TAB, View
from qinspect.planning.llama_cpp import tensor_types
from qinspect.quant.scheme import registry as schemes
from qinspect.recipe import ALL, Recipe, Rule, kind_of


class RecipeView(View):
    """Rules on top, of which the first that matches decides; the layers of the one that is selected below."""

    name: ClassVar[str] = "recipe"
    title: ClassVar[str] = "Recipe"
    order: ClassVar[int] = 80
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self.rules = RuleModel(self)
        self.matches = MatchModel(self)
        self.table = QTableView(self)
        self.layers = QTableView(self)
        self.found = PlainLabel(self)
        self.message = PlainLabel(self)
        self.open = _button("Open…", "Open a recipe file")
        self.save = _button("Save…", "Save the recipe as a file, which the command line takes too")
        self.copy = _button("Copy for llama.cpp", "Copy the recipe as --tensor-type arguments of llama-quantize")
        self.add = _button("Add rule", "A rule on top, for layers like the selected one")
        self.remove = _button("Remove", "Remove the selected rules (Delete)")
        self.up = _button("Move up", "Let the rule decide before the one above (Ctrl+Up)")
        self.down = _button("Move down", "Let the rule decide after the one below (Ctrl+Down)")
        self.adjust = _button("Adjust", "Show a layer of this rule; the sliders beside it then change the rule")
        self._build()
        self.setFocusProxy(self.table)

    # Building.

    def _build(self) -> None:
        _plain(self.table, self.rules, "Rules")
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        pattern = PatternDelegate(self.table)
        pattern.typed.connect(self._preview)
        self.table.setItemDelegateForColumn(PATTERN, pattern)
        self.table.setItemDelegateForColumn(SCHEME, SchemeDelegate(self.table))
        for column in (PATTERN, PARAMETERS):
            self.table.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        for column, width in ((SCHEME, 104), (DECIDES, 84), (SIZE, 68)):
            self.table.setColumnWidth(column, width)
        _plain(self.layers, self.matches, "Layers of the rule")
        self.layers.setItemDelegateForColumn(0, NameDelegate(self.layers))
        for column in range(3):
            self.layers.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.layers.verticalHeader().hide()
        for label in (self.found, self.message):
            label.setObjectName("muted")
            label.setWordWrap(True)
        parts = QSplitter(Qt.Orientation.Vertical, self)
        parts.setChildrenCollapsible(False)
        parts.addWidget(_stack(self.table, _row(self.add, self.remove, self.up, self.down, self.adjust), self.message))
        parts.addWidget(_stack(self.found, self.layers))
        parts.setSizes([300, 400])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 4, 10, 6)
        layout.addWidget(parts)

    def controls(self) -> list[QWidget]:
        """From a file and to one, or to another program."""
        return [self.open, self.save, self.copy]

    def attach(self, controller: Controller) -> None:
        """Follow the recipe, and change it."""
        self._controller = controller
        controller.recipe_changed.connect(lambda _: self._follow())
        self.rules.edited.connect(self._on_edited, Qt.ConnectionType.QueuedConnection)  # when the editor has closed
        self.rules.refused.connect(self._tell)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._on_rule())
        self.layers.selectionModel().currentRowChanged.connect(self._on_layer)
        self.open.clicked.connect(lambda: recipe_files.choose_and_open(controller, self))
        self.save.clicked.connect(lambda: recipe_files.choose_and_save(controller, self))
        self.copy.clicked.connect(self._on_copy)
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.up.clicked.connect(lambda: self._on_move(-1))
        self.down.clicked.connect(lambda: self._on_move(1))
        self.adjust.clicked.connect(self._on_adjust)
        for key, slot in (
            ("Delete", self._on_remove), ("Ctrl+Up", lambda: self._on_move(-1)), ("Ctrl+Down", lambda: self._on_move(1))
        ):  # fmt: skip
            shortcut = QShortcut(QKeySequence(key), self.table)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(slot)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.rules.theme = self.matches.theme = theme
        for table in (self.table, self.layers):
            table.viewport().update()

    # Showing.

    @property
    def _row(self) -> int | None:
        """The selected rule; the first of several."""
        rows = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        return rows[0] if rows else None

    def showEvent(self, event: QShowEvent) -> None:
        """Show what changed while nobody looked."""
        super().showEvent(event)
        self._follow()

    def _follow(self) -> None:
        """Show another recipe, where it can be seen."""
        if self.isVisible():
            self._show()

    def _show(self) -> None:
        if self._controller is None:
            return
        recipe, row = self._controller.recipe, self._row
        decided = self._controller.session.decided(recipe)
        self.rules.show_recipe(decided)
        if row is not None:
            self._select(min(row, len(recipe.rules) - 1))
        self._tell("")
        self._on_rule()
        taken = sum(scheme is not None for scheme in decided.schemes.values())
        self.summarised.emit(
            f"{fmt.counted(len(recipe.rules), 'rule')}; the first that matches decides. "
            f"{fmt.counted(taken, 'layer')} quantized, {len(decided.infos) - taken} tensors stay as they are."
        )

    def _on_rule(self) -> None:
        row = self._row
        self._show_matches(self.rules.recipe, row)
        self.remove.setEnabled(row is not None)
        self.adjust.setEnabled(row is not None)
        self.up.setEnabled(row is not None and row > 0)
        self.down.setEnabled(row is not None and row < len(self.rules.recipe.rules) - 1)

    def _show_matches(self, recipe: Recipe, row: int | None) -> None:
        infos = self._controller.session.infos if self._controller else ()
        self.matches.show_matches(recipe, infos, row)
        self.found.setText(self.matches.sentence)

    def _preview(self, pattern: str) -> None:
        """What a rule would reach whose pattern is being typed."""
        row = self.table.currentIndex().row()
        if pattern and 0 <= row < len(self.rules.recipe.rules):
            rule = self.rules.recipe.rules[row]
            self._show_matches(self.rules.recipe.replace(row, Rule(pattern, rule.scheme)), row)

    def _tell(self, sentence: str) -> None:
        self.message.setText(sentence)

    # Changing.

    def _set(self, recipe: Recipe, text: str, row: int) -> None:
        if self._controller is not None:
            self._controller.set_recipe(recipe, text)
            self._select(min(row, len(recipe.rules) - 1))

    def _select(self, row: int) -> None:
        """One rule alone, whatever keys are held down."""
        how = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
        self.table.selectionModel().setCurrentIndex(self.rules.index(row, PATTERN), how)

    def _on_edited(self, recipe: Recipe, text: str) -> None:
        self._set(recipe, text, self.table.currentIndex().row())

    def _on_add(self) -> None:
        if self._controller is None:
            return
        info = self._controller.info
        rule = Rule(kind_of(info.name) if info else ALL, self._controller.scheme)
        self._set(Recipe((rule, *self.rules.recipe.rules)), f"rule {rule.match}", 0)
        self.table.setFocus()
        self.table.edit(self.rules.index(0, PATTERN))

    def _on_remove(self) -> None:
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        if rows:
            self._set(self.rules.without(rows), f"remove {fmt.counted(len(rows), 'rule')}", min(rows))

    def _on_move(self, by: int) -> None:
        row = self._row
        moved = None if row is None else self.rules.moved(row, by)
        if row is not None and moved is not None:
            self._set(moved, "order of rules", row + by)

    def _on_copy(self) -> None:
        """The recipe as another program reads it, and what it has no word for."""
        if self._controller is None:
            return
        told = tensor_types(self.rules.recipe, self._controller.session.infos)
        lines = told.lines()
        QGuiApplication.clipboard().setText(" \\\n".join(lines))
        without = ""
        if told.without:
            (name, reason), *rest = told.without
            more = f" and {fmt.counted(len(rest), 'layer')} more" if rest else ""
            without = f" Left out: {printable(name, 80)}{more}; {reason}."
        self._tell(f"Copied {fmt.counted(len(lines), 'argument')} for llama-quantize.{without}")

    def _on_adjust(self) -> None:
        """Let the form stand for the selected rule: one of its layers is looked at, changes are for the rule."""
        controller, row = self._controller, self._row
        if controller is None or row is None:
            return
        own = [info for info in controller.session.infos if controller.recipe.position(info) == row]
        if not own:
            self._tell("This rule decides on no layer of the open file: there is nothing to look at.")
            return
        controller.select(own[0].name)
        controller.set_scope(Scope.RULE)

    def _on_layer(self, index: QModelIndex) -> None:
        if self._controller is not None and index.isValid():
            self._controller.select(self.matches.name(index.row()))


class PatternDelegate(QStyledItemDelegate):
    """Tells what is being typed."""

    typed = Signal(str)

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QWidget:
        """A line of text."""
        editor = QLineEdit(parent)
        editor.setFrame(False)
        editor.setAccessibleName("Pattern of the rule")
        editor.textEdited.connect(self.typed)
        return editor


class SchemeDelegate(QStyledItemDelegate):
    """A choice among all schemes."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QWidget:
        """The choice, open at once."""
        box = QComboBox(parent)
        box.setAccessibleName("Scheme of the rule")
        box.addItems([ALONE, *schemes.names()])
        box.activated.connect(lambda _: self._done(box))
        return box

    def _done(self, box: QComboBox) -> None:
        self.commitData.emit(box)
        self.closeEditor.emit(box)


def _plain(table: QTableView, model: RuleModel | MatchModel, name: str) -> None:
    table.setModel(model)
    table.setAccessibleName(name)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    table.verticalHeader().setDefaultSectionSize(26)
    table.horizontalHeader().setHighlightSections(False)


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return holder


def _stack(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    column = QVBoxLayout(holder)
    column.setContentsMargins(0, 4, 0, 0)
    column.setSpacing(6)
    for widget in widgets:
        column.addWidget(widget, int(isinstance(widget, QTableView)))
    return holder
