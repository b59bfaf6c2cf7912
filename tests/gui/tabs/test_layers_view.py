"""The layers' tab: figures of all layers in the model's order, read and selected with mouse and keys."""

import numpy as np
import pytest
from driving import hover, pixel_of
from planning_tabs import BASE11, LAYERS, click, colours, go_to
from PySide6.QtCore import Qt
from safetensors.numpy import save_file

from qinspect.gui import theme as themes
from qinspect.gui.views.layers import block_of
from qinspect.quant.scheme import make_scheme


@pytest.fixture
def view(window, settle):
    view = go_to(window, "layers")
    settle(window)
    return view


def names(view):
    return [bar.info.name for bar in view.bars]


def spot(view, name):
    return pixel_of(view.quality, names(view).index(name), view.bars[names(view).index(name)].sqnr_db)


def test_every_layer_is_drawn_in_the_order_of_the_file(view, window, tensors):
    infos = [info.name for info in window.controller.session.infos]
    assert names(view) == [name for name in infos if name in LAYERS]
    for bar, x, y in zip(view.bars, *view._dots.getData(), strict=True):
        w = tensors[bar.info.name]
        assert bar.sqnr_db == pytest.approx(BASE11.measure(w).sqnr_db)
        assert (y, names(view)[int(x)]) == (bar.sqnr_db, bar.info.name)
        assert (bar.nbytes, bar.before) == (BASE11.nbytes(w.shape), w.nbytes)


def test_blocks_have_colours_of_their_own(view):
    found = dict(zip(names(view), view._colours(), strict=True))
    assert len({found[name] for name in names(view) if name.startswith("h.0.")}) == 1
    assert len({found["head.weight"], found["h.0.mlp.weight"], found["h.1.mlp.weight"]}) == 3


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("model.layers.12.self_attn.q_proj.weight", "model.layers.12"),
        ("h.0.mlp.experts.3.w1.weight", "h.0"),
        ("head.weight", "head"),
        ("0.weight", "0"),
        ("conv1.weight", "conv1"),
        ("weight", "weight"),
    ],
)
def test_blocks_are_names_up_to_the_first_number(name, block):
    assert block_of(name) == block


def test_pointing_reads_and_a_click_selects(view, window, settle):
    hover(view.quality, spot(view, "h.1.mlp.weight"))
    bar = view.bars[names(view).index("h.1.mlp.weight")]
    assert view.readout.text().startswith(f"h.1.mlp.weight:  {bar.sqnr_db:.1f} dB")
    assert view.readout.text().endswith("base11 g128")
    click(view.quality, spot(view, "h.1.mlp.weight"))
    assert window.controller.info.name == "h.1.mlp.weight"
    assert view.quality.selected == names(view).index("h.1.mlp.weight")
    click(view.sizes, pixel_of(view.sizes, names(view).index("h.0.mlp.weight"), 1))
    assert window.controller.info.name == "h.0.mlp.weight"
    settle(window)


def test_arrows_step_from_layer_to_layer(view, window, qtbot, settle):
    window.controller.select(names(view)[2])
    view.setFocus()
    plot = window.focusWidget()
    for key, expected in ((Qt.Key.Key_Right, 3), (Qt.Key.Key_Right, 4), (Qt.Key.Key_Left, 3)):
        qtbot.keyClick(plot, key)
        assert window.controller.info.name == names(view)[expected]
    settle(window)


def test_another_recipe_redraws(view, window, settle, tensors):
    scheme = make_scheme("symmetric", bits=8, granularity="channel")
    window.controller.apply(scheme, ["head.weight"])
    window.controller.apply(None, ["h.0.mlp.weight"])
    settle(window)
    bars = {bar.info.name: bar for bar in view.bars}
    assert bars["head.weight"].sqnr_db == pytest.approx(scheme.measure(tensors["head.weight"]).sqnr_db)
    assert bars["head.weight"].nbytes == scheme.nbytes((20, 100))
    assert (bars["h.0.mlp.weight"].stored_as, bars["h.0.mlp.weight"].nbytes) == ("left alone", 64 * 128 * 4)
    assert np.isnan(bars["h.0.mlp.weight"].sqnr_db)


def test_the_sentence_names_the_worst_and_the_largest(view, window):
    worst = min(view.bars, key=lambda bar: bar.sqnr_db)
    largest = max(view.bars, key=lambda bar: bar.nbytes)
    said = window.tabs.currentWidget().sentence.text()
    assert said.startswith(f"Worst {worst.info.name}, {worst.sqnr_db:.1f} dB; largest {largest.info.name}, ")


def test_sizes_in_powers_of_ten(view, qtbot):
    view.log.click()
    assert view.sizes.left.decades
    (_, _), (low, high) = view.sizes.box.viewRange()
    sizes = np.log10([bar.before for bar in view.bars] + [bar.nbytes for bar in view.bars])
    assert low <= sizes.min()
    assert high >= sizes.max()


def test_exact_layers_and_layers_that_fail(window, settle, tmp_path):
    tensors = {
        "whole.weight": np.arange(-127, 128, dtype=np.float32).reshape(5, 51),
        "bad.weight": np.full((4, 4), np.inf, np.float32),
        "zero.weight": np.zeros((4, 4), np.float32),
    }
    save_file(tensors, tmp_path / "odd.safetensors")
    window.open(tmp_path / "odd.safetensors")
    settle(window)
    view = go_to(window, "layers")
    window.controller.apply(make_scheme("symmetric"))
    settle(window)
    found = {bar.info.name: bar.sqnr_db for bar in view.bars}
    assert found["whole.weight"] == np.inf
    assert np.isnan(found["bad.weight"])
    assert "exact" in view.quality.legend[0]
    hover(view.quality, pixel_of(view.quality, names(view).index("bad.weight"), 1))
    assert "not measured" in view.readout.text()


def test_nothing_to_show(window, settle, tmp_path):
    save_file({"norm": np.ones(8, np.float32)}, tmp_path / "norm.safetensors")
    window.open(tmp_path / "norm.safetensors")
    settle(window)
    view = go_to(window, "layers")
    assert "nothing to show" in view.message.text()
    assert view.message.isVisible()
    assert view.tables() == ()


def test_it_paints_in_both_themes_and_tells_its_values(view, window):
    for theme in themes.THEMES.values():
        window.set_theme(theme)
        assert len(colours(view)) > 8
    (table,) = view.tables()
    assert list(table.column("layer")) == names(view)
    assert view.subject() == f"{len(LAYERS)} layers"
