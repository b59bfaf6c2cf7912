"""The recipe's tab: rules edited with mouse and keys, what they reach, files, and the context menu of the layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QComboBox, QLineEdit
from safetensors.numpy import save_file

from qinspect.gui import layer_menu, recipe_files
from qinspect.gui import layer_rows as columns
from qinspect.gui.rule_model import DECIDES, PARAMETERS, PATTERN, SCHEME, SIZE, parameters_text, with_parameters
from qinspect.gui.scopes import Scope
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

BASE11 = make_scheme("base11")
INT8 = make_scheme("symmetric")


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(3)
    tensors = {f"h.{n}.{part}.weight": rng.standard_normal((8, 128)) for n in range(3) for part in ("k", "q")}
    tensors |= {"head.weight": rng.standard_normal((16, 128)), "head.bias": rng.standard_normal(16)}
    path = tmp_path / "net.safetensors"
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, path)
    return path


@pytest.fixture
def window(window, settle, model):
    window.open(model)
    settle(window)
    frame = next(frame for frame in window.frames if frame.view.name == "recipe")
    window.tabs.setCurrentWidget(frame)
    return window


@pytest.fixture
def view(window):
    return window.tabs.currentWidget().view


def cell(view, row, column):
    return view.rules.index(row, column).data()


def click_rule(view, qtbot, row):
    at = view.table.visualRect(view.rules.index(row, DECIDES)).center()
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=at)


def edit(view, qtbot, row, column, text=None):
    at = view.table.visualRect(view.rules.index(row, column)).center()
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseDClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    editor = next((e for e in reversed(view.table.viewport().findChildren(QLineEdit)) if e.isVisible()), None)
    if text is None:
        return editor
    editor.selectAll()
    qtbot.keyClicks(editor, text)
    return editor


def enter(editor, qtbot, done):
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(done)  # Qt lets the editor have the key first, and closes it before the model changes


def test_the_rules_say_what_they_reach(window, view, settle, qtbot):
    window.controller.apply(INT8, "h.*.q.weight")
    window.controller.apply(None, ["h.1.q.weight"])
    texts = [[cell(view, row, column) for column in (PATTERN, SCHEME, PARAMETERS, DECIDES)] for row in range(3)]
    assert texts == [
        ["h.1.q.weight", "leave alone", "", "1 layer"],
        ["h.*.q.weight", "symmetric", "8-bit", "2 layers"],
        ["*", "base11", "g128", "4 layers"],
    ]
    assert cell(view, 0, SIZE) == "4.1 kB"
    click_rule(view, qtbot, 1)
    assert view.found.text() == "Rule 2 matches 3 layers; 1 of them decided by a rule above"
    rows = [[view.matches.index(row, column).data() for column in range(3)] for row in range(3)]
    assert rows == [
        ["h.0.q.weight", "2:  h.*.q.weight", INT8.label],
        ["h.2.q.weight", "2:  h.*.q.weight", INT8.label],
        ["h.1.q.weight", "1:  h.1.q.weight", "left alone"],
    ]
    settle(window)


def test_a_pattern_is_edited_with_a_preview_while_it_is_typed(window, view, settle, qtbot):
    window.controller.apply(INT8, "h.*.q.weight")
    editor = edit(view, qtbot, 0, PATTERN, "h.[01].*")
    assert view.found.text() == "Rule 1 matches 4 layers"
    assert window.controller.recipe.rules[0].match == "h.*.q.weight"
    expected = Recipe((Rule("h.[01].*", INT8), Rule("*", BASE11)))
    enter(editor, qtbot, lambda: window.controller.recipe == expected)
    assert view.found.text() == "Rule 1 matches 4 layers"  # it is still the selected one
    qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.controller.recipe.rules[0].match == "h.*.q.weight"
    settle(window)


def test_parameters_are_edited_as_text_and_refused_in_words(window, view, settle, qtbot):
    expected = Recipe.of(make_scheme("base11", group_size=27))
    enter(edit(view, qtbot, 0, PARAMETERS, "group_size=27"), qtbot, lambda: window.controller.recipe == expected)
    for text, said in (("bits=4", "no parameter 'bits'"), ("group_size=x", "is a number"), ("27", "name=value")):
        enter(edit(view, qtbot, 0, PARAMETERS, text), qtbot, lambda said=said: said in view.message.text())
        assert window.controller.recipe == expected
    settle(window)


def test_a_scheme_is_chosen_in_the_table(window, view, settle, qtbot):
    edit(view, qtbot, 0, SCHEME)
    box = view.table.viewport().findChild(QComboBox)
    box.setCurrentIndex(box.findText("symmetric") - 1)
    qtbot.keyClick(box, Qt.Key.Key_Down)
    qtbot.waitUntil(lambda: window.controller.recipe == Recipe.of(INT8))
    settle(window)
    assert cell(view, 0, PARAMETERS) == "8-bit"


def test_rules_are_added_moved_and_removed(window, view, settle, qtbot):
    window.table.select("h.1.k.weight")
    qtbot.mouseClick(view.add, Qt.MouseButton.LeftButton)
    qtbot.keyClick(view.table.viewport().findChild(QLineEdit), Qt.Key.Key_Escape)
    assert window.controller.recipe == Recipe((Rule("h.*.k.weight", BASE11), Rule("*", BASE11)))
    assert not view.up.isEnabled()
    qtbot.mouseClick(view.down, Qt.MouseButton.LeftButton)
    assert [rule.match for rule in window.controller.recipe.rules] == ["*", "h.*.k.weight"]
    assert cell(view, 1, DECIDES) == "0 layers"
    view.table.setFocus()
    qtbot.keyClick(view.table, Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
    assert [rule.match for rule in window.controller.recipe.rules] == ["h.*.k.weight", "*"]
    qtbot.keyClick(view.table, Qt.Key.Key_Delete)
    assert window.controller.recipe == Recipe.of(BASE11)
    qtbot.mouseClick(view.remove, Qt.MouseButton.LeftButton)
    assert window.controller.recipe == Recipe(())
    for _ in range(5):
        qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.controller.recipe == Recipe.of(BASE11)
    settle(window)


def test_adjusting_a_rule_lets_the_sliders_change_it(window, view, settle, qtbot):
    window.controller.apply(INT8, "h.[01].q.weight")
    click_rule(view, qtbot, 0)
    qtbot.mouseClick(view.adjust, Qt.MouseButton.LeftButton)
    settle(window)
    assert window.controller.info.name == "h.0.q.weight"
    assert window.table.view.currentIndex().data() == "h.0.q.weight"
    assert window.scope.choice.currentText() == "2 layers of this rule"
    assert window.form.choice.currentData() == "symmetric"
    qtbot.keyClick(window.table.view, Qt.Key.Key_BracketLeft)
    settle(window)
    expected = Recipe((Rule("h.[01].q.weight", make_scheme("symmetric", bits=7)), Rule("*", BASE11)))
    assert window.controller.recipe == expected


def test_a_layer_of_a_rule_is_looked_at_by_a_click(window, view, settle, qtbot):
    click_rule(view, qtbot, 0)
    row = next(row for row in range(view.matches.rowCount()) if view.matches.name(row) == "h.2.k.weight")
    at = view.layers.visualRect(view.matches.index(row, 0)).center()
    qtbot.mouseClick(view.layers.viewport(), Qt.MouseButton.LeftButton, pos=at)
    settle(window)
    assert window.controller.info.name == "h.2.k.weight"
    assert window.table.view.currentIndex().data() == "h.2.k.weight"


def test_recipes_go_to_files_and_come_back(window, view, settle, tmp_path, monkeypatch):
    path = tmp_path / "mine.recipe.json"
    window.controller.apply(INT8, "h.*.q.weight")
    saved = window.controller.recipe
    monkeypatch.setattr(recipe_files.QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(recipe_files.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    view.save.click()
    assert Recipe.from_json(json.loads(path.read_text())) == saved
    window.controller.apply(BASE11)
    view.open.click()
    assert window.controller.recipe == saved
    assert window.controller.history.stack.undoText() == "recipe mine.recipe.json"
    path.write_text('{"version": 1, "rules": [{"match": "*", "scheme": "base12"}]}')
    view.open.click()
    assert window.status.message.text().startswith(str(path))
    assert "base12" in window.status.message.text()
    assert window.controller.recipe == saved
    settle(window)


def test_the_recipe_is_copied_for_llama_quantize_and_says_what_is_left_out(window, view, settle, qtbot):
    q8_0 = make_scheme("symmetric", granularity="group", group_size=32, param_dtype="float16")
    window.controller.apply(q8_0, "h.*")
    qtbot.mouseClick(view.copy, Qt.MouseButton.LeftButton)
    lines = QGuiApplication.clipboard().text().split(" \\\n")
    assert [line.split("=")[-1] for line in lines] == ["q8_0'"] * 2
    assert all(line.startswith("--tensor-type '^h\\.[0-9]+\\.") for line in lines)
    assert "Left out: head.weight; GGML has no type like base11 g128" in view.message.text()
    settle(window)


def entries(menu):
    return {action.text(): action for action in menu.actions() if action.text()}


def test_the_context_menu_gives_schemes_to_layers(window, settle, qtbot):
    window.controller.apply(INT8, ["h.0.q.weight"])
    window.table.select("h.0.q.weight")
    menu = layer_menu.build(window.table, window.controller, "value")
    to = entries(next(iter(entries(menu).values())).menu())
    assert list(to) == ["all 7 layers", "this layer", "3 layers of this kind"]
    to["3 layers of this kind"].trigger()
    assert window.controller.recipe == Recipe((Rule("h.*.q.weight", INT8), Rule("*", BASE11)))
    entries(menu)["Copy scheme"].trigger()
    assert json.loads(QGuiApplication.clipboard().text()) == INT8.to_json()
    menu.close()
    window.table.select("head.weight")
    menu = layer_menu.build(window.table, window.controller, "value")
    entries(menu)[f"Paste “{INT8.label}”"].trigger()
    assert window.controller.recipe.rules[0] == Rule("head.weight", INT8)
    entries(menu)["Leave this layer alone"].trigger()
    assert window.controller.recipe.rules[0] == Rule("head.weight", None)
    menu.close()
    settle(window)


def test_a_right_click_opens_the_menu_of_the_layer(window, settle, qtbot):
    asked = []
    window.table.menu_requested.connect(lambda at, value: asked.append(value))
    index = window.table.model.index(window.table.model.row("head.weight"), columns.SIZE)
    at = window.table.view.visualRect(index).center()
    window.table.view.customContextMenuRequested.emit(QPoint(at))
    assert asked == [index.data()]
    shown = QGuiApplication.instance().activePopupWidget()
    assert "Copy table" in entries(shown)
    shown.close()


@pytest.mark.parametrize("text", ["group_size=126", "", "granularity=group, group_size=64", "bits=4, group_size=32"])
def test_parameters_as_text_say_the_same_when_they_are_read_back(text):
    scheme = make_scheme("symmetric") if "bits" in text or "granularity" in text else BASE11
    made = with_parameters(scheme, text)
    assert with_parameters(scheme, parameters_text(made)) == made
    if "group_size" in text:
        assert f"group_size={made.group_size}" in text


def test_scope_follows_a_rule_that_was_asked_for(window, settle):
    window.controller.set_scope(Scope.RULE)
    assert window.scope.choice.currentText() == "all 7 layers"  # the only rule reaches them all
