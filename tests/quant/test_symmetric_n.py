"""Symmetric integers of any number of levels."""

import numpy as np
import pytest

from qinspect.quant.scheme import make_scheme


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(0).standard_normal((6, 300)).astype(np.float32)


@pytest.mark.parametrize("levels", [3, 5, 11, 12, 100, 255])
def test_codes_and_scale(w, levels):
    q = make_scheme("symmetric_n", levels=levels, granularity="channel").quantize(w)
    top = (levels - 1) // 2
    scale = np.abs(w).max(axis=1) / np.float32(top)
    assert np.array_equal(q.params["scale"], scale)
    assert q.scheme.code_range == (top + 1 - levels, top)
    assert np.array_equal(q.scheme.codes(q), np.rint(w / scale[:, None]))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("calibration", ["minmax", "mse"])
def test_a_power_of_two_is_symmetric(w, bits, calibration):
    same = {"granularity": "group", "group_size": 50, "param_dtype": "float16", "calibration": calibration}
    q, other = (
        scheme.quantize(w) for scheme in (make_scheme("symmetric_n", levels=1 << bits, **same),
                                          make_scheme("symmetric", bits=bits, **same))
    )  # fmt: skip
    assert np.array_equal(q.data, other.data)
    assert np.array_equal(q.params["scale"], other.params["scale"])


def test_nine_of_eleven_levels_share_a_word_along_the_row(w):
    q = make_scheme("symmetric_n", granularity="group", group_size=128, param_dtype="float16").quantize(w)
    words = q.data.view("<u4").astype(np.int64)
    assert words.shape == (6, 34)
    digits = (words[..., None] // 11 ** np.arange(9) % 11).reshape(6, -1)
    assert np.array_equal(digits[:, :300] - 5, q.scheme.codes(q))
    assert q.scheme.bpw((6, 4096)) == (4 * -(-4096 // 9) + 2 * 32) * 8 / 4096  # 3.68
