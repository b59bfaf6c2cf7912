"""The budget's tab: a limit dragged with mouse and keys, layers locked and tied, and the recipe that it makes."""

import math

import numpy as np
import pytest
from driving import pixel_of, send
from planning_tabs import BASE11, LAYERS, choose_grid, colours, frame_of, go_to, write_model
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtWidgets import QLineEdit
from safetensors.numpy import save_file

from qinspect.gui import theme as themes
from qinspect.gui.allocation_model import BPW, LAYER, SCHEME, SIZE, SQNR, TIE, WEIGHT
from qinspect.planning.budget import Budget, Limit
from qinspect.quant.sweep import SweepGrid, sweep
from qinspect.recipe import Recipe
from qinspect.targets.target import registry

SIZES, BITS = [32, 64], [3, 4, 8]


@pytest.fixture
def view(window, qtbot, settle):
    view = frame_of(window, "budget").view
    choose_grid(view, qtbot, ["base11", "symmetric"], "32, 64", "3, 4, 8")
    go_to(window, "budget")
    settle(window)
    return view


def budget_of(tensors, **more):
    """The same by hand: points from the core, what is left alone as it is stored."""
    grid = SweepGrid.of(["base11", "symmetric"], {"group_size": SIZES, "bits": BITS})
    points = {name: list(sweep(name, tensors[name], grid.schemes_for(tensors[name].shape))) for name in LAYERS}
    rest = 4 * 128 + 8  # the vector, and one 64-bit counter
    return Budget(points, rest=rest, **more)


@pytest.fixture
def budget(tensors):
    return budget_of(tensors, weights=energies(tensors))


def energies(tensors):
    """What squared errors count where they are relative to the energy of their layer."""
    return {name: 1 / float((tensors[name].astype(np.float64) ** 2).sum()) for name in LAYERS}


def plan_of(view):
    return {name: point.scheme for name, point in view.allocation.points.items()}


def cell(view, layer, column):
    row = [info.name for info in view.model.infos].index(layer)
    return view.model.index(row, column)


def place(view, layer, column):
    return view.table.visualRect(cell(view, layer, column)).center()


def click_check(view, qtbot, layer):
    rect = view.table.visualRect(cell(view, layer, LAYER))
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(rect.left() + 12, rect.center().y()))


def said(window):
    return window.tabs.currentWidget().sentence.text()


def whole(window):
    """Bytes of all tensors under the recipe."""
    return window.controller.session.total(window.controller.recipe).nbytes


def test_it_begins_where_the_recipe_is(view, window, budget):
    assert view.limit.limit == Limit("bytes", whole(window))
    expected = budget.plan(Limit("bytes", whole(window)))
    assert plan_of(view) == {name: point.scheme for name, point in expected.points.items()}
    assert view.allocation.nbytes == expected.nbytes <= whole(window)
    (x, y) = view.plot._now.data[0]["x"], view.plot._now.data[0]["y"]
    total = window.controller.session.total(window.controller.recipe)
    reports = window.controller.session.reports
    parts = [10 ** (-reports[name, BASE11].metrics.sqnr_db / 10) for name in LAYERS]
    alike = -10 * math.log10(sum(parts) / len(parts))
    assert (x, y) == pytest.approx((total.nbytes, alike))
    gain = expected.weighted_sqnr_db - alike
    assert (
        f"At the recipe's own size {gain:.1f} dB more than now are possible"
        in window.tabs.currentWidget().sentence.text()
    )


def test_every_layer_says_what_it_takes(view, budget, window):
    expected = budget.plan(view.limit.limit)
    for name in LAYERS:
        point = expected.points[name]
        assert cell(view, name, SCHEME).data() == point.scheme.label
        assert cell(view, name, BPW).data() == f"{point.bpw:.2f}"
        assert cell(view, name, WEIGHT).data() == "1"


