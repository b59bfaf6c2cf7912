"""The next start: what the window takes up again, and what it does where that is gone; files that change on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QApplication
from safetensors.numpy import save_file

from qinspect.gui import layer_rows as columns
from qinspect.gui import resume
from qinspect.gui.main_window import MainWindow
from qinspect.gui.scopes import Scope
from qinspect.gui.watch import FileWatch
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

RECIPE = Recipe((Rule("a.weight", make_scheme("symmetric", bits=3)), Rule("*", make_scheme("base11", group_size=63))))


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"a.weight": weights(32, 126), "b.weight": weights(16, 126, seed=1), "b.bias": weights(16)}, path)
    return path


@pytest.fixture
def again(qapp, settings):
    """Makes the window of the next start; closed at the end."""
    made = []

    def make():
        window = MainWindow(settings)
        made.append(window)
        window.resize(1400, 900)
        window.show()
        window.build_views()
        resume.restore(window)
        return window

    yield make
    for window in made:
        window.close()
        window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qapp.processEvents()


def test_the_next_start_is_where_one_left_off(window, again, settle, qtbot, model):
    window.open(model)
    settle(window)
    window.controller.set_recipe(RECIPE, "two rules")
    window.controller.set_scope(Scope.LAYER)
    window.table.select("b.weight")
    window.table.view.sortByColumn(columns.SIZE, Qt.SortOrder.DescendingOrder)
    qtbot.keyClick(window, Qt.Key.Key_3, Qt.KeyboardModifier.ControlModifier)
    window.tabs.setCurrentIndex(1)
    settle(window)
    sqnr = window.readout.sqnr.text()
    window.close()
    other = again()
    settle(other)
    assert other.windowTitle().startswith("net.safetensors")
    assert other.controller.recipe == RECIPE
    assert not other.controller.history.stack.canUndo()
    assert other.controller.info.name == "b.weight"
    assert other.readout.sqnr.text() == sqnr
    assert other.controller.scope == Scope.LAYER
    assert other.tabs.currentIndex() == 1
    assert other.grid.enlarged is other.grid.frames[2]
    assert other.table.names() == ["a.weight", "b.weight", "b.bias"]


def test_originals_are_attached_again(window, again, settle, model, tmp_path):
    packed = tmp_path / "packed.safetensors"
    window.open(model)
    settle(window)
    window.show_export()
    settle(window)
    window.export_pane.path.setText(str(packed))
    window.export_pane.export()
    settle(window)
    window.open(packed)
    settle(window)
    window.controller.attach(model)
    settle(window)
    sqnr = window.table.text("a.weight", columns.SQNR)
    assert sqnr.endswith("dB")
    window.close()
    other = again()
    settle(other)
    assert other.table.text("a.weight", columns.SQNR) == sqnr


def test_a_file_that_is_gone_is_told_and_the_window_begins_anew(window, again, settle, model):
    window.open(model)
    settle(window)
    window.close()
    model.unlink()
    other = again()
    assert "not there any more" in other.status.message.text()
    assert str(model) in other.status.message.text()
    assert other.pages.currentWidget() is other.welcome


@pytest.mark.parametrize(
    "kept",
    [
        "[1", "[]", "{}", '{"file": 7}', '{"file": "FILE"}', '{"file": "FILE", "recipe": {"version": 9}, "scope": "x"}',
        '{"file": "FILE", "layer": 3, "shown": {"tab": 4, "enlarged": [], "sorted": ["x", 99]}, "reference": 1}',
        '{"file": "FILE", "layer": "gone.weight", "reference": "/no/such", "shown": 5}',
    ],
)  # fmt: skip
def test_a_session_that_makes_no_sense_does_no_harm(settings, again, settle, model, kept):
    settings.setValue("session", kept.replace("FILE", str(model)))
    other = again()
    settle(other)
    opened = "FILE" in kept
    assert (other.controller.session.checkpoint is not None) is opened
    assert other.controller.recipe == Recipe.of(make_scheme("base11"))


def test_the_switch_is_kept_and_nothing_is_open_after_a_start_without(window, settings, settle, model):
    switch = next(
        action for menu in window.menuBar().actions() for action in menu.menu().actions() if "left off" in action.text()
    )
    assert switch.isChecked() and window.preferences.restores
    switch.trigger()
    assert not window.preferences.restores
    window.close()
    assert json.loads(settings.value("session")) == {}


# Files that change.


def test_a_file_that_changes_is_noticed_and_read_anew_by_one_click(window, settle, qtbot, model):
    window.open(model)
    settle(window)
    before = window.table.text("a.weight", columns.SQNR)
    assert not window.notice.isVisible()
    save_file({"a.weight": weights(32, 126) ** 3, "c.weight": weights(8, 8)}, model)
    qtbot.waitUntil(window.notice.isVisible)
    assert window.notice.text.text() == "net.safetensors has changed on disk."
    qtbot.mouseClick(window.notice.action, Qt.MouseButton.LeftButton)
    settle(window)
    assert not window.notice.isVisible()
    assert set(window.table.names()) == {"a.weight", "c.weight"}
    assert window.table.text("a.weight", columns.SQNR) != before
    part = model.with_name("new.part")  # as programs do that never leave half a file
    save_file({"a.weight": weights(4, 4)}, part)
    part.replace(model)
    qtbot.waitUntil(window.notice.isVisible)
    qtbot.mouseClick(window.notice.dismiss, Qt.MouseButton.LeftButton)
    assert not window.notice.isVisible()


def test_other_files_in_the_folder_are_no_ones_business(qtbot, qapp, tmp_path):
    watched, other = tmp_path / "a", tmp_path / "b"
    watched.write_bytes(b"1")
    watch = FileWatch(qapp)
    seen = []
    watch.changed.connect(seen.append)
    watch.watch([watched])
    other.write_bytes(b"1")
    watch.look()
    assert seen == []
    watched.unlink()
    watch.look()
    assert seen == []  # it may be about to be replaced
    watched.write_bytes(b"12")
    watch.look()
    watch.look()
    assert seen == [watched]
    watch.watch([])
    QApplication.processEvents()
