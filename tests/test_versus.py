"""A against B, layer by layer: which request B is, and differences against plain numpy."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect import analysis
from qinspect.analysis import Pooled, Quantity
from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.session import Request, inspect
from qinspect.targets.packed_safetensors import PackedSafetensors
from qinspect.versus import (
    OtherOriginals,
    OtherRecipe,
    Versus,
    decoded,
    difference,
    inspect_other,
    measure_other,
    open_other,
)

RNG = np.random.default_rng(7)
WEIGHTS = {"fc.weight": RNG.normal(size=(70, 96)).astype(np.float32), "out.weight": np.eye(6, dtype=np.float32)}
INT4, BASE11 = (
    make_scheme("symmetric", bits=4, granularity="group", group_size=32),
    make_scheme("base11", group_size=96),
)


@pytest.fixture
def a(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        yield checkpoint


@pytest.fixture
def packed(a, tmp_path):
    """The same weights as int4, under a longer name."""
    target, path = PackedSafetensors(), tmp_path / "b.safetensors"
    target.write(a, target.plan(a, Recipe.of(INT4)), path)
    return path


def request(a, scheme=BASE11, **more):
    return Request(a, a.info("fc.weight"), scheme, **more)


def versus(one, other, *, preview=False):
    a = inspect(one, preview=preview)
    return Versus(a, inspect_other(other.request(one), one.info, preview=preview))


def test_a_recipe_is_another_scheme_of_the_same_weights(a):
    both = versus(request(a), OtherRecipe(Recipe.of(INT4), BASE11))
    w, x, y = WEIGHTS["fc.weight"], BASE11, INT4
    mine, theirs = x.dequantize(x.quantize(w)), y.dequantize(y.quantize(w))
    found = difference(both)
    assert found.metrics.max_error == pytest.approx(float(np.abs(mine - theirs).max()))
    question = Pooled(Quantity.ERROR)
    pyramid = analysis.answer(found.subject, [question])[question]
    np.testing.assert_array_equal(pyramid.levels[1], mine - theirs)
    figures = {name: (mine, theirs) for name, mine, theirs in both.figures()}
    assert figures["bpw"] == (x.bpw(w.shape), y.bpw(w.shape))
    assert figures["nbytes"] == (x.nbytes(w.shape), y.nbytes(w.shape))


def test_layers_that_the_recipe_leaves_alone_are_seen_under_the_trial_scheme(a):
    assert OtherRecipe(Recipe.of(None), INT4).request(request(a)).scheme == INT4


def test_a_packed_file_is_measured_against_the_open_originals(a, packed):
    other, _ = open_other(packed, a)
    report = measure_other(other.request(request(a)), a.info("fc.weight"))
    w = WEIGHTS["fc.weight"]
    assert report.metrics.sqnr_db == pytest.approx(INT4.measure(w).sqnr_db)
    assert report.info.name == "fc.weight"
    assert other.nbytes(request(a)) == INT4.nbytes(w.shape)
    other.close()


def test_another_checkpoint_is_seen_under_the_same_scheme(a, tmp_path):
    moved = WEIGHTS["fc.weight"] + np.float32(0.5)
    save_file({"model.fc.weight": moved}, tmp_path / "c.safetensors")
    other, _ = open_other(tmp_path / "c.safetensors", a)
    both = versus(request(a), other)
    assert both.b.scheme == BASE11
    assert both.b.info.name == "fc.weight"
    np.testing.assert_array_equal(np.asarray(both.b.weights), moved)
    assert [(one.name, one.side) for one in other.unmatched] == [("out.weight", "A")]
    assert "no tensor of this name" in other.reason(a.info("out.weight"))
    other.close()


def test_what_has_another_shape_is_told_with_file_tensor_and_remedy(a, tmp_path):
    save_file({"fc.weight": WEIGHTS["fc.weight"].T.copy(), "out.weight": WEIGHTS["out.weight"]}, tmp_path / "c")
    other, _ = open_other(tmp_path / "c", a)
    reason = other.reason(a.info("fc.weight"))
    for part in (str(tmp_path / "c"), "'fc.weight'", "96 × 70", "70 × 96", "choose a file of the same network"):
        assert part in reason
    other.close()


def test_a_file_of_another_network_is_refused(a, tmp_path):
    save_file({"conv": np.ones((3, 3), np.float32)}, tmp_path / "c.safetensors")
    with pytest.raises(FormatError, match=r"c\.safetensors.*choose a file of the same network"):
        open_other(tmp_path / "c.safetensors", a)


def test_plain_weights_are_the_originals_of_packed_ones(a, packed, tmp_path):
    with open_checkpoint(packed) as one:
        other, file = open_other(tmp_path / "a.safetensors", one)
        assert isinstance(other, OtherOriginals)
        asked = Request(one, one.info("fc.weight"), None, file, "fc.weight")
        assert other.request(asked) is None
        assert other.nbytes(asked) == WEIGHTS["fc.weight"].nbytes
        both = other.original(inspect(asked))
        figures = {name: theirs for name, _, theirs in both.figures()}
        assert (figures["bpw"], figures["sqnr_db"], figures["rmse"]) == (32.0, np.inf, 0.0)
        np.testing.assert_array_equal(np.asarray(both.b.weights), WEIGHTS["fc.weight"])
        file.close()


def test_rows_of_a_sample_are_set_against_the_same_rows_of_a_whole():
    w = RNG.normal(size=(4000, 300)).astype(np.float32)  # more than a preview looks at
    q = INT4.quantize(w)
    numbers = np.array([3, 900, 3999])
    rows = decoded(q, numbers)
    assert rows.shape == (3, 300)
    np.testing.assert_array_equal(rows[1:3], INT4.dequantize(q)[numbers[1:3]])
    np.testing.assert_array_equal(decoded(q)[10:2000:7], INT4.dequantize(q)[10:2000:7])


def test_rows_longer_than_a_block_are_pooled_without_waiting_for_the_pool():
    w = RNG.normal(size=(48, 1 << 17)).astype(np.float32)  # pooled by two rows and more, each half a block
    q, other = INT4.quantize(w), BASE11.quantize(w)
    subject = analysis.Subject(q, decoded(other), (-1.0, 1.0), 1.0)
    question = Pooled(Quantity.ERROR, factor=None)
    pyramid = analysis.answer(subject, [question])[question]
    difference = INT4.dequantize(q) - BASE11.dequantize(other)
    assert np.abs(pyramid.levels[pyramid.finest]).max() == np.abs(difference).max()
    assert pyramid.finest > 1


def test_a_preview_of_floats_can_be_subtracted_and_two_samples_of_other_rows_cannot(tmp_path):
    w = RNG.normal(size=(9000, 160)).astype(np.float32)
    save_file({"w": w}, tmp_path / "big.safetensors")
    with open_checkpoint(tmp_path / "big.safetensors") as a:
        one = Request(a, a.infos[0], BASE11)
        both = versus(one, OtherRecipe(Recipe.of(INT4), BASE11), preview=True)
        assert both.a.part < 1
        assert both.subtractable
        assert difference(both).metrics.max_error > 0
        whole = inspect(one)
        assert not Versus(whole, both.b).subtractable
        assert Versus(both.a, whole).subtractable
        found = difference(Versus(both.a, whole))  # the same scheme on both sides
        assert found.metrics.exact
