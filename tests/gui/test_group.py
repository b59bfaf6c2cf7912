"""The Group view: dots, codes, levels and bytes against the arrays that are stored, with a real mouse and keys."""

from __future__ import annotations

import numpy as np
import pytest
from driving import hover, inspection_of, numbers, pixel_of, press
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication
from safetensors.numpy import save_file

from qinspect.gui.byte_table import BYTES, DIGITS, NUMBER, WEIGHTS
from qinspect.gui.linked import Spot
from qinspect.quant.scheme import make_scheme

ROWS, COLS, GROUP = 40, 300, 64
W = (np.random.default_rng(3).standard_normal((ROWS, COLS)) * 0.05).astype(np.float32)
W[17, 70:100] *= 1e-3
W[17, 101] = 0.9  # a group that an outlier stretches
BASE11 = make_scheme("base11", group_size=GROUP)


@pytest.fixture
def view(show):
    return show("group", inspection_of(W, BASE11), size=(640, 560))


def text(view, row, column):
    return view.table.bytes.index(row, column).data()


def test_the_first_group_is_shown_until_one_is_selected(view):
    q = BASE11.quantize(W)
    assert numbers(view.said[-1])[:3] == [0, 0, GROUP - 1]
    view.linked.select(Spot(12, (200, 201)))
    assert numbers(view.said[-1])[:3] == [12, 192, 255]
    group, decoded = W[12, 192:256].astype(np.float64), BASE11.dequantize(q)[12, 192:256].astype(np.float64)
    error = decoded - group
    said = numbers(view.said[-1])
    assert said[3] == pytest.approx(10 * np.log10((group**2).sum() / (error**2).sum()), abs=0.06)
    assert said[4] == np.unique(BASE11.codes(q)[12, 192:256]).size
    assert said[6:8] == pytest.approx([np.abs(error).max(), 192 + np.abs(error).argmax()], rel=6e-3)


def test_dots_levels_and_errors_lie_where_they_should(view):
    view.linked.select(Spot(5, (64, 128)))
    q = BASE11.quantize(W)
    x, y = view._dots.getData()
    clipped = view._clipped.getData()
    assert sorted([*x, *clipped[0]]) == list(range(64, 128))
    np.testing.assert_allclose(y, W[5, x.astype(int)])
    scale, low = (float(q.params[name][5, 1]) for name in ("scale", "min_val"))
    assert [code for code, _ in view.plot.levels] == list(range(11))
    assert [value for _, value in view.plot.levels] == pytest.approx(
        [low + scale * k / 10 for k in range(11)], abs=1e-6
    )
    ends = view._errors.getData()[1].reshape(-1, 2)
    np.testing.assert_allclose(ends[:, 0], W[5, 64:128])
    np.testing.assert_allclose(ends[:, 1], BASE11.dequantize(q)[5, 64:128])


def test_a_weight_under_the_cursor_is_told_with_its_code_and_its_digit_lit(view):
    codes = BASE11.codes(BASE11.quantize(W))
    hover(view.plot, QPointF(pixel_of(view.plot, 13, 0).x(), view.plot.area.center().y()))
    said = numbers(view.readout.text())
    assert said[:2] == [13, codes[0, 13]]
    assert said[2] == pytest.approx(W[0, 13], rel=1e-3)
    assert view.table.marked == (13, 14)
    row = view.table.bytes.row_of(13)
    assert text(view, row, WEIGHTS) == "9 … 17"
    assert text(view, row, DIGITS).split()[4] == str(codes[0, 13])


def test_the_bytes_are_those_that_are_stored(view):
    view.linked.select(Spot(7, (256, 257)))  # the last group of the row, 44 weights
    q = BASE11.quantize(W)
    assert [text(view, row, WEIGHTS) for row in (0, 1)] == ["min_val", "scale"]
    for row, name in enumerate(("min_val", "scale")):
        value = q.params[name][7, 4]
        assert bytes.fromhex(text(view, row, BYTES)) == value.tobytes()
        assert float(text(view, row, NUMBER).replace("−", "-")) == pytest.approx(float(value), rel=1e-5)
    stored = q.data[7, 4].tobytes()
    shown = [bytes.fromhex(text(view, row, BYTES)) for row in range(2, view.table.bytes.rowCount())]
    assert b"".join(shown) == stored[:20]  # five words hold 44 weights; a full group has eight
    assert text(view, 2, NUMBER).replace(",", "") == str(int.from_bytes(stored[:4], "little"))
    digits = [int(d) for row in range(2, 7) for d in text(view, row, DIGITS).split()]
    assert digits == BASE11.codes(q)[7, 256:300].tolist()


