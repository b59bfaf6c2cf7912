"""Sweep: which schemes are tried, what is measured of each, and which of them are worth having."""

import math

import numpy as np
import pytest

from qinspect.errors import SchemeError
from qinspect.quant.limits import gaussian_db, own_curve
from qinspect.quant.scheme import make_scheme, registry
from qinspect.quant.sweep import Skipped, SweepGrid, SweepPoint, summed, sweep, with_pareto
from qinspect.task import Cancelled, Token


def gaussian(rows=64, cols=512, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, cols)).astype(np.float32)


def points_of(w, *schemes, **more):
    return list(sweep("layer", w, schemes, **more))


def labels(grid, shape):
    return {scheme.label for scheme in grid.schemes_for(shape)}


def test_a_grid_is_the_product_of_what_a_scheme_has():
    grid = SweepGrid.of(["base11", "symmetric"], {"group_size": [32, 63], "bits": [3, 4]})
    assert labels(grid, (8, 512)) == {
        "base11 g32", "base11 g63",
        "symmetric 3-bit g32 float16", "symmetric 3-bit g63 float16",
        "symmetric 4-bit g32 float16", "symmetric 4-bit g63 float16",
    }  # fmt: skip


def test_any_field_can_be_swept():
    grid = SweepGrid.of(
        ["asymmetric"],
        {"bits": [4], "group_size": [64], "param_dtype": ["float32"], "offset": ["minimum", "zero_point"]},
    )
    assert labels(grid, (8, 512)) == {"asymmetric 4-bit g64", "asymmetric 4-bit g64 minimum"}


def test_bits_are_levels_where_a_scheme_has_these():
    grid = SweepGrid.of(["base_n", "symmetric"], {"bits": [3, 4], "group_size": [64]})
    assert {s.levels for s in grid.schemes_for((8, 512)) if s.name == "base_n"} == {8, 16}
    named = SweepGrid.of(["base_n"], {"bits": [3], "levels": [5], "group_size": [64]})
    assert {s.levels for s in named.schemes_for((8, 512))} == {5}


def test_levels_that_are_tried_fill_their_words():
    """The most levels for so many digits in 32 bits; others take as much room."""
    assert {s.levels for s in SweepGrid.of(["base_n"]).schemes_for((8, 512))} == {
        2, 3, 4, 5, 6, 7, 9, 11, 16, 23, 40, 84
    }  # fmt: skip


def test_groups_beyond_the_row_are_measured_once(monkeypatch):
    grid, w = SweepGrid.of(["base11"], {"group_size": [64, 128, 256]}), gaussian(8, 100)
    measured = []
    original = type(make_scheme("base11")).measure
    monkeypatch.setattr(
        "qinspect.quant.scheme.Scheme.measure", lambda s, *a, **k: measured.append(s) or original(s, *a, **k)
    )
    found = points_of(w, *grid.schemes_for(w.shape))
    assert [point.scheme.group_size for point in found] == [64, 128, 256]
    assert [scheme.group_size for scheme in measured] == [64, 128]
    assert (found[1].nbytes, found[1].noise) == (found[2].nbytes, found[2].noise)
    assert found[1].nbytes == found[1].scheme.nbytes(w.shape)


def test_without_words_every_scheme_is_tried_at_every_granularity():
    found = SweepGrid.of().schemes_for((64, 512))
    assert {scheme.name for scheme in found} == set(registry.names())
    assert {s.granularity for s in found if s.name == "symmetric"} == {"tensor", "channel", "group"}
    assert all(s.param_dtype == "float16" for s in found if s.name == "base11")
    assert len(set(found)) == len(found)


def test_a_vector_is_not_given_a_scale_for_each_weight():
    assert all(s.layout((64,)).run > 1 for s in SweepGrid.of().schemes_for((64,)))


@pytest.mark.parametrize(
    ("schemes", "values", "said"),
    [
        (["base12"], {}, "base12"),
        (["symmetric"], {"bits": [9]}, "bits must be one of"),
        (["base11"], {"axis": [0]}, "no parameter 'axis'"),
        (["base11"], {"group_size": [0]}, "group_size"),
        (["symmetric", "base11"], {"calibration": ["hqq"]}, "calibration"),
    ],
)
def test_what_no_scheme_has_is_an_error(schemes, values, said):
    with pytest.raises(SchemeError, match=said):
        SweepGrid.of(schemes, values)


def test_what_only_some_schemes_take_is_left_out_for_the_others():
    grid = SweepGrid.of(["symmetric", "normal_float"], {"bits": [8, 16], "group_size": [64]})
    assert {(s.name, s.n_codes) for s in grid.schemes_for((8, 512))} == {
        ("symmetric", 1 << 8), ("symmetric", 1 << 16), ("normal_float", 1 << 8)
    }  # fmt: skip


def test_figures_are_those_of_the_decoded_weights():
    w = gaussian()
    schemes = make_scheme("base11", group_size=63), make_scheme("normal_float")
    for point, scheme in zip(points_of(w, *schemes), schemes, strict=True):
        packed = scheme.quantize(w)
        error = packed.scheme.dequantize(packed).astype(np.float64) - w
        noise, signal = (error**2).sum(), (w.astype(np.float64) ** 2).sum()
        assert point.noise == pytest.approx(noise)
        assert point.sqnr_db == pytest.approx(10 * math.log10(signal / noise))
        assert point.rmse == pytest.approx(math.sqrt(noise / w.size))
        assert point.max_error == pytest.approx(np.abs(error).max())
        assert point.nbytes == packed.data.nbytes + sum(a.nbytes for a in packed.params.values())
        assert point.bpw == pytest.approx(8 * point.nbytes / w.size)
        assert point.part == 1


