"""Contracts of all views, and what each of them says of known weights, asked with a real mouse and real keys."""

from __future__ import annotations

import numpy as np
import pytest
from driving import drag, hover, inspection_of, numbers, pixel_of, press, wheel
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtWidgets import QAbstractButton, QComboBox

from qinspect.analysis import Pooled, Quantity
from qinspect.gui import theme as themes
from qinspect.gui.code_pieces import bars
from qinspect.gui.views.plot_view import PlotView
from qinspect.gui.views.view import GRID, registry
from qinspect.quant.scheme import make_scheme
from qinspect.quant.scheme import registry as schemes

LAYER_VIEWS = [cls.name for cls in registry if issubclass(cls, PlotView)]
"""Views that draw an inspection; those of the whole model have tests of their own."""

RNG = np.random.default_rng(7)
MATRIX = (RNG.standard_normal((48, 160)) * 0.05).astype(np.float32)


# Contracts of every view.


@pytest.mark.parametrize("scheme", schemes.names())
@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_every_view_paints_every_scheme_in_both_themes(show, name, scheme):
    view = show(name, inspection_of(MATRIX, make_scheme(scheme)))
    for theme in themes.THEMES.values():
        view.set_theme(theme)
        image = view.grab().toImage()
        colours = {image.pixelColor(x, y).name() for x in range(0, 420, 3) for y in range(0, 300, 3)}
        assert len(colours) > 3  # more than an empty area
    assert view.said[0].endswith(".") and "≈" not in view.said[0]


