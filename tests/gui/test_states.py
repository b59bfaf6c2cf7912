"""What the window says when things change under it: other schemes, files, themes, destinations."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from safetensors.numpy import save_file

from qinspect.gui import layer_rows as columns
from qinspect.quant.scheme import make_scheme


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.v1.safetensors"
    tensors = {"a.weight": weights(32, 256), "b.weight": weights(16, 128, seed=1), "b.bias": weights(16)}
    save_file(tensors, path)
    return path


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.safetensors"
    bad = weights(8, 64)
    bad[0, 0] = np.nan
    save_file({"good.weight": weights(8, 64), "bad.weight": bad, "none.weight": np.zeros((0, 4), np.float32)}, path)
    return path


@pytest.fixture
def opened(window, settle):
    def do(path):
        window.open(path)
        settle(window)
        return window

    return do


def exporting(window, settle):
    window.show_export()
    settle(window)
    return window.export_pane


def packed(window, settle, out):
    pane = exporting(window, settle)
    pane.path.setText(str(out))
    pane.go.click()
    settle(window)
    assert "verified" in pane.result.text()
    return out


def choose_target(pane, name):
    at = pane.target.findData(name)
    pane.target.setCurrentIndex(at)
    pane.target.activated.emit(at)


def note(window):
    labels = [each for each in window.findings.findChildren(type(window.readout.sqnr)) if each.isVisible()]
    return " ".join(label.text() for label in labels)


# Themes.


def test_another_theme_keeps_what_is_said_and_recolours_it(opened, settle, qtbot, broken):
    window = opened(broken)
    window.table.select("bad.weight")
    settle(window)
    window.choose_theme("light")
    qtbot.waitUntil(lambda: "1 NaN" in note(window))
    window.table.select("good.weight")
    settle(window)
    names = window.table.names()
    window.choose_theme("dark")
    assert QColor(window.theme.text).name() in window.readout.sqnr.styleSheet()
    assert window.table.names() == names
    assert window.table.text("good.weight", columns.SQNR).endswith("dB")


# Layers.


def test_what_is_left_alone_is_told_apart(opened, settle, model, broken):
    window = opened(model)
    window.table.select("b.bias")
    settle(window)
    assert "leaves this tensor as it is" in note(window)
    opened(broken)
    window.table.select("none.weight")
    settle(window)
    assert "has no weights" in note(window)
    assert window.readout.sqnr.text() == "–"


def test_keys_go_to_the_layers_after_opening(opened, settle, qtbot, model):
    window = opened(model)
    assert window.table.view.hasFocus()
    window.controller.choose(make_scheme("symmetric"))
    qtbot.keyClick(window.table.view, Qt.Key.Key_BracketLeft)
    settle(window)
    assert window.controller.scheme == make_scheme("symmetric", bits=7)
    assert window.table.filter.text() == ""
    window.table.select_first()
    qtbot.keyClick(window.table.view, Qt.Key.Key_Down)
    assert window.controller.info.name == window.table.names()[1]


def test_figures_of_another_scheme_do_not_stay(opened, settle, model):
    window = opened(model)
    assert window.status.model.text().endswith("dB")
    window.controller.choose(make_scheme("symmetric", bits=4))
    assert window.status.model.text().endswith("measuring…")
    assert window.table.text("a.weight", columns.SQNR) == ""
    settle(window)
    assert window.status.model.text().endswith("dB")
    packed = sum(make_scheme("symmetric", bits=4).nbytes(shape) for shape in ((32, 256), (16, 128)))
    assert f"{(8 * (packed + 4 * 16)) / (32 * 256 + 16 * 128 + 16):.2f} bits per weight" in window.status.model.text()


def test_measuring_that_is_stopped_says_how_it_goes_on(window, settle, qtbot, tmp_path):
    path = tmp_path / "many.safetensors"
    save_file({f"l{i}.weight": weights(256, 1024, seed=i) for i in range(40)}, path)
    window.open(path)
    with qtbot.waitSignal(window.controller.reported, timeout=20_000):
        pass
    with qtbot.waitSignal(window.controller.interrupted, timeout=20_000):
        window.status.stop.click()
    assert "F5" in window.status.message.text()
    assert "of 40 layers" in window.status.model.text()
    assert window.controller.info is not None
    settle(window)
    qtbot.keyClick(window, Qt.Key.Key_F5)
    settle(window)
    assert window.status.model.text().endswith("dB")


def test_controls_of_views_give_way_in_a_narrow_window_and_are_found_in_the_menu(opened, qtbot, model):
    window = opened(model)
    frame = window.grid.frames[0]
    first, *_, last = frame.bar.controls
    qtbot.waitUntil(lambda: first.isVisibleTo(frame) and not last.isVisibleTo(frame))
    window.grid.toggle(frame)
    qtbot.waitUntil(lambda: last.isVisibleTo(frame))
    window.grid.toggle(frame)
    qtbot.waitUntil(lambda: not last.isVisibleTo(frame))
    frame.menu.popup(window.mapToGlobal(window.rect().center()))
    bins = next(action.menu() for action in frame.menu.actions() if action.text() == last.accessibleName())
    bins.actions()[2].trigger()
    assert last.currentIndex() == 2
    frame.menu.close()


# Files.


def test_the_file_asked_for_last_is_the_one_that_is_open(window, settle, model, broken):
    window.open(model)
    window.open(broken)
    settle(window)
    assert window.windowTitle().startswith("broken.safetensors")
    assert set(window.table.names()) == {"good.weight", "bad.weight", "none.weight"}


def test_opening_does_not_wait_for_the_measuring_of_another_file(window, settle, qtbot, tmp_path, model):
    path = tmp_path / "many.safetensors"
    save_file({f"l{i}.weight": weights(256, 1024, seed=i) for i in range(40)}, path)
    window.open(path)
    with qtbot.waitSignal(window.controller.reported, timeout=20_000):
        pass
    measured = []
    window.controller.opened.connect(lambda _: measured.append(len(window.controller.session.reports)))
    window.controller.analysed.connect(lambda: measured.append("all"))
    with qtbot.waitSignal(window.controller.opened, timeout=20_000):
        window.open(model)
    assert measured[0] == 0  # before the other file was measured to its end
    settle(window)
    assert window.controller.info.name in {"a.weight", "b.weight"}


def test_a_file_that_cannot_be_opened_lets_the_measuring_go_on(window, settle, qtbot, tmp_path):
    path = tmp_path / "many.safetensors"
    save_file({f"l{i}.weight": weights(256, 1024, seed=i) for i in range(20)}, path)
    window.open(path)
    with qtbot.waitSignal(window.controller.reported, timeout=20_000):
        pass
    window.open(tmp_path / "missing.safetensors")
    settle(window)
    assert "no such file" in window.status.message.text()
    assert window.status.model.text().endswith("dB")
    row = window.table.view.visualRect(window.table.model.index(3, 0)).center()
    qtbot.mouseClick(window.table.view.viewport(), Qt.MouseButton.LeftButton, pos=row)
    assert window.status.message.text() == ""


def test_reloading_keeps_layer_and_scheme_and_shows_what_is_new(opened, settle, qtbot, model):
    window = opened(model)
    window.table.select("b.weight")
    window.controller.choose(make_scheme("symmetric", bits=5))
    settle(window)
    before = window.readout.sqnr.text()
    save_file({"a.weight": weights(32, 256), "b.weight": np.tanh(weights(16, 128))}, model)
    qtbot.keyClick(window, Qt.Key.Key_F5)
    settle(window)
    assert window.controller.info.name == "b.weight"
    assert window.controller.scheme == make_scheme("symmetric", bits=5)
    assert window.readout.sqnr.text() != before
    model.unlink()
    qtbot.keyClick(window, Qt.Key.Key_F5)
    settle(window)
    assert "no such file" in window.status.message.text()
    assert window.readout.sqnr.text().endswith("dB")


def test_originals_say_how_many_layers_they_are_of(opened, settle, qtbot, model, broken, tmp_path):
    window = opened(model)
    window.controller.attach(model)
    assert "no packed layers" in window.status.message.text()
    opened(packed(window, settle, tmp_path / "p.safetensors"))
    window.controller.attach(broken)
    settle(window)
    assert "2 packed layers" in window.status.message.text()
    assert str(broken) in window.status.message.text()
    assert window.controller.session.reference is None
    part = tmp_path / "part.safetensors"
    save_file({"a.weight": weights(32, 256), "b.weight": weights(128, 16)}, part)
    window.controller.attach(part)
    settle(window)
    assert "1 of 2 packed layers" in window.status.message.text()
    window.controller.attach(model)
    settle(window)
    assert "2 of 2 packed layers" in window.status.message.text()
    assert window.table.text("a.weight", columns.SQNR).endswith("dB")
    qtbot.keyClick(window, Qt.Key.Key_F5)
    settle(window)
    assert window.table.text("a.weight", columns.SQNR).endswith("dB")  # the originals stay attached


# Exports.


def test_what_a_target_cannot_hold_cannot_be_exported(opened, settle, model):
    window = opened(model)
    pane = exporting(window, settle)
    assert pane.go.isEnabled()
    window.controller.choose(make_scheme("asymmetric"))
    assert not pane.go.isEnabled()  # at once: the plan is of the scheme before
    choose_target(pane, "pt")
    settle(window)
    assert not pane.go.isEnabled()
    assert "base11" in pane.result.text()
    assert pane.table.plan.rowCount() == 0
    choose_target(pane, "safetensors")
    settle(window)
    assert pane.go.isEnabled()
    assert pane.result.text() == ""
    assert pane.table.plan.rowCount() == 3


def test_a_layer_that_would_stop_the_export_is_told_before(opened, settle, broken):
    window = opened(broken)
    pane = exporting(window, settle)
    assert "bad.weight" in pane.result.text()
    assert "1 NaN" in pane.result.text()
    assert pane.summary.text().startswith("1 of ")


def test_the_destination_follows_the_target_and_says_what_it_replaces(opened, settle, model, tmp_path):
    window = opened(model)
    pane = exporting(window, settle)
    assert pane.path.text() == str(tmp_path / "net.v1.packed.safetensors")
    assert pane.remark.text() == ""
    choose_target(pane, "fp32")
    assert pane.path.text() == str(tmp_path / "net.v1.fp32.safetensors")
    pane.path.setText(str(tmp_path / "mine.safetensors"))
    choose_target(pane, "pt")
    settle(window)
    assert pane.path.text() == str(tmp_path / "mine.pt")
    (tmp_path / "mine.pt").write_bytes(b"old")
    pane.path.setText("")
    assert not pane.go.isEnabled()
    pane.path.setText(str(tmp_path / "mine.pt"))
    assert pane.remark.text().startswith("Replaces a file of this name (3 B")
    assert pane.go.text() == "Replace the file"
    pane.path.setText(str(model))
    assert "open" in pane.remark.text()


def test_a_packed_file_is_never_its_own_destination(opened, settle, model, tmp_path):
    window = opened(model)
    out = packed(window, settle, tmp_path / "net.v1.packed.safetensors")
    opened(out)
    assert window.export_pane.path.text() == str(tmp_path / "net.v1.packed-2.safetensors")
    assert window.export_pane.result.text() == ""


def test_an_export_is_not_started_twice(opened, settle, model, tmp_path):
    window = opened(model)
    pane = exporting(window, settle)
    pane.path.setText(str(tmp_path / "p.safetensors"))
    done = []
    window.controller.exported.connect(done.append)
    pane.export()
    pane.export()
    assert not pane.go.isEnabled()
    assert pane.stop.isEnabled()
    settle(window)
    assert len(done) == 1
    assert pane.go.text() == "Replace the file"


# Schemes.


def test_a_parameter_that_another_scheme_lacks_gives_way(opened, settle, model):
    window = opened(model)
    scales = next(frame.view for frame in window.grid.frames if frame.view.name == "scales")
    which = scales.controls()[0]
    which.setCurrentText("step")
    window.controller.choose(make_scheme("normal_float"))  # its levels are not even: there is no one step
    settle(window)
    assert "step" not in [which.itemText(at) for at in range(which.count())]
    assert which.currentText() == "scale"
    window.controller.choose(make_scheme("learned"))
    settle(window)
    window.controller.choose(make_scheme("base11"))
    settle(window)
    assert "step" in [which.itemText(at) for at in range(which.count())]