def test_published_figures_of_gaussian_weights():
    """Groups of 128: int4 18.61 dB, NF4 20.39 dB, base-11 16.49 dB."""
    w = gaussian(512, 2048)
    grid = SweepGrid.of(["symmetric", "normal_float", "base11"], {"group_size": [128], "bits": [4]})
    found = {p.scheme.name: p.sqnr_db for p in sweep("g", w, grid.schemes_for(w.shape))}
    assert found == pytest.approx({"symmetric": 18.61, "normal_float": 20.39, "base11": 16.49}, abs=0.05)


def test_some_rows_estimate_the_whole_and_say_so():
    w = gaussian(1024, 512)
    scheme, wide = make_scheme("base11", group_size=64), make_scheme("symmetric", bits=4)
    (estimate,) = points_of(w[::8], scheme, wide, shape=w.shape)
    (exact, _) = points_of(w, scheme, wide)
    assert estimate.part == 1 / 8
    assert (estimate.nbytes, estimate.bpw) == (exact.nbytes, exact.bpw)
    assert estimate.noise == pytest.approx(exact.noise, rel=0.05)
    assert estimate.signal == pytest.approx(exact.signal, rel=0.05)
    assert estimate.max_error <= exact.max_error


def test_what_a_scheme_cannot_take_is_skipped_with_its_reason():
    w = gaussian() * 1e6
    (skipped, point) = points_of(w, make_scheme("base11"), make_scheme("base11", param_dtype="float32"))
    assert isinstance(skipped, Skipped)
    assert "float32" in skipped.reason
    assert isinstance(point, SweepPoint)
    (declined,) = points_of(gaussian() * 1e-6, make_scheme("sentinel"))
    assert "offset C1" in declined.reason


def test_weights_that_nothing_could_take_are_an_error():
    w = gaussian()
    w[3, 3] = np.nan
    with pytest.raises(SchemeError, match="1 NaN"):
        points_of(w, make_scheme("base11"))


@pytest.mark.parametrize("shape", [(0, 8), (1, 1), (5,), (1, 300), (2, 3, 4, 5)])
def test_odd_shapes(shape):
    w = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for entry in sweep("odd", w, SweepGrid.of().schemes_for(shape)):
        assert isinstance(entry, Skipped) or entry.nbytes == entry.scheme.nbytes(shape)


def test_points_come_one_by_one_and_the_rest_can_be_cancelled():
    token, fractions = None, []
    token = Token(fractions.append)
    found = sweep("layer", gaussian(), SweepGrid.of(["symmetric"]).schemes_for((64, 512)), token=token)
    assert isinstance(next(found), SweepPoint)
    token.cancel()
    with pytest.raises(Cancelled):
        next(found)
    assert fractions == sorted(fractions)


def dominated(point, points):
    return any(
        (p.nbytes <= point.nbytes and p.noise < point.noise) or (p.nbytes < point.nbytes and p.noise <= point.noise)
        for p in points
    )


def test_the_front_is_what_no_other_point_dominates():
    w = gaussian(16, 256)
    found = with_pareto(p for p in sweep("a", w, SweepGrid.of().schemes_for(w.shape)) if isinstance(p, SweepPoint))
    assert any(p.pareto for p in found)
    assert any(not p.pareto for p in found)
    for point in found:
        twin = any(p is not point and (p.nbytes, p.noise) == (point.nbytes, point.noise) for p in found)
        assert point.pareto == (not dominated(point, found)) or twin


def test_layers_have_fronts_of_their_own():
    found = [p for seed in (0, 1) for p in sweep(str(seed), gaussian(8, 64, seed), [make_scheme("base11")])]
    assert [p.pareto for p in with_pareto(found)] == [True, True]


def test_layers_together():
    schemes = make_scheme("base11"), make_scheme("normal_float")
    a, b = gaussian(8, 128, 0), 3 * gaussian(16, 256, 1)
    found = [*sweep("a", a, schemes), *sweep("b", b, schemes), *sweep("a", a, [make_scheme("ternary")])]
    both = summed(found, "both")
    assert [p.scheme for p in both] == list(schemes)
    scheme = schemes[0]
    noise = sum(((scheme.dequantize(scheme.quantize(w)) - w).astype(np.float64) ** 2).sum() for w in (a, b))
    signal = sum((w.astype(np.float64) ** 2).sum() for w in (a, b))
    assert both[0].sqnr_db == pytest.approx(10 * math.log10(signal / noise))
    assert both[0].bpw == pytest.approx(8 * both[0].nbytes / (a.size + b.size))
    assert both[0].rmse == pytest.approx(math.sqrt(noise / (a.size + b.size)))


def test_json_has_what_rebuilds_the_scheme():
    (point,) = points_of(gaussian(), make_scheme("symmetric", bits=3, granularity="group", group_size=63))
    (value,) = [point.to_json()]
    assert list(value) == ["layer", "scheme", "params", "bpw", "sqnr_db", "rmse", "max_error", "nbytes", "pareto"]
    assert make_scheme(value["scheme"], **value["params"]) == point.scheme
    (exact,) = points_of(np.zeros((4, 4), np.float32), make_scheme("symmetric"))
    assert exact.to_json()["sqnr_db"] is None


def test_the_best_levels_for_gaussian_weights_are_those_of_the_table():
    curve = own_curve(gaussian(512, 512), (2, 4, 11, 16))
    assert curve == pytest.approx({n: gaussian_db(n) for n in (2, 4, 11, 16)}, abs=0.05)
