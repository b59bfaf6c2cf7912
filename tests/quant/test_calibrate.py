"""Where ranges come from: quantiles as numpy has them."""

import numpy as np
import pytest

from qinspect.quant.blocks import Matrix
from qinspect.quant.calibrate import BlockSample, TensorSample, _quantile
from qinspect.quant.layout import per_channel, per_group, per_tensor
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
        """Ten outliers among a thousand weights: fine within the range, worthless for the tensor."""
        rng = np.random.default_rng(42)
        w = np.append(rng.standard_normal(990), 20 * rng.choice([-1, 1], 10)).astype(np.float32)
        m = make_scheme("symmetric", calibration="percentile", percentile=99).measure(w)
        assert m.sqnr_in_range_db > 40
        assert m.sqnr_db < 3
        assert m.clipped == pytest.approx(0.01, abs=0.002)

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
