"""What goes wrong is told where it can be read and copied, and the window goes on."""

import sys

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from qinspect.gui.trouble import catch_unexpected

LONG = "A sentence that says which file, which tensor and which remedy. " * 5


@pytest.fixture
def caught(window):
    before = sys.excepthook
    catch_unexpected(window.show_error)
    yield sys.excepthook
    sys.excepthook = before


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_an_error_too_long_for_the_status_bar_stands_above_and_is_read_whole(window, qtbot):
    window.show_error("Short.")
    assert not window.trouble.isVisible()
    window.show_error(LONG)
    label = window.trouble.text
    assert window.trouble.isVisible() and label.text() == LONG == window.status.message.text()
    qtbot.waitUntil(lambda: label.height() >= label.heightForWidth(label.width()))
    assert not window.trouble.unfold.isVisible()
    click(qtbot, window.trouble.copy)
    assert QGuiApplication.clipboard().text() == LONG
    click(qtbot, window.trouble.dismiss)
    assert not window.trouble.isVisible()


def test_it_goes_when_something_else_is_done(window):
    window.show_error(LONG)
    window.form.changed.emit(window.controller.trial)
    assert not window.trouble.isVisible()
    assert window.status.message.text() == ""


def test_what_nobody_foresaw_is_told_in_a_sentence_with_details_to_copy(window, qtbot, caught, caplog):
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        caught(type(error), error, error.__traceback__)
    assert "ZeroDivisionError: by nothing" in window.trouble.text.text()
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
    caplog.clear()
    assert not window.trouble.details.isVisible()
    click(qtbot, window.trouble.unfold)
    assert window.trouble.details.isVisible()
    click(qtbot, window.trouble.copy)
    assert "test_trouble.py" in QGuiApplication.clipboard().text()
    window.form.changed.emit(window.controller.trial)
    assert window.trouble.isVisible()
    click(qtbot, window.trouble.dismiss)
    assert not window.trouble.isVisible()


def test_the_same_again_shows_nothing_anew(window, caught, caplog):
    error = ValueError("<b>each time</b>")
    caught(ValueError, error, None)
    window.trouble.unfold.setChecked(True)
    caught(ValueError, error, None)
    caplog.clear()
    assert window.trouble.unfold.isChecked()
    assert "<b>each time</b>" in window.trouble.text.text()


def test_an_interruption_is_none_of_its_business(window, caught, capsys):
    caught(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "KeyboardInterrupt" in capsys.readouterr().err
    assert not window.trouble.isVisible()
