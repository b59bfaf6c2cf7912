"""The menus: every action of the window with its shortcut, in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu

from qinspect.errors import printable
from qinspect.gui import compare_bar, demonstrations, dialogs, palette, panes, recipe_files, shortcuts, weighing
from qinspect.gui import theme as themes
from qinspect.gui.plain import caption
from qinspect.gui.scopes import Scope
from qinspect.quant.scheme import registry as schemes

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def build(window: MainWindow) -> None:
    """Fill the menu bar."""
    _file(window)
    _edit(window)
    _layer(window)
    _compare(window)
    _view(window)
    _help(window)


def _file(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&File")
    _add(menu, "&Open…", window.choose_file, "Ctrl+O")
    recent = menu.addMenu("Open &recent")
    _fill_recent(recent, window)
    window.controller.opened.connect(lambda _: _fill_recent(recent, window))
    _add(menu, "Open &sample network", window.open_sample, "Ctrl+Shift+O")
    attach = _add(menu, "&Attach originals of a packed file…", window.choose_originals, "Ctrl+Shift+A")
    menu.aboutToShow.connect(lambda: attach.setEnabled(bool(window.controller.packed_infos)))
    menu.aboutToHide.connect(lambda: attach.setEnabled(True))  # reached otherwise, it says why it cannot be done
    _add(menu, "Load &importance (imatrix)…", lambda: weighing.choose(window))
    forget = _add(menu, "&Forget importance", lambda: weighing.forget(window))
    menu.aboutToShow.connect(lambda: forget.setEnabled(bool(window.controller.session.importance)))
    menu.aboutToHide.connect(lambda: forget.setEnabled(True))
    _add(menu, "Re&load", window.reload, "F5")
    menu.addSeparator()
    _add(menu, "Open re&cipe…", lambda: recipe_files.choose_and_open(window.controller, window), "Ctrl+R")
    _add(menu, "Sa&ve recipe…", lambda: recipe_files.choose_and_save(window.controller, window), "Ctrl+S")
    menu.addSeparator()
    _add(menu, "&Export…", window.show_export, "Ctrl+E")
    _add(menu, "Save &picture of the window…", lambda: dialogs.save_picture(window), "Ctrl+Shift+S")
    _add(menu, "Save &table of layers as CSV…", lambda: dialogs.save_table(window), "Ctrl+Shift+T")
    menu.addSeparator()
    again = _action(menu, "Start &where I left off", lambda: None, None)
    again.setCheckable(True)
    again.setChecked(window.preferences.restores)
    again.toggled.connect(lambda on: setattr(window.preferences, "restores", on))
    menu.addAction(again)
    _add(menu, "&Quit", window.close, "Ctrl+Q")


def _edit(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Edit")
    controller = window.controller
    stack = controller.history.stack
    undo, redo = stack.createUndoAction(menu, "&Undo"), stack.createRedoAction(menu, "&Redo")
    undo.setShortcut(QKeySequence("Ctrl+Z"))
    redo.setShortcuts([QKeySequence("Ctrl+Shift+Z"), QKeySequence("Ctrl+Y")])
    menu.addActions([undo, redo])
    menu.addSeparator()
    _add(menu, "&Copy scheme", lambda: recipe_files.copy_scheme(controller.scheme), "Ctrl+Shift+C")
    _add(menu, "&Paste scheme", lambda: recipe_files.paste_scheme(controller), "Ctrl+Shift+V")
    _add(menu, "&Leave alone", lambda: controller.choose(None), "Ctrl+Shift+L")
    menu.addSeparator()
    _add(menu, "&Find layers…", window.find_layers, "Ctrl+F")
    _add(menu, "Co&mmand palette…", lambda: palette.show(window), "Ctrl+Shift+P")


def _layer(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Layer")
    _add(menu, "&Blocks", window.table.group.toggle, "Ctrl+B")
    _add(menu, "&Next", lambda: window.table.step(1), "Alt+Down")
    _add(menu, "&Previous", lambda: window.table.step(-1), "Alt+Up")
    menu.addSeparator()
    which = menu.addMenu("&Scheme")
    for cls in schemes:
        _add(which, cls.title, partial(window.form.choose, cls.name)).setToolTip(cls.summary)
    reach = menu.addMenu("&Changes apply to")
    for scope in Scope:
        _add(reach, SCOPES[scope], partial(window.controller.set_scope, scope))
    menu.addSeparator()
    _add(menu, "Fewer b&its", lambda: window.form.nudge(("bits", "levels"), -1), "[")
    _add(menu, "&More bits", lambda: window.form.nudge(("bits", "levels"), 1), "]")
    _add(menu, "Smaller &groups", lambda: window.form.nudge(("group_size",), -1), "Shift+[")
    _add(menu, "&Larger groups", lambda: window.form.nudge(("group_size",), 1), "Shift+]")


SCOPES = {
    Scope.ALL: "&All layers",
    Scope.LAYER: "&This layer",
    Scope.SELECTION: "&Selected layers",
    Scope.KIND: "Layers of the same &kind",
    Scope.RULE: "Layers of the same &rule",
}


def _compare(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Compare")
    comparing = window.controller.comparing
    _add(menu, "Compare with &current choice", comparing.pin, "Ctrl+D")
    _add(menu, "Compare with a &file…", lambda: dialogs.open_other(window), "Ctrl+Shift+D")
    menu.addSeparator()
    sides = QActionGroup(menu)
    attached: list[QAction] = []
    for side, (title, tip, key) in compare_bar.SIDES.items():
        action = _add(menu, f"Show {title}", partial(comparing.show, side), key)
        action.setToolTip(tip)
        action.setCheckable(True)
        action.setChecked(side == comparing.side)
        comparing.sided.connect(lambda now, side=side, action=action: action.setChecked(now == side))
        sides.addAction(action)
        attached.append(action)
    menu.addSeparator()
    attached.append(_add(menu, "&Unmatched tensors…", lambda: compare_bar.show_unmatched(comparing, window)))
    attached.append(_add(menu, "&Stop comparing", comparing.detach, "Ctrl+Shift+X"))

    def enable() -> None:
        for action in attached:
            action.setEnabled(comparing.other is not None)

    comparing.attached.connect(lambda _: enable())
    enable()


def _view(window: MainWindow) -> None:
    menu = window.views_menu = window.menuBar().addMenu("&View")
    _add(menu, "&Quantize", lambda: window.show_panel(0), "Ctrl+Shift+Q")
    menu.addSeparator()
    _add(menu, "Next &pane", lambda: panes.cycle(window, 1), "F6")
    _add(menu, "Previous pane", lambda: panes.cycle(window, -1), "Shift+F6")
    full = _add(menu, "&Full screen", window.toggle_full_screen, "F11")
    full.setCheckable(True)
    menu.addSeparator()
    group = QActionGroup(menu)
    for name in ("system", *themes.THEMES):
        title = "Theme of the system" if name == "system" else f"{name.capitalize()} theme"
        action = _add(menu, title, partial(window.choose_theme, name))
        action.setCheckable(True)
        action.setChecked(window.preferences.theme == name)
        group.addAction(action)


def add_views(window: MainWindow) -> None:
    """Entries of the View menu for what is there once the views are made."""
    menu = window.views_menu
    first = menu.actions()[0]
    for number in range(window.tabs.count()):
        title = window.tabs.tabText(number)
        key = f"Alt+{number + 1}" if number < 9 else None
        menu.insertAction(first, _action(menu, title, partial(window.tabs.setCurrentIndex, number), key))
    menu.insertSeparator(first)
    large = QMenu("&Enlarge", menu)
    for number, frame in enumerate(window.grid.frames, 1):
        _add(large, frame.view.title, partial(window.centre.enlarge, frame), f"Ctrl+{number}")
    _add(large, "Show all", partial(window.centre.enlarge, None), "Ctrl+0")
    menu.insertMenu(first, large)


def _help(window: MainWindow) -> None:
    menu = window.menuBar().addMenu("&Help")
    _add(menu, "&Keys…", lambda: shortcuts.show(window), "F1")
    _add(menu, "Published &recipes…", lambda: demonstrations.show(window.controller.bulk, window))
    _add(menu, "&About qinspect", lambda: dialogs.show_about(window))


def _fill_recent(menu: QMenu, window: MainWindow) -> None:
    menu.clear()
    for path in window.preferences.recent():
        _add(menu, caption(printable(path, 80)), partial(window.open, path))
    menu.setEnabled(not menu.isEmpty())


def _add(menu: QMenu, title: str, slot: Callable[[], object], key: str | None = None) -> QAction:
    action = _action(menu, title, slot, key)
    menu.addAction(action)
    return action


def _action(menu: QMenu, title: str, slot: Callable[[], object], key: str | None) -> QAction:
    action = QAction(title, menu)
    if key is not None:
        action.setShortcut(QKeySequence(key))
    action.triggered.connect(lambda _=False: slot())
    return action
