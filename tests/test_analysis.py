"""What the views draw, against numpy and brute force."""

import math

import numpy as np
import pytest

from qinspect import analysis
from qinspect.quant.scheme import make_scheme

SCHEMES = [
    make_scheme("base11", group_size=50),
    make_scheme("sentinel"),
    make_scheme("symmetric", bits=4, granularity="channel", axis=1),
    make_scheme("asymmetric", bits=5, granularity="group", group_size=64),
]
EACH = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)


@pytest.fixture(scope="module")
def w():
    return (0.01 + np.random.default_rng(0).standard_normal((600, 700)) * 0.02).astype(np.float32)


def limits(w):
    return float(w.min()), float(w.max())


class TestHistogram:
    @EACH
    def test_as_numpy_counts(self, scheme, w):
        q = scheme.quantize(w)
        found = analysis.histogram(q, w, limits(w))
        decoded = scheme.dequantize(q).astype(np.float64)
        for mine, values in ((found.weights, w.astype(np.float64)), (found.decoded, decoded)):
            expected, edges = np.histogram(values, analysis.BINS, limits(w))
            assert np.allclose(found.edges, edges)
            # A value on an edge, within rounding, may fall on either side of it.
            ordered, rounding = np.sort(values, axis=None), 1e-12 * (edges[-1] - edges[0])
            on_edge = np.searchsorted(ordered, edges[1:] + rounding) - np.searchsorted(ordered, edges[1:] - rounding)
            assert (np.abs(np.cumsum(mine - expected)) <= on_edge).all()
            assert mine.sum() <= values.size
        assert found.weights.sum() == w.size
        assert (found.below, found.above) == (0, 0)
        assert found.mean == pytest.approx(w.mean(dtype=np.float64), rel=1e-9)
        assert found.std == pytest.approx(w.std(dtype=np.float64), rel=1e-6)

    def test_what_lies_outside_is_counted_apart(self, w):
        q = make_scheme("base11").quantize(w)
        found = analysis.histogram(q, w, (-0.01, 0.03))
        assert found.below == (w < -0.01).sum()
        assert found.above == (w > np.float32(0.03)).sum()
        assert found.weights.sum() == w.size - found.below - found.above

    def test_without_a_reference(self, w):
        q = make_scheme("base11").quantize(w)
        decoded = q.scheme.dequantize(q)
        found = analysis.histogram(q, None, limits(decoded))
        assert found.weights is None
        assert found.decoded.sum() == w.size
        assert found.mean == pytest.approx(decoded.mean(dtype=np.float64), rel=1e-9)

    @EACH
    def test_code_units(self, scheme, w):
        """Decoded weights lie on whole codes; weights round to their code."""
        q = scheme.quantize(w)
        low, high = scheme.code_range
        found = analysis.histogram(q, w, (low - 0.5, high + 0.5), code_units=True)
        centres = (found.edges[:-1] + found.edges[1:]) / 2
        counts = np.zeros(scheme.n_codes, np.int64)
        np.add.at(counts, np.rint(centres[found.decoded > 0]).astype(int) - low, found.decoded[found.decoded > 0])
        assert np.array_equal(counts, scheme.count(q))
        used = np.flatnonzero(found.weights)
        assert abs(found.weights.sum() + found.below + found.above - w.size) == 0
        assert low - 0.5 <= centres[used[0]] <= centres[used[-1]] <= high + 0.5

    @pytest.mark.parametrize("value", [0.0, 3.5, -1e-30])
    def test_a_constant(self, value):
        w = np.full((4, 50), value, np.float32)
        q = make_scheme("symmetric").quantize(w)
        found = analysis.histogram(q, w, limits(w))
        assert found.weights.sum() == w.size
        assert found.std == pytest.approx(0, abs=1e-9)
        assert (np.diff(found.edges) > 0).all()

    def test_no_weights(self):
        w = np.zeros((0, 5), np.float32)
        found = analysis.histogram(make_scheme("symmetric").quantize(w), w, (0, 0))
        assert found.weights.sum() == found.decoded.sum() == 0


class TestCodeUsage:
    def usage(self, *counts):
        return analysis.CodeUsage(0, np.array(counts, np.int64))

    def test_in_words(self):
        counts = np.zeros(256, np.int64)
        counts[125:131] = 1, 4, 16, 8, 2, 1  # of 32: the entropy is 1.9375
        usage = analysis.CodeUsage(-128, counts)
        assert usage.sentence == "6 of 256 codes used; 3 bits would hold this losslessly; 1.9 bits of entropy"

    def test_where_fewer_bits_would_not_do(self):
        assert self.usage(*[1] * 11).sentence == "11 of 11 codes used; 3.5 bits of entropy"
        assert self.usage(9, 9, 0).sentence.startswith("2 of 3 codes used; 1 bit would hold this losslessly")

    @pytest.mark.parametrize(("used", "bits"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (128, 7), (129, 8)])
    def test_bits_needed(self, used, bits):
        assert self.usage(*[1] * used, *[0] * (256 - used)).bits_needed == bits


