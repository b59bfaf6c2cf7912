"""The recipe that is seen and exported, with every change undoable."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from qinspect.gui.plain import caption
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe

MERGEABLE = 1
"""The id by which Qt lets steps merge; which of them do is a matter of their gesture."""


class History(QObject):
    """Holds the recipe. `changed` carries it whenever another takes its place, also by undo and redo."""

    changed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.recipe = Recipe.of(make_scheme("base11"))
        self.stack = QUndoStack(self)

    def push(self, recipe: Recipe, text: str, gesture: int | None = None) -> None:
        """One step, called `text`; steps of one gesture (a slider's drag) become one."""
        if recipe != self.recipe:
            self.stack.push(_Step(self, recipe, text, gesture))

    def reset(self, recipe: Recipe) -> None:
        """Begin anew, without a signal."""
        self.stack.clear()
        self.recipe = recipe

    def take(self, recipe: Recipe) -> None:
        """What steps do."""
        self.recipe = recipe
        self.changed.emit(recipe)


class _Step(QUndoCommand):
    """From one recipe to another."""

    def __init__(self, history: History, after: Recipe, text: str, gesture: int | None) -> None:
        super().__init__(caption(text))
        self._history = history
        self._before, self._after = history.recipe, after
        self._gesture = gesture

    def id(self) -> int:
        """What may merge at all."""
        return -1 if self._gesture is None else MERGEABLE

    def mergeWith(self, other: QUndoCommand) -> bool:
        """Take over a later step of the same gesture."""
        if not isinstance(other, _Step) or other._gesture != self._gesture:
            return False
        self._after = other._after
        self.setText(other.text())
        self.setObsolete(self._after == self._before)
        return True

    def redo(self) -> None:
        """Forward."""
        self._history.take(self._after)

    def undo(self) -> None:
        """Back."""
        self._history.take(self._before)


def change_words(old: Scheme | None, new: Scheme | None) -> str:
    """What a change makes of a scheme: `group size 64`, or all of it."""
    if new is None:
        return "leave alone"
    if old is None or type(old) is not type(new):
        return new.label
    changed = [p.name for p in new.parameters() if getattr(old, p.name) != getattr(new, p.name)]
    return f"{changed[0].replace('_', ' ')} {getattr(new, changed[0])}" if len(changed) == 1 else new.label
