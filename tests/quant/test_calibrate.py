"""Where ranges come from: quantiles as numpy has them."""

import numpy as np
import pytest
import torch

from qinspect.errors import SchemeError
from qinspect.quant.blocks import Matrix
from qinspect.quant.calibrate import _quantile
from qinspect.quant.layout import per_channel, per_group, per_tensor
from qinspect.quant.limits import uniform_db
from qinspect.quant.sample import BlockSample, TensorSample
from qinspect.quant.scheme import make_scheme
from qinspect.task import Token


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(0).standard_normal((2048, 2048), np.float32)


class TestPercentile:
    @pytest.mark.parametrize("part", [0.5, 0.9, 0.99, 0.999, 1.0])
    @pytest.mark.parametrize("axis", [1, 2])
    def test_quantile_of_sets_across_rows(self, part, axis):
        w = np.random.default_rng(0).standard_normal((700, 12, 50)).astype(np.float32)
        sample = TensorSample(Matrix(w), per_channel(w.shape, axis), Token())
        others = tuple({0, 1, 2} - {axis})
        expected = np.quantile(np.abs(w).astype(np.float64), part, axis=others)
        np.testing.assert_allclose(_quantile(sample, part), expected, rtol=1e-7)

    @pytest.mark.parametrize("part", [0.5, 0.9, 0.99, 1.0])
    @pytest.mark.parametrize("group", [1, 2, 7, 64, 100])
    def test_quantile_of_groups(self, part, group):
        w = np.random.default_rng(1).standard_normal((9, 100)).astype(np.float32)
        found = _quantile(BlockSample(w, per_group(w.shape, group)), part).reshape(9, -1)
        for i in range(found.shape[1]):
            expected = np.quantile(np.abs(w[:, i * group : (i + 1) * group]).astype(np.float64), part, axis=1)
            np.testing.assert_allclose(found[:, i], expected, rtol=1e-7)

    def test_equal_weights_and_zeros(self):
        w = np.float32([[0, 0, 0, 1], [2, -2, 2, 2]])
        assert _quantile(BlockSample(w, per_group(w.shape, 4)), 0.5).tolist() == [0, 2]

    @pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
    def test_all_of_them_is_minmax(self, name):
        w = np.random.default_rng(2).standard_normal((40, 50))
        every = make_scheme(name, calibration="percentile", percentile=100).quantize(w)
        assert np.array_equal(every.data, make_scheme(name).quantize(w).data)

    def test_errors_are_against_the_true_weights(self):
        """The published demonstration: ten outliers in a thousand weights, fine in range, worthless for the tensor."""
        torch.manual_seed(42)
        w = torch.randn(1000) * 2
        outliers = torch.randn(10) * 50  # the recipe's assignment draws its right side first
        w[torch.randint(0, 1000, (10,))] = outliers
        m = make_scheme("symmetric", calibration="percentile", percentile=99).measure(w)
        assert m.sqnr_in_range_db == pytest.approx(43.7, abs=0.05)
        assert m.sqnr_db == pytest.approx(0.85, abs=0.005)
        assert m.clipped == 0.01

    def test_a_base_n_group_is_clipped_at_both_ends(self):
        w = np.float32([[-9, -1, -1, 0, 0, 0, 1, 1, 1, 8]])
        q = make_scheme("base11", calibration="percentile", percentile=75, param_dtype="float32").quantize(w)
        assert (q.params["min_val"][0, 0], q.params["scale"][0, 0]) == (-1, 2)

    def test_blocks_with_their_own_sets_are_as_the_whole(self, gaussian):
        scheme = make_scheme("symmetric", granularity="channel", calibration="percentile")
        expected = np.quantile(np.abs(gaussian).astype(np.float64), 0.999, axis=1) / 127
        np.testing.assert_allclose(scheme.quantize(gaussian).params["scale"], expected, rtol=1e-6)

    def test_the_tensor_as_one_set(self, gaussian):
        sample = TensorSample(Matrix(gaussian), per_tensor(gaussian.shape), Token())
        assert _quantile(sample, 0.99)[0] == pytest.approx(2.5758, abs=0.01)


GROUPS = {"granularity": "group"}


