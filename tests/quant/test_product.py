"""The product of quantized matrices, against torch's integers and published figures."""

import numpy as np
import pytest
import torch

from qinspect.errors import SchemeError
from qinspect.quant.product import multiply
from qinspect.quant.scheme import make_scheme

PAIRS = [
    ({}, {}),
    ({"granularity": "channel", "axis": 0}, {}),
    ({}, {"granularity": "channel", "axis": 1}),
    ({"granularity": "channel", "axis": 0}, {"granularity": "channel", "axis": 1}),
]


def quantized(w, name="symmetric", **parameters):
    return make_scheme(name, **parameters).quantize(w)


def codes(q):
    return torch.from_numpy(q.scheme.codes(q).astype(np.int64))


@pytest.fixture(scope="module")
def matrices():
    torch.manual_seed(42)
    return torch.randn(64, 128) * 2, torch.randn(128, 256) * 3


def test_published_figures(matrices):
    a, b = matrices
    product = multiply(quantized(a), quantized(b))
    errors = product.errors((a @ b).numpy())
    assert f"{errors.max_error:.3f}" == "3.584"
    assert f"{errors.mean_error:.4f}" == "0.7345"
    assert f"{errors.mean_relative:.2%}" == "7.98%"
    assert (product.original_nbytes, product.nbytes) == (229_376, 106_504)


def test_figures_are_those_of_the_errors(matrices):
    a, b = matrices
    product, exact = multiply(quantized(a), quantized(b)), (a @ b).numpy().astype(np.float64)
    noise = product.values - exact
    assert product.errors(exact).sqnr_db == pytest.approx(10 * np.log10(np.sum(exact**2) / np.sum(noise**2)))
    assert product.errors(product.values).max_error == 0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_sums_are_those_of_torch_in_int32(matrices, bits):
    a, b = (quantized(w, bits=bits) for w in matrices)
    product = multiply(a, b)
    assert product.accumulator.dtype == np.int32
    exact = torch.mm(codes(a).int(), codes(b).int()).numpy()
    np.testing.assert_array_equal(product.accumulator, exact)
    assert product.accumulator_range == (exact.min(), exact.max())


@pytest.mark.parametrize("name", ["symmetric", "asymmetric", "symmetric_n", "ternary"])
@pytest.mark.parametrize(("of_a", "of_b"), PAIRS)
def test_values_are_the_product_of_what_both_decode_to(matrices, name, of_a, of_b):
    a, b = (quantized(w + 1, name, **of) for w, of in zip(matrices, (of_a, of_b), strict=True))
    decoded = [torch.from_numpy(q.scheme.dequantize(q).copy()).double() for q in (a, b)]
    np.testing.assert_allclose(multiply(a, b).values, torch.mm(*decoded).numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("inner", [1041, 1042, 4000])
def test_long_sums_of_the_largest_codes_are_exact(inner):
    """Sums of 127·127 pass 2²⁴, the last whole number that float32 is sure of, at 1041 terms."""
    w = np.full((2, inner), 3.0, np.float32)
    w[1, ::2] = -3.0
    w[1, -1] = 3 * 126 / 127
    a, b = quantized(w), quantized(w.T)
    np.testing.assert_array_equal(multiply(a, b).accumulator, torch.mm(codes(a), codes(b)).numpy())


@pytest.mark.parametrize("inner", [1, 2, 3])
def test_sums_beyond_int32_are_refused(inner):
    """32767² fits twice into 2³¹."""
    a, b = quantized(np.ones((1, inner), np.float32), bits=16), quantized(np.ones((inner, 1), np.float32), bits=16)
    if inner < 3:
        assert multiply(a, b).accumulator.item() == inner * 32767**2
    else:
        with pytest.raises(SchemeError, match="int32"):
            multiply(a, b)


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("base11", {}, "choose symmetric"),
        ("sentinel", {}, "choose symmetric"),
        ("asymmetric", {"offset": "minimum"}, "choose symmetric"),
        ("learned", {}, "choose symmetric"),
        ("symmetric", {"granularity": "group"}, "axis 0"),
        ("symmetric", {"granularity": "channel", "axis": 1}, "axis 0"),
    ],
)
def test_what_has_no_integer_product_is_refused(matrices, name, parameters, text):
    a, b = matrices
    with pytest.raises(SchemeError, match=text):
        multiply(quantized(a, name, **parameters), quantized(b))


def test_shapes_that_do_not_fit_are_refused(matrices):
    a, b = map(quantized, matrices)
    with pytest.raises(SchemeError, match=r"\[128, 256\] and \[64, 128\]"):
        multiply(b, a)
    with pytest.raises(SchemeError, match="reference"):
        multiply(a, b).errors(np.zeros((1, 256)))


def test_nothing_times_nothing():
    product = multiply(quantized(np.zeros((2, 0), np.float32)), quantized(np.zeros((0, 3), np.float32)))
    np.testing.assert_array_equal(product.values, np.zeros((2, 3)))
    assert product.errors(np.zeros((2, 3))).mean_relative == 0
