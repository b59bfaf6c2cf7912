"""Comparing checkpoints: which names are paired, and figures against plain numpy."""

import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect.compare import differences, match
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.packed_safetensors import PackedSafetensors
from qinspect.task import Cancelled, Token


class Names(Checkpoint):
    """A checkpoint that is no more than its headers."""

    def __init__(self, shapes):
        self.infos = tuple(TensorInfo(name, shape, "F32", 0) for name, shape in shapes.items())

    def load(self, name, rows=None):
        raise AssertionError("headers must do")


def names(*names, shape=(4, 4)):
    return Names(dict.fromkeys(names, shape))


def found(a, b):
    matching = match(a, b)
    return {pair.a.name: (pair.b.name, pair.how) for pair in matching.pairs}


def test_equal_names_before_all_else():
    a, b = names("w", "model.w"), names("model.w", "w")
    assert found(a, b) == {"w": ("w", "name"), "model.w": ("model.w", "name")}


def test_wrappers_are_no_part_of_a_name():
    a = names("model.layers.0.q.weight", "lm_head.weight")
    b = names("_orig_mod.module.layers.0.q.weight", "transformer.lm_head.weight")
    assert found(a, b) == {
        "model.layers.0.q.weight": ("_orig_mod.module.layers.0.q.weight", "prefix"),
        "lm_head.weight": ("transformer.lm_head.weight", "prefix"),
    }


def test_a_name_that_ends_another():
    a = names("language_model.blocks.0.w", "head.w")
    b = names("blocks.0.w", "classifier.head.w", "ahead.w")
    matching = match(a, b)
    assert found(a, b) == {
        "language_model.blocks.0.w": ("blocks.0.w", "suffix"), "head.w": ("classifier.head.w", "suffix")
    }  # fmt: skip
    assert [info.name for info in matching.only_b] == ["ahead.w"]


def test_what_could_be_several_is_left_unmatched():
    a, b = names("w"), names("x.w", "y.w")
    matching = match(a, b)
    assert not matching.pairs
    assert ([i.name for i in matching.only_a], [i.name for i in matching.only_b]) == (["w"], ["x.w", "y.w"])
    assert not match(b, a).pairs


def test_of_several_the_one_of_the_same_shape_is_meant():
    a = Names({"w": (2, 3)})
    b = Names({"x.w": (2, 3), "y.w": (9, 9)})
    assert found(a, b) == {"w": ("x.w", "suffix")}
    assert found(b, a) == {"x.w": ("w", "suffix")}


def test_shapes_must_agree():
    a, b = Names({"w": (2, 3), "v": (4,)}), Names({"w": (3, 2), "v": (4,)})
    matching = match(a, b)
    assert [pair.a.name for pair in matching.pairs] == ["v"]
    assert [(pair.a.shape, pair.b.shape) for pair in matching.misshapen] == [((2, 3), (3, 2))]
    assert not matching.only_a
    assert not matching.only_b


def test_pairs_stand_in_the_order_of_the_first():
    a, b = names("z", "model.b", "a"), names("a", "b", "z")
    assert [pair.a.name for pair in match(a, b).pairs] == ["z", "model.b", "a"]


def test_thousands_of_names_are_quickly_matched():
    a = names(*(f"model.layers.{n}.{kind}.weight" for n in range(500) for kind in "abcd"))
    b = names(*(f"text.layers.{n}.{kind}.weight" for n in range(500) for kind in "abcd"))
    assert len(match(a, b).only_a) == 2000


@pytest.fixture
def pair(tmp_path):
    """Three weights and their like with noise; one more in each."""
    rng = np.random.default_rng(0)
    w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    other = {f"model.{name}": x + rng.normal(0, 0.01, x.shape).astype(np.float32) for name, x in w.items()}
    other["model.same.weight"] = w["same.weight"]
    w["steps"] = other["model.steps"] = np.array([3], np.int64)
    save_file(w | {"only": np.ones(2, np.float32)}, tmp_path / "a.safetensors")
    save_file(other, tmp_path / "b.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as a, open_checkpoint(tmp_path / "b.safetensors") as b:
        yield a, b, w, other


SHAPES = {"fc.weight": (64, 96), "conv.weight": (8, 4, 3, 3), "same.weight": (5, 7), "norm.weight": (64,)}


def test_figures_follow_the_formulas(pair):
    a, b, w, other = pair
    every = {one.pair.a.name: one for one in differences(a, b, match(a, b).pairs)}
    assert set(every) == {*SHAPES, "steps"}
    for name in SHAPES:
        x, y = w[name].astype(np.float64), other[f"model.{name}"].astype(np.float64)
        one, noise = every[name], ((y - x) ** 2).sum()
        assert one.exact == (noise == 0)
        if noise:
            assert one.sqnr_db == pytest.approx(10 * math.log10((x**2).sum() / noise))
        assert one.rmse == pytest.approx(math.sqrt(((y - x) ** 2).mean()))
        assert one.max_error == np.abs(y - x).max()
    assert every["same.weight"].exact
    assert every["steps"].exact
    assert every["same.weight"].to_json()["sqnr_db"] is None


def test_rows_are_read_some_at_a_time(pair, monkeypatch):
    a, b, _, _ = pair
    pairs = match(a, b).pairs
    whole = list(differences(a, b, pairs))
    monkeypatch.setattr("qinspect.compare.CHUNK", 100)
    for some, one in zip(differences(a, b, pairs), whole, strict=True):
        assert some.noise == pytest.approx(one.noise)
        assert some.max_error == one.max_error


def test_a_packed_file_is_compared_decoded(pair, tmp_path):
    a, _, w, _ = pair
    scheme = make_scheme("base11", group_size=32)
    target = PackedSafetensors()
    target.write(a, target.plan(a, Recipe.of(scheme)), tmp_path / "packed.safetensors")
    with open_checkpoint(tmp_path / "packed.safetensors") as packed:
        every = {one.pair.a.name: one for one in differences(a, packed, match(a, packed).pairs)}
    assert every["fc.weight"].sqnr_db == pytest.approx(scheme.measure(w["fc.weight"]).sqnr_db)
    assert every["norm.weight"].exact


def test_weights_that_are_none_are_told_and_the_rest_goes_on(tmp_path):
    x = np.ones((3, 3), np.float32)
    bad = x.copy()
    bad[1, 1] = np.nan
    save_file({"w": x, "v": x}, tmp_path / "a.safetensors")
    save_file({"w": bad, "v": x}, tmp_path / "b.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as a, open_checkpoint(tmp_path / "b.safetensors") as b:
        every = {one.pair.a.name: one for one in differences(a, b, match(a, b).pairs)}
    assert "b.safetensors: w: 1 of its weights" in every["w"].error
    assert every["w"].exact is None
    assert every["w"].to_json()["rmse"] is None
    assert every["v"].exact


def test_it_can_be_cancelled(pair):
    a, b, _, _ = pair
    token = Token()
    found = differences(a, b, match(a, b).pairs, token)
    next(found)
    token.cancel()
    with pytest.raises(Cancelled):
        list(found)
