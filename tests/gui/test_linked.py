"""What is done in one view is seen in all: the place under the cursor, the selection, the part in view."""

from __future__ import annotations

import numpy as np
import pytest
from driving import hover, numbers, pixel_of, wheel
from PySide6.QtCore import QEvent, QPointF, Qt
from safetensors.numpy import save_file

from qinspect.analysis import WeightPatterns
from qinspect.gui.jobs import COMPILED
from qinspect.gui.linked import Spot
from qinspect.quant.scheme import make_scheme

ROWS, COLS, GROUP = 96, 320, 32
SCHEME = make_scheme("symmetric", bits=4, granularity="group", group_size=GROUP)


@pytest.fixture
def weights(tmp_path):
    w = (np.random.default_rng(5).standard_normal((ROWS, COLS)) * 0.05).astype(np.float32)
    save_file({"layer.weight": w}, tmp_path / "one.safetensors")
    return w


@pytest.fixture
def views(window, settle, weights, tmp_path):
    window.open(tmp_path / "one.safetensors")
    window.controller.choose(SCHEME)
    settle(window)
    return {frame.view.name: frame.view for frame in window.grid.frames}


def choose(view, name, entry, settle=None, window=None):
    box = next(control for control in view.controls() if control.accessibleName() == name)
    box.setCurrentText(entry)
    if settle is not None:
        settle(window)


def leave(plot):
    plot.leaveEvent(QEvent(QEvent.Type.Leave))


def cross(plot):
    return tuple(line.value() if line.isVisible() else None for line in plot.cross)


