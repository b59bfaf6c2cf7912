"""The sweep's tab: points of one layer, some or all, read and taken with mouse and keys."""

import math

import numpy as np
import pytest
from driving import hover
from planning_tabs import BASE11, LAYERS, choose_grid, click, frame_of, go_to, place_of, write_model
from PySide6.QtCore import Qt

from qinspect.gui import theme as themes
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe


@pytest.fixture
def view(window, qtbot, settle):
    """With base-11 and integers of four bits in groups of 32, 64 and 126, of rows of 100."""
    view = frame_of(window, "sweep").view
    choose_grid(view, qtbot, ["base11", "symmetric"], "32, 64, 126", "4")
    go_to(window, "sweep")
    settle(window)
    return view


def labels(view):
    return sorted(point.scheme.label for point in view.plot.points)


def number_of(view, label):
    return next(at for at, point in enumerate(view.plot.points) if point.scheme.label == label)


def choose(box, qtbot, text):
    """From a choice in the header, by its keys."""
    box.setFocus()
    qtbot.keyClicks(box, text)
    box.activated.emit(box.currentIndex())
    assert box.currentText() == text


def sqnr_db(scheme, *weights):
    pairs = [(w.astype(np.float64), scheme.dequantize(scheme.quantize(w))) for w in weights]
    return 10 * math.log10(sum((w**2).sum() for w, _ in pairs) / sum(((x - w) ** 2).sum() for w, x in pairs))


def test_every_scheme_size_and_width_is_a_point(view, tensors):
    assert labels(view) == [
        "base11 g126", "base11 g32", "base11 g64",
        "symmetric 4-bit g126 float16", "symmetric 4-bit g32 float16", "symmetric 4-bit g64 float16",
    ]  # fmt: skip
    for (x, y), point in zip(view.plot._xy, view.plot.points, strict=True):
        assert x == 8 * point.scheme.nbytes((20, 100)) / 2000
        assert y == pytest.approx(sqnr_db(point.scheme, tensors["head.weight"]), abs=1e-3)
        assert point.part == 1


def test_the_present_choice_is_marked_and_judged(view, window, tensors):
    (x, y) = view.plot._picture.now
    assert (x, y) == pytest.approx((BASE11.bpw((20, 100)), sqnr_db(BASE11, tensors["head.weight"])), abs=1e-3)
    frame = window.tabs.currentWidget()
    # One group a row and one of 126 are the same; integers take less room and lose less.
    best = max((p for p in view.plot.points if p.bpw <= x), key=lambda p: p.sqnr_db)
    gain = best.sqnr_db - y
    assert frame.sentence.text().startswith(f"{best.scheme.label} is {gain:.1f} dB better than the present choice")
    assert "6 points" in frame.sentence.text()


def test_a_point_is_read_and_taken_with_the_mouse(view, window, settle, tensors):
    number = number_of(view, "base11 g64")
    hover(view.plot, place_of(view.plot, number))
    said = view.readout.text()
    assert said.startswith("base11 g64:")
    assert f"{2 * (8 * 32 + 32) / 100:.3f} bits a weight" in said
    assert "do not divide rows of 100: the last holds 36" in said
    assert "A click gives it to this layer" in said
    click(view.plot, place_of(view.plot, number))
    settle(window)
    recipe = window.controller.recipe
    infos = {info.name: info for info in window.controller.session.infos}
    assert recipe.scheme_for(infos["head.weight"]) == make_scheme("base11", group_size=64)
    assert recipe.scheme_for(infos["h.0.mlp.weight"]) == BASE11
    assert view.plot._picture.now == pytest.approx(tuple(view.plot._xy[number]))
    window.controller.history.stack.undo()
    assert window.controller.recipe == Recipe.of(BASE11)


def test_beside_the_points_nothing_is_taken(view, window):
    far = place_of(view.plot, 0)
    far.setY(view.plot.area.top() + 3)
    far.setX(view.plot.area.left() + 3)
    click(view.plot, far)
    assert window.controller.recipe == Recipe.of(BASE11)
    assert view.readout.text().startswith("Point at a mark")


def test_keys_step_along_the_front_and_take(view, window, qtbot, settle):
    front = sorted((p for p in view.plot.points if p.pareto), key=lambda p: p.nbytes)
    view.setFocus()
    plot = window.focusWidget()
    seen = []
    for _ in range(len(front)):
        qtbot.keyClick(plot, Qt.Key.Key_PageDown)
        seen.append(view.plot.points[view.plot.at])
    assert seen[-1] == front[0]
    qtbot.keyClick(plot, Qt.Key.Key_PageUp)
    assert view.plot.points[view.plot.at] == front[1]
    qtbot.keyClick(plot, Qt.Key.Key_Return)
    settle(window)
    assert window.controller.scheme == front[1].scheme


def test_padding_is_drawn_as_long_as_it_costs(view):
    number = number_of(view, "base11 g64")
    bits = 2 * (8 * 32 + 32) / 100 - 32 / 9 - 32 / 64
    assert view.plot._picture.padding[number] == pytest.approx(bits)
    x, _ = view.plot._padding.getData()
    assert {round(float(right - left), 6) for left, right in zip(x[::2], x[1::2], strict=True)} >= {round(bits, 6)}


def test_limits_are_drawn_where_they_belong(view, tensors):
    bits, bound = view.plot._bound.getData()
    assert bound[1] == pytest.approx(20 * math.log10(2) * bits[1])
    x, y = view.plot._gaussian.getData()
    # The best four and eleven levels of a Gaussian, as published.
    assert float(np.interp(2, x, y)) == pytest.approx(9.30, abs=0.01)
    assert float(np.interp(math.log2(11), x, y)) == pytest.approx(17.16, abs=0.01)
    x, y = view.plot._own.getData()
    assert float(np.interp(4, x, y)) == pytest.approx(20.22, abs=0.5)  # these weights are Gaussian


