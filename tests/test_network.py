"""Networks against torch, against hand-built arithmetic, and on the sample that ships."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import qinspect
from qinspect import network
from qinspect.errors import FormatError
from qinspect.network import LayerNorm, Linear, Network, Relu, Residual

EVERY_OPERATOR = [
    {"op": "linear", "prefix": "fc1"},
    {"op": "layernorm", "prefix": "n1", "eps": 0.01},
    {"op": "residual", "body": [{"op": "linear", "prefix": "r.fc"}, {"op": "relu"}]},
    {"op": "linear", "prefix": "fc2"},
]


def written(path, tensors, metadata=None):
    save_file(tensors, path, metadata)
    return qinspect.open_checkpoint(path)


def numpy_state(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def test_forward_agrees_with_torch():
    torch.manual_seed(0)
    fc1, n1, inner, fc2 = nn.Linear(7, 12), nn.LayerNorm(12, eps=0.01), nn.Linear(12, 12), nn.Linear(12, 3, bias=False)
    nn.init.normal_(n1.weight)
    nn.init.normal_(n1.bias)
    x = torch.randn(5, 7)
    with torch.no_grad():
        h = n1(fc1(x))
        expected = fc2(h + torch.relu(inner(h))).numpy()
    modules = nn.ModuleDict({"fc1": fc1, "n1": n1, "r": nn.ModuleDict({"fc": inner}), "fc2": fc2})
    actual = Network.parse(json.dumps(EVERY_OPERATOR)).forward(x.numpy(), numpy_state(modules).get)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_big_net_is_known_by_its_names_and_runs_as_torch_does(tmp_path):
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

        def forward(self, x):
            return self.model(x) + x

    layers = [layer for _ in range(6) for layer in (Block(), nn.LayerNorm(16))][:-1]
    big = nn.Module()
    big.model = nn.Sequential(*layers)
    x = torch.randn(4, 16)
    with torch.no_grad():
        expected = big.model(x).numpy()
    with written(tmp_path / "big.safetensors", numpy_state(big)) as checkpoint:
        actual = Network.of(checkpoint).forward(x.numpy(), network.decoded(checkpoint))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_network_of_other_names_is_not_taken_for_big_net(tmp_path):
    with written(
        tmp_path / "other.safetensors", {"model.0.model.0.weight": np.zeros((2, 2), np.float32)}
    ) as checkpoint:
        assert Network.of(checkpoint) is None


def test_parse_gives_plain_data_and_writes_it_back():
    parsed = Network.parse(json.dumps(EVERY_OPERATOR))
    body = Residual((Linear("r.fc"), Relu()))
    assert parsed.operators == (Linear("fc1"), LayerNorm("n1", 0.01), body, Linear("fc2"))
    assert parsed.to_json() == EVERY_OPERATOR
    assert parsed.prefixes == ("fc1", "n1", "r.fc", "fc2")
    assert Network.parse('[{"op": "layernorm", "prefix": "n"}]').operators == (LayerNorm("n", 1e-5),)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "[]", "null", "[1]", '[{"op": "conv"}]', '[{"op": ["linear"]}]', '[{"op": "linear"}]',
        '[{"op": "linear", "prefix": 3}]', '[{"op": "relu", "prefix": "a"}]', '[{"op": "residual", "body": []}]',
        '[{"op": "layernorm", "prefix": "n", "eps": -1}]', '[{"op": "layernorm", "prefix": "n", "eps": NaN}]',
        '[{"op": "layernorm", "prefix": "n", "eps": true}]', '[{"op": "residual", "body":' * 20 + "[]" + "}]" * 20,
        "[" * 100_000, '{"op":"\ud800"}',
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(text):
    with pytest.raises(FormatError):
        Network.parse(text)


def test_metadata_that_is_no_network_names_the_file(tmp_path):
    tensors = {"fc.weight": np.zeros((2, 2), np.float32)}
    checkpoint = written(tmp_path / "odd.safetensors", tensors, {"qinspect.network": "nonsense"})
    with checkpoint, pytest.raises(FormatError, match=r"odd\.safetensors: "):
        Network.of(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "fc1.weight: .*does not have it"),
        ({"fc1.weight": np.ones((4, 6), np.float32)}, "fc1.weight: .*any × 7.*(4, 6)"),
        ({"fc1.weight": np.ones(7, np.float32)}, "fc1.weight"),
        ({"fc1.weight": np.ones((4, 7), np.float32), "fc1.bias": np.ones(3, np.float32)}, "fc1.bias: .*4"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, message):
    with pytest.raises(FormatError, match=message):
        Network((Linear("fc1"),)).forward(np.ones((2, 7), np.float32), tensors.get)


def test_a_residual_that_changes_width_and_inputs_of_another_shape_are_refused():
    wide = Network((Residual((Linear("fc"),)),))
    with pytest.raises(FormatError, match="turns 2 features into 3"):
        wide.forward(np.ones((1, 2), np.float32), {"fc.weight": np.ones((3, 2), np.float32)}.get)
    with pytest.raises(FormatError, match=r"\[n, features\]"):
        wide.forward(np.ones(2, np.float32), {}.get)


def test_accuracy_is_the_fraction_of_largest_entries_that_are_the_label():
    logits = np.array([[1, 2, 0], [5, 1, 1], [0, 0, 9], [3, 2, 1]], np.float32)
    assert network.accuracy(logits, np.array([1, 0, 0, 0])) == 0.75


def test_packed_tensors_are_decoded_once(tmp_path):
    # Eleven levels from -1 to 1, nine to a word, first digit least significant; 64 weights are eight words.
    digits = np.arange(64) % 11
    words = [sum(int(d) * 11**i for i, d in enumerate(digits[k : k + 9])) for k in range(0, 64, 9)]
    packed = {
        "fc.quant_packed": np.array(words, "<u4").view(np.uint8).reshape(1, 1, 32),
        "fc.min_val": np.full((1, 1), -1, np.float16),
        "fc.scale": np.full((1, 1), 2, np.float16),
    }
    with written(tmp_path / "packed.safetensors", packed) as checkpoint:
        tensors = network.decoded(checkpoint)
        np.testing.assert_allclose(tensors("fc.weight"), [digits / 5 - 1], atol=1e-6)
        assert tensors("fc.weight") is tensors("fc.weight")
        assert tensors("fc.bias") is None


def test_the_sample_network_reads_the_digits_that_it_never_saw(digits):
    x, y = network.load_test_set(network.find_test_set(digits))
    with qinspect.open_checkpoint(digits) as checkpoint:
        found, tensors = Network.of(checkpoint), network.decoded(checkpoint)
        assert 250_000 < sum(info.size for info in checkpoint.infos) < 350_000
        assert network.accuracy(found.forward(x, tensors), y) >= 0.96
    assert set(y.tolist()) == set(range(10))
    assert len(y) == 450


def test_the_test_set_is_real_digits_with_their_labels(digits):
    from sklearn.datasets import load_digits

    every = load_digits()
    label = {
        image.tobytes(): target
        for image, target in zip((every.data / 16).astype(np.float32), every.target, strict=True)
    }
    x, y = network.load_test_set(network.find_test_set(digits))
    assert [label[row.tobytes()] for row in x] == y.tolist()


def test_a_file_without_a_test_set_has_none(digits):
    assert network.find_test_set(digits.with_name("other.safetensors")) is None


def test_a_test_set_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros((3, 4), np.float32), y=np.zeros(2, np.int64))
    with pytest.raises(FormatError, match=r"\(3, 4\) and \(2,\)"):
        network.load_test_set(path)