LAYERS = {
    "one dimension": np.linspace(-1, 1, 77, dtype=np.float32),
    "one row": RNG.standard_normal((1, 5)).astype(np.float32),
    "one column": RNG.standard_normal((5, 1)).astype(np.float32),
    "one weight": np.full((1, 1), 0.25, np.float32),
    "convolution": RNG.standard_normal((8, 3, 3, 3)).astype(np.float32),
    "all zero": np.zeros((6, 9), np.float32),
    "constant": np.full((6, 9), -3.5, np.float32),
    "half precision": MATRIX.astype(np.float16),
    "an outlier": np.where(np.arange(600).reshape(20, 30) == 77, 1e4, MATRIX[:20, :30]).astype(np.float32),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scheme", ["base11", "symmetric", "sentinel"])
@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_every_view_takes_any_layer_and_the_mouse_over_it(show, name, scheme, layer):
    view = show(name, inspection_of(LAYERS[layer], make_scheme(scheme)))
    for plot in view.plots:
        for at in (plot.area.center(), plot.area.topLeft() + QPointF(1, 1), plot.area.bottomRight() - QPointF(1, 1)):
            hover(plot, at)
    assert not view.grab().isNull()
    assert len(view.said) == 1 and view.said[0]


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_without_a_layer_a_view_says_what_to_do(show, name):
    view = show(name, None)
    assert view.said == [""]
    assert view.message.isVisible() and view.message.text() == "Select a layer."
    view.show_inspection(inspection_of(MATRIX, make_scheme("base11")))
    assert not view.message.isVisible()
    view.show_inspection(None, "Gone.")
    assert view.message.isVisible() and view.message.text() == "Gone."


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_an_empty_layer_is_told_apart(show, name):
    view = show(name, inspection_of(np.zeros((0, 4), np.float32), make_scheme("symmetric")))
    assert view.message.isVisible() and "no weights" in view.message.text()


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_codes_without_originals_are_shown_as_far_as_they_go(show, name):
    packed = make_scheme("base11", group_size=32).quantize(MATRIX)
    view = show(name, inspection_of(packed))
    hover(view.plots[0], view.plots[0].area.center())
    assert view.readout.text()
    assert not view.grab().isNull()
    if name in ("histogram", "error"):
        assert "attach the original" in view.said[0]


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_a_preview_is_marked_until_the_figures_are_exact(show, name):
    large = RNG.standard_normal((2048, 1024)).astype(np.float32)
    preview = inspection_of(large, make_scheme("symmetric", granularity="channel"), preview=True)
    assert preview.part < 1
    view = show(name, preview)
    assert view.said[0].startswith("≈ ")
    view.show_inspection(inspection_of(large, preview.scheme))
    assert not view.said[-1].startswith("≈ ")


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_everything_has_a_name_for_those_who_do_not_see_it(show, name):
    view = show(name, inspection_of(MATRIX, make_scheme("base11")))
    assert view.accessibleName() == view.title
    assert view.accessibleDescription() == view.said[0]
    for widget in [*view.plots, *view.controls()]:
        assert widget.accessibleName()
    assert all(control.toolTip() for control in view.controls())


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_every_control_redraws_and_says_so_once(show, name):
    view = show(name, inspection_of(MATRIX, make_scheme("base11", group_size=32)))
    for control in view.controls():
        chooses = isinstance(control, QComboBox) or (isinstance(control, QAbstractButton) and control.isCheckable())
        if not control.isEnabled() or not chooses:
            continue
        before = len(view.said)
        if isinstance(control, QComboBox):
            control.setCurrentIndex(1)
        else:
            control.click()
        assert len(view.said) == before + 1
        assert not view.grab().isNull()


# Zoom and pan, the same in every plot.


def test_the_wheel_zooms_about_the_cursor_and_home_fits(show, qtbot):
    view = show("error", inspection_of(MATRIX, make_scheme("base11")))
    plot = view.plots[0]
    at = QPointF(QPointF(plot.area.left() + 80, plot.area.top() + 150).toPoint())
    under, whole = plot.box.mapSceneToView(at), plot.box.viewRect()
    wheel(plot, at, 3)
    now = plot.box.viewRect()
    assert now.width() < 0.6 * whole.width() and now.height() < 0.6 * whole.height()
    after = plot.box.mapSceneToView(at)
    assert (after.x(), after.y()) == pytest.approx((under.x(), under.y()), abs=1e-6)
    press(view, qtbot, Qt.Key.Key_Home)
    assert plot.box.viewRect() == whole
    wheel(plot, at, -5)
    assert plot.box.viewRect() == whole  # not beyond the matrix


def test_a_drag_pans_and_a_double_click_fits(show, qtbot):
    view = show("error", inspection_of(MATRIX, make_scheme("base11")))
    plot = view.plots[0]
    whole, centre = plot.box.viewRect(), plot.area.center()
    wheel(plot, centre, 5)
    before = plot.box.viewRect()
    drag(plot, centre, centre + QPointF(30, 12))
    after = plot.box.viewRect()
    assert before.left() - after.left() == pytest.approx(30 * before.width() / plot.area.width())
    assert before.top() - after.top() == pytest.approx(12 * before.height() / plot.area.height())
    qtbot.mouseDClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=centre.toPoint())
    assert plot.box.viewRect() == whole


def test_keys_zoom_and_pan(show, qtbot):
    view = show("error", inspection_of(MATRIX, make_scheme("base11")))
    box = view.plots[0].box
    whole = box.viewRect()
    press(view, qtbot, Qt.Key.Key_Plus)
    assert box.viewRect().width() == pytest.approx(0.8 * whole.width())
    near = box.viewRect()
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Down):
        press(view, qtbot, key)
    assert box.viewRect().left() == pytest.approx(near.left() + 0.1 * near.width())
    assert box.viewRect().top() == pytest.approx(near.top() + 0.1 * near.height())
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Up, Qt.Key.Key_Minus):
        press(view, qtbot, key)
    assert box.viewRect().width() == pytest.approx(whole.width())


