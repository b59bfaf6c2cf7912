"""The export pane with real clicks and keys: target, budget, inputs, plan, writing, proof, command."""

from __future__ import annotations

import json
import shlex
import subprocess

import numpy as np
import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog
from safetensors.numpy import save_file

from qinspect import scheme_flags
from qinspect.cli import main
from qinspect.evaluation import Evaluation, LayerOutput
from qinspect.gui.accuracy import in_short, in_words
from qinspect.gui.command_line import arguments_of, export_command
from qinspect.gui.destination import hindrance, remark
from qinspect.gui.device_budget import BudgetFields, DeviceBudget, uses
from qinspect.gui.lines import plan_line, proof_line
from qinspect.gui.names import ending
from qinspect.gui.plan_table import PlanTable
from qinspect.quant.scheme import make_scheme, registry
from qinspect.recipe import Recipe, Rule
from qinspect.targets.target import Needs, Plan, PlanRow

BASE11 = make_scheme("base11")
INT4 = make_scheme("symmetric", bits=4, granularity="group", group_size=32)


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(3)
    tensors = {
        "encoder.layer.0.attention.output.dense.weight": rng.standard_normal((16, 64), np.float32),
        "encoder.layer.0.odd.weight": rng.standard_normal((16, 40), np.float32),
        "encoder.layer.0.bias": rng.standard_normal(16, np.float32),
    }
    save_file(tensors, tmp_path / "net.safetensors")
    np.savez(tmp_path / "inputs.npz", x=rng.standard_normal((9, 64)).astype(np.float32))
    return tmp_path / "net.safetensors"


@pytest.fixture
def pane(window, settle, model):
    window.open(str(model))
    settle(window)
    window.controller.choose(INT4)
    window.show_export()
    settle(window)
    return window.export_pane


def choose_by_keys(qtbot, pane, title):
    """The target by typing its name, as a person does."""
    pane.target.setFocus()
    for key in title:
        qtbot.keyClick(pane.target, key)
    qtbot.keyClick(pane.target, Qt.Key.Key_Return)
    assert pane.target.currentText().startswith(title)
    pane.target.activated.emit(pane.target.currentIndex())


def shown(table):
    """Both columns and the detail of every row."""
    model = table.model()
    cells = [[model.index(row, column) for column in (0, 1)] for row in range(model.rowCount())]
    return {name.data(): (name.data(Qt.ItemDataRole.UserRole), value.data()) for name, value in cells}


