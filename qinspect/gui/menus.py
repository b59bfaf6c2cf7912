"""The menus: every action of the window with its shortcut, in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu

from qinspect.errors import printable
from qinspect.gui import demonstrations, recipe_files
from qinspect.gui import theme as themes

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def build(window: MainWindow) -> None:
    """Fill the menu bar."""
    _file(window)
    _edit(window)
    _layer(window)
    _view(window)
    _help(window)


def _file(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&File")
    _add(menu, "&Open…", window.choose_file, "Ctrl+O")
    recent = menu.addMenu("Open &recent")
    recent.aboutToShow.connect(lambda: _fill_recent(recent, window))
    _add(menu, "Open &sample network", window.open_sample)
    attach = _add(menu, "&Attach originals of a packed file…", window.choose_originals)
    menu.aboutToShow.connect(lambda: attach.setEnabled(bool(window.controller.packed_infos)))
    menu.aboutToHide.connect(lambda: attach.setEnabled(True))  # reached otherwise, it says why it cannot be done
    _add(menu, "Re&load", window.reload, "F5")
    menu.addSeparator()
    _add(menu, "Open re&cipe…", lambda: recipe_files.choose_and_open(window.controller, window))
    _add(menu, "Sa&ve recipe…", lambda: recipe_files.choose_and_save(window.controller, window), "Ctrl+S")
    menu.addSeparator()
    _add(menu, "&Export…", window.show_export, "Ctrl+E")
    _add(menu, "Save &picture of the window…", window.save_picture, "Ctrl+Shift+S")
    menu.addSeparator()
    _add(menu, "&Quit", window.close, "Ctrl+Q")


def _edit(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Edit")
    stack = window.controller.history.stack
    undo, redo = stack.createUndoAction(menu, "&Undo"), stack.createRedoAction(menu, "&Redo")
    undo.setShortcut(QKeySequence("Ctrl+Z"))
    redo.setShortcuts([QKeySequence("Ctrl+Shift+Z"), QKeySequence("Ctrl+Y")])
    menu.addActions([undo, redo])


def _layer(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Layer")
    _add(menu, "&Next", lambda: window.table.step(1), "Alt+Down")
    _add(menu, "&Previous", lambda: window.table.step(-1), "Alt+Up")
    _add(menu, "&Find…", window.table.filter.setFocus, "Ctrl+F")
    menu.addSeparator()
    _add(menu, "Fewer &bits", lambda: window.form.nudge("bits", -1), "[")
    _add(menu, "&More bits", lambda: window.form.nudge("bits", 1), "]")
    _add(menu, "Smaller &groups", lambda: window.form.nudge("group_size", -1), "Shift+[")
    _add(menu, "&Larger groups", lambda: window.form.nudge("group_size", 1), "Shift+]")


def _view(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&View")
    group = QActionGroup(menu)
    for name in ("system", *themes.THEMES):
        title = "Theme of the system" if name == "system" else f"{name.capitalize()} theme"
        action = _add(menu, title, partial(window.choose_theme, name))
        action.setCheckable(True)
        action.setChecked(window.preferences.theme == name)
        group.addAction(action)


def _help(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Help")
    _add(menu, "Published &recipes…", lambda: demonstrations.show(window.controller.bulk, window))
    _add(menu, "&About qinspect", window.show_about)


def _fill_recent(menu: QMenu, window: MainWindow) -> None:
    menu.clear()
    for path in window.preferences.recent():
        _add(menu, printable(path, 80), partial(window.open, path))


def _add(menu: QMenu, title: str, slot: Callable[[], object], key: str | None = None) -> QAction:
    action = QAction(title, menu)
    if key is not None:
        action.setShortcut(QKeySequence(key))
    action.triggered.connect(lambda _=False: slot())
    menu.addAction(action)
    return action
