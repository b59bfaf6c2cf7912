"""The whole story in the real window, with real clicks and keys: open, sort, select, choose, export, reopen."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton
from safetensors.numpy import load_file, save_file

from qinspect.assets import resource
from qinspect.formats.open import open_checkpoint
from qinspect.gui import layer_rows as columns
from qinspect.quant.scheme import make_scheme


@pytest.fixture
def model(tmp_path):
    """Three matrices of known quality and a bias: Gaussian, heavy-tailed, constant."""
    rng = np.random.default_rng(7)
    path = tmp_path / "model.safetensors"
    tensors = {
        "plain.weight": rng.standard_normal((64, 256)),
        "tails.weight": rng.standard_t(2, (64, 256)),
        "flat.weight": np.zeros((32, 128)),
        "plain.bias": rng.standard_normal(64),
    }
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, path)
    return path


def sqnr_db(weights, decoded):
    error = weights.astype(np.float64) - decoded
    return 10 * np.log10(np.sum(weights.astype(np.float64) ** 2) / np.sum(error**2))


def opened(window, settle, path):
    window.open(path)
    settle(window)


def cell_centre(window, name, column):
    table = window.table
    row = table.names().index(name)
    index = table.view.model().index(row, column)
    table.view.scrollTo(index)
    return table.view.visualRect(index).center()


def click_row(window, qtbot, name):
    centre = cell_centre(window, name, columns.NAME)
    qtbot.mouseClick(window.table.view.viewport(), Qt.MouseButton.LeftButton, pos=centre)


def click_header(window, qtbot, column):
    header = window.table.view.horizontalHeader()
    x = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(x, header.height() // 2))


def test_the_worst_layer_is_on_top_and_shown_first(window, settle, model):
    opened(window, settle, model)
    assert window.table.names()[:2] == ["tails.weight", "plain.weight"]
    assert window.controller.info.name == "tails.weight"
    scheme = make_scheme("base11")
    weights = load_file(model)
    for name in ("tails.weight", "plain.weight"):
        expected = sqnr_db(weights[name], scheme.dequantize(scheme.quantize(weights[name])))
        assert window.table.text(name, columns.SQNR) == f"{expected:.1f} dB"
    assert window.table.text("flat.weight", columns.SQNR) == "exact"
    assert window.table.text("plain.bias", columns.SQNR) == "·"


def test_the_whole_story(window, settle, qtbot, model, tmp_path):
    opened(window, settle, model)

    # Sort by name, select another layer by a click.
    click_header(window, qtbot, columns.NAME)
    assert window.table.names() == sorted(load_file(model))
    click_row(window, qtbot, "plain.weight")
    settle(window)
    assert window.controller.info.name == "plain.weight"
    before = window.readout.sqnr.text()

    # Type a group size; the readout follows, for this layer and in the table.
    spin = window.form.editor("group_size").spin
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "27")
    qtbot.keyClick(spin, Qt.Key.Key_Return)
    settle(window)
    scheme = make_scheme("base11", group_size=27)
    weights = load_file(model)["plain.weight"]
    expected = f"{sqnr_db(weights, scheme.dequantize(scheme.quantize(weights))):.1f} dB"
    assert window.readout.sqnr.text() == expected != before
    assert window.table.text("plain.weight", columns.SQNR) == expected
    assert window.readout.bpw.text() == f"{8 * (10 * (12 + 4)) / 256:.2f}"

    # Export from the pane, by Ctrl+E and the button.
    out = tmp_path / "small.safetensors"
    qtbot.keyClick(window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(window.export_pane.isVisible)
    settle(window)
    window.export_pane.path.setText(str(out))
    qtbot.waitUntil(window.export_pane.go.isEnabled)
    with qtbot.waitSignal(window.controller.exported, timeout=20_000):
        qtbot.mouseClick(window.export_pane.go, Qt.MouseButton.LeftButton)
    settle(window)
    assert "verified" in window.export_pane.result.text()
    with open_checkpoint(out) as packed:
        assert {info.name for info in packed.infos} == set(load_file(model))
        q = packed.load("plain.weight")
    assert q.scheme == scheme
    np.testing.assert_array_equal(scheme.dequantize(q), scheme.dequantize(scheme.quantize(weights)))

    # Open what was written: codes are shown as stored, errors need the originals.
    qtbot.mouseClick(window.export_pane.reopen, Qt.MouseButton.LeftButton)
    settle(window)
    assert window.windowTitle().startswith("small.safetensors")
    assert window.form.choice.currentText() == "As stored in the file"
    click_row(window, qtbot, "plain.weight")
    settle(window)
    assert window.readout.sqnr.text() == "–"
    assert window.readout.values["codes"].text() == "11 of 11"
    window.controller.attach(model)
    settle(window)
    assert window.readout.sqnr.text() == expected


def test_a_slider_and_shortcuts_change_the_scheme(window, settle, qtbot, model):
    opened(window, settle, model)
    window.form.choice.setFocus()
    at = window.form.choice.findData("symmetric")
    window.form.choice.setCurrentIndex(at)
    window.form.choice.activated.emit(at)
    settle(window)
    assert window.controller.scheme == make_scheme("symmetric")
    qtbot.keyClick(window, Qt.Key.Key_BracketLeft)
    settle(window)
    assert window.controller.scheme == make_scheme("symmetric", bits=7)
    slider = window.form.editor("bits").slider
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    settle(window)
    assert window.controller.scheme == make_scheme("symmetric", bits=2)
    assert window.readout.values["codes"].text().endswith("of 4")
    assert window.form.editor("group_size").isHidden()


def test_filtering_by_text_and_by_regex(window, settle, qtbot, model):
    opened(window, settle, model)
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(window.table.filter, "plain")
    assert set(window.table.names()) == {"plain.weight", "plain.bias"}
    window.table.filter.clear()
    qtbot.keyClicks(window.table.filter, r"^(tails|flat)\.")
    assert set(window.table.names()) == {"tails.weight", "flat.weight"}
    window.table.filter.clear()
    qtbot.keyClicks(window.table.filter, "plain[")  # no valid regex: taken as it is
    assert window.table.names() == []


def test_a_view_fills_the_centre_on_double_click_and_comes_back(window, settle, qtbot, model):
    opened(window, settle, model)
    frame = window.grid.frames[0]
    for shown in ([True, False, False, False], [True, True, True, True]):
        qtbot.mouseDClick(frame, Qt.MouseButton.LeftButton, pos=QPoint(30, 10))
        assert [each.isVisible() for each in window.grid.frames] == shown


def test_dropping_a_file_opens_it(window, settle, qtbot, model):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(model))])
    how = Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(window, QDragEnterEvent(QPoint(400, 300), *how))
    QApplication.sendEvent(window, QDropEvent(QPointF(400, 300), *how))
    settle(window)
    assert window.controller.session.checkpoint.path.name == model.name
    assert window.preferences.recent() == [str(model.resolve())]


def test_the_sample_shows_accuracy_before_and_after(window, settle):
    window.open_sample()
    settle(window)
    text = window.status.accuracy.text()
    assert text.startswith("Test accuracy 9")
    assert "→" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"not a checkpoint at all", "text file"),
        (struct.pack("<Q", 1 << 40) + b"{}", "header"),
        (struct.pack("<Q", 100) + b'{"a":', "truncated"),
    ],
)
def test_a_bad_file_is_told_in_one_sentence_and_the_window_lives(window, settle, model, tmp_path, content, said):
    opened(window, settle, model)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    opened(window, settle, bad)
    text = window.status.message.text()
    assert text.startswith(str(bad))
    assert "\n" not in text
    assert said in text
    assert window.controller.session.checkpoint.path == model
    opened(window, settle, model)
    assert window.status.message.text() == ""


def test_a_layer_with_nan_says_so_and_the_rest_is_measured(window, settle, qtbot, tmp_path):
    weights = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    broken = weights.copy()
    broken[3, 5] = np.nan
    path = tmp_path / "nan.safetensors"
    save_file({"good.weight": weights, "broken.weight": broken, "count": np.arange(4)}, path)
    opened(window, settle, path)
    assert window.table.text("broken.weight", columns.SQNR) == "error"
    assert window.table.text("good.weight", columns.SQNR).endswith("dB")
    click_row(window, qtbot, "broken.weight")
    settle(window)
    sentences = [label.text() for label in window.findings.findChildren(type(window.readout.sqnr)) if label.isVisible()]
    assert any("1 NaN" in sentence and "broken.weight" in sentence for sentence in sentences)
    click_row(window, qtbot, "count")
    settle(window)
    assert window.readout.sqnr.text() == "–"


def test_exporting_onto_the_open_file_is_refused(window, settle, qtbot, model):
    opened(window, settle, model)
    before = model.read_bytes()
    window.show_export()
    settle(window)
    window.export_pane.path.setText(str(model))
    assert not window.export_pane.go.isEnabled()
    with qtbot.waitSignal(window.controller.export_failed, timeout=20_000):
        window.export_pane.export()
    settle(window)
    assert str(model) in window.export_pane.result.text()
    assert model.read_bytes() == before
    assert window.controller.session.checkpoint is not None


def test_names_with_control_characters_are_shown_escaped(window, settle, tmp_path):
    name = "evil\x1b[31m\u202e.weight"
    data = np.ones((2, 4), np.float32).tobytes()
    header = json.dumps({name: {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, len(data)]}}).encode()
    path = tmp_path / "names.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    opened(window, settle, path)
    assert window.controller.info.name == name
    shown = window.table.text(name, columns.NAME)
    assert shown.isprintable()
    assert "evil" in shown


def test_closing_while_working_ends_everything(window, qtbot, model):
    window.open(model)
    window.close()
    assert window.controller.preview.idle
    assert window.controller.bulk.idle


def test_a_large_layer_is_previewed_first_and_then_exact(window, settle, tmp_path):
    path = tmp_path / "large.safetensors"
    weights = np.random.default_rng(1).standard_normal((4096, 1024)).astype(np.float32)
    save_file({"large.weight": weights}, path)
    opened(window, settle, path)
    seen = []
    window.controller.inspected.connect(lambda i: seen.append((i.part, window.readout.sqnr.text())))
    window.form.editor("group_size").spin.setValue(64)
    settle(window)
    assert [part for part, _ in seen] == [pytest.approx(0.125, abs=0.01), 1.0]
    assert seen[0][1].startswith("≈ ")
    scheme = make_scheme("base11", group_size=64)
    assert window.readout.sqnr.text() == f"{sqnr_db(weights, scheme.dequantize(scheme.quantize(weights))):.1f} dB"


def test_a_drag_shows_updates_on_the_way_and_ends_at_the_last_value(window, settle, qtbot, model):
    opened(window, settle, model)
    click_row(window, qtbot, "plain.weight")
    settle(window)
    seen = []
    window.controller.inspected.connect(lambda inspection: seen.append(inspection.scheme.group_size))
    slider = window.form.editor("group_size").slider
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    for _ in range(6):
        qtbot.keyClick(slider, Qt.Key.Key_Right)
        qtbot.wait(15)
    settle(window)
    assert len(set(seen)) > 2
    assert seen[-1] == window.controller.scheme.group_size == window.form.editor("group_size").spin.value()


def test_opening_by_the_dialog(window, settle, qtbot, model):
    def type_and_accept():
        dialog = QApplication.activeModalWidget()
        qtbot.keyClicks(dialog.findChild(QLineEdit, "fileNameEdit"), str(model))
        qtbot.keyClick(dialog, Qt.Key.Key_Return)

    QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
    QTimer.singleShot(200, type_and_accept)
    qtbot.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    settle(window)
    assert window.controller.session.checkpoint.path.name == model.name


def test_recent_files_open_from_the_welcome_page(window, settle, qtbot, model):
    window.welcome.show_recent([str(model)])
    button = next(b for b in window.welcome.findChildren(QPushButton) if b.text().startswith(model.name))
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    settle(window)
    assert window.pages.currentWidget() is window.splitter
    assert window.controller.info.name == "tails.weight"


def test_a_cancelled_export_leaves_nothing(window, settle, qtbot, tmp_path):
    path, folder = tmp_path / "big.safetensors", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(2)
    save_file({f"l{i}.weight": rng.standard_normal((512, 2048)).astype(np.float32) for i in range(12)}, path)
    opened(window, settle, path)
    window.show_export()
    settle(window)
    window.export_pane.path.setText(str(folder / "packed.safetensors"))
    window.controller.export_progressed.connect(lambda _: window.export_pane.stop.click())
    with qtbot.waitSignal(window.controller.export_cancelled, timeout=20_000):
        qtbot.mouseClick(window.export_pane.go, Qt.MouseButton.LeftButton)
    settle(window)
    assert list(folder.iterdir()) == []
    assert window.export_pane.go.isEnabled()
    assert "nothing was written" in window.export_pane.result.text()


def test_a_missing_folder_is_told(window, settle, qtbot, model, tmp_path):
    opened(window, settle, model)
    window.show_export()
    settle(window)
    out = tmp_path / "missing" / "x.safetensors"
    window.export_pane.path.setText(str(out))
    with qtbot.waitSignal(window.controller.export_failed, timeout=20_000):
        qtbot.mouseClick(window.export_pane.go, Qt.MouseButton.LeftButton)
    assert "missing" in window.export_pane.result.text()
    assert not out.parent.exists()


def test_both_themes_recolour_everything_and_are_kept(window, settle, model, settings):
    opened(window, settle, model)
    for name, darker in (("light", False), ("dark", True)):
        window.choose_theme(name)
        settle(window)
        image = window.grab().toImage()
        assert (image.pixelColor(5, image.height() // 2).lightness() < 128) is darker
        assert settings.value("theme") == name
    assert window.table.text("tails.weight", columns.SQNR).endswith("dB")


def test_a_folder_of_c_from_the_pane(window, settle, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
    opened(window, settle, resource("samples/digits.safetensors"))
    window.show_export()
    pane = window.export_pane
    pane.target.setCurrentIndex(pane.target.findData("c"))
    pane.target.activated.emit(pane.target.currentIndex())
    assert Path(pane.path.text()).name == "digits-c"
    pane.path.setText(str(tmp_path / "digits-c"))
    qtbot.waitUntil(pane.go.isEnabled)
    assert "flash" in pane.summary.text()
    with qtbot.waitSignal(window.controller.exported, timeout=20_000):
        qtbot.mouseClick(pane.go, Qt.MouseButton.LeftButton)
    assert "not compiled: no C compiler was found" in pane.result.text()
    assert (tmp_path / "digits-c" / "model.c").is_file()
    assert pane.folder.isVisible()
    assert not pane.reopen.isVisible()


def test_the_welcome_page_shows_its_text_whole(window):
    (said,) = (label for label in window.welcome.findChildren(QLabel) if label.wordWrap())
    for size in ((1100, 700), (1600, 1000)):
        window.resize(*size)
        window.welcome.show_recent(["/models/a.safetensors", "/models/b.gguf"])
        QApplication.processEvents()
        assert said.height() >= said.heightForWidth(said.width()) > said.fontMetrics().height()