def test_the_largest_error_in_place_of_sqnr(view, window, qtbot):
    choose(view.quality, qtbot, "largest error")
    assert view.plot.left.name == "largest error"
    for (_, y), point in zip(view.plot._xy, view.plot.points, strict=True):
        assert 10**y == pytest.approx(point.max_error)
    least = math.inf
    for point in sorted((p for p in view.plot.points if p.pareto), key=lambda p: p.nbytes):
        assert point.max_error < least
        least = point.max_error


def test_all_layers_together(view, window, qtbot, settle, tensors):
    choose(view.scope, qtbot, "all layers")
    settle(window)
    assert len(view.plot.points) == 6
    point = view.plot.points[number_of(view, "base11 g64")]
    assert point.sqnr_db == pytest.approx(sqnr_db(point.scheme, *(tensors[name] for name in LAYERS)), abs=1e-3)
    assert point.nbytes == sum(point.scheme.nbytes(tensors[name].shape) for name in LAYERS)
    click(view.plot, place_of(view.plot, number_of(view, "symmetric 4-bit g32 float16")))
    settle(window)
    scheme = make_scheme("symmetric", bits=4, granularity="group", group_size=32, param_dtype="float16")
    assert window.controller.recipe == Recipe.of(scheme)


def test_the_selected_layers(view, window, qtbot, settle):
    choose(view.scope, qtbot, "the selected layers")
    window.controller.set_selection(["h.0.q_proj.weight", "h.0.k_proj.weight"])
    settle(window)
    assert len(view.plot.points) == 6
    click(view.plot, place_of(view.plot, number_of(view, "base11 g32")))
    infos = window.controller.session.infos
    taken = {info.name for info in infos if window.controller.recipe.scheme_for(info) not in (BASE11, None)}
    assert taken == {"h.0.q_proj.weight", "h.0.k_proj.weight"}
    window.controller.set_selection([])
    assert "Select layers in the table" in view.message.text()
    assert view.message.isVisible()


def test_another_layer_is_swept_when_it_is_selected(view, window, settle, tensors):
    window.controller.select("h.1.mlp.weight")
    settle(window)
    point = view.plot.points[number_of(view, "base11 g32")]
    assert point.layer != "head.weight"
    assert point.sqnr_db == pytest.approx(sqnr_db(point.scheme, tensors["h.1.mlp.weight"]), abs=1e-3)
    # What was measured before is there at once.
    window.controller.select("head.weight")
    assert len(view.plot.points) == 6


def test_other_choices_make_other_points(view, window, qtbot, settle):
    choose_grid(view, qtbot, ["base_n", "normal_float"], "64", "3, N=11")
    settle(window)
    assert len(view.plot.points) == 2
    assert all("N=11" in label and "g64" in label for label in labels(view))
    choose_grid(view, qtbot, ["symmetric"], "64", "2, 3")
    choose(view.bar.calibration, qtbot, "mse")
    settle(window)
    assert labels(view) == ["symmetric 2-bit g64 float16 mse", "symmetric 3-bit g64 float16 mse"]


@pytest.mark.parametrize(
    ("schemes", "sizes", "bits", "said"),
    [
        ([], "64", "4", "Choose at least one scheme."),
        (["base11"], "64, many", "4", "not 'many'"),
        (["base11"], "0", "4", "Group_size must be 1"),
        (["symmetric"], "64", "40", "Bits must be one of"),
    ],
)
def test_choices_that_make_nothing_say_why(view, window, qtbot, settle, schemes, sizes, bits, said):
    choose_grid(view, qtbot, schemes, sizes, bits)
    settle(window)
    assert said in view.message.text()
    assert view.message.isVisible()
    choose_grid(view, qtbot, ["base11"], "64", "4")
    settle(window)
    assert labels(view) == ["base11 g64"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [("empty.weight", "no weights"), ("steps", "not floating"), ("bad.weight", "64 NaN"), (None, "Select a layer")],
)
def test_layers_that_cannot_be_swept_say_why(window, settle, tmp_path, layer, said):
    write_model(tmp_path / "bad.safetensors", bad=True)
    window.open(tmp_path / "bad.safetensors", layer=layer)
    settle(window)
    if layer is None:
        window.controller.select(None)
    view = go_to(window, "sweep")
    settle(window)
    assert said in view.message.text()
    assert view.message.isVisible()
    assert window.tabs.currentWidget().sentence.text() == ""


@pytest.mark.parametrize("layer", ["norm.weight", "h.0.k_proj.weight"])
def test_vectors_and_small_layers_are_swept(view, window, settle, layer):
    window.controller.select(layer)
    settle(window)
    assert len(view.plot.points) >= 4
    assert all(np.isfinite(view.plot._xy).reshape(-1))


def test_it_paints_in_both_themes(view, window):
    for theme in themes.THEMES.values():
        window.set_theme(theme)
        image = view.plot.grab().toImage()
        colours = {
            image.pixelColor(x, y).name() for x in range(0, image.width(), 2) for y in range(0, image.height(), 2)
        }
        assert len(colours) > 20


def test_the_values_behind_the_picture(view):
    (table,) = view.tables()
    assert sorted(table.column("scheme")) == labels(view)
    assert table.column("nbytes") == tuple(sorted(table.column("nbytes")))
    assert view.subject() == "head.weight"
