"""The distribution from one pass, against numpy on the values themselves."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.quant.distribution import CELLS, STEP, Patterns, distribution

HALVES = pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])


def values_of(kind, seed=0, shape=(300, 700)):
    rng = np.random.default_rng(seed)
    return {
        "gaussian": lambda: rng.standard_normal(shape) * 0.02,
        "shifted": lambda: 3 + rng.standard_normal(shape) * 0.02,
        "heavy": lambda: rng.standard_t(2, shape),
        "tiny": lambda: rng.standard_normal(shape) * 1e-7,
        "large": lambda: rng.standard_normal(shape) * 1e4,
        "sparse": lambda: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
        "negative": lambda: -np.abs(rng.standard_normal(shape)) - 0.5,
    }[kind]()


KINDS = pytest.mark.parametrize("kind", ["gaussian", "shifted", "heavy", "tiny", "large", "sparse", "negative"])


@HALVES
@KINDS
class TestHalfPrecision:
    """Every answer is numpy's."""

    @pytest.fixture
    def w(self, kind, dtype):
        return values_of(kind).astype(dtype)

    @pytest.fixture
    def found(self, w):
        return distribution(w)

    def test_histograms_of_any_binning(self, w, found):
        x = w.astype(np.float64).reshape(-1)
        low, high = x.min(), x.max()
        for edges in (np.linspace(low, high, 38), np.linspace(low, high, 5001), np.array([low, 0.0, 0.013, high])):
            edges = np.sort(edges)
            counts, (below, above) = found.histogram(edges)
            before = np.searchsorted(np.sort(x), edges, "left")
            assert found.exact
            assert np.array_equal(counts, np.diff(before))
            assert (below, above) == (before[0], x.size - before[-1])

    def test_percentiles(self, w, found):
        percent = np.array([0, 0.01, 1, 37.3, 50, 99, 99.99, 100])
        expected = np.percentile(w.astype(np.float64), percent)
        np.testing.assert_allclose(found.percentile(percent), expected, rtol=1e-12, atol=0)

    def test_shares_that_a_range_clips(self, w, found):
        x = w.astype(np.float64)
        for low, high in ((x.min(), x.max()), (-0.01, 0.013), tuple(np.percentile(x, [3, 98]))):
            assert found.clipped(low, high) == pytest.approx(((x < low) | (x > high)).mean(), abs=1e-15)

    def test_moments_and_extremes(self, w, found):
        x = w.astype(np.float64)
        assert (found.low, found.high, found.size) == (x.min(), x.max(), x.size)
        assert found.mean == pytest.approx(x.mean(), rel=1e-9, abs=1e-12 * x.std())
        assert found.std == pytest.approx(x.std(), rel=1e-6)


@KINDS
class TestFloat32:
    @pytest.fixture
    def w(self, kind):
        return values_of(kind).astype(np.float32)

    @pytest.fixture
    def found(self, w):
        return distribution(w)

    def test_counts_are_exact_at_the_edges_of_patterns(self, w, found):
        edges = found.patterns.edges[np.isfinite(found.patterns.edges)]
        before = np.searchsorted(np.sort(w, axis=None).astype(np.float64), edges, "left")
        np.testing.assert_array_equal(found.below(edges), before)
        assert not found.exact

    def test_elsewhere_within_a_cell(self, w, found):
        """A thousandth of a value's own size."""
        percent = np.array([0, 0.1, 5, 30, 50, 77, 99.9, 100])
        true = np.percentile(w.astype(np.float64), percent)
        near = np.abs(true) * 2.0**-10 + np.abs(w).max() * 2.0**-39
        assert (np.abs(found.percentile(percent) - true) <= near).all()

    def test_extremes_are_exact_and_nothing_is_lost(self, w, found):
        assert found.percentile(0) == w.min()
        assert found.percentile(100) == w.max()
        counts, outside = found.histogram(np.linspace(w.min(), np.nextafter(w.max(), np.inf, dtype=np.float32), 77))
        assert (counts.sum(), outside) == (w.size, (0, 0))
        assert found.clipped(float(w.min()), float(w.max())) == 0


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-60000, 60000, width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    at=st.floats(-1e5, 1e5),
)
def test_any_half_precision_values(values, at):
    w = np.array(values, np.float16)
    found = distribution(w)
    assert found.below(at) == (w.astype(np.float64) < at).sum()
    assert found.percentile(50) == pytest.approx(np.percentile(w.astype(np.float64), 50), rel=1e-12)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -3e-5, 65504.0, -1e30, 1e-40])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_constants(value, dtype):
    w = np.full((3, 5), value, dtype)
    x = float(w[0, 0])
    found = distribution(w)
    assert found.below([x, np.nextafter(np.float32(x), np.float32(np.inf))]).tolist() == [0, 15]
    assert found.percentile([0, 50, 100]).tolist() == pytest.approx([x] * 3, rel=1e-7)
    assert found.clipped(x, x) == 0


def test_nothing():
    found = distribution(np.zeros((0, 4), np.float32))
    assert (found.size, found.clipped(-1, 1)) == (0, 0)
    assert np.isnan(found.percentile(50))
    assert found.histogram([0.0, 1.0])[0].tolist() == [0]


def test_any_number_of_threads_and_any_layout(monkeypatch):
    w = values_of("heavy", shape=(999, 1003)).astype(np.float32)
    expected = distribution(w)
    for same in (np.asfortranarray(w), w.astype(">f4"), w[:, :, None]):
        np.testing.assert_array_equal(distribution(same).counts, expected.counts)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    np.testing.assert_array_equal(distribution(w).counts, expected.counts)


def test_cells_are_finest_at_the_layers_own_magnitude():
    patterns = Patterns.of(np.float32, 0.75)
    edges = patterns.edges
    i = np.searchsorted(edges, 0.7)
    assert edges.size == CELLS + 1
    assert edges[i + 1] - edges[i] == 2.0**-11 <= STEP * edges[i]
    assert edges[np.isfinite(edges)][-1] == 1.0