def test_zoom_stays_with_a_layer_and_goes_with_another(show):
    view = show("error", inspection_of(MATRIX, make_scheme("base11")))
    plot = view.plots[0]
    wheel(plot, plot.area.center(), 4)
    zoomed = plot.box.viewRect()
    view.show_inspection(inspection_of(MATRIX, make_scheme("symmetric", bits=4)))
    assert plot.box.viewRect() == zoomed
    view.show_inspection(inspection_of(MATRIX[:40], make_scheme("symmetric", bits=4)))
    assert plot.box.viewRect().height() == 40


# What each view says, against numpy.


def test_the_error_view_tells_every_weight_and_its_error_in_steps(show):
    view = show("error", inspection_of(MATRIX, make_scheme("symmetric", bits=4)))
    scale = np.abs(MATRIX).max() / 7
    decoded = np.clip(np.rint(MATRIX / scale), -8, 7) * scale
    for row, col in ((0, 0), (47, 159), (20, 3), (31, 100)):
        hover(view.plots[0], pixel_of(view.plots[0], col, row))
        said = numbers(view.readout.text())
        error = decoded[row, col] - MATRIX[row, col]
        assert said[:5] == pytest.approx([row, col, MATRIX[row, col], decoded[row, col], error], rel=6e-3, abs=1e-6)
        assert said[5] == pytest.approx(abs(error) / scale, rel=0.06)
    view.plots[0].leaveEvent(QEvent(QEvent.Type.Leave))
    assert view.readout.text() == view.hint


