"""Levels of any spacing: the nearest of them, and the tables that are published."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.analysis import histogram, scale_map
from qinspect.quant import engine, kernels
from qinspect.quant.e2m1 import TABLE
from qinspect.quant.scheme import make_scheme
from qinspect.quant.schemes.normal_float import normal_table

QUARTERS = st.integers(-400, 400).map(lambda n: np.float32(n / 4))
FLOATS = st.floats(-100, 100, width=16)  # differences of these are exact in float64


def encoded(x, table, scale=1.0, offset=0.0):
    codes = np.empty(x.shape, np.uint8)
    scales, offsets = np.full(1, scale, np.float32), np.full(1, offset, np.float32)
    kernels.encode_nearest(x, x.size, x.size, 0, scales, offsets, engine.boundaries(table), codes)
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
        x, table = np.random.default_rng(0).standard_normal(5000, np.float32), normal_table(8)
        assert np.array_equal(encoded(x, table), nearest(x, table))


class TestNormalFloat:
    def test_nf4_is_the_formula(self):
        """Half the mass beyond the outermost quantiles is (1/32 + 1/30)/2; scipy's table to seven digits."""
        from scipy.stats import norm

        tail = (1 / 32 + 1 / 30) / 2
        upper = norm.ppf(np.linspace(1 - tail, 0.5, 9)[:-1])
        lower = -norm.ppf(np.linspace(1 - tail, 0.5, 8)[:-1])
        table = np.sort([*upper, 0, *lower]) / upper.max()
        np.testing.assert_allclose(normal_table(4), table, atol=3e-7)

    @pytest.mark.parametrize("bits", range(2, 9))
    def test_shape(self, bits):
        table = normal_table(bits)
        assert table.size == 1 << bits
        assert (table[0], table[-1]) == (-1, 1)
        assert 0 in table
        assert (np.diff(table) > 0).all()


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
        again = type(q)(q.scheme, q.shape, data, q.params)
        assert q.scheme.codes(again).tolist() == [[7, 14]]


class TestWhatViewsShow:
    def test_positions_between_uneven_levels(self):
        scheme = make_scheme("fp4", param_dtype="float32")
        w = np.float32([[-6, -5, 0, 0.25, 1, 5, 6]])
        counts = histogram(scheme.quantize(w), w, (-0.5, 14.5), code_units=True).weights
        places = np.flatnonzero(counts) * 15 / counts.size - 0.5
        np.testing.assert_allclose(places, [0, 0.5, 7, 7.5, 9, 13.5, 14], atol=0.02)

    def test_no_step_where_levels_are_uneven(self):
        q = make_scheme("fp4").quantize(np.ones((2, 64)))
        assert set(scale_map(q).values) == {"scale", "minimum"}
        assert q.scheme.measure(np.ones((2, 64))).to_json()["rmse_per_step"] is None