class TestLeastError:
    @pytest.mark.parametrize(
        ("name", "parameters", "rule", "decibels"),
        [
            ("symmetric", {"bits": 4, **GROUPS}, "mse", 19.93),
            ("symmetric", {"bits": 3, **GROUPS}, "mse", 14.18),
            ("symmetric_n", {"levels": 11, **GROUPS}, "mse", 17.02),
            ("base11", {}, "mse", 17.35),
            ("base11", {}, "mse_ends", 17.65),  # by dense search 17.67
        ],
    )
    def test_known_gains_in_groups_of_128(self, gaussian, name, parameters, rule, decibels):
        found = make_scheme(name, calibration=rule, **parameters).measure(gaussian).sqnr_db
        assert found == pytest.approx(decibels, abs=0.025)

    @pytest.mark.parametrize(
        ("name", "parameters", "rule", "decibels"),
        [
            ("symmetric", {"bits": 4, **GROUPS}, "mse", 1.2),
            ("symmetric_n", {"levels": 11, **GROUPS}, "mse", 1.2),
            ("base11", {}, "mse", 0.8),
            ("base11", {}, "mse_ends", 1.1),
        ],
    )
    def test_what_is_gained_over_the_extremes(self, gaussian, name, parameters, rule, decibels):
        found, plain = (make_scheme(name, calibration=c, **parameters).measure(gaussian) for c in (rule, "minmax"))
        assert found.sqnr_db > plain.sqnr_db + decibels

    @pytest.mark.parametrize("levels", [3, 5, 7, 11, 15, 31, 101])
    def test_odd_levels_around_zero_come_near_the_best_uniform_ones(self, gaussian, levels):
        scheme = make_scheme("symmetric_n", levels=levels, calibration="mse")
        assert scheme.measure(gaussian).sqnr_db == pytest.approx(uniform_db(levels), abs=0.03)

    @pytest.mark.parametrize(("bits", "decibels"), [(2, 9.25), (3, 14.27), (4, 19.38)])
    def test_a_tensor_comes_near_the_best_uniform_levels(self, gaussian, bits, decibels):
        """An even number of levels around zero, as Max has it: the minimum stays a float."""
        scheme = make_scheme("asymmetric", bits=bits, offset="minimum", calibration="mse_ends")
        assert scheme.measure(gaussian).sqnr_db == pytest.approx(decibels, abs=0.03)

    def test_best_three_levels(self, gaussian):
        """Max (1960), for three even levels."""
        assert make_scheme("ternary", calibration="mse").measure(gaussian).sqnr_db == pytest.approx(7.21, abs=0.02)

    @pytest.mark.parametrize(
        "name", ["symmetric", "symmetric_n", "asymmetric", "base11", "normal_float", "fp4", "ternary"]
    )
    def test_never_worse_than_the_extremes(self, name):
        w = np.random.default_rng(3).standard_t(3, (30, 200)).astype(np.float32)
        rules = next(p.choices for p in make_scheme(name).parameters() if p.name == "calibration")
        noise = [make_scheme(name, calibration=rule).measure(w).noise for rule in ("minmax", *rules) if rule[0] == "m"]
        assert noise == sorted(noise, reverse=True)

    def test_an_outlier_of_a_tensor_is_clipped(self, gaussian):
        w = gaussian.copy()
        w[0, 0] = 60
        found = make_scheme("symmetric", bits=4, calibration="mse").quantize(w)
        assert found.params["scale"][0] * 7 < 4

    def test_the_range_shrinks_around_its_middle(self):
        """Weights far from zero keep their place."""
        w = 50 + np.random.default_rng(4).standard_normal((4, 128)).astype(np.float32)
        q = make_scheme("base11", calibration="mse", param_dtype="float32").quantize(w)
        assert ((q.params["min_val"] > 46) & (q.params["min_val"] + q.params["scale"] < 54)).all()


class TestImportance:
    """Columns 0…31 matter, the others hold the outliers."""

    IMPORTANCE = np.repeat([1.0, 0.0], 32)

    @pytest.fixture
    def w(self):
        w = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32)
        w[:, 32:] *= 4
        return w

    @pytest.mark.parametrize(
        "scheme",
        [
            make_scheme("symmetric", bits=4, granularity="group", group_size=64, calibration="mse"),
            make_scheme("symmetric", bits=4, calibration="mse"),
            make_scheme("base11", group_size=64, calibration="mse_ends"),
            make_scheme("normal_float", calibration="mse"),
        ],
        ids=lambda scheme: scheme.label,
    )
    def test_the_error_is_least_where_it_counts(self, w, scheme):
        heeded, plain = (
            np.square(scheme.dequantize(scheme.quantize(w, importance=i)) - w)[:, :32].sum()
            for i in (self.IMPORTANCE, None)
        )
        assert heeded < plain / 2
        q = scheme.quantize(w, importance=self.IMPORTANCE)
        assert scheme.measure(w, importance=self.IMPORTANCE).to_json() == scheme.compare(w, q).to_json()

    def test_all_alike_is_none(self, w):
        scheme = make_scheme("base11", calibration="mse")
        assert np.array_equal(scheme.quantize(w, importance=np.full(64, 2.0)).data, scheme.quantize(w).data)

    def test_channels_of_a_convolution(self, w):
        scheme = make_scheme("symmetric", bits=3, granularity="group", group_size=64, calibration="mse")
        each = np.arange(16.0)
        q = scheme.quantize(w.reshape(64, 16, 2, 2), importance=each)
        assert np.array_equal(q.params["scale"], scheme.quantize(w, importance=np.repeat(each, 4)).params["scale"])

    @pytest.mark.parametrize(
        ("importance", "message"),
        [
            (np.ones(63), r"the importance has shape \[63\]; there are 64 input channels"),
            (np.full(64, -1), "a finite number, 0 or more"),
            (np.full(64, np.nan), "a finite number, 0 or more"),
        ],
    )
    def test_what_does_not_fit(self, w, importance, message):
        with pytest.raises(SchemeError, match=message):
            make_scheme("base11").quantize(w, importance=importance)


def test_the_largest_weights_have_room_to_search_in():
    """Four levels keep two weights, also where an end moved by a part of the range is beyond float32."""
    w = np.array([0, 3.3e38], np.float32)
    scheme = make_scheme("asymmetric", bits=2, granularity="tensor", param_dtype="float32", calibration="mse_ends")
    assert scheme.dequantize(scheme.quantize(w)) == pytest.approx(w, rel=1e-6)