@pytest.mark.parametrize("steps", [-200, 150, 100_000])
def test_the_slider_is_moved_by_keys(view, qtbot, budget, steps):
    view.setFocus()
    slider = view.limit.slider
    start = slider.value()
    for _ in range(3):
        slider.setValue(slider.value() + steps // 3)
    low, high = (float(n) for n in budget.front.nbytes[[0, -1]])
    assert slider.value() == min(max(start + 3 * (steps // 3), 0), 1000)
    assert view.limit.limit.value == pytest.approx(low + (high - low) * slider.value() / 1000)
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    expected = budget.plan(view.limit.limit)
    assert view.allocation.nbytes == expected.nbytes
    assert view.allocation.sqnr_db == pytest.approx(expected.sqnr_db)


def test_the_line_is_dragged_in_the_plot(view, budget):
    line = view.plot.limits[90]
    (_, _), (y0, y1) = view.plot.box.viewRange()
    start = pixel_of(view.plot, line.value(), (y0 + y1) / 2)
    wanted = float(budget.front.nbytes[len(budget.front.nbytes) // 2])
    stop = pixel_of(view.plot, wanted, (y0 + y1) / 2)
    left = Qt.MouseButton.LeftButton
    send(view.plot, QEvent.Type.MouseMove, start)
    send(view.plot, QEvent.Type.MouseButtonPress, start, left, left)
    for part in (0.3, 0.6, 1.0):
        send(view.plot, QEvent.Type.MouseMove, QPointF(start) + part * QPointF(stop - start), buttons=left)
    send(view.plot, QEvent.Type.MouseButtonRelease, stop, left)
    step = (view.plot.box.viewRange()[0][1] - view.plot.box.viewRange()[0][0]) / view.plot.area.width()
    assert view.limit.limit.value == pytest.approx(wanted, abs=2 * step)
    assert view.allocation.nbytes <= view.limit.limit.value


@pytest.mark.parametrize("kind", ["bpw", "sqnr"])
def test_other_limits(view, qtbot, budget, kind, settle, window):
    before = view.allocation
    view.limit.kind.setFocus()
    qtbot.keyClicks(view.limit.kind, {"bpw": "Bits", "sqnr": "SQNR"}[kind])
    view.limit.kind.activated.emit(view.limit.kind.currentIndex())
    assert view.limit.what == kind
    if kind == "bpw":
        assert view.allocation.points == before.points  # it begins where the plan was
    assert view.allocation.weighted_sqnr_db >= before.weighted_sqnr_db - 1e-6
    number = view.limit.number
    number.setFocus()
    number.selectAll()
    qtbot.keyClicks(number, {"bpw": "5.25", "sqnr": "25"}[kind])
    qtbot.keyClick(number, Qt.Key.Key_Return)
    expected = budget.plan(Limit(kind, {"bpw": 5.25, "sqnr": 25.0}[kind]))
    assert plan_of(view) == {name: point.scheme for name, point in expected.points.items()}
    assert view.plot.limits[0].isVisible() == (kind == "sqnr")
    assert view.plot.limits[90].isVisible() == (kind != "sqnr")
    if kind == "bpw":
        assert view.allocation.bpw <= 5.25
    else:
        assert view.allocation.weighted_sqnr_db >= 25 - 1e-6


def test_a_limit_that_cannot_be_kept_says_which_can(view, qtbot, budget):
    number = view.limit.number
    number.setFocus()
    number.selectAll()
    qtbot.keyClicks(number, "1")
    qtbot.keyClick(number, Qt.Key.Key_Return)
    assert view.allocation is None
    assert f"the smallest takes {int(budget.front.nbytes[0]):,} bytes" in view.trouble.text()
    assert view.trouble.isVisible()
    assert not view.take.isEnabled()
    view.limit.slider.setValue(500)
    assert view.allocation is not None
    assert not view.trouble.isVisible()


def test_the_plan_becomes_the_recipe_and_is_taken_back(view, window, settle, qtbot):
    plan, planned = view.allocation, plan_of(view)
    qtbot.mouseClick(view.take, Qt.MouseButton.LeftButton)
    settle(window)
    recipe, session = window.controller.recipe, window.controller.session
    taken = {info.name: recipe.scheme_for(info) for info in session.infos}
    assert {name: taken[name] for name in LAYERS} == planned
    assert {name for name, scheme in taken.items() if scheme is None} == {"norm.weight", "steps", "empty.weight"}
    total = session.total(recipe)
    assert total.nbytes == plan.nbytes
    assert total.sqnr_db == pytest.approx(plan.sqnr_db)
    assert "0 layers differ from the recipe" in said(window)
    qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.controller.recipe == Recipe.of(BASE11)


def test_a_locked_layer_keeps_what_it_takes(view, window, qtbot, settle):
    before = plan_of(view)
    click_check(view, qtbot, "h.1.mlp.weight")
    settle(window)
    assert cell(view, "h.1.mlp.weight", LAYER).data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
    for at in (0, 1000):
        view.limit.slider.setValue(at)
        assert plan_of(view)["h.1.mlp.weight"] == before["h.1.mlp.weight"]
    assert plan_of(view)["h.0.mlp.weight"] != before["h.0.mlp.weight"]
    click_check(view, qtbot, "h.1.mlp.weight")
    settle(window)
    view.limit.slider.setValue(999)
    view.limit.slider.setValue(1000)
    assert plan_of(view)["h.1.mlp.weight"] != before["h.1.mlp.weight"]


def test_fused_layers_are_tied(view, window, settle):
    view.fuse.click()
    settle(window)
    assert cell(view, "h.0.q_proj.weight", TIE).data() == cell(view, "h.0.k_proj.weight", TIE).data() == "1"
    assert cell(view, "h.0.mlp.weight", TIE).data() == ""
    for at in range(0, 1001, 50):
        view.limit.slider.setValue(at)
        plan = plan_of(view)
        for block in (0, 1):
            assert plan[f"h.{block}.q_proj.weight"] == plan[f"h.{block}.k_proj.weight"]


def test_selected_layers_are_tied_by_hand_and_let_go(view, window, qtbot, settle):
    view.tie.click()
    assert "Select the layers" in view.trouble.text()
    for name, keys in (
        ("head.weight", Qt.KeyboardModifier.NoModifier),
        ("h.1.mlp.weight", Qt.KeyboardModifier.ControlModifier),
    ):
        qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, keys, pos=place(view, name, SIZE))
    view.tie.click()
    settle(window)
    assert view.wishes.ties == (("h.1.mlp.weight", "head.weight"),) or view.wishes.ties == (
        ("head.weight", "h.1.mlp.weight"),
    )
    for at in range(0, 1001, 100):
        view.limit.slider.setValue(at)
        assert plan_of(view)["head.weight"] == plan_of(view)["h.1.mlp.weight"]
    view.untie.click()
    settle(window)
    assert view.wishes.ties == ()


def test_what_errors_count_is_edited_in_the_table(view, window, qtbot, settle):
    view.limit.slider.setValue(400)
    before = view.allocation.points["h.0.mlp.weight"].noise
    index = cell(view, "h.0.mlp.weight", WEIGHT)
    at = view.table.visualRect(index).center()
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseDClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    editor = view.table.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "1000000")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    settle(window)
    assert cell(view, "h.0.mlp.weight", WEIGHT).data() == "1e+06"
    assert view.allocation.points["h.0.mlp.weight"].noise < before


def test_errors_as_they_are(view, window, settle, budget, tensors):
    view.absolute.click()
    settle(window)
    absolute, differs = budget_of(tensors), False
    for at in range(100, 1000, 100):
        view.limit.slider.setValue(at)
        expected = absolute.plan(view.limit.limit)
        assert plan_of(view) == {name: point.scheme for name, point in expected.points.items()}
        differs = differs or expected.points != budget.plan(view.limit.limit).points
    assert differs


def test_layers_that_are_left_with_little_are_marked(view, window, settle):
    view.limit.slider.setValue(0)
    poor = [name for name, point in view.allocation.points.items() if point.sqnr_db < 9]
    for name in LAYERS:
        assert (cell(view, name, SQNR).data()[0] == "⚠") == (name in poor)
    assert ("under 9 dB" in said(window)) == bool(poor)


def test_a_row_selects_its_layer_and_back(view, window, qtbot, settle):
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=place(view, "h.0.mlp.weight", SIZE))
    assert window.controller.info.name == "h.0.mlp.weight"
    window.controller.select("head.weight")
    assert view.table.currentIndex().row() == [info.name for info in view.model.infos].index("head.weight")
    settle(window)


def test_a_layer_that_cannot_be_measured_is_left_out(window, settle, qtbot, tmp_path):
    write_model(tmp_path / "bad.safetensors", bad=True)
    window.open(tmp_path / "bad.safetensors")
    settle(window)
    view = go_to(window, "budget")
    choose_grid(view, qtbot, ["base11"], "32, 64", "")
    settle(window)
    assert "bad.weight" not in plan_of(view)
    assert cell(view, "bad.weight", SCHEME).data() == "cannot be measured"
    assert (
        "bad.weight" in view.trouble.text()
        or "1 layer cannot be measured" in window.tabs.currentWidget().sentence.text()
    )


def choose_target(view, name):
    view.target.choose(name)
    view.target.activated.emit(view.target.currentIndex())


def test_the_sizes_of_a_target(view, window, settle, qtbot):
    choose_target(view, "c")
    settle(window)
    session, target = window.controller.session, registry["c"]()
    assert view.plot._now.data[0]["x"] == target.plan(session.checkpoint, window.controller.recipe).budgeted_nbytes
    for at in (150, 500):
        view.limit.slider.setValue(at)
        assert not view.take.isEnabled()  # until it is held against the whole export
        qtbot.waitUntil(view.take.isEnabled)
        view.take.click()
        settle(window)
        exported = target.plan(session.checkpoint, window.controller.recipe)
        assert exported.budgeted_nbytes <= view.limit.limit.value
        rows = {row.name: row.nbytes for row in exported.rows}
        assert {name: rows[name] for name in LAYERS} == {n: p.nbytes for n, p in view.allocation.points.items()}


def test_a_target_that_cannot_be_says_why_and_another_can_be_chosen(view, window, settle):
    choose_target(view, "gguf")
    settle(window)
    assert view.allocation is None
    assert ".gguf" in view.message.text()
    assert view.message.isVisible()
    choose_target(view, "safetensors")
    settle(window)
    assert view.allocation is not None
    assert not view.message.isVisible()


def test_the_export_pane_hands_its_limit_over(view, window, settle, qtbot):
    pane = window.export_pane
    window.tabs.setCurrentIndex(0)
    window._panels.setCurrentWidget(pane)
    pane.target.setCurrentIndex(pane.target.findData("c"))
    pane.target.activated.emit(pane.target.currentIndex())
    pane.plan()
    settle(window)
    assert not pane.fit.isVisible()
    pane.budget.flash.setText("16 kB")
    assert pane.fit.isVisible()
    pane.fit.click()
    settle(window)
    qtbot.waitUntil(view.take.isEnabled)
    assert view.isVisible()
    assert view.limit.limit == Limit("bytes", 16000)
    view.take.click()
    settle(window)
    plan = registry["c"]().plan(window.controller.session.checkpoint, window.controller.recipe)
    assert plan.budgeted_nbytes <= 16000


def test_nothing_to_plan(window, settle, tmp_path):
    save_file({"norm": np.ones(8, np.float32)}, tmp_path / "norm.safetensors")
    window.open(tmp_path / "norm.safetensors")
    settle(window)
    view = go_to(window, "budget")
    settle(window)
    assert "nothing to plan" in view.message.text()
    assert view.message.isVisible()


def test_another_file_begins_anew(view, window, settle, qtbot, tmp_path):
    click_check(view, qtbot, "head.weight")
    settle(window)
    write_model(tmp_path / "other.safetensors")
    window.open(tmp_path / "other.safetensors")
    settle(window)
    assert view.wishes.kept == {}
    assert view.allocation is not None


def test_the_values_behind_the_picture_and_both_themes(view, window):
    (table,) = view.tables()
    assert dict(zip(table.column("layer"), table.column("nbytes"), strict=True)) == {
        name: point.nbytes for name, point in view.allocation.points.items()
    }
    for theme in themes.THEMES.values():
        window.set_theme(theme)
        assert len(colours(view)) > 20
    assert not math.isnan(view.allocation.sqnr_db)
