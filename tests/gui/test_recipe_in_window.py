"""The recipe in the window: what a change is for, what the table shows of it, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from safetensors.numpy import load_file, save_file

from qinspect.formats.open import open_checkpoint
from qinspect.gui import layer_rows as columns
from qinspect.gui.scopes import Scope
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

BASE11 = make_scheme("base11")
CTRL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(3)
    tensors = {f"h.{n}.{part}.weight": rng.standard_t(4, (32, 256)) for n in range(3) for part in ("k", "q")}
    tensors |= {"head.weight": rng.standard_normal((16, 128)), "head.bias": rng.standard_normal(16)}
    path = tmp_path / "net.safetensors"
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, path)
    return path


@pytest.fixture
def opened(window, settle, model):
    window.open(model)
    settle(window)
    return window


def select(window, settle, name):
    window.table.select(name)
    settle(window)


def choose_scope(window, qtbot, scope):
    box = window.scope.choice
    at = box.findData(scope.value)
    assert at >= 0
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Home)
    for _ in range(at):
        qtbot.keyClick(box, Qt.Key.Key_Down)
    assert window.controller.scope == scope


def type_group_size(window, qtbot, size):
    spin = window.form.editor("group_size").spin
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, str(size))
    qtbot.keyClick(spin, Qt.Key.Key_Return)


def click(window, qtbot, name, modifier=Qt.KeyboardModifier.NoModifier):
    index = window.table.model.index(window.table.model.row(name), columns.NAME)
    window.table.view.scrollTo(index)
    at = window.table.view.visualRect(index).center()
    qtbot.mouseClick(window.table.view.viewport(), Qt.MouseButton.LeftButton, modifier, at)


def expected_sqnr(path, name, scheme):
    return f"{scheme.measure(load_file(path)[name]).sqnr_db:.1f} dB"


def test_a_change_for_one_layer_leaves_the_others(opened, settle, qtbot, model):
    window = opened
    assert window.table.view.isColumnHidden(columns.SCHEME)
    select(window, settle, "h.1.q.weight")
    choose_scope(window, qtbot, Scope.LAYER)
    type_group_size(window, qtbot, 63)
    settle(window)
    own = make_scheme("base11", group_size=63)
    assert window.controller.recipe == Recipe((Rule("h.1.q.weight", own), Rule("*", BASE11)))
    assert window.table.text("h.1.q.weight", columns.SQNR) == expected_sqnr(model, "h.1.q.weight", own)
    assert window.table.text("h.0.q.weight", columns.SQNR) == expected_sqnr(model, "h.0.q.weight", BASE11)
    assert not window.table.view.isColumnHidden(columns.SCHEME)
    assert window.table.text("h.1.q.weight", columns.SCHEME) == "base11 g63"
    assert window.table.text("head.bias", columns.SCHEME) == "left alone"
    click(window, qtbot, "h.0.q.weight")  # the form follows the layer
    assert window.form.editor("group_size").spin.value() == 128
    click(window, qtbot, "h.1.q.weight")
    assert window.form.editor("group_size").spin.value() == 63


def test_scopes_that_reach_the_same_are_offered_once(opened, settle, qtbot):
    window, box = opened, opened.scope.choice
    select(window, settle, "head.weight")
    assert [box.itemData(at) for at in range(box.count())] == [Scope.ALL, Scope.LAYER]
    select(window, settle, "h.0.k.weight")
    assert [box.itemText(at) for at in range(box.count())] == ["all 7 layers", "this layer", "3 layers of this kind"]
    click(window, qtbot, "head.weight")
    click(window, qtbot, "h.1.q.weight", CTRL)
    assert "2 selected layers" in [box.itemText(at) for at in range(box.count())]


def test_a_change_for_a_selection_and_for_a_kind(opened, settle, qtbot):
    window = opened
    click(window, qtbot, "head.weight")
    click(window, qtbot, "h.1.q.weight", CTRL)
    choose_scope(window, qtbot, Scope.SELECTION)
    type_group_size(window, qtbot, 64)
    small = make_scheme("base11", group_size=64)
    rules = {rule.match: rule.scheme for rule in window.controller.recipe.rules}
    assert rules == {"head.weight": small, "h.1.q.weight": small, "*": BASE11}
    click(window, qtbot, "h.0.q.weight")
    choose_scope(window, qtbot, Scope.RULE)
    assert window.scope.choice.currentText() == "5 layers of this rule"
    type_group_size(window, qtbot, 36)
    base = make_scheme("base11", group_size=36)
    assert {rule.match: rule.scheme for rule in window.controller.recipe.rules} == rules | {"*": base}
    choose_scope(window, qtbot, Scope.KIND)
    type_group_size(window, qtbot, 27)
    tiny = make_scheme("base11", group_size=27)
    assert window.controller.recipe.rules == (
        Rule("h.*.q.weight", tiny), Rule("head.weight", small), Rule("*", base)
    )  # fmt: skip
    choose_scope(window, qtbot, Scope.ALL)
    type_group_size(window, qtbot, 45)
    assert window.controller.recipe == Recipe.of(make_scheme("base11", group_size=45))


def test_a_layer_left_alone_is_exported_as_it_is(opened, settle, qtbot, model, tmp_path):
    window = opened
    select(window, settle, "h.2.k.weight")
    choose_scope(window, qtbot, Scope.LAYER)
    box = window.form.choice
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Home)
    settle(window)
    assert window.controller.recipe == Recipe((Rule("h.2.k.weight", None), Rule("*", BASE11)))
    assert window.table.text("h.2.k.weight", columns.SCHEME) == "left alone"
    assert window.table.text("h.2.k.weight", columns.SQNR) == "·"
    assert window.table.text("h.2.k.weight", columns.SIZE) == "32.8 kB"
    window.show_export()
    settle(window)
    window.export_pane.path.setText(str(tmp_path / "out.safetensors"))
    with qtbot.waitSignal(window.controller.exported, timeout=20_000):
        qtbot.mouseClick(window.export_pane.go, Qt.MouseButton.LeftButton)
    with open_checkpoint(tmp_path / "out.safetensors") as packed:
        np.testing.assert_array_equal(packed.load("h.2.k.weight"), load_file(model)["h.2.k.weight"])
        assert packed.load("h.2.q.weight").scheme == BASE11


def test_a_drag_of_the_slider_is_one_step_and_undo_brings_the_figures_back_at_once(opened, settle, qtbot, model):
    window = opened
    select(window, settle, "h.0.q.weight")
    stack = window.controller.history.stack
    before = window.table.text("h.0.q.weight", columns.SQNR)
    slider = window.form.editor("group_size").slider
    handle = QPoint(slider.width() * slider.value() // max(1, slider.maximum()), slider.height() // 2)
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=handle)
    slider.setSliderPosition(0)
    slider.setSliderPosition(1)
    qtbot.wait(20)
    slider.setSliderPosition(2)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=handle)
    settle(window)
    after = window.controller.recipe
    assert after != Recipe.of(BASE11)
    assert stack.count() == 1
    assert stack.undoText() == f"group size {after.base.group_size} for all 7 layers"
    qtbot.keyClick(window, Qt.Key.Key_Z, CTRL)
    assert window.controller.recipe == Recipe.of(BASE11)
    assert window.table.text("h.0.q.weight", columns.SQNR) == before  # without measuring anew
    assert "measuring" not in window.status.model.text()
    assert window.form.editor("group_size").spin.value() == 128
    qtbot.keyClick(window, Qt.Key.Key_Y, CTRL)
    assert window.controller.recipe == after
    qtbot.keyClick(window, Qt.Key.Key_Z, CTRL)
    qtbot.keyClick(window, Qt.Key.Key_Z, CTRL | Qt.KeyboardModifier.ShiftModifier)
    assert window.controller.recipe == after
    settle(window)


def test_a_drag_that_ends_where_it_began_is_no_step(opened, settle, qtbot):
    history = opened.controller.history
    for size in (64, 27, 128):
        opened.controller.apply(make_scheme("base11", group_size=size), gesture=5)
    assert opened.controller.recipe == Recipe.of(BASE11)
    assert not history.stack.canUndo()
    settle(opened)


def test_the_edit_menu_names_the_step(opened, settle):
    opened.controller.apply(make_scheme("symmetric"), ["head.weight"])
    edit = next(action.menu() for action in opened.menuBar().actions() if action.text() == "&Edit")
    assert edit.actions()[0].text() == f"&Undo {make_scheme('symmetric').label} for head.weight"
    settle(opened)


def test_another_file_begins_with_what_still_says_something(opened, settle, tmp_path):
    window, int8 = opened, make_scheme("symmetric")
    window.controller.apply(int8, "h.*.q.weight")
    window.controller.apply(int8, ["head.weight"])
    other = tmp_path / "other.safetensors"
    save_file({"h.0.q.weight": np.eye(4, dtype=np.float32), "tail.weight": np.eye(8, dtype=np.float32)}, other)
    window.open(other)
    settle(window)
    assert window.controller.recipe == Recipe((Rule("h.*.q.weight", int8), Rule("*", BASE11)))
    assert not window.controller.history.stack.canUndo()


def test_a_rule_that_names_a_vector_quantizes_it(opened, settle):
    window = opened
    assert window.table.text("head.bias", columns.SQNR) == "·"
    window.controller.apply(make_scheme("symmetric"), ["head.bias"])
    settle(window)
    assert window.table.text("head.bias", columns.SQNR).endswith("dB")
