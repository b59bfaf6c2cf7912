"""A against B in the window: attached, switched, swiped, sorted by the change, put away; with mouse and keys."""

from __future__ import annotations

import numpy as np
import pytest
from driving import drag, hover, numbers, pixel_of
from PySide6.QtCore import QPoint, QPointF, QSize, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QTreeWidget
from safetensors.numpy import save_file

from qinspect import figures as fmt
from qinspect.analysis import scale_map
from qinspect.errors import QInspectError
from qinspect.formats.open import open_checkpoint
from qinspect.gui import app as gui_app
from qinspect.gui import layer_rows as columns
from qinspect.gui.comparing import Side
from qinspect.gui.linked import Spot
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.packed_safetensors import PackedSafetensors

RNG = np.random.default_rng(3)
WEIGHTS = {f"{name}.weight": RNG.normal(size=(64, 96)).astype(np.float32) for name in "ab"}
WEIGHTS["b.weight"][5] *= 40
INT4, BASE11 = (
    make_scheme("symmetric", bits=4, granularity="group", group_size=32),
    make_scheme("base11", group_size=96),
)


@pytest.fixture
def model(tmp_path):
    save_file(WEIGHTS, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.fixture
def opened(window, settle, model):
    """The window with the first layer under base-11."""
    window.open(model, layer="a.weight")
    settle(window)
    window.controller.choose(BASE11)
    settle(window)
    return window


@pytest.fixture
def pinned(opened, settle, qtbot):
    """Base-11 pinned as B by its key, then int4 chosen."""
    qtbot.keyClick(opened, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    opened.controller.choose(INT4)
    settle(opened)
    return opened


@pytest.fixture
def packed(model, tmp_path):
    """The same weights as int4."""
    path = tmp_path / "packed.safetensors"
    with open_checkpoint(model) as checkpoint:
        target = PackedSafetensors()
        target.write(checkpoint, target.plan(checkpoint, Recipe.of(INT4)), path)
    return path


def view(window, name):
    return next(frame.view for frame in window.frames if frame.view.name == name)


def frame(window, name):
    return next(frame for frame in window.frames if frame.view.name == name)


def show(window, settle, qtbot, key):
    qtbot.keyClick(window, key)
    settle(window)


def decoded(scheme, name="a.weight"):
    return scheme.dequantize(scheme.quantize(WEIGHTS[name]))


def test_the_choice_is_kept_as_b_by_one_key_and_undo_knows_nothing_of_it(pinned):
    window = pinned
    assert window.compare_bar.isVisible()
    assert window.compare_bar.names.text() == f"A  {INT4.label}    B  {BASE11.label}"
    a, b, change = (label.text() for label in window.figures.values["sqnr_db"])
    mine, theirs = INT4.measure(WEIGHTS["a.weight"]).sqnr_db, BASE11.measure(WEIGHTS["a.weight"]).sqnr_db
    assert [numbers(text)[0] for text in (a, b, change)] == pytest.approx([mine, theirs, mine - theirs], abs=0.051)
    assert window.controller.history.stack.count() == 2  # the two choices


def test_a_b_and_the_difference_are_shown_by_keys(pinned, settle, qtbot):
    window, error = pinned, view(pinned, "error")
    error.map.fit()
    for key, expected in (
        (Qt.Key.Key_F2, decoded(INT4) - WEIGHTS["a.weight"]),
        (Qt.Key.Key_F3, decoded(BASE11) - WEIGHTS["a.weight"]),
        (Qt.Key.Key_F4, decoded(INT4) - decoded(BASE11)),
    ):
        show(window, settle, qtbot, key)
        largest = expected.flat[np.abs(expected).argmax()]
        shown = error.map.crop.values
        assert shown.flat[np.abs(shown).argmax()] == pytest.approx(largest)
    assert window.compare_bar.buttons[Side.DIFFERENCE].isChecked()


def test_another_quantity_is_subtracted_when_it_is_asked_for(pinned, settle, qtbot):
    window, error = pinned, view(pinned, "error")
    error._choice.setCurrentText("|error|")
    show(window, settle, qtbot, Qt.Key.Key_F4)
    mine, theirs = (np.abs(decoded(scheme) - WEIGHTS["a.weight"]) for scheme in (INT4, BASE11))
    np.testing.assert_allclose(error.map.crop.values, mine - theirs, atol=1e-6)
    window.controller.choose(make_scheme("base11", group_size=32))
    settle(window)
    error._choice.setCurrentText("signed error")
    settle(window)
    expected = decoded(make_scheme("base11", group_size=32)) - decoded(BASE11)
    np.testing.assert_allclose(error.map.crop.values, expected, atol=1e-6)


def one_colour_means_one_value_on_both_sides(pinned, settle, qtbot):
    error = view(pinned, "error")
    show(pinned, settle, qtbot, Qt.Key.Key_F2)
    spread = error.map.spread
    show(pinned, settle, qtbot, Qt.Key.Key_F3)
    assert error.map.spread == spread


def the_cursor_tells_both_sides_of_a_weight(pinned, settle, qtbot):
    error = view(pinned, "error")
    show(pinned, settle, qtbot, Qt.Key.Key_F4)
    hover(error.map, pixel_of(error.map, 40, 20))
    row, col, a, b, gap = numbers(error.readout.text().replace("A − B", ""))
    assert (row, col) == (20, 40)
    mine, theirs = decoded(INT4)[20, 40], decoded(BASE11)[20, 40]
    assert [a, b, gap] == pytest.approx([mine, theirs, mine - theirs], rel=0.01, abs=1e-4)


def test_the_line_is_dragged_in_one_view_and_moves_in_all(pinned, settle, qtbot):
    window, error = pinned, view(pinned, "error")
    qtbot.mouseClick(window.compare_bar.buttons[Side.SWIPE], Qt.MouseButton.LeftButton)
    settle(window)
    area, before = error.map.area, error.map.box.viewRange()
    middle = QPointF(error.map.split_pixel, area.center().y())
    assert middle.x() == pytest.approx(area.center().x())
    drag(error.map, middle, QPointF(area.left() + 0.25 * area.width(), middle.y()))
    assert window.controller.comparing.split == pytest.approx(0.25, abs=0.01)
    assert error.map.box.viewRange() == before  # the line, not the picture
    error.map.setFocus()
    qtbot.keyClick(error.map, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert window.controller.comparing.split == pytest.approx(0.30, abs=0.01)


def test_nothing_is_left_of_b_once_it_is_put_away(pinned, settle, qtbot):
    window = pinned
    show(window, settle, qtbot, Qt.Key.Key_F4)
    qtbot.mouseClick(window.compare_bar.detach, Qt.MouseButton.LeftButton)
    settle(window)
    assert not window.compare_bar.isVisible()
    assert not window.figures.isVisible()
    assert view(window, "error").map.quantity == "signed error"
    qtbot.keyClick(window, Qt.Key.Key_F3)
    assert window.controller.comparing.side == Side.A


def test_a_file_is_compared_with_until_another_is_opened(opened, settle, packed):
    window, path = opened, packed
    window.controller.comparing.open(path)
    settle(window)
    figure = numbers(window.figures.values["sqnr_db"][1].text())[0]
    assert figure == pytest.approx(INT4.measure(WEIGHTS["a.weight"]).sqnr_db, abs=0.051)
    window.controller.open(path)  # another file is compared with nothing
    settle(window)
    assert window.controller.comparing.other is None


def test_another_shape_is_told_in_the_view_and_in_the_list(opened, settle, qtbot, tmp_path):
    window, path = opened, tmp_path / "other.safetensors"
    save_file(
        {"a.weight": WEIGHTS["a.weight"][:32], "b.weight": WEIGHTS["b.weight"], "c": np.ones(3, np.float32)}, path
    )
    window.controller.comparing.open(path)
    settle(window)
    show(window, settle, qtbot, Qt.Key.Key_F3)
    said = view(window, "error").message.text()
    for part in (str(path), "'a.weight'", "32 × 96", "64 × 96"):
        assert part in said
    assert window.compare_bar.unmatched.text() == "2 unmatched"
    qtbot.mouseClick(window.compare_bar.unmatched, Qt.MouseButton.LeftButton)
    listed = window.findChild(QTreeWidget)
    rows = [[listed.topLevelItem(at).text(column) for column in range(3)] for at in range(2)]
    assert [row[:2] for row in rows] == [["A", "a.weight"], ["B", "c"]]
    assert "32 × 96" in rows[0][2]
    window.table.select("b.weight")
    settle(window)
    assert view(window, "error").map.quantity == "signed error"


def test_a_file_of_another_network_is_refused_in_one_sentence(opened, settle, tmp_path):
    save_file({"conv": np.ones((3, 3), np.float32)}, tmp_path / "other.safetensors")
    opened.controller.comparing.open(tmp_path / "other.safetensors")
    settle(opened)
    assert "choose a file of the same network" in opened.status.message.text()
    assert not opened.compare_bar.isVisible()


def test_the_table_has_both_columns_and_is_sorted_by_the_change(pinned, settle, qtbot):
    window, table = pinned, pinned.table
    assert not table.view.isColumnHidden(columns.D_SQNR)
    changes = {}
    for name in ("a.weight", "b.weight"):
        mine, theirs = (scheme.measure(WEIGHTS[name]) for scheme in (INT4, BASE11))
        changes[name] = mine.sqnr_db - theirs.sqnr_db
        assert table.text(name, columns.B_SQNR) == fmt.decibels(theirs.sqnr_db)
        assert numbers(table.text(name, columns.D_SQNR))[0] == pytest.approx(changes[name], abs=0.051)
        assert table.model.rows.value(name, columns.D_SIZE) == mine.nbytes - theirs.nbytes
    weights = np.concatenate([WEIGHTS[f"{name}.weight"] for name in "ab"]).astype(np.float64)
    restored = [BASE11.dequantize(BASE11.quantize(WEIGHTS[f"{name}.weight"])) for name in "ab"]
    noise = ((np.concatenate(restored) - weights) ** 2).sum()
    assert fmt.decibels(10 * np.log10((weights**2).sum() / noise)) in window.status.other.text()
    header = table.view.horizontalHeader()
    x = header.sectionViewportPosition(columns.D_SQNR) + 10
    for expected in (sorted(changes, key=changes.get), sorted(changes, key=changes.get, reverse=True)):
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(x, header.height() // 2))
        assert table.names()[:2] == expected
    assert table.csv().splitlines()[0].endswith("change_sqnr_db,b_sqnr_db,change_nbytes,b_nbytes")
    qtbot.keyClick(window, Qt.Key.Key_X, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    settle(window)
    assert table.view.isColumnHidden(columns.D_SQNR) and not window.status.other.isVisible()
    assert header.sortIndicatorSection() == columns.SQNR


def scales_are_subtracted_on_the_finer_grid(pinned, settle, qtbot):
    scales = view(pinned, "scales")
    show(pinned, settle, qtbot, Qt.Key.Key_F4)
    a, b = (scale_map(scheme.quantize(WEIGHTS["a.weight"])).values["scale"] for scheme in (INT4, BASE11))
    b = b / 10  # base-11's scale is the range of its eleven levels, the other's is the step
    assert frame(pinned, "scales").sentence.text().startswith("Step (scales differ in kind), A − B: ")
    assert (a.shape, b.shape) == ((64, 3), (64, 1))  # groups of 32 against those of 96
    np.testing.assert_allclose(scales.map.crop.values, a - b, rtol=1e-6)
    hover(scales.map, pixel_of(scales.map, 2, 7))
    _, _, mine, theirs, gap = numbers(scales.readout.text().replace("A − B", ""))
    assert [mine, theirs, gap] == pytest.approx([a[7, 2], b[7, 0], a[7, 2] - b[7, 0]], rel=1e-3)


def histograms_lie_over_each_other_or_are_subtracted(pinned, settle, qtbot):
    histogram = view(pinned, "histogram")
    show(pinned, settle, qtbot, Qt.Key.Key_F7)
    assert [entry[0] for entry in histogram.plot.legend] == ["original", "A", "B"]
    sums = {name: int(counts.sum()) for name, counts in histogram._whole.counts.items()}
    assert sums == {"original": 64 * 96, "decoded": 64 * 96, "b": 64 * 96}
    show(pinned, settle, qtbot, Qt.Key.Key_F4)
    edges = histogram._whole.edges
    mine, theirs = (np.histogram(decoded(scheme), edges)[0] for scheme in (INT4, BASE11))
    difference = histogram._whole.counts["decoded"]
    assert difference.sum() == 0
    assert np.abs(difference - (mine - theirs)).sum() <= 4  # a value on an edge may fall to either side


def codes_of_both_are_counted(pinned, settle, qtbot):
    occupancy = view(pinned, "occupancy")
    show(pinned, settle, qtbot, Qt.Key.Key_F7)
    assert [entry[0] for entry in occupancy.plot.legend][:2] == ["A", "B"]
    hover(occupancy.plot, pixel_of(occupancy.plot, 5, 1))
    _, mine, theirs = numbers(occupancy.readout.text())
    counts = [scheme.measure(WEIGHTS["a.weight"]).counts for scheme in (INT4, BASE11)]
    shares = 100 * counts[0][5 + 8] / 6144, 100 * counts[1][5] / 6144  # int4 begins at −8
    assert (mine, theirs) == pytest.approx(shares, rel=0.01)


def the_chart_of_layers_has_a_ring_for_b(pinned, settle, qtbot):
    window = pinned
    frame = window.centre.bring_up("layers")
    settle(window)
    frame.view._draw()
    points = {point.pos().x(): point.pos().y() for point in frame.view._others.points()}
    assert points == pytest.approx(
        {at: BASE11.measure(WEIGHTS[name]).sqnr_db for at, name in enumerate(sorted(WEIGHTS))}
    )


def a_group_shows_what_both_make_of_its_weights(pinned, settle, qtbot):
    window, group = pinned, view(pinned, "group")
    window.controller.linked.select(Spot(3, (32, 64)))
    window.controller.linked.open("group")
    show(window, settle, qtbot, Qt.Key.Key_F4)
    assert [entry[0] for entry in group.plot.legend][-1] == "B"
    weights = group.tables()[0]
    by_name = {column.key: at for at, column in enumerate(weights.columns)}
    theirs = [row[by_name["b"]] for row in weights.rows]
    np.testing.assert_allclose(theirs, decoded(BASE11)[3, 32:64], rtol=1e-6)


def test_the_next_start_compares_with_the_same(pinned, settings, settle, qapp):
    kept = pinned.controller.comparing.kept()
    assert Recipe.from_json(kept["recipe"]) == Recipe.of(BASE11)
    path = pinned.controller.session.checkpoint.path
    pinned.controller.comparing.detach()
    pinned.controller.comparing.restore(kept)
    pinned.open(path, layer="b.weight")
    settle(pinned)
    assert pinned.compare_bar.isVisible()
    assert pinned.table.text("b.weight", columns.B_SQNR) == fmt.decibels(BASE11.measure(WEIGHTS["b.weight"]).sqnr_db)


def nothing_runs_over_in_the_smallest_window(pinned, settle, qtbot):
    pinned.resize(900, 600)
    settle(pinned)
    bar = pinned.compare_bar
    assert bar.minimumSizeHint().width() <= bar.width()
    assert bar.detach.geometry().right() <= bar.width()
    assert bar.names.width() > 0


def test_a_packed_file_beside_its_originals(window, settle, qtbot, packed, model):
    window.open(packed, layer="a.weight")
    settle(window)
    window.controller.comparing.open(model)
    settle(window)
    error, weights = view(window, "error"), WEIGHTS["a.weight"]
    for key, expected in ((Qt.Key.Key_F3, weights), (Qt.Key.Key_F4, decoded(INT4) - weights)):
        show(window, settle, qtbot, key)
        error.map.fit()
        largest = expected.flat[np.abs(expected).argmax()]
        shown = error.map.crop.values
        assert shown.flat[np.abs(shown).argmax()] == pytest.approx(largest)
    show(window, settle, qtbot, Qt.Key.Key_F3)
    assert "no codes" in view(window, "occupancy").message.text()
    assert list(view(window, "histogram")._whole.counts) == ["original"]
    show(window, settle, qtbot, Qt.Key.Key_F7)
    assert error.map.split_pixel is not None
    assert window.figures.values["bpw"][1].text() == "32.00"
    assert window.table.model.rows.value("a.weight", columns.B_SIZE) == weights.nbytes
    assert window.table.text("a.weight", columns.SQNR) == fmt.decibels(INT4.measure(weights).sqnr_db)


def test_a_picture_of_a_comparison(qapp, model, packed, tmp_path):
    out, seen = tmp_path / "difference.png", []

    def look(window):
        seen.append((view(window, "error").map.quantity, window.figures.isVisible()))

    gui_app.screenshot(str(model), out, size=(900, 600), compare=str(packed), side="difference", arrange=look)
    assert QImage(str(out)).size() == QSize(900, 600)
    assert seen == [("A − B, decoded", True)]
    with pytest.raises(QInspectError, match="nowhere"):
        gui_app.screenshot(str(model), out, compare=str(tmp_path / "nowhere.safetensors"))


def test_odd_layers_are_compared_or_say_why_not(window, settle, qtbot, tmp_path):
    odd = {
        "constant": np.full((8, 32), 0.5, np.float32), "one row": np.linspace(-1, 1, 96, dtype=np.float32)[None],
        "vector": np.linspace(-1, 1, 50, dtype=np.float32), "empty": np.zeros((0, 32), np.float32),
        "nan": np.full((4, 32), np.nan, np.float32), "conv": RNG.normal(size=(6, 4, 3, 3)).astype(np.float32),
    }  # fmt: skip
    save_file(odd, tmp_path / "odd.safetensors")
    window.open(tmp_path / "odd.safetensors", layer="constant")
    settle(window)
    window.controller.choose(make_scheme("symmetric", bits=4, granularity="tensor"))
    window.controller.comparing.pin()
    window.controller.choose(BASE11)
    for name in odd:
        window.controller.select(name)
        for side in (Side.B, Side.DIFFERENCE, Side.SWIPE):
            window.controller.comparing.show(side)
            settle(window)
            error = view(window, "error")
            drawn = error.inspection is not None
            assert drawn == (name not in ("nan", "empty")), (name, side, error.message.text())
            assert drawn or error.message.text()
    assert window.figures.values["sqnr_db"][0].text() == fmt.decibels(BASE11.measure(odd["conv"]).sqnr_db)
    window.controller.select("nan")
    settle(window)
    assert window.figures.values["sqnr_db"][0].text() == fmt.NONE


def test_every_view_draws_both(pinned, settle, qtbot):
    """In one window, as opening one takes longer than all this."""
    for story in STORIES:
        story(pinned, settle, qtbot)
        assert pinned.controller.comparing.other is not None, story.__name__


STORIES = (
    one_colour_means_one_value_on_both_sides,
    the_cursor_tells_both_sides_of_a_weight,
    scales_are_subtracted_on_the_finer_grid,
    histograms_lie_over_each_other_or_are_subtracted,
    codes_of_both_are_counted,
    a_group_shows_what_both_make_of_its_weights,
    the_chart_of_layers_has_a_ring_for_b,
    nothing_runs_over_in_the_smallest_window,
)
