"""Every figure against its formula in plain float64."""

import math

import numpy as np
import pytest

from qinspect.quant import engine
from qinspect.quant.metrics import ERRORS, decibels, entropy_bits
from qinspect.quant.scheme import QTensor, make_scheme

SCHEMES = [
    make_scheme("base11", group_size=50),
    make_scheme("sentinel"),
    make_scheme("symmetric", bits=4, granularity="channel", axis=1),
    make_scheme("asymmetric", bits=3, granularity="group", group_size=64),
    make_scheme("asymmetric", bits=16, offset="minimum"),
]
EACH = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)


@pytest.fixture(scope="module")
def w():
    return (0.3 + np.random.default_rng(0).standard_normal((500, 600)) * 0.02).astype(np.float32)


@EACH
class TestFormulas:
    @pytest.fixture
    def m(self, scheme, w):
        return scheme.measure(w)

    def test_errors(self, scheme, w, m):
        x = w.astype(np.float64)
        e = scheme.dequantize(scheme.quantize(w)) - x
        d = x + e
        assert m.sqnr_db == pytest.approx(10 * np.log10((x**2).sum() / (e**2).sum()), abs=1e-9)
        assert m.snr_db_eps == pytest.approx(10 * np.log10((x**2).mean() / ((e**2).mean() + 1e-10)), abs=1e-9)
        assert m.mse == pytest.approx((e**2).mean(), rel=1e-9)
        assert m.rmse == pytest.approx(np.sqrt((e**2).mean()), rel=1e-9)
        assert m.max_error == pytest.approx(np.abs(e).max(), rel=1e-6)
        assert m.mean_error == pytest.approx(np.abs(e).mean(), rel=1e-9)
        assert m.cosine == pytest.approx((x * d).sum() / np.linalg.norm(x) / np.linalg.norm(d), rel=1e-12)
        assert m.signal == pytest.approx((x**2).sum(), rel=1e-12)
        assert m.noise == pytest.approx((e**2).sum(), rel=1e-9)
        assert m.exact is False

    def test_codes(self, scheme, w, m):
        codes = scheme.codes(scheme.quantize(w)).astype(np.int64) - scheme.code_range[0]
        counts = np.bincount(codes.reshape(-1), minlength=scheme.n_codes)
        p = counts[counts > 0] / w.size
        assert np.array_equal(m.counts, counts)
        assert m.levels == scheme.n_codes
        assert m.levels_used == len(p)
        assert m.entropy_bits == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-12)

    def test_size(self, scheme, w, m):
        q = scheme.quantize(w)
        assert m.nbytes == q.nbytes
        assert m.bpw == 8 * q.nbytes / w.size
        assert all(np.array_equal(m.params[name], q.params[name]) for name in q.params)

    def test_without_a_reference(self, scheme, w, m):
        stored = engine.stored_metrics(scheme.quantize(w))
        values = stored.to_json()
        assert all(math.isnan(getattr(stored, name)) for name in ERRORS)
        assert {name for name, value in values.items() if value is None} == {*ERRORS, "exact"} - {"signal", "noise"}
        for name in ("bpw", "nbytes", "levels", "levels_used", "entropy_bits"):
            assert values[name] == m.to_json()[name]


def test_error_in_steps():
    """Each group's error counts in its own step."""
    rng = np.random.default_rng(0)
    w = (rng.uniform(-1, 1, (4, 4096)) * [[1], [10], [100], [1000]]).astype(np.float32)
    scheme = make_scheme("symmetric", bits=4, granularity="channel")
    q = scheme.quantize(w)
    e = (scheme.dequantize(q).astype(np.float64) - w) / q.params["scale"].astype(np.float64)[:, None]
    assert scheme.measure(w).rmse_per_step == pytest.approx(np.sqrt((e**2).mean()), rel=1e-9)