def test_from_the_target_to_the_proof(window, pane, settle, qtbot, tmp_path, monkeypatch):
    choose_by_keys(qtbot, pane, "Hugging")
    settle(window)
    long, odd = "encoder.layer.0.attention.output.dense.weight", "encoder.layer.0.odd.weight"
    plan = shown(pane.table.table)
    assert plan[long] == ("symmetric 4-bit g32 in int4", "656 B")
    assert plan[odd] == ("stays as it is: groups of 32 do not divide rows of 40", "2.56 kB")
    assert next(iter(plan)) == odd  # what has a remark is on top
    assert "1 with a remark" in pane.summary.text()

    qtbot.keyClicks(pane.budget.flash, "2k")
    assert pane.bars[0].over
    assert "too much for the flash" in pane.result.text()
    qtbot.keyClicks(pane.budget.bpw, "6")
    assert pane.bars[2].text == "5.12 of 6.00 bits a weight"
    pane.budget.flash.clear()
    qtbot.keyClicks(pane.budget.flash, "1 MB")
    assert not pane.bars[0].over
    assert pane.bars[0].text.endswith("of 1 MB flash")
    assert pane.result.text() == ""
    qtbot.keyClicks(pane.budget.ram, "much")
    assert "'much' is no limit" in pane.result.text()
    pane.budget.ram.clear()

    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "inputs.npz"), ""))
    with qtbot.waitSignal(window.controller.evaluated):
        qtbot.mouseClick(pane.outputs.button, Qt.MouseButton.LeftButton)
    assert pane.outputs.label.text().startswith("inputs.npz: Worst layer")
    assert "outputs off by" in shown(pane.table.table)[long][0]

    pane.path.setText(str(tmp_path / "out"))
    settle(window)
    with qtbot.waitSignal(window.controller.exported, timeout=20_000):
        qtbot.mouseClick(pane.go, Qt.MouseButton.LeftButton)
    settle(window)
    assert pane.table.tabs.isVisible()
    assert pane.table.tabs.currentIndex() == 1
    assert shown(pane.table.table)[long] == ("symmetric 4-bit g32 in int4 · 656 B", "0")
    assert len(shown(pane.table.table)) == 3
    qtbot.mouseClick(pane.table.tabs, Qt.MouseButton.LeftButton, pos=pane.table.tabs.tabRect(0).center())
    assert shown(pane.table.table)[odd] == plan[odd]

    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    qtbot.mouseClick(pane.folder, Qt.MouseButton.LeftButton)
    assert opened == [QUrl.fromLocalFile(str(tmp_path / "out"))]

    qtbot.mouseClick(pane.copy, Qt.MouseButton.LeftButton)
    command = shlex.split(QGuiApplication.clipboard().text())
    assert command[:2] == ["qinspect", "export"]
    written = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert main([*command[1:-1], str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == written


def test_a_failed_try_elsewhere_is_forgotten_with_its_path(window, pane, settle, tmp_path):
    pane.path.setText(str(tmp_path / "no" / "x.safetensors"))
    assert pane.remark.text().startswith("The folder of this destination does not exist")
    pane.export()
    settle(window)
    assert "does not exist" in pane.result.text()
    pane.path.setText(str(tmp_path / "net.safetensors"))
    assert (pane.result.text(), pane.go.isEnabled()) == ("", False)
    pane.path.setText("")
    assert (pane.remark.text(), pane.go.isEnabled()) == ("Choose a file to write.", False)


def test_a_change_makes_the_proof_one_of_the_past(window, pane, settle, qtbot, tmp_path):
    pane.path.setText(str(tmp_path / "out.safetensors"))
    with qtbot.waitSignal(window.controller.exported, timeout=20_000):
        qtbot.mouseClick(pane.go, Qt.MouseButton.LeftButton)
    window.controller.choose(BASE11)
    settle(window)
    assert pane.table.tabs.currentIndex() == 0
    assert all("base11" in detail for name, (detail, _) in shown(pane.table.table).items() if "weight" in name)


def test_nothing_carried_is_said_with_what_would_be(window, pane, settle, qtbot):
    window.controller.choose(BASE11)
    choose_by_keys(qtbot, pane, "Hugging")
    settle(window)
    assert "Nothing is packed. This target carries: Symmetric 4 and 8 bits" in pane.result.text()


def test_inputs_that_cannot_be_read_say_so(window, pane, qtbot, tmp_path, monkeypatch):
    (tmp_path / "bad.npz").write_text("no inputs")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "bad.npz"), ""))
    with qtbot.waitSignal(window.controller.accuracy.failed):
        qtbot.mouseClick(pane.outputs.button, Qt.MouseButton.LeftButton)
    assert "bad.npz" in pane.outputs.label.text()
    assert window.controller.accuracy.path is None


# Without a window.


@pytest.mark.parametrize("name", registry.names())
def test_a_scheme_becomes_flags_and_a_scheme_again(name, tmp_path):
    odd = {
        "bits": 4,
        "granularity": "group",
        "group_size": 48,
        "levels": 9,
        "calibration": "percentile",
        "percentile": 99.5,
    }
    allowed = {p.name: p for p in registry[name].parameters()}
    fits = {k: v for k, v in odd.items() if k in allowed and (allowed[k].choices is None or v in allowed[k].choices)}
    for scheme in (make_scheme(name), make_scheme(name, **fits)):
        words = arguments_of(scheme)
        pairs = zip(words[2::2], words[3::2], strict=True)
        text = ",".join([words[1], *(f"{flag.removeprefix('--')}={value}" for flag, value in pairs)])
        assert scheme_flags.scheme_of_text(text) == scheme


def test_a_recipe_of_several_rules_goes_along_with_the_command(model, tmp_path):
    recipe = Recipe((Rule("*odd*", None), Rule("*", INT4)))
    out = tmp_path / "an out'let.safetensors"
    command = export_command(model, "safetensors", recipe, out)
    subprocess.run(["sh", "-c", command.replace("\nqinspect ", "\ntrue ")], check=True)
    file = tmp_path / f"{out.name}.recipe.json"
    assert Recipe.load(file) == recipe
    words = shlex.split(command.splitlines()[-1])
    assert words[words.index("--recipe") + 1] == str(file)
    assert words[-2:] == ["-o", str(out)]
    assert json.loads(file.read_text())["version"] == 1