def test_bit_fields_are_shown_as_bits(show):
    scheme = make_scheme("symmetric", bits=3, granularity="group", group_size=20)
    view = show("group", inspection_of(W, scheme), size=(640, 560))
    view.linked.select(Spot(4, (20, 40)))
    q = scheme.quantize(W)
    codes = scheme.codes(q)[4]
    row = view.table.bytes.row_of(20)  # in a chunk of eight codes that begins in the group before
    assert text(view, row, WEIGHTS) == "16 … 23"
    assert text(view, row, DIGITS).split() == [f"{code + 4:03b}" for code in codes[16:24]]
    assert bytes.fromhex(text(view, row, BYTES)) == q.data[4].tobytes()[6:9]


def test_bytes_under_the_cursor_are_marked_among_the_weights(view):
    heard = []
    view.linked.pointed.connect(lambda spot, _: heard.append(spot))
    index = view.table.bytes.index(3, DIGITS)
    rect = view.table.visualRect(index)
    held = view.table.bytes.held(3)
    left, width, _ = view.table._digits._boxes(held)[2]
    at = QPointF(rect.left() + left + width / 2, rect.center().y())
    event = QMouseEvent(
        QEvent.Type.MouseMove, at, view.table.viewport().mapToGlobal(at), Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(view.table.viewport(), event)
    col = held.place.first + 2
    assert heard[-1].cols == (col, col + 1)
    assert view._ring.getData()[0].tolist() == [col]
    assert numbers(view.readout.text())[0] == col
    view.table.leaveEvent(QEvent(QEvent.Type.Leave))
    assert view._ring.getData()[0].size == 0


def test_keys_go_to_neighbours_and_around_the_ends_of_rows(view, qtbot):
    view.linked.select(Spot(3, (0, 1)))
    control = Qt.KeyboardModifier.ControlModifier
    view.setFocus()
    target = view.window().focusWidget()
    for key, expected in (
        (Qt.Key.Key_Right, (3, 64)), (Qt.Key.Key_Down, (4, 64)), (Qt.Key.Key_Left, (4, 0)), (Qt.Key.Key_Left, (3, 256)),
        (Qt.Key.Key_Up, (2, 256)), (Qt.Key.Key_Right, (3, 0)),
    ):  # fmt: skip
        qtbot.keyClick(target, key, control)
        assert (view._shown.index, view._shown.start) == expected
        assert (view.controls()[0].value(), view.controls()[1].value()) == (expected[0], expected[1] // 64)


def test_w_goes_to_the_worst_group_and_on_to_the_next(view, qtbot):
    q = BASE11.quantize(W)
    error = (BASE11.dequantize(q) - W).astype(np.float64)
    starts = range(0, COLS, GROUP)
    sqnr = [
        10
        * np.log10(np.square(W[r, c : c + GROUP].astype(np.float64)).sum() / np.square(error[r, c : c + GROUP]).sum())
        for r in range(ROWS)
        for c in starts
    ]
    for number in np.argsort(sqnr)[:3]:
        press(view, qtbot, Qt.Key.Key_W)
        assert (view._shown.index, view._shown.start) == (number // 5, number % 5 * GROUP)
    assert "(number 3 from the lowest)" in view._sentence(view.inspection, view.probe, view._shown)


def test_a_row_and_a_group_are_typed(view, qtbot):
    row, group, *_ = view.controls()
    row.setFocus()
    row.selectAll()
    qtbot.keyClicks(row, "17")
    qtbot.keyClick(row, Qt.Key.Key_Return)
    group.setValue(1)
    assert (view._shown.index, view._shown.start) == (17, 64)
    assert row.maximum() == ROWS - 1 and group.maximum() == 4


@pytest.mark.parametrize(
    ("parameters", "shape", "spot", "columns"),
    [
        ({"granularity": "tensor"}, (8, 30), Spot(2, (5, 6)), (0, 30)),
        ({"granularity": "channel", "axis": 0}, (8, 30), Spot(2, (5, 6)), (0, 30)),
        ({"granularity": "channel", "axis": 1}, (8, 6, 5), Spot(2, (7, 8)), (5, 10)),
        ({"granularity": "group", "group_size": 7}, (30,), Spot(0, (22, 23)), (21, 28)),
    ],
)
def test_runs_of_every_granularity(show, parameters, shape, spot, columns):
    w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    view = show("group", inspection_of(w, make_scheme("symmetric", **parameters)), size=(640, 560))
    view.linked.select(spot)
    assert (view._shown.start, view._shown.stop) == columns
    np.testing.assert_array_equal(
        view._shown.weights, w.reshape(w.shape[0] if w.ndim > 1 else 1, -1)[spot.row, slice(*columns)]
    )
    assert not view.grab().isNull()


def test_a_very_long_run_is_shown_around_what_is_selected(show):
    w = np.random.default_rng(0).standard_normal((1, 50_000)).astype(np.float32)
    view = show("group", inspection_of(w, make_scheme("symmetric")), size=(640, 560))
    view.linked.select(Spot(0, (30_000, 30_001)))
    assert view._shown.start < 30_000 < view._shown.stop <= view._shown.start + 8192
    assert view.table.bytes.rowCount() == 1 + view._shown.codes.size


def test_values_and_bytes_are_tables(view):
    weights, stored = view.tables()
    assert weights.column("weight") == tuple(W[0, :GROUP].tolist())
    assert weights.column("code") == tuple(BASE11.codes(BASE11.quantize(W))[0, :GROUP].tolist())
    assert len(stored.rows) == 2 + 8


# In the window.


@pytest.fixture
def opened(window, settle, tmp_path):
    save_file({"layer.weight": W}, tmp_path / "one.safetensors")
    window.open(tmp_path / "one.safetensors")
    window.controller.choose(BASE11)
    settle(window)
    return {frame.view.name: frame for frame in window.frames}


def test_a_click_on_an_error_and_return_drill_down_to_its_group(window, settle, qtbot, opened):
    error, group = opened["error"].view, opened["group"]
    button = error._to_group
    assert button.isHidden()
    at = pixel_of(error.map, 130, 20).toPoint()
    qtbot.mouseClick(error.map.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert not button.isHidden()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    settle(window)
    assert window.tabs.currentWidget() is group
    assert numbers(group.sentence.text())[:3] == [20, 128, 191]
    window.tabs.setCurrentIndex(0)
    hover(error.map, pixel_of(error.map, 10, 33))
    qtbot.keyClick(error.map, Qt.Key.Key_Return)
    assert window.tabs.currentWidget() is group
    qtbot.waitUntil(lambda: numbers(group.sentence.text())[:3] == [33, 0, 63])


def test_the_group_follows_the_scheme_and_the_worst_is_found_in_the_background(window, settle, qtbot, opened):
    group = opened["group"]
    window.tabs.setCurrentWidget(group)
    window.controller.linked.select(Spot(17, (101, 102)))
    before = group.sentence.text()
    window.controller.choose(make_scheme("base11", group_size=32))
    settle(window)
    assert numbers(group.sentence.text())[:3] == [17, 96, 127] != numbers(before)[:3]
    qtbot.mouseClick(group.view._worst, Qt.MouseButton.LeftButton)
    settle(window)
    shown = group.view._shown
    assert window.controller.linked.pin.row == shown.index
    error = np.square(shown.errors, dtype=np.float64).sum() / np.square(shown.weights, dtype=np.float64).sum()
    q = group.view.inspection.quantized
    everything = (q.scheme.dequantize(q) - W).astype(np.float64)
    ratios = [
        np.square(everything[r, c : c + 32]).sum() / np.square(W[r, c : c + 32].astype(np.float64)).sum()
        for r in range(ROWS)
        for c in range(0, COLS, 32)
    ]
    assert error == pytest.approx(max(ratios))


def test_the_table_has_a_name_and_is_reached_by_key(view, qtbot):
    assert view.table.accessibleName()
    view.table.setFocus()
    qtbot.keyClick(view.table, Qt.Key.Key_Down)
    qtbot.keyClick(view.table, Qt.Key.Key_Down)
    qtbot.keyClick(view.table, Qt.Key.Key_Down)
    assert view.table.currentIndex().row() >= 2
    assert view.table.marked is not None
    assert view.grab().toImage().pixelColor(QPoint(5, 5)).isValid()