class TestClipping:
    """Weights beyond the end codes: 1000 Gaussian values with ten outliers, range from the 99th percentile."""

    @pytest.fixture
    def w(self):
        rng = np.random.default_rng(42)
        w = rng.standard_normal(1000).astype(np.float32)
        w[:10] = rng.choice([-20, 20], 10)
        return w

    @pytest.fixture
    def q(self, w):
        scale = np.float32(np.quantile(np.abs(w), 0.99) / 127)
        codes = np.clip(np.rint(w / scale), -128, 127)
        return QTensor(make_scheme("symmetric"), w.shape, (codes + 128).astype(np.uint8)[None], {"scale": scale[None]})

    def test_both_figures(self, w, q):
        m = q.scheme.compare(w, q)
        x, scale = w.astype(np.float64), float(q.params["scale"][0])
        clipped = np.clip(x, -128 * scale, 127 * scale)
        d = q.scheme.dequantize(q).astype(np.float64)
        in_range = 10 * np.log10((clipped**2).sum() / ((d - clipped) ** 2).sum())
        assert m.sqnr_in_range_db == pytest.approx(in_range, abs=1e-4)
        assert m.sqnr_in_range_db > 40
        assert m.sqnr_db == pytest.approx(10 * np.log10((x**2).sum() / ((d - x) ** 2).sum()), abs=1e-9)
        assert m.sqnr_db < 3
        assert m.clipped == ((x > 127 * scale) | (x < -128 * scale)).mean() == 0.01

    def test_without_clipping_they_agree(self, w):
        m = make_scheme("symmetric").measure(w)
        assert m.clipped == 0
        assert m.sqnr_in_range_db == pytest.approx(m.sqnr_db, abs=1e-6)


class TestExact:
    def test_no_error(self):
        m = make_scheme("symmetric").measure(np.array([[-127.0, 3, 64, 127]]))
        assert m.exact is True
        assert m.sqnr_db == m.sqnr_in_range_db == math.inf
        assert (m.rmse, m.max_error, m.cosine, m.rmse_per_step) == (0, 0, pytest.approx(1), 0)
        values = m.to_json()
        assert values["sqnr_db"] is None
        assert values["exact"] is True
        assert values["snr_db_eps"] == pytest.approx(10 * math.log10(np.mean([127**2, 9, 64**2, 127**2]) / 1e-10))

    def test_zeros(self):
        m = make_scheme("symmetric").measure(np.zeros((3, 4)))
        assert (m.exact, m.sqnr_db, m.cosine, m.entropy_bits, m.levels_used) == (True, math.inf, 1, 0, 1)
        assert m.to_json()["snr_db_eps"] is None

    def test_no_weights(self):
        m = make_scheme("base11").measure(np.zeros((0, 4)))
        assert (m.exact, m.bpw, m.nbytes, m.entropy_bits, m.levels_used) == (True, 0, 0, 0, 0)

    def test_error_without_signal(self):
        m = make_scheme("sentinel").measure(np.zeros((3, 4)))
        assert m.sqnr_db == -math.inf
        assert m.to_json()["sqnr_db"] is None
        assert m.exact is False
        assert m.cosine == 0


class TestEntropy:
    @pytest.mark.parametrize(
        ("counts", "bits"),
        [
            ([], 0), ([0, 0], 0), ([7, 0], 0), ([5, 5], 1), ([1] * 256, 8), ([2, 1, 1], 1.5),
            ([3, 1], 2 - 0.75 * math.log2(3)),
        ],
    )  # fmt: skip
    def test_closed_forms(self, counts, bits):
        assert entropy_bits(np.array(counts, np.int64)) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize(
    ("signal", "noise", "db"),
    [(1, 1, 0), (100, 1, 20), (1, 0, math.inf), (0, 0, math.inf), (0, 1, -math.inf), (1, math.inf, -math.inf)],
)
def test_decibels(signal, noise, db):
    assert decibels(signal, noise) == db