def test_a_weight_under_the_cursor_is_marked_in_every_view(window, settle, views, weights):
    choose(views["occupancy"], "Scope", "groups", settle, window)
    codes = SCHEME.codes(SCHEME.quantize(weights))
    error, row, col = views["error"], 40, 200
    hover(error.map, pixel_of(error.map, col, row))
    assert numbers(error.readout.text())[:2] == [row, col]
    assert cross(views["scales"].map) == (col // GROUP, row)
    assert numbers(views["scales"].readout.text())[:2] == [row, col // GROUP]
    assert cross(views["histogram"].plot)[0] == pytest.approx(weights[row, col])
    x, y = cross(views["occupancy"].map)
    assert x == codes[row, col]
    assert y == pytest.approx(row - 0.5 + (col // GROUP + 0.5) / (COLS // GROUP))
    said = numbers(views["occupancy"].readout.text())
    group = codes[row, col // GROUP * GROUP :][:GROUP]
    assert said[:3] == [row, col // GROUP, np.unique(group).size]
    assert said[4:6] == [codes[row, col], (group == codes[row, col]).sum()]
    leave(error.map)
    for view in views.values():
        assert view.readout.text() == view.hint
        assert all(cross(plot) == (None, None) for plot in view.plots)


def test_a_bar_of_occupancy_gets_the_code_of_the_weight_under_the_cursor(views, weights):
    codes = SCHEME.codes(SCHEME.quantize(weights))
    error = views["error"]
    hover(error.map, pixel_of(error.map, 7, 3))
    assert cross(views["occupancy"].plot) == (codes[3, 7], None)
    assert numbers(views["occupancy"].readout.text())[0] == codes[3, 7]


def test_a_group_under_the_cursor_is_framed_among_the_weights(views, weights):
    scales = views["scales"]
    hover(scales.map, pixel_of(scales.map, 4, 77))
    mark = views["error"].map._places[views["error"].map._mark]
    assert (mark.left(), mark.right()) == (4 * GROUP - 0.5, 5 * GROUP - 0.5)
    assert (mark.top(), mark.bottom()) == (76.5, 77.5)
    decoded = SCHEME.dequantize(SCHEME.quantize(weights))
    error = (decoded - weights)[77, 4 * GROUP : 5 * GROUP].astype(np.float64)
    said = numbers(views["error"].readout.text())
    assert said[3:] == pytest.approx([np.sqrt(np.mean(error**2)), np.abs(error).max()], rel=6e-3)


def test_a_code_is_marked_both_ways_between_histogram_and_occupancy(window, settle, views):
    histogram, occupancy = views["histogram"], views["occupancy"]
    choose(histogram, "Axis", "code units", settle, window)
    hover(occupancy.plot, pixel_of(occupancy.plot, -3, 1.0))
    assert cross(histogram.plot) == (-3, None)
    leave(occupancy.plot)
    hover(histogram.plot, QPointF(pixel_of(histogram.plot, 2.2, 0).x(), histogram.plot.area.center().y()))
    assert cross(occupancy.plot) == (2, None)


def test_an_error_is_marked_among_all_errors(window, settle, views, weights):
    choose(views["histogram"], "Axis", "error in steps", settle, window)
    error = views["error"]
    hover(error.map, pixel_of(error.map, 100, 50))
    q = SCHEME.quantize(weights)
    scale = q.params["scale"].reshape(ROWS, -1)[50, 100 // GROUP]
    expected = (SCHEME.dequantize(q) - weights)[50, 100] / scale
    assert cross(views["histogram"].plot)[0] == pytest.approx(expected, rel=1e-5)


def test_zooming_the_weights_zooms_the_groups_and_the_rows_of_the_code_map(window, settle, views):
    choose(views["occupancy"], "Scope", "rows", settle, window)
    error, scales, codes = views["error"], views["scales"], views["occupancy"]
    wheel(error.map, pixel_of(error.map, 200, 40), 3)
    (x0, x1), (y0, y1) = error.map.box.viewRange()
    assert x1 - x0 < COLS / 1.5
    (g0, g1), (r0, r1) = scales.map.box.viewRange()
    assert (r0, r1) == pytest.approx((y0, y1))
    assert ((g0 + 0.5) * GROUP - 0.5, (g1 + 0.5) * GROUP - 0.5) == pytest.approx((x0, x1))
    assert codes.map.box.viewRange()[1] == pytest.approx([y0, y1])
    whole = codes.map.box.viewRange()[0]
    wheel(scales.map, scales.map.area.center(), -9)
    assert error.map.box.viewRange()[1] == pytest.approx([-0.5, ROWS - 0.5])
    assert codes.map.box.viewRange() == [whole, pytest.approx([-0.5, ROWS - 0.5])]


def test_a_click_selects_and_the_selection_goes_with_the_layer(window, settle, qtbot, views, weights, tmp_path):
    choose(views["histogram"], "Scope", "group")
    error = views["error"]
    at = pixel_of(error.map, 200, 40).toPoint()
    qtbot.mouseClick(error.map.viewport(), Qt.MouseButton.LeftButton, pos=at)
    pin = window.controller.linked.pin
    assert (pin.row, pin.cols) == (40, (200, 201))
    assert views["scales"].map._places[views["scales"].map._pin].center() == QPointF(200 // GROUP, 40)
    shown = views["histogram"]._shown
    assert sum(shown.counts["original"]) == GROUP
    group = weights[40, 200 // GROUP * GROUP :][:GROUP]
    assert numbers(views["histogram"].said if hasattr(views["histogram"], "said") else _sentence(window))[0] == 40
    assert shown.mean == pytest.approx(group.mean(), rel=1e-5)
    window.open(tmp_path / "one.safetensors")
    settle(window)
    assert window.controller.linked.pin is None


def _sentence(window):
    return next(frame.sentence.text() for frame in window.frames if frame.view.name == "histogram")


def test_a_drag_selects_nothing(views, window):
    from driving import drag

    error = views["error"]
    wheel(error.map, error.map.area.center(), 4)
    drag(error.map, error.map.area.center(), error.map.area.center() + QPointF(40, 10))
    assert window.controller.linked.pin is None


def test_levels_of_the_selected_group_are_its_own(window, views, weights):
    window.controller.linked.select(Spot(10, (70, 71)))
    choose(views["histogram"], "Scope", "group")
    group = weights[10, 64:96]
    levels = np.arange(-8, 8) * np.abs(group).max() / 7
    inside = levels[(levels >= group.min() * 1.02) & (levels <= group.max() * 1.02)]
    assert views["histogram"]._levels.getData()[0][::2] == pytest.approx(inside, rel=1e-5, abs=1e-9)


def test_the_row_that_is_selected_stays_in_the_sample_of_a_preview(window, settle, tmp_path):
    w = np.random.default_rng(1).standard_normal((4096, 1024)).astype(np.float32)
    save_file({"large.weight": w}, tmp_path / "large.safetensors")
    window.open(tmp_path / "large.safetensors")
    settle(window)
    window.controller.linked.select(Spot(2001, (5, 6)))
    error = next(frame.view for frame in window.frames if frame.view.name == "error")
    seen = []
    window.controller.inspected.connect(seen.append)
    window.controller.choose(SCHEME)
    settle(window)
    preview, exact = seen
    assert preview.part < 1 == exact.part
    assert 2001 in preview.rows
    error.show_inspection(preview)
    assert error.probe.number(error.probe.index(2001)) == 2001
    np.testing.assert_array_equal(error.probe.row(error.probe.index(2001)).weights, w[2001])


def test_between_the_pyramid_and_single_weights_cells_are_pooled_in_a_job(window, settle, qtbot, tmp_path):
    w = np.random.default_rng(1).standard_normal((9000, 4096)).astype(np.float32)
    w[4321, 2222] = 9.0
    scheme = make_scheme("symmetric", bits=4)
    save_file({"large.weight": w}, tmp_path / "large.safetensors")
    window.open(tmp_path / "large.safetensors")
    window.controller.choose(scheme)
    settle(window)
    error = next(frame.view for frame in window.frames if frame.view.name == "error")
    image = error.map
    assert error.answer(error.questions(None)[0]).finest == 4
    image.look_at((1800.0, 2500.0), (3900.0, 4600.0))  # some three weights a pixel
    qtbot.waitUntil(lambda: image.crop.cell[0] < 4)
    image.look_at((1800.0, 2250.0), (4100.0, 4550.0))
    qtbot.waitUntil(lambda: image.crop.cell[0] <= 2)
    rows, cols = image.crop.cell
    top, left = round(image.crop.rect.top() + 0.5), round(image.crop.rect.left() + 0.5)
    scale = 9 / 7
    part = w[top : top + rows, left : left + cols]
    error_ = np.clip(np.rint(part / scale), -8, 7) * scale - part
    assert image.crop.values[0, 0] == pytest.approx(error_.flat[np.abs(error_).argmax()], abs=1e-5)
    fine = [question for question in error.inspection.answers if getattr(question, "cols", None)]
    assert len(fine) <= 1  # those of before are forgotten


def test_any_zoom_of_the_histogram_follows_from_one_pass(window, settle, views, weights):
    """Half-precision steps are counted once, when first zoomed in; further zooming asks nothing."""
    view = views["histogram"]
    asked = []
    view.ask = lambda questions, ask=view.ask: (asked.extend(questions), ask(questions))

    def zoom(low, high):
        view.plot.box.setXRange(low, high, padding=0)
        view.plot.ranged.emit()  # as a moment later

    zoom(-0.003, 0.003)
    settle(window)
    for low, high in ((-0.002, 0.001), (-0.0004, 0.0005), (-0.003, 0.002)):
        zoom(low, high)
        (shown_low, shown_high), _ = view.plot.box.viewRange()
        bins = view._shown
        assert bins.edges[0] <= shown_low and shown_high <= bins.edges[-1]
        assert bins.edges[1] - bins.edges[0] < 0.5 * (view._whole.edges[1] - view._whole.edges[0])
        below = (weights < bins.edges[0]).sum()
        assert abs(bins.outside["original"][0] - below) <= 2  # within half a step of that edge
        assert bins.total("original") == weights.size
    assert set(asked) == {WeightPatterns()}


def test_files_open_while_kernels_are_compiled_and_figures_follow(window, settle, weights, tmp_path, qtbot):
    COMPILED.clear()
    try:
        window.open(tmp_path / "one.safetensors")
        qtbot.waitUntil(lambda: window.controller.info is not None)
        view = next(frame.view for frame in window.grid.frames if frame.view.name == "histogram")
        assert "Kernels are made ready" in view.message.text()
        assert view.inspection is None
    finally:
        COMPILED.set()
    settle(window)
    assert view.inspection is not None
