"""Sweeps in the background: estimates first, exact figures after; they give way, stop, and go on."""

import pytest
from planning_tabs import choose_grid, frame_of, go_to, write_model

from qinspect.quant.sweep import SweepGrid


@pytest.fixture
def tensors(tmp_path):
    return write_model(tmp_path / "net.safetensors", big=True)


@pytest.fixture
def window(window, settle, tensors, tmp_path):
    window.open(tmp_path / "net.safetensors", layer="big.weight")
    settle(window)
    return window


GRID = SweepGrid.of(["base11"], {"group_size": [32, 64, 128]})


def info_of(window, name):
    return window.controller.session.checkpoint.info(name)


def test_large_layers_are_estimated_first(window, settle, qtbot, tensors):
    sweeps, info = window.controller.sweeps, info_of(window, "big.weight")
    schemes, parts = GRID.schemes_for(info.shape), []
    sweeps.grown.connect(lambda _: parts.append({point.part for point in sweeps.points(info, schemes)}))
    sweeps.want("test", [info], GRID)
    settle(window)
    assert parts[-1] == {1.0}
    exact = sweeps.points(info, schemes)
    assert [point.scheme for point in exact] == list(schemes)
    assert [point.noise for point in exact] == [pytest.approx(s.measure(tensors["big.weight"]).noise) for s in schemes]


def test_of_many_layers_only_what_is_settled_is_exact(window, settle, tensors):
    sweeps, infos = window.controller.sweeps, [info_of(window, name) for name in ("big.weight", "head.weight")]
    sweeps.want("test", infos, GRID, thorough=False)
    settle(window)
    points = {info.name: sweeps.points(info, GRID.schemes_for(info.shape)) for info in infos}
    assert all(0 < point.part < 0.2 for point in points["big.weight"])
    assert all(point.part == 1 for point in points["head.weight"])  # small
    for estimate in points["big.weight"]:
        exact = estimate.scheme.measure(tensors["big.weight"])
        assert estimate.sqnr_db == pytest.approx(exact.sqnr_db, abs=0.2)
        assert estimate.nbytes == exact.nbytes
    chosen = points["big.weight"][1].scheme
    sweeps.settle("test", {"big.weight": chosen, "head.weight": chosen})
    settle(window)
    parts = {point.scheme: point.part for point in sweeps.points(infos[0], GRID.schemes_for(infos[0].shape))}
    assert [scheme for scheme, part in parts.items() if part == 1] == [chosen]


def test_what_the_plan_takes_is_exact_once_the_limit_rests(window, settle, qtbot, tensors):
    view = frame_of(window, "budget").view
    choose_grid(view, qtbot, ["base11", "symmetric"], "32, 64", "3, 4")
    go_to(window, "budget")
    qtbot.waitUntil(
        lambda: view.allocation is not None and view.allocation.points["big.weight"].part == 1, timeout=30_000
    )
    point = view.allocation.points["big.weight"]
    assert point.noise == pytest.approx(point.scheme.measure(tensors["big.weight"]).noise)
    known = window.controller.sweeps.known([info_of(window, "big.weight")])["big.weight"]
    assert any(other.part < 1 for other in known.values())
    settle(window)


def test_a_preview_goes_first_and_the_sweep_goes_on_where_it_was(window, settle, qtbot):
    sweeps, controller = window.controller.sweeps, window.controller
    infos = [info for info in controller.session.infos if info.quantizable]
    grid = SweepGrid.of(["base11", "symmetric"])
    sweeps.want("test", infos, grid)
    qtbot.waitUntil(lambda: bool(sweeps.points(infos[0], grid.schemes_for(infos[0].shape))), timeout=30_000)
    controller.select("head.weight")  # asks for a preview
    assert sweeps.progress("test") is not None
    settle(window)
    assert sweeps.progress("test") is None
    for info in infos:
        found = sweeps.points(info, grid.schemes_for(info.shape))
        assert [point.scheme for point in found] == list(grid.schemes_for(info.shape))
        assert all(point.part == 1 for point in found)


def test_what_is_known_is_not_measured_again(window, settle, monkeypatch):
    sweeps, info = window.controller.sweeps, info_of(window, "head.weight")
    sweeps.want("test", [info], GRID)
    settle(window)
    monkeypatch.setattr("qinspect.gui.sweeps.points_of", lambda *_, **__: pytest.fail("measured again"))
    sweeps.want("another", [info], GRID)
    settle(window)
    assert sweeps.progress("another") is None


def test_a_hidden_tab_measures_nothing(window, settle, qtbot):
    view = go_to(window, "sweep")
    choose_grid(view, qtbot, ["base11", "learned"], "32, 64, 128, 256", "")
    assert window.controller.sweeps.progress("sweep") is not None
    window.tabs.setCurrentIndex(0)
    assert window.controller.sweeps.progress("sweep") is None
    go_to(window, "sweep")
    settle(window)
    assert len(view.plot.points) == len(view.grid.schemes_for((3072, 512)))


def test_a_sweep_is_stopped_and_goes_on_by_the_button(window, settle, qtbot):
    view = go_to(window, "sweep")
    choose_grid(view, qtbot, ["base11", "learned"], "", "")
    assert view.progress.text().startswith("measuring")
    view.stop.click()
    settle(window)
    assert view.progress.text() == ""
    whole = len(view.grid.schemes_for((3072, 512)))
    assert len(view.plot.points) < whole or any(point.part < 1 for point in view.plot.points)
    view.stop.click()
    settle(window)
    assert len(view.plot.points) == whole
    assert all(point.part == 1 for point in view.plot.points)


def test_another_file_begins_anew(window, settle, tmp_path):
    sweeps, info = window.controller.sweeps, info_of(window, "head.weight")
    sweeps.want("test", [info], GRID)
    settle(window)
    write_model(tmp_path / "other.safetensors")
    window.open(tmp_path / "other.safetensors")
    settle(window)
    assert sweeps.points(info, GRID.schemes_for(info.shape)) == []
    assert sweeps.progress("test") is None


def test_layers_that_fail_are_told_once(window, settle, tmp_path, monkeypatch):
    write_model(tmp_path / "bad.safetensors", bad=True)
    window.open(tmp_path / "bad.safetensors")
    settle(window)
    sweeps, info = window.controller.sweeps, info_of(window, "bad.weight")
    sweeps.want("test", [info], GRID)
    settle(window)
    assert "64 NaN" in sweeps.errors["bad.weight"]
    monkeypatch.setattr("qinspect.gui.sweeps.points_of", lambda *_, **__: pytest.fail("tried again"))
    sweeps.want("test", [info], SweepGrid.of(["symmetric"]))
    settle(window)


def test_the_window_closes_while_it_sweeps(window, qtbot):
    view = go_to(window, "sweep")
    choose_grid(view, qtbot, ["learned"], "", "")
    window.close()
    assert window.controller.sweeps.lane.idle or not window.isVisible()
