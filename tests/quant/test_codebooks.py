"""Levels of any spacing: the nearest of them, and the tables that are published."""

import math
from statistics import NormalDist

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.analysis import CodeCounts, Subject, answer, scale_map
from qinspect.errors import FormatError
from qinspect.quant import codec, kernels
from qinspect.quant.e2m1 import TABLE
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.quant.schemes.normal_float import normal_table

QUARTERS = st.integers(-400, 400).map(lambda n: np.float32(n / 4))
FLOATS = st.floats(-100, 100, width=16)  # differences of these are exact in float64


def encoded(x, table, scale=1.0, offset=0.0):
    codes = np.empty(x.shape, np.uint8)
    scales, offsets = np.full(1, scale, np.float32), np.full(1, offset, np.float32)
    kernels.encode_nearest(x, 0, x.size, x.size, x.size, 0, scales, offsets, codec.boundaries(table), codes)
    return codes


def nearest(x, table):
    """By brute force, exactly; argmin takes the first of several."""
    return np.abs(x.astype(np.float64)[:, None] - table.astype(np.float64)).argmin(axis=1)


class TestNearest:
    @given(arrays(np.float32, st.integers(2, 256), elements=FLOATS), arrays(np.float32, 50, elements=FLOATS))
    def test_any_levels(self, table, x):
        table = np.unique(table)
        assert np.array_equal(encoded(x, table), nearest(x, table))

    @given(arrays(np.float32, st.integers(2, 40), elements=QUARTERS), arrays(np.float32, 50, elements=QUARTERS))
    def test_ties_take_the_lower(self, table, x):
        table = np.unique(table)
        assert np.array_equal(encoded(x, table), nearest(x, table))

    def test_levels_one_float_apart(self):
        table = np.nextafter(np.float32(1), np.float32([0, 1, 2]))
        assert encoded(table, table).tolist() == [0, 1, 2]

    def test_equal_levels_take_the_lowest(self):
        assert encoded(np.float32([-2, 0, 0.5, 3]), np.float32([-1, 0, 0, 0, 1])).tolist() == [0, 1, 1, 4]

    def test_more_than_a_chunk(self):
        x, table = np.random.default_rng(0).standard_normal(5000, np.float32), normal_table(256)
        assert np.array_equal(encoded(x, table), nearest(x, table))