def row(name="a.weight", shape=(4, 64), scheme=INT4, **more):
    return PlanRow(name, shape, "F32", scheme, 200, 1024, **more)


def test_how_much_of_a_budget_is_used():
    plan = Plan((row(),), 300, needs=Needs(250, 2000))
    flash, ram, bits = uses(plan, DeviceBudget(1000, 1500, 6.0))
    assert (flash.share, flash.text, flash.over) == (0.25, "250 B of 1 kB flash", "")
    assert (ram.share, ram.over) == (2000 / 1500, "500 B too much for the RAM")
    assert (bits.text, bits.over) == ("6.25 of 6.00 bits a weight", "0.25 bits a weight too many")
    binary = uses(plan, DeviceBudget(256 * 1024, written=("256 KiB", "")))[0]
    assert binary.text == "250 B of 262 kB (256 KiB) flash"
    free = uses(Plan((row(),), 300), DeviceBudget(ram=1))
    assert [use.text for use in free] == ["300 B, 29.3 % of FP32", "RAM is known of exported C alone", ""]


def test_every_limit_that_cannot_be_read_is_told(qtbot):
    fields = BudgetFields()
    qtbot.addWidget(fields)
    fields.flash.setText("much")
    fields.bpw.setText("few")
    assert fields.problem == "'much' is no limit; write it like 256 kB. 'few' is no limit; write it like 4.5."


def test_a_destination_that_cannot_be_is_told_before_the_export(tmp_path):
    source = tmp_path / "net.safetensors"
    source.touch()
    assert hindrance(str(tmp_path / "new.safetensors"), source) == ""
    assert remark(str(tmp_path / "new.safetensors"), source) == ""
    assert remark(str(tmp_path / "no" / "new.safetensors"), source).startswith("The folder of this destination")
    assert hindrance(f" {source} ", source).startswith("This is the file that is open")
    assert hindrance("", source) == "Choose a file to write."


def test_lines_say_what_holds_a_tensor():
    assert plan_line(row(stored_as="Q4_0")).detail == "symmetric 4-bit g32 in Q4_0"
    assert plan_line(row(), 0.0123).detail == "symmetric 4-bit g32 · outputs off by 1.23 %"
    stays = plan_line(row(scheme=None, wanted=INT4, note="stays as it is: too odd", stored_as="copied"))
    assert (stays.detail, stays.detail_tone) == ("stays as it is: too odd", "warning")
    alone = plan_line(row(scheme=None, note="1-D: passes through unchanged"))
    assert (alone.detail, alone.tone) == ("unchanged", "muted")
    assert proof_line((row(stored_as="Q4_1"), 1.5e-5)).value == "1.50e−5"


def test_a_row_with_a_remark_is_as_high_as_it_takes_to_read_it(qtbot):
    table = PlanTable()
    qtbot.addWidget(table)
    table.resize(260, 400)
    table.show()
    long = "groups of 64 on rows of 100 leave digits that no weight uses; other sizes take fewer bits"
    table.show_plan(Plan((row("a"), row("b", note=long)), 400), None)
    heights = [table.table.rowHeight(at) for at in range(2)]
    assert heights[0] > 60 and heights[1] == 40  # the row with the remark is on top, and takes more lines
    table.show_plan(Plan((row("a"), row("b")), 400), None)
    assert table.table.rowHeight(0) == 40


def test_names_keep_their_last_words():
    name = "encoder.layer.11.output.dense.weight"
    assert ending(name, 99, len) == name
    assert ending(name, 26, len) == "…11.output.dense.weight"
    assert ending(name, 15, len) == "11…dense.weight"
    assert ending("token_type_embeddings.weight", 20, len) == "token_type_embeddings.weight"  # not "…weight"


def test_an_evaluation_in_words():
    layers = (LayerOutput("a.weight", INT4, 9, 0.02), LayerOutput("b.weight", INT4, 0, float("nan")))
    whole = Evaluation(layers, 9, 0.9, 0.85, 0.95, 0.05)
    assert in_short(whole) == "Accuracy 90.0 % → 85.0 %; outputs off by 5 %."
    assert "worst layer a.weight, off by 2 %" in in_words(whole)
    assert in_short(Evaluation(layers, 0, remark="the network was not run")) == "Worst layer a.weight, off by 2 %."
    assert in_short(Evaluation((), 0, remark="the network was not run")) == "The network was not run."
