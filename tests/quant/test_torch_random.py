"""Numbers drawn as torch draws them, against torch itself."""

import numpy as np
import pytest
import torch

from qinspect.quant.torch_random import TorchRandom

SIZES = (0, 1, 2, 9, 15, 16, 17, 31, 32, 1000, 65_537)


def assert_agrees(ours, theirs):
    """Equal to the bit where torch uses AVX2; elsewhere its logarithm and cosine are other ones."""
    assert ours.dtype == np.float32
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        np.testing.assert_array_equal(ours, theirs.numpy())
    else:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_normal_numbers(seed, size):
    torch.manual_seed(seed)
    assert_agrees(TorchRandom(seed).randn(size), torch.randn(size))


def test_the_stream_goes_on():
    torch.manual_seed(42)
    random = TorchRandom(42)
    for shape in ((3, 7), (5,), (16, 5), (1,), (40, 2)):
        assert_agrees(random.randn(*shape), torch.randn(*shape))
        np.testing.assert_array_equal(random.randint(1000, 9), torch.randint(1000, (9,)).numpy())


def test_whole_numbers():
    torch.manual_seed(42)
    np.testing.assert_array_equal(TorchRandom(42).randint(1000, 500), torch.randint(0, 1000, (500,)).numpy())


def test_uniform_numbers():
    torch.manual_seed(42)
    unit = torch.rand(1000).numpy()
    ours = TorchRandom(42).uniform(1000, bound=1.0)
    np.testing.assert_array_equal(ours, 2 * unit - 1)  # both are exact: 24 bits and a power of two


def test_a_linear_layer_as_torch_begins_it():
    torch.manual_seed(42)
    layer = torch.nn.Linear(100, 30)
    random = TorchRandom(42)
    assert_agrees(random.uniform(30, 100, bound=0.1), layer.weight.detach())
    assert_agrees(random.uniform(30, bound=0.1), layer.bias.detach())