class TestNormalFloat:
    def test_nf4_is_the_formula(self):
        """Half the mass beyond the outermost quantiles is (1/32 + 1/30)/2; scipy's table to seven digits."""
        from scipy.stats import norm

        tail = (1 / 32 + 1 / 30) / 2
        upper = norm.ppf(np.linspace(1 - tail, 0.5, 9)[:-1])
        lower = -norm.ppf(np.linspace(1 - tail, 0.5, 8)[:-1])
        table = np.sort([*upper, 0, *lower]) / upper.max()
        np.testing.assert_allclose(normal_table(16), table, atol=3e-7)

    @pytest.mark.parametrize("levels", range(2, 257))
    def test_shape(self, levels):
        table = normal_table(levels)
        assert table.size == levels
        assert (table[0], table[-1]) == (-1, 1)
        assert (np.diff(table) > 0).all()
        assert 0 in table or levels == 2
        assert (table < 0).sum() == (levels - 1) // 2 or levels == 2

    @pytest.mark.parametrize("levels", [3, 8, 11, 64, 255])
    def test_any_number_is_the_formula(self, levels):
        """As for NF4; an odd number has as many quantiles on either side."""
        from scipy.stats import norm

        tail = (1 / (2 * levels) + 1 / (2 * levels - 2)) / 2
        upper, lower = (norm.ppf(np.linspace(1 - tail, 0.5, n + 1)[:-1]) for n in (levels // 2, (levels - 1) // 2))
        table = np.sort([*upper / upper.max(), 0, *-lower / upper.max()])
        np.testing.assert_allclose(normal_table(levels), table, atol=1e-7)

    def test_two_levels_have_no_zero(self):
        scheme = make_scheme("normal_float", levels=2, group_size=4)
        q = scheme.quantize(np.float32([[0, 0, 0, 0, -3, 1, 2, -1]]))
        assert q.params["scale"].tolist() == [[0, 3]]
        assert scheme.dequantize(q).tolist() == [[0, 0, 0, 0, -3, 3, 3, -3]]


class TestFP4:
    def test_table_is_that_of_the_type(self):
        values = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
        assert np.array_equal(TABLE, np.unique(values))

    def test_stored_patterns_are_those_of_the_type(self):
        w = np.random.default_rng(0).standard_normal((6, 70)).astype(np.float32)
        q = make_scheme("fp4", group_size=10, param_dtype="float32").quantize(w)
        patterns = np.stack([q.data & 15, q.data >> 4], axis=-1).reshape(6, 70)
        values = patterns.view(ml_dtypes.float4_e2m1fn).astype(np.float32).reshape(6, 7, 10)
        assert np.array_equal((values * q.params["scale"][..., None]).reshape(6, 70), q.scheme.dequantize(q))

    def test_negative_zero_in_a_file_is_zero(self):
        q = make_scheme("fp4").quantize(np.ones((1, 2)))
        data = np.array([[0x78]], np.uint8)
        again = QTensor(q.scheme, q.shape, data, q.params)
        assert q.scheme.codes(again).tolist() == [[7, 14]]


class TestWhatViewsShow:
    def test_positions_between_uneven_levels(self):
        scheme = make_scheme("fp4", param_dtype="float32")
        w = np.float32([[-6, -5, 0, 0.25, 1, 5, 6]])
        found = answer(Subject(scheme.quantize(w), w, (-6, 6)), [CodeCounts()])[CodeCounts()]
        counts = found.counts["original"]
        places = np.flatnonzero(counts) * 15 / counts.size - 0.5
        np.testing.assert_allclose(places, [0, 0.5, 7, 7.5, 9, 13.5, 14], atol=0.02)

    def test_no_step_where_levels_are_uneven(self):
        q = make_scheme("fp4").quantize(np.ones((2, 64)))
        assert set(scale_map(q).values) == {"scale", "minimum", "range"}
        assert q.scheme.measure(np.ones((2, 64))).to_json()["rmse_per_step"] is None


class TestMXFP4:
    @pytest.fixture
    def w(self):
        return np.random.default_rng(0).standard_normal((6, 96)).astype(np.float32) * np.logspace(-30, 30, 96)

    def test_the_reference_decodes_the_same(self, w):
        from gguf import GGMLQuantizationType, quants

        q = make_scheme("mxfp4").quantize(w)
        patterns = np.stack([q.data & 15, q.data >> 4], axis=-1).reshape(6, 3, 2, 16)  # its blocks pair 0 with 16
        blocks = np.concatenate([q.params["scale"][..., None], patterns[:, :, 0] | patterns[:, :, 1] << 4], axis=-1)
        decoded = quants.dequantize(blocks.reshape(6, -1), GGMLQuantizationType.MXFP4)
        assert np.array_equal(q.scheme.dequantize(q), decoded)

    def test_scale_is_that_of_the_type(self, w):
        q = make_scheme("mxfp4").quantize(w)
        scale = q.params["scale"].view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
        largest = np.abs(w).reshape(6, 3, 32).max(axis=-1)
        assert ((4 * scale <= largest) & (largest < 8 * scale)).all()
        assert np.array_equal(q.scheme.level_values(q, 4), TABLE * scale[1, 1])

    def test_a_stored_nan_is_refused(self):
        q = make_scheme("mxfp4").quantize(np.ones((1, 32)))
        with pytest.raises(FormatError, match="scale holds values that cannot be"):
            QTensor(q.scheme, q.shape, q.data, {"scale": np.full((1, 1), 255, np.uint8)})

    @pytest.mark.parametrize("value", [1e-45, 1e-38, 3.4e38])
    def test_ends_of_float32(self, value):
        w = np.full((1, 32), value, np.float32)
        assert np.isfinite(make_scheme("mxfp4").dequantize(make_scheme("mxfp4").quantize(w))).all()

    def test_bits_per_weight(self):
        assert make_scheme("mxfp4").bpw((8, 4096)) == 4.25


class TestTernary:
    def test_is_that_of_bitnet(self):
        w = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32)
        q = make_scheme("ternary").quantize(w)
        gamma = np.abs(w).astype(np.float64).mean()
        assert q.params["scale"][0] == pytest.approx(gamma, rel=1e-6)
        assert np.array_equal(q.scheme.codes(q), np.clip(np.rint(w / q.params["scale"]), -1, 1))

    @pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
    def test_digits_run_on_along_the_row(self, granularity):
        w = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)
        q = make_scheme("ternary", granularity=granularity, group_size=50).quantize(w)
        words = q.data.view("<u4")
        digits = words[..., None] // 3 ** np.arange(20) % 3
        assert words.shape == (4, 15)
        assert np.array_equal(digits.reshape(4, 300) - 1, q.scheme.codes(q))

    def test_on_a_gaussian(self):
        """1 − 2a·E[|w|; |w| > a/2] + a²·P(|w| > a/2) with a = E|w|."""
        w = np.random.default_rng(0).standard_normal((512, 2048), np.float32)
        gauss, a = NormalDist(), math.sqrt(2 / math.pi)
        error = 1 - 4 * a * gauss.pdf(a / 2) + 2 * a * a * gauss.cdf(-a / 2)
        assert make_scheme("ternary").measure(w).mse == pytest.approx(error, rel=5e-3)


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(0).standard_normal((2048, 2048), np.float32)


