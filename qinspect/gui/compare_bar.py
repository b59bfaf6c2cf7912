"""What is compared with what, and which side is shown: a bar that is there only while something is attached."""

from __future__ import annotations

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QFrame,
    QHBoxLayout,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from qinspect.errors import printable
from qinspect.gui.comparing import Comparing, Side
from qinspect.gui.controller import Controller
from qinspect.gui.frame import ElidedLabel
from qinspect.quant.scheme import Scheme
from qinspect.versus import Other, OtherFile, OtherOriginals, OtherRecipe

SIDES = {
    Side.A: ("A", "What the file is under the recipe now", "F2"),
    Side.B: ("B", "What it is compared with, in the same colours", "F3"),
    Side.DIFFERENCE: ("A − B", "The difference, weight by weight where it has a sign", "F4"),
    Side.SWIPE: ("Swipe", "A left and B right of a line that can be dragged, or both in one plot", "F7"),
}
"""Title, tip and key of every side."""

PIN = "(Ctrl+D): change the scheme, and see what that changes"

WIDE = 430
"""Pixels from which there is room for the number of tensors that have no like."""


class CompareBar(QFrame):
    """A | B | A − B | Swipe, the name of B, and the way out. `start`, the way in, stands elsewhere."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller, self._comparing = controller, controller.comparing
        self._other: Other | None = None
        self._group = QButtonGroup(self)
        self.buttons: dict[Side, QToolButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 0, 0)
        row.setSpacing(4)
        for side, (title, tip, key) in SIDES.items():
            button = self._button(title, f"Show {title}", f"{tip} ({key})")
            button.setCheckable(True)
            button.clicked.connect(lambda _=False, side=side: self._comparing.show(side))
            self._group.addButton(button)
            row.addWidget(button)
            self.buttons[side] = button
        self.buttons[Side.A].setChecked(True)
        self.names = ElidedLabel(self)
        self.names.setObjectName("muted")
        row.addSpacing(6)
        row.addWidget(self.names, 1)
        self.pin = self._button("Pin", "Compare with current choice", f"Keep the current choice as B instead {PIN}")
        self.pin.clicked.connect(self._comparing.pin)
        self.start = self._button("Compare", "Compare with current choice", f"Keep the current choice as B {PIN}")
        self.start.clicked.connect(self._comparing.pin)
        self.start.hide()
        controller.opened.connect(lambda _: self.start.setVisible(self._other is None))
        self.unmatched = self._button("", "Tensors that stand on one side alone", "Which tensors have no like, and why")
        self.unmatched.clicked.connect(lambda: show_unmatched(self._comparing, self.window()))
        self.detach = self._button("✕", "Stop comparing", "Stop comparing (Ctrl+Shift+X)")
        self.detach.clicked.connect(self._comparing.detach)
        row.addWidget(self.pin)
        row.addWidget(self.unmatched)
        row.addWidget(self.detach)
        self._comparing.attached.connect(self._on_attached)
        self._comparing.sided.connect(lambda side: self.buttons[side].setChecked(True))
        controller.chosen.connect(lambda _: self._name())
        self.hide()

    def _button(self, text: str, name: str, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setAccessibleName(name)
        button.setToolTip(tip)
        return button

    def _on_attached(self, other: Other | None) -> None:
        self._other = other
        self.setVisible(other is not None)
        self.start.setVisible(other is None)
        self._name()
        self._arrange()

    def _name(self) -> None:
        other = self._other
        if other is None:
            return
        own = _label(self._controller.scheme)
        theirs = other.title
        if isinstance(other, OtherRecipe) and self._controller.info is not None:
            theirs = _label(other.recipe.scheme_for(self._controller.info), other)
        self.names.setText(f"A  {own}    B  {theirs}")
        self.names.setToolTip(f"A: {own}, chosen now\nB: {theirs}{_where(other)}")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In a narrow window the names matter more than what is missing."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        missing = 0 if self._other is None else len(self._other.unmatched)
        self.unmatched.setText(f"{missing} unmatched")
        self.unmatched.setVisible(bool(missing) and self.width() >= WIDE)


def _label(scheme: Scheme | None, other: OtherRecipe | None = None) -> str:
    if scheme is None:
        return "as stored" if other is None else other.title
    return scheme.label


def _where(other: Other) -> str:
    match other:
        case OtherFile(checkpoint=checkpoint):
            return f"\n{printable(str(checkpoint.path))}"
        case OtherOriginals(path=path):
            return f"\n{printable(str(path))}"
    return ", as it was pinned"


def show_unmatched(comparing: Comparing, parent: QWidget) -> QDialog:
    """List the tensors that stand on one side alone, with the reason for each."""
    dialog = QDialog(parent)
    dialog.setWindowTitle("Unmatched tensors")
    dialog.resize(900, 480)
    listed = QTreeWidget(dialog)
    listed.setAccessibleName("Unmatched tensors")
    listed.setRootIsDecorated(False)
    listed.setWordWrap(True)
    listed.setHeaderLabels(["Side", "Tensor", "Why it is not compared"])
    found = () if comparing.other is None else comparing.other.unmatched
    for one in found:
        item = QTreeWidgetItem([one.side, printable(one.name), one.reason])
        item.setToolTip(1, printable(one.name, 400))
        item.setToolTip(2, one.reason)
        listed.addTopLevelItem(item)
    if not found:
        listed.addTopLevelItem(QTreeWidgetItem(["", "none", "every tensor has its like on the other side"]))
    listed.setColumnWidth(0, 48)
    listed.setColumnWidth(1, 300)
    layout = QVBoxLayout(dialog)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(listed)
    dialog.show()
    return dialog
