"""Published numbers of these schemes: sizes, and errors on seeded data."""

import math

import numpy as np
import pytest
import torch

from qinspect.quant.packing import digits_per_word
from qinspect.quant.scheme import make_scheme


def seeded(make):
    torch.manual_seed(42)
    return make()


def symmetric(bits=8, **parameters):
    return make_scheme("symmetric", bits=bits, **parameters)


class TestSeeded:
    def test_symmetric_8(self):
        m = symmetric().measure(seeded(lambda: torch.randn(1000) * 10))
        assert float(m.params["scale"][0]) == pytest.approx(0.244221, abs=5e-7)
        assert m.max_error == pytest.approx(0.1221, abs=5e-5)
        assert m.mean_error == pytest.approx(0.0612, abs=5e-5)
        assert m.sqnr_db == pytest.approx(43.07, abs=5e-3)

    def test_symmetric_4(self):
        m = symmetric(4).measure(seeded(lambda: torch.randn(1000) * 10))
        assert float(m.params["scale"][0]) == pytest.approx(4.430866, abs=5e-7)
        assert m.sqnr_db == pytest.approx(18.23, abs=5e-3)

    def test_one_sided(self):
        w = seeded(lambda: torch.relu(torch.randn(1000) * 5 + 2))
        assert symmetric().measure(w).sqnr_db == pytest.approx(43.61, abs=5e-3)
        m = make_scheme("asymmetric", bits=8).measure(w)
        assert float(m.params["scale"][0]) == pytest.approx(0.067158, abs=5e-7)
        assert m.params["zero_point"][0] == 0
        assert m.sqnr_db == pytest.approx(49.76, abs=5e-3)

    def test_per_channel(self):
        w = seeded(lambda: torch.randn(256, 512))
        w[:64] *= 10
        w[64:128] *= 0.1
        assert symmetric().measure(w).sqnr_db == pytest.approx(34.03, abs=5e-3)
        m = symmetric(granularity="channel", axis=0).measure(w)
        assert m.sqnr_db == pytest.approx(42.62, abs=5e-3)
        assert m.params["scale"].min() == pytest.approx(0.002055, abs=5e-7)
        assert m.params["scale"].max() == pytest.approx(0.361456, abs=5e-7)

    @pytest.mark.parametrize(
        ("bits", "decibels", "kilobytes"), [(2, 0.46, 2.45), (4, 15.20, 4.89), (8, 40.35, 9.77), (16, 88.61, 19.54)]
    )
    def test_bits(self, bits, decibels, kilobytes):
        m = symmetric(bits).measure(seeded(lambda: torch.randn(10000) * 5))
        assert m.snr_db_eps == pytest.approx(decibels, abs=5e-3)
        assert m.nbytes / 1024 == pytest.approx(kilobytes, abs=5e-3)

    def test_16_bits_without_epsilon(self):
        m = symmetric(16).measure(seeded(lambda: torch.randn(10000) * 5))
        assert m.sqnr_db == pytest.approx(88.62, abs=5e-3)

    def test_quantized_product(self):
        a, b = seeded(lambda: (torch.randn(64, 128) * 2, torch.randn(128, 256) * 3))
        scheme = symmetric()
        qa, qb = scheme.quantize(a), scheme.quantize(b)
        whole = scheme.codes(qa) @ scheme.codes(qb)
        assert whole.dtype == np.int32
        product = whole * (qa.params["scale"] * qb.params["scale"])
        exact = (a @ b).numpy()
        error = np.abs(product - exact)
        assert error.max() == pytest.approx(3.584, abs=5e-4)
        assert error.mean() == pytest.approx(0.7345, abs=5e-5)
        assert (error / np.abs(exact)).mean() == pytest.approx(0.0798, abs=5e-5)
        assert 4 * (a.numel() + b.numel() + exact.size) == 229_376
        assert qa.nbytes + qb.nbytes + 4 * exact.size == 106_504


