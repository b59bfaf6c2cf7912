"""The window without a mouse: the palette, F6, keys for everything, and names for those who do not see it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QSlider,
    QTextBrowser,
)
from safetensors.numpy import save_file

from qinspect.gui.palette import Entry, Palette, matching
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def opened(window, settle, tmp_path):
    rng = np.random.default_rng(5)
    path = tmp_path / "net.safetensors"
    names = [f"h.{n}.{part}.weight" for n in range(2) for part in ("query", "key")]
    save_file({name: rng.standard_normal((16, 128)).astype(np.float32) for name in names}, path)
    window.open(path)
    settle(window)
    return window


def palette(window, qtbot, typed):
    qtbot.keyClick(window, Qt.Key.Key_P, CTRL | SHIFT)
    found = window.findChild(Palette)
    qtbot.keyClicks(found.line, typed)
    return found


def texts(found):
    return [found.list.topLevelItem(row).text(0) for row in range(found.list.topLevelItemCount())]


def actions(window):
    def within(menu):
        for action in menu.actions():
            if action.menu() is not None:
                yield from within(action.menu())
            elif not action.isSeparator():
                yield action

    for action in window.menuBar().actions():
        yield from within(action.menu())


def test_the_palette_does_what_is_typed(opened, settle, qtbot):
    found = palette(opened, qtbot, "symm int sch")
    assert texts(found) == ["Layer › Scheme › Symmetric integer", "Layer › Scheme › Asymmetric integer"]
    qtbot.keyClick(found.line, Qt.Key.Key_Return)
    settle(opened)
    assert opened.controller.recipe == Recipe.of(make_scheme("symmetric"))
    assert opened.findChild(Palette) is None  # closed


def test_the_palette_goes_to_layers_and_is_left_by_escape(opened, settle, qtbot):
    found = palette(opened, qtbot, "1.query")
    assert texts(found) == ["Go to layer › h.1.query.weight"]
    qtbot.keyClick(found.line, Qt.Key.Key_Return)
    settle(opened)
    assert opened.controller.info.name == "h.1.query.weight"
    found = palette(opened, qtbot, "h.")
    qtbot.keyClick(found.line, Qt.Key.Key_Down)
    qtbot.keyClick(found.line, Qt.Key.Key_Escape)
    assert not found.isVisible()
    assert opened.controller.info.name == "h.1.query.weight"


def test_arrows_choose_in_the_palette_and_nothing_found_is_no_harm(opened, settle, qtbot):
    found = palette(opened, qtbot, "go to layer")
    names = texts(found)
    qtbot.keyClick(found.line, Qt.Key.Key_Down)
    qtbot.keyClick(found.line, Qt.Key.Key_Down)
    qtbot.keyClick(found.line, Qt.Key.Key_Up)
    qtbot.keyClick(found.line, Qt.Key.Key_Return)
    assert names[1].endswith(opened.controller.info.name)
    found = palette(opened, qtbot, "no such thing")
    assert texts(found) == []
    qtbot.keyClick(found.line, Qt.Key.Key_Down)
    qtbot.keyClick(found.line, Qt.Key.Key_Return)
    settle(opened)


def test_words_at_the_beginning_come_first():
    found = [
        Entry(text, "", lambda: None) for text in ("Layer › Next", "File › Export", "View › Next pane", "Reexport")
    ]
    assert [entry.text for entry in matching(found, "next")] == ["Layer › Next", "View › Next pane"]
    assert [entry.text for entry in matching(found, "EXPORT")] == ["File › Export", "Reexport"]


def test_no_key_has_two_meanings_and_nearly_every_action_has_one(opened):
    keys = Counter(key.toString() for action in actions(opened) for key in action.shortcuts())
    assert max(keys.values()) == 1
    for key in ("Ctrl+O", "Ctrl+S", "Ctrl+E", "Ctrl+Q", "Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+Y", "Ctrl+F", "F5", "F6", "F1"):
        assert keys[key] == 1


def test_every_entry_of_a_menu_has_a_letter_of_its_own(opened):
    for top in opened.menuBar().actions():
        texts = [action.text() for action in top.menu().actions() if "&" in action.text()]
        letters = Counter(text[text.index("&") + 1].lower() for text in texts)
        assert all(count == 1 for count in letters.values()), (top.text(), letters)


def test_f6_goes_through_the_window_and_comes_back_to_where_one_was(opened, settle, qtbot):
    opened.table.view.setFocus()
    visited = []
    for _ in range(3):
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_F6)
        panes = [pane for pane, _ in opened.panes()]
        visited.append(next(at for at, pane in enumerate(panes) if pane.isAncestorOf(QApplication.focusWidget())))
    assert visited == [1, 2, 0]
    assert opened.table.view.hasFocus()
    qtbot.keyClick(opened, Qt.Key.Key_F6, SHIFT)
    spin = opened.form.editor("group_size").spin
    spin.setFocus()
    qtbot.keyClick(opened, Qt.Key.Key_F6)
    qtbot.keyClick(opened, Qt.Key.Key_F6, SHIFT)
    assert spin.hasFocus()


def test_views_are_enlarged_and_tabs_changed_by_keys(opened, settle, qtbot):
    qtbot.keyClick(opened, Qt.Key.Key_4, CTRL)
    assert opened.grid.enlarged is opened.grid.frames[3]
    qtbot.keyClick(opened, Qt.Key.Key_2, CTRL)
    assert opened.grid.enlarged is opened.grid.frames[1]
    qtbot.keyClick(opened, Qt.Key.Key_0, CTRL)
    assert opened.grid.enlarged is None
    for number in range(opened.tabs.count()):
        qtbot.keyClick(opened, getattr(Qt.Key, f"Key_{number + 1}"), Qt.KeyboardModifier.AltModifier)
        assert opened.tabs.currentIndex() == number
    settle(opened)


def test_a_scheme_is_copied_and_pasted_by_keys(opened, settle, qtbot):
    opened.controller.apply(make_scheme("symmetric", bits=3))
    qtbot.keyClick(opened, Qt.Key.Key_C, CTRL | SHIFT)
    opened.controller.apply(make_scheme("base11"))
    qtbot.keyClick(opened, Qt.Key.Key_V, CTRL | SHIFT)
    assert opened.controller.recipe == Recipe.of(make_scheme("symmetric", bits=3))
    QApplication.clipboard().setText("{")
    qtbot.keyClick(opened, Qt.Key.Key_V, CTRL | SHIFT)
    assert "no scheme on the clipboard" in opened.status.message.text()
    qtbot.keyClick(opened, Qt.Key.Key_L, CTRL | SHIFT)
    assert opened.controller.recipe == Recipe.of(None)
    settle(opened)


def test_f1_lists_all_keys(opened, qtbot):
    qtbot.keyClick(opened, Qt.Key.Key_F1)
    dialog = opened.findChild(QDialog, options=Qt.FindChildOption.FindDirectChildrenOnly)
    text = dialog.findChild(QTextBrowser).toPlainText()
    for action in actions(opened):
        if action.shortcut() and action.isEnabled():
            assert action.shortcut().toString(QKeySequence.SequenceFormat.NativeText) in text
    dialog.close()


def test_everything_that_takes_keys_has_a_name(opened):
    kinds = QAbstractButton, QComboBox, QLineEdit, QSlider, QAbstractSpinBox, QAbstractItemView
    for index in range(opened.tabs.count()):
        opened.tabs.setCurrentIndex(index)
        for widget in [w for kind in kinds for w in opened.findChildren(kind)]:
            inner = widget.objectName().startswith("qt_") or isinstance(widget.parent(), QAbstractSpinBox | QComboBox)
            if inner or not widget.isVisible() or not widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                continue
            named = widget.accessibleName() or (isinstance(widget, QAbstractButton) and widget.text())
            assert named, (type(widget).__name__, widget.parent())