def test_steps_are_those_of_the_weights_own_group(show):
    w = MATRIX * np.repeat([1, 10, 100, 1000, 1e4], 32).astype(np.float32)
    view = show("error", inspection_of(w, make_scheme("symmetric", bits=8, granularity="group", group_size=32)))
    for col in (5, 40, 70, 100, 130):
        group = w[9, col // 32 * 32 : col // 32 * 32 + 32]
        scale = np.abs(group).max() / 127
        error = np.rint(w[9, col] / scale) * scale - w[9, col]
        hover(view.plots[0], pixel_of(view.plots[0], col, 9))
        assert numbers(view.readout.text())[-1] == pytest.approx(abs(error) / scale, rel=0.06, abs=1e-3)


def test_an_outlier_is_seen_however_far_out(show, qtbot):
    w = np.zeros((3000, 1500), np.float32)
    w[1234, 777] = 1.0
    w[2000, 10] = -0.4  # decodes to 0
    view = show("error", inspection_of(w, make_scheme("symmetric", bits=2)))
    plot = view.plots[0]
    pooled = plot.crop.values
    assert np.abs(pooled).max() == pytest.approx(0.4)
    assert np.count_nonzero(pooled) == 1
    rows, cols = plot.crop.cell
    assert f"{rows} × {cols} weights" in view.hint
    assert rows >= 3000 / plot.area.height() and cols >= 1500 / plot.area.width()
    i, j = np.argwhere(pooled)[0]
    assert (i, j) == (2000 // rows, 10 // cols)


def test_below_the_finest_level_weights_are_read_as_they_are(show, qtbot):
    w = RNG.standard_normal((2500, 2000)).astype(np.float32)
    inspection = inspection_of(w, make_scheme("symmetric", bits=4))
    view = show("error", inspection)
    assert inspection.answers[Pooled(Quantity.ERROR)].finest == 2
    plot = view.plots[0]
    with qtbot.waitSignal(plot.cropped):
        for _ in range(20):
            wheel(plot, pixel_of(plot, 1000, 1200), 1)
    assert plot.crop.cell == (1, 1)
    assert "Each pixel" not in view.hint
    top, left = round(plot.crop.rect.top() + 0.5), round(plot.crop.rect.left() + 0.5)
    m, n = plot.crop.values.shape
    part, scale = w[top : top + m, left : left + n], np.abs(w).max() / 7
    np.testing.assert_allclose(plot.crop.values, np.clip(np.rint(part / scale), -8, 7) * scale - part, atol=1e-6)
    assert top <= 1200 < top + m and left <= 1000 < left + n


def test_a_preview_tells_the_row_numbers_of_the_whole(show):
    large = RNG.standard_normal((4096, 1024)).astype(np.float32)
    preview = inspection_of(large, make_scheme("symmetric"), preview=True)
    view = show("error", preview)
    plot = view.plots[0]
    assert plot.box.viewRect().height() == 4096
    hover(plot, pixel_of(plot, 5, 2001))
    row, col, weight = numbers(view.readout.text())[:3]
    assert abs(row - 2001) <= 4
    assert weight == pytest.approx(large[int(row), int(col)], rel=1e-3)


def test_the_scale_map_tells_the_parameters_of_the_group_under_the_cursor(show):
    view = show("scales", inspection_of(MATRIX, make_scheme("symmetric", bits=4, granularity="group", group_size=32)))
    scales = np.abs(MATRIX.reshape(48, 5, 32)).max(axis=2) / 7
    for row, group in ((0, 0), (47, 4), (12, 3)):
        hover(view.plots[0], pixel_of(view.plots[0], group, row))
        assert numbers(view.readout.text()) == pytest.approx(
            [row, group, scales[row, group], -8 * scales[row, group], scales[row, group]], rel=1e-3
        )
    np.testing.assert_array_equal(view.plots[0].crop.values, scales)
    assert numbers(view.said[-1])[:3] == pytest.approx([scales.min(), scales.max(), np.median(scales)], rel=6e-3)


def test_one_scale_a_row_is_a_curve_and_one_in_all_a_number(show):
    view = show("scales", inspection_of(MATRIX, make_scheme("symmetric", granularity="channel")))
    curve = view.plots[1]
    assert curve.isVisible()
    hover(curve, QPointF(pixel_of(curve, 17, 0).x(), curve.area.center().y()))
    assert numbers(view.readout.text())[:2] == pytest.approx([17, np.abs(MATRIX[17]).max() / 127], rel=1e-3)
    view.show_inspection(inspection_of(MATRIX, make_scheme("symmetric")))
    assert not curve.isVisible() and not view.plots[0].isVisible()
    assert numbers(view.said[-1]) == pytest.approx([np.abs(MATRIX).max() / 127], rel=1e-3)


def test_occupancy_tells_code_level_count_and_share(show):
    view = show("occupancy", inspection_of(MATRIX, make_scheme("symmetric", bits=4)))
    plot, scale = view.plots[0], np.abs(MATRIX).max() / 7
    codes = np.clip(np.rint(MATRIX / scale), -8, 7).astype(int)
    for code in (-3, 0, 7):
        hover(plot, pixel_of(plot, code, 1.0))
        count = np.count_nonzero(codes == code)
        expected = [code, code * scale, count, 100 * count / codes.size]
        assert numbers(view.readout.text()) == pytest.approx(expected, rel=6e-3, abs=1e-9)
    hover(plot, pixel_of(plot, -8, 1.0))
    assert "never used" in view.readout.text()
    assert view.said[0].startswith(f"{len(np.unique(codes))} of 16 codes used")


def test_many_codes_share_bars_and_none_is_lost(show):
    inspection = inspection_of(MATRIX, make_scheme("asymmetric", bits=16))
    view = show("occupancy", inspection)
    counts = inspection.usage.counts
    found = bars(counts, 0, -0.5, 65535.5, 300)
    assert found.left.size <= 300
    assert found.share.sum() == pytest.approx(100)
    np.testing.assert_allclose(found.share, counts.reshape(-1, found.width).sum(axis=1) * 100 / counts.sum())
    assert "Each bar holds" in view.hint


def test_unused_codes_are_marked_in_their_own_colour(show):
    view = show("occupancy", inspection_of(MATRIX, make_scheme("sentinel")), size=(700, 300))
    plot, image = view.plots[0], view.grab().toImage()
    used = np.flatnonzero(view.inspection.usage.counts) - 128
    unused = themes.DARK.unused
    ((_, _), (bottom, _)) = plot.box.viewRange()
    offset = plot.mapTo(view, QPoint(0, 0))

    def colour(code):
        at = (pixel_of(plot, code, bottom * 0.6) + QPointF(offset)).toPoint()
        return image.pixelColor(at).name()

    assert len(used) < 10
    assert all(colour(code) == unused for code in (-100, -50, 60, 100, 127))
    assert all(colour(int(code)) != unused for code in used)


def test_the_histogram_counts_as_numpy_does(show):
    view = show("histogram", inspection_of(MATRIX, make_scheme("symmetric", bits=4)))
    plot, shown = view.plots[0], view._shown
    original = shown.counts["original"]
    expected, _ = np.histogram(MATRIX.astype(np.float64), shown.edges)
    assert np.abs(original - expected).sum() <= 2  # a weight on an edge may be rounded to either side
    assert original.sum() == MATRIX.size
    for index in (0, len(expected) // 2, len(expected) - 1):
        hover(plot, pixel_of(plot, shown.edges[index : index + 2].mean(), 0.5))
        assert numbers(view.readout.text())[-3:] == [counts[index] for counts in shown.counts.values()]
    assert numbers(view.said[0]) == pytest.approx([MATRIX.mean(), MATRIX.std()], rel=6e-3, abs=6e-5)


def test_levels_are_drawn_where_codes_decode_to(show):
    view = show("histogram", inspection_of(MATRIX, make_scheme("symmetric", bits=4)))
    scale = np.abs(MATRIX).max() / 7
    levels = np.arange(-8, 8) * scale
    inside = levels[(levels >= MATRIX.min() * (1 + 1e-6)) & (levels <= MATRIX.max() * (1 + 1e-6))]
    np.testing.assert_allclose(view._levels.getData()[0][::2], inside, rtol=1e-5, atol=1e-7)
    view.controls()[0].setCurrentText("code units")
    drawn = view._levels.getData()[0][::2]
    np.testing.assert_array_equal(drawn, np.arange(drawn[0], drawn[-1] + 1))
    assert set(np.rint(MATRIX / scale).ravel()) <= set(drawn)
    view.show_inspection(inspection_of(MATRIX, make_scheme("base11", group_size=32)))
    np.testing.assert_array_equal(view._levels.getData()[0][::2], np.arange(11))
    view.controls()[0].setCurrentText("weight")
    assert view._levels.getData()[0].size == 0
    assert "Levels differ by group" in view.hint


def test_too_many_levels_are_not_drawn_until_zoomed_in(show, qtbot):
    view = show("histogram", inspection_of(MATRIX, make_scheme("symmetric", bits=8)))
    plot = view.plots[0]
    assert view._levels.getData()[0].size == 0 and "zoom in" in view.hint
    with qtbot.waitSignal(plot.ranged):
        wheel(plot, plot.area.center(), 6)
    drawn = view._levels.getData()[0][::2]
    assert 0 < drawn.size <= 64
    np.testing.assert_allclose(np.diff(drawn), np.abs(MATRIX).max() / 127, rtol=1e-4)


def test_log_and_linear_by_a_click(show, qtbot):
    view = show("histogram", inspection_of(MATRIX, make_scheme("base11")))
    log = next(control for control in view.controls() if control.accessibleName() == "Logarithmic count")
    counts, curve = view._shown.counts["original"], view._curves["original"]
    np.testing.assert_allclose(curve.getData()[1], np.log10(np.maximum(counts, 0.6)))
    log.show()
    qtbot.mouseClick(log, Qt.MouseButton.LeftButton)
    np.testing.assert_allclose(curve.getData()[1], view._shown.counts["original"])
    log.close()


def test_every_view_of_the_grid_is_one_of_plots():
    assert all(issubclass(cls, PlotView) for cls in registry if cls.place == GRID)