GAUSSIAN = [
    ("symmetric", {"bits": 3, "granularity": "group"}, 11.25),
    ("symmetric", {"bits": 4, "granularity": "group"}, 18.61),
    ("symmetric", {"bits": 8, "granularity": "group"}, 43.78),
    ("asymmetric", {"bits": 4, "granularity": "group", "offset": "minimum"}, 20.01),
    ("base11", {}, 16.49),
    ("base_n", {"levels": 11}, 16.49),
    ("symmetric_n", {"levels": 11, "granularity": "group"}, 15.69),
    ("normal_float", {}, 20.39),
]


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(0).standard_normal((2048, 2048), np.float32)


class TestGaussian:
    @pytest.mark.parametrize(("name", "parameters", "decibels"), GAUSSIAN)
    def test_groups_of_128(self, gaussian, name, parameters, decibels):
        assert make_scheme(name, group_size=128, **parameters).measure(gaussian).sqnr_db == pytest.approx(
            decibels, abs=0.02
        )

    def test_sentinel_uses_few_codes(self, gaussian):
        m = make_scheme("sentinel", bits=8).measure(gaussian)
        assert m.levels == 256
        assert 6 <= m.levels_used <= 7
        assert m.entropy_bits < math.log2(7)

        assert m.sqnr_db == pytest.approx(6, abs=2)

    @pytest.mark.parametrize(
        ("name", "parameters"), [("base11", {"group_size": 1024}), ("symmetric", {}), ("asymmetric", {})]
    )
    def test_rounding_error_is_uniform(self, name, parameters):
        w = np.random.default_rng(1).uniform(-1, 1, (512, 1024)).astype(np.float32)
        assert make_scheme(name, **parameters).measure(w).rmse_per_step == pytest.approx(1 / math.sqrt(12), abs=5e-4)

    def test_a_tensor_away_from_zero(self):
        """A layer norm around 1: the plain formula, with a clamped zero point, gets 1.9 dB at 8 bits."""
        w = 1 + 0.02 * np.random.default_rng(2).standard_normal(768).astype(np.float32)
        extended = make_scheme("asymmetric", bits=8).measure(w).sqnr_db
        minimum = make_scheme("asymmetric", bits=8, offset="minimum").measure(w).sqnr_db
        assert minimum > extended + 15 > 60


class TestSizes:
    @pytest.mark.parametrize(
        ("group", "bpw"), [(32, 5.0), (64, 4.5), (126, 3.810), (128, 4.0), (252, 3.683), (256, 3.75), (1152, 3.583)]
    )
    def test_base11_where_the_group_divides_the_row(self, group, bpw):
        assert make_scheme("base11", group_size=group).bpw((16, 4 * group)) == pytest.approx(bpw, abs=5e-4)

    @pytest.mark.parametrize(
        ("row", "bpw_126", "bpw_128"), [(4096, 3.87, 4.0), (384, 5.0, 4.0), (1024, 4.22, 4.0), (1536, 4.06, 4.0)]
    )
    def test_base11_on_real_rows(self, row, bpw_126, bpw_128):
        assert make_scheme("base11", group_size=126).bpw((8, row)) == pytest.approx(bpw_126, abs=5e-3)
        assert make_scheme("base11", group_size=128).bpw((8, row)) == bpw_128

    def test_126_beats_128_on_a_row_of_4096(self, gaussian):
        w = gaussian.reshape(-1, 4096)
        narrow, wide = (make_scheme("base11", group_size=group).measure(w) for group in (126, 128))
        assert narrow.bpw < wide.bpw
        assert narrow.sqnr_db > wide.sqnr_db

    @pytest.mark.parametrize(
        ("levels", "digits"),
        [(3, 20), (5, 13), (6, 12), (7, 11), (9, 10), (11, 9), (13, 8), (16, 8), (23, 7), (40, 6), (84, 5), (256, 4)],
    )
    def test_digits_a_word(self, levels, digits):
        assert digits_per_word(levels) == digits