class TestScaleMap:
    @pytest.mark.parametrize(
        ("parameters", "shape", "expected", "across"),
        [
            ({"granularity": "tensor"}, (6, 100), (1, 1), "tensor"),
            ({"granularity": "group", "group_size": 32}, (6, 100), (6, 4), "group along the row"),
            ({"granularity": "group", "group_size": 32}, (2, 3, 5, 7), (2, 4), "group along the row"),
            ({"granularity": "channel", "axis": 0}, (6, 100), (6, 1), "group along the row"),
            ({"granularity": "channel", "axis": 1}, (6, 100), (1, 100), "channel"),
            ({"granularity": "channel", "axis": 1}, (2, 3, 5, 7), (1, 3), "channel"),
        ],
    )
    def test_shape(self, parameters, shape, expected, across):
        w = np.random.default_rng(0).standard_normal(shape)
        q = make_scheme("asymmetric", offset="minimum", **parameters).quantize(w)
        found = analysis.scale_map(q)
        assert found.across == across
        assert {name: array.shape for name, array in found.values.items()} == dict.fromkeys(
            ("scale", "minimum", "step"), expected
        )
        assert np.array_equal(found.values["scale"].reshape(-1), q.params["scale"].reshape(-1))
        assert np.array_equal(found.values["minimum"].reshape(-1), q.params["minimum"].reshape(-1))

    def test_scale_of_base11_is_the_range(self):
        q = make_scheme("base11", group_size=10).quantize(np.arange(20.0).reshape(1, 20))
        found = analysis.scale_map(q)
        assert found.values["scale"].tolist() == [[9, 9]]
        assert found.values["minimum"].tolist() == [[0, 10]]
        assert found.values["step"] == pytest.approx(0.9)


def pooled(x, factor):
    """The value of largest magnitude of every `factor × factor` cell, by padding and plain numpy."""
    padded = np.zeros([-(-n // factor) * factor for n in x.shape], x.dtype)
    padded[: x.shape[0], : x.shape[1]] = x
    rows, cols = padded.shape[0] // factor, padded.shape[1] // factor
    cells = padded.reshape(rows, factor, cols, factor).swapaxes(1, 2).reshape(rows, cols, -1)
    return np.take_along_axis(cells, np.abs(cells).argmax(axis=2)[..., None], axis=2)[..., 0]


class TestErrorPyramid:
    @pytest.mark.parametrize("shape", [(600, 700), (1, 3000), (5, 3, 9, 9), (40,), (3, 2500)])
    def test_extremes_at_every_level(self, shape):
        w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        scheme = make_scheme("symmetric", bits=4)
        q = scheme.quantize(w)
        found = analysis.error_pyramid(q, w)
        assert found.finest == 1
        assert found.shape == found.levels[1][1].shape
        error = (scheme.dequantize(q) - w).reshape(found.shape)
        for factor, (errors, weights) in found.levels.items():
            assert np.array_equal(np.abs(errors), np.abs(pooled(error, factor)))
            assert np.array_equal(weights, pooled(w.reshape(found.shape), factor))
        assert max(found.levels[max(found.levels)][1].shape) <= 256

    def test_an_outlier_is_kept_in_a_large_matrix(self):
        rng = np.random.default_rng(0)
        w = rng.uniform(-1, 1, (2500, 2011)).astype(np.float32)
        w[1234, 2010] = 50
        q = make_scheme("base11").quantize(w)
        changed = q.scheme.dequantize(q)
        changed[77, 5] += 9
        found = analysis.error_pyramid(q, changed)
        assert found.finest == 2
        assert found.levels[2][0].shape == (1250, 1006)
        for errors, weights in found.levels.values():
            assert errors.min() == pytest.approx(-9, rel=1e-6)
            assert errors.max() == 0
            assert weights.max() == pytest.approx(50, rel=1e-3)
        errors = found.levels[2][0]
        assert np.unravel_index(np.argmin(errors), errors.shape) == (38, 2)

    def test_without_a_reference(self, w):
        q = make_scheme("base11").quantize(w)
        found = analysis.error_pyramid(q, None)
        assert all(errors is None for errors, _ in found.levels.values())
        assert np.array_equal(found.levels[1][1], q.scheme.dequantize(q))

    @pytest.mark.parametrize("shape", [(0, 600), (600, 0), (0,), ()])
    def test_few_weights_or_none(self, shape):
        w = np.ones(shape, np.float32)
        found = analysis.error_pyramid(make_scheme("symmetric").quantize(w), w)
        assert math.prod(found.shape) == w.size

    def test_level_for(self):
        levels = {f: (None, np.zeros((1, 1))) for f in (2, 4, 8)}
        pyramid = analysis.ErrorPyramid((100, 100), levels)
        assert [pyramid.level_for(scale) for scale in (0.1, 1, 2, 3.9, 4, 7, 100)] == [2, 2, 2, 2, 4, 4, 8]


class TestSampleRows:
    def test_a_small_matrix_is_itself(self, w):
        assert analysis.sample_rows(w) is w

    @pytest.mark.parametrize("shape", [(4000, 1000), (1001, 3, 40, 40), (3, 1 << 20), (1, 1 << 21), (1 << 21, 2)])
    def test_about_the_limit_in_whole_rows(self, shape):
        w = np.broadcast_to(np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1)), shape)
        sample = analysis.sample_rows(w, 1 << 20)
        rows = sample.reshape(len(sample), -1)[:, 0]
        assert sample.shape[1:] == shape[1:]
        assert (np.diff(rows) > 0).all()
        assert sample.size <= max(1 << 20, math.prod(shape[1:]))
        assert sample.size >= (1 << 20) * 2 // 3 or len(sample) == 1

    def test_rows_are_spread(self):
        w = np.arange(1 << 22, dtype=np.float32).reshape(4096, 1024)
        rows = analysis.sample_rows(w, 1 << 20)[:, 0] // 1024
        assert rows[-1] > 0.9 * 4096
        assert np.ptp(np.diff(rows)) == 0

    def test_a_vector_is_itself(self):
        w = np.zeros(1 << 21, np.float32)
        assert analysis.sample_rows(w) is w
