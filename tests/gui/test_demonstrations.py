"""The page of published recipes: opened from the menu, filled in the background, closed at any time."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from qinspect.gui.demonstrations import Demonstrations
from qinspect.reproduce import RECIPES


@pytest.fixture
def opened(window):
    """Opens the page by its entry in the menu."""

    def open_page():
        (help_menu,) = (a.menu() for a in window.menuBar().actions() if a.text() == "&Help")
        (entry,) = (action for action in help_menu.actions() if "recipes" in action.text())
        entry.trigger()
        return window.findChild(Demonstrations)

    return open_page


def test_the_page_shows_every_table(opened, window, qtbot):
    dialog = opened()
    assert dialog.isVisible()
    assert not dialog.isModal()
    assert dialog.page.toPlainText() == "Computing…"
    qtbot.waitUntil(lambda: RECIPES["base11"]().title in dialog.page.toPlainText(), timeout=60_000)
    text = dialog.page.toPlainText()
    for recipe in RECIPES.values():
        shown = recipe()
        assert shown.title in text
        assert shown.lesson in text
        assert all(cell in text for table in shown.tables for row in table.cells() for cell in row)
    assert "43.07" in text
    assert window.controller.bulk.idle


def test_what_was_computed_is_kept(opened, window, qtbot, settle):
    dialog = opened()
    settle(window)
    text = dialog.page.toPlainText()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()
    assert opened() is dialog
    assert dialog.isVisible()
    assert dialog.page.toPlainText() == text
    assert window.controller.bulk.idle


def test_it_may_be_cancelled_and_opened_again(opened, window, settle):
    dialog = opened()
    window.controller.bulk.cancel_all()
    settle(window)
    assert dialog.page.toPlainText().startswith("Cancelled.")
    dialog.close()
    opened()
    settle(window)
    assert "43.07" in dialog.page.toPlainText()


def test_the_window_may_be_closed_first(opened, window):
    opened()
    window.close()
    assert window.controller.bulk.idle
