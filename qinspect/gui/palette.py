"""Everything the window can do, and every layer, found by typing a few letters of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QCloseEvent, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHeaderView,
    QLineEdit,
    QMenu,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from qinspect.errors import printable

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow

SHOWN = 40
"""More entries than this nobody reads; another letter narrows them down."""
WIDTH, HEIGHT = 620, 420


@dataclass(frozen=True)
class Entry:
    """One thing that can be done: where it stands in the menus, its key, and how it is done."""

    text: str
    key: str
    run: Callable[[], object]


def entries(window: MainWindow) -> list[Entry]:
    """All actions of the menus that can be used now, then the layers of the open file."""
    found: list[Entry] = []
    for action in window.menuBar().actions():
        found += _actions(action, "")
    go = "Go to layer"
    layers = window.controller.session.infos
    return found + [Entry(f"{go} › {printable(i.name)}", "", partial(window.controller.select, i.name)) for i in layers]


def _actions(action: QAction, path: str) -> Iterator[Entry]:
    text = path + action.text().replace("&", "").removesuffix("…")
    menu = action.menu()
    if isinstance(menu, QMenu):
        for inner in menu.actions():
            yield from _actions(inner, f"{text} › ")
    elif action.isEnabled() and not action.isSeparator():
        key = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        yield Entry(text, key, action.trigger)


def matching(found: list[Entry], typed: str) -> list[Entry]:
    """Those entries that have all the words typed in them: first where words of the entry begin so."""
    words = typed.lower().split()
    scored = []
    for at, entry in enumerate(found):
        text = entry.text.lower()
        if all(word in text for word in words):
            starts = sum(f" {word}" in f" {text}" for word in words)
            scored.append((-starts, at, entry))
    return [entry for *_, entry in sorted(scored, key=lambda row: row[:2])[:SHOWN]]


class Palette(QFrame):
    """A line to type in, above what matches; Return does the selected entry, Escape closes."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.setObjectName("card")
        self.setAutoFillBackground(True)
        self._before = QApplication.focusWidget()
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAccessibleName("Command palette")
        self._entries = entries(window)
        self._shown: list[Entry] = []
        self.line = QLineEdit(self)
        self.line.setPlaceholderText("Type a command or the name of a layer")
        self.line.setAccessibleName("Command")
        self.line.installEventFilter(self)
        self.line.textChanged.connect(self._show)
        self.list = QTreeWidget(self)
        self.list.setColumnCount(2)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setAccessibleName("Commands")
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemClicked.connect(lambda item: self._run(self.list.indexOfTopLevelItem(item)))
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(self.line)
        column.addWidget(self.list)
        self.resize(min(WIDTH, window.width() - 80), min(HEIGHT, window.height() - 120))
        self._show("")

    def _show(self, typed: str) -> None:
        self._shown = matching(self._entries, typed)
        self.list.clear()
        for entry in self._shown:
            item = QTreeWidgetItem([entry.text, entry.key])
            item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.list.addTopLevelItem(item)
        if self._shown:
            self._choose(0)

    def _choose(self, row: int) -> None:
        self.list.setCurrentIndex(self.list.model().index(row, 0))

    def closeEvent(self, event: QCloseEvent) -> None:
        """Give the keys back."""
        super().closeEvent(event)
        if self._before is not None and self.isAncestorOf(QApplication.focusWidget() or self.line):
            self._before.setFocus(Qt.FocusReason.PopupFocusReason)

    def _run(self, row: int) -> None:
        self.close()
        if 0 <= row < len(self._shown):
            self._shown[row].run()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Arrows move in the list while letters go into the line."""
        moves = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 10, Qt.Key.Key_PageUp: -10}
        if event.type() == QEvent.Type.FocusOut and self.isVisible() and not self.underMouse():
            self.close()
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            key = Qt.Key(event.key())
            if key in moves and self._shown:
                row = self.list.currentIndex().row() + moves[key]
                self._choose(max(0, min(len(self._shown) - 1, row)))
                return True
            if key == Qt.Key.Key_Escape:
                self.close()
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(self.list.currentIndex().row())
                return True
        return super().eventFilter(watched, event)


def show(window: MainWindow) -> Palette:
    """Bring the palette up in the upper middle of the window."""
    palette = Palette(window)
    palette.move((window.width() - palette.width()) // 2, 60)
    palette.show()
    palette.raise_()
    palette.line.setFocus()
    return palette