class TestLearned:
    """Max, Quantizing for minimum distortion (1960), and Lloyd: the best levels for a Gaussian."""

    @pytest.mark.parametrize(
        ("levels", "decibels"), [(2, 4.40), (4, 9.30), (8, 14.62), (11, 17.16), (16, 20.22), (32, 26.01), (64, 31.91)]
    )
    def test_comes_near_the_best(self, gaussian, levels, decibels):
        assert make_scheme("learned", levels=levels).measure(gaussian).sqnr_db == pytest.approx(decibels, abs=0.05)

    def test_published_levels(self, gaussian):
        q = make_scheme("learned", levels=8).quantize(gaussian)
        assert q.scheme.level_values(q)[4:] == pytest.approx([0.2451, 0.7560, 1.3440, 2.1520], abs=0.01)

    def test_few_values_are_kept(self):
        w = np.random.default_rng(1).choice(np.float32([-7, -2, 0, 1, 3]), (40, 50))
        m = make_scheme("learned", levels=8).measure(w)
        assert m.rmse < 1e-6
        assert m.levels_used == 5

    def test_large_groups_count_for_more(self):
        """Errors weigh by the square of the scale: levels follow the shape of the group with the large weights."""
        rng = np.random.default_rng(2)
        large, small = 100 * rng.choice([-1, -0.5, 0.5, 1], 4096), rng.uniform(-1, 1, 4096)
        w = np.stack([large, small]).astype(np.float32)
        scheme = make_scheme("learned", levels=4, granularity="channel")
        assert scheme.quantize(w).params["codebook"] == pytest.approx([-1, -0.5, 0.5, 1], abs=1e-3)

    def test_size_counts_the_codebook(self):
        assert make_scheme("learned", levels=16).nbytes((8, 100)) == 8 * 50 + 4 + 64
        assert make_scheme("learned", levels=11).nbytes((8, 100)) == 8 * 4 * 12 + 4 + 44

    def test_a_codebook_that_does_not_ascend_is_refused(self):
        q = make_scheme("learned", levels=4).quantize(np.arange(8.0))
        with pytest.raises(FormatError, match="scale or codebook holds values that cannot be"):
            QTensor(q.scheme, q.shape, q.data, {**q.params, "codebook": q.params["codebook"][::-1].copy()})
