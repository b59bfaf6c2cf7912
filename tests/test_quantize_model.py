"""A live model's layers swapped for packed ones, against torch with decoded weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from qinspect.errors import SchemeError
from qinspect.formats.open import open_checkpoint
from qinspect.nn import Linear11Bit, QuantizedLinear, quantize_model
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.recipe import Recipe, Rule

BASE11 = make_scheme("base11", group_size=36)
SCHEMES = [
    BASE11,
    make_scheme("base_n", levels=23, group_size=32, param_dtype="bfloat16"),
    make_scheme("symmetric", bits=4, granularity="group", group_size=32, param_dtype="bfloat16"),
    make_scheme("symmetric", bits=16),
    make_scheme("asymmetric", bits=16, granularity="channel"),
    make_scheme("asymmetric", bits=3, granularity="channel", axis=1, offset="minimum"),
    make_scheme("sentinel"),
    make_scheme("normal_float"),
    make_scheme("mxfp4"),
    make_scheme("learned", levels=8),
    make_scheme("ternary"),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def decoded(w, scheme):
    return torch.from_numpy(scheme.dequantize(scheme.quantize(w.detach())))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
@pytest.mark.parametrize("count", [1, 3, 40])
def test_every_scheme_runs_packed(scheme, count):
    dense = nn.Linear(90, 70)
    model = nn.Sequential(copy.deepcopy(dense), nn.ReLU())
    (swap,) = quantize_model(model, scheme)
    assert (swap.name, swap.scheme, swap.packed) == ("0.weight", scheme, True)
    assert isinstance(model[0], QuantizedLinear)
    x = torch.randn(count, 90)
    expected = linear(x, decoded(dense.weight, scheme), dense.bias).relu()
    torch.testing.assert_close(model(x), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(model[0].weight, decoded(dense.weight, scheme), atol=0, rtol=0)
    stored = sum(buffer.nbytes for buffer in model[0].buffers())
    assert stored == scheme.nbytes((70, 90))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_a_state_dict_goes_to_a_file_and_back(scheme, tmp_path):
    model = nn.Sequential(nn.Linear(90, 70), nn.Linear(70, 5))
    quantize_model(model, scheme)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as file:
        assert {info.name for info in file.infos} == {"0.weight", "0.bias", "1.weight", "1.bias"}
        held = file.load("0.weight")
        assert isinstance(held, QTensor)
        assert held.scheme == scheme
        np.testing.assert_array_equal(held.scheme.dequantize(held), model[0].weight.numpy())
    again = nn.Sequential(nn.Linear(90, 70), nn.Linear(70, 5))
    quantize_model(again, scheme)
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    x = torch.randn(2, 90)
    assert again(x).equal(model(x))


def test_base11_arrays_are_those_of_the_drop_in_layer():
    dense = nn.Linear(90, 70)
    model = nn.Sequential(copy.deepcopy(dense))
    quantize_model(model, BASE11)
    layer = Linear11Bit(90, 70, group_size=36)
    layer.load_state_dict(model[0].state_dict())
    x = torch.randn(2, 90)
    assert layer(x).equal(model(x))


def test_arrays_of_another_scheme_are_refused():
    models = [nn.Sequential(nn.Linear(64, 4)) for _ in range(2)]
    for model, group in zip(models, (32, 64), strict=True):
        quantize_model(model, make_scheme("mxfp4", group_size=group))
    with pytest.raises(RuntimeError, match="0 was packed otherwise than this layer, which is mxfp4 g64"):
        models[1].load_state_dict(models[0].state_dict())


def test_a_recipe_decides_by_names():
    model = nn.ModuleDict({"attn": nn.Linear(32, 32), "mlp": nn.Linear(32, 32), "head": nn.Linear(32, 4)})
    before = copy.deepcopy(model)
    int8 = make_scheme("symmetric")
    swaps = quantize_model(model, Recipe((Rule("head*", None), Rule("attn*", BASE11), Rule("*", int8))))
    assert {(s.name, s.scheme) for s in swaps} == {("attn.weight", BASE11), ("mlp.weight", int8)}
    assert type(model["head"]) is nn.Linear
    assert model["attn"].scheme == BASE11
    assert model["mlp"].scheme == int8
    assert model["attn"].bias.equal(before["attn"].bias)


def test_layers_that_use_their_weights_get_decoded_values():
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(20, 16),
            "conv": nn.Conv2d(3, 4, 2),
            "attn": nn.MultiheadAttention(16, 2, batch_first=True),
            "norm": nn.LayerNorm(16),
        }
    )
    before = copy.deepcopy(model)
    swaps = quantize_model(model, BASE11)
    names = {"embed.weight", "conv.weight", "attn.in_proj_weight", "attn.out_proj.weight"}
    assert {s.name for s in swaps} == names
    assert not any(s.packed for s in swaps)
    for name, parameter in model.named_parameters():
        old = before.get_parameter(name)
        expected = decoded(old, BASE11) if name in names else old
        torch.testing.assert_close(parameter, expected, atol=0, rtol=0, check_device=False)
    x = torch.randn(2, 5, 16)
    model["attn"](x, x, x)


def test_tied_and_shared_layers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(30, 16)
            self.head = nn.Linear(16, 30, bias=False)
            self.head.weight = self.embed.weight
            self.block = nn.Linear(16, 16)
            self.again = nn.ModuleList([self.block])

        def forward(self, ids):
            return self.head(self.again[0](self.block(self.embed(ids))))

    model = Tied()
    old = model.embed.weight.detach().clone()
    quantize_model(model, BASE11)
    assert model.block is model.again[0]
    assert isinstance(model.block, QuantizedLinear)
    assert model.embed.weight.equal(decoded(old, BASE11))
    assert model.head.weight.equal(decoded(old, BASE11))
    assert model(torch.tensor([1, 2])).shape == (2, 30)


def test_a_weight_that_cannot_be_quantized_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    with torch.no_grad():
        model[2].weight[3, 3] = float("nan")
    before = copy.deepcopy(model)
    with pytest.raises(SchemeError, match=r"2\.weight: .*NaN"):
        quantize_model(model, BASE11)
    assert [type(layer) for layer in model] == [type(layer) for layer in before]
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, atol=0, rtol=0)


def test_a_scheme_may_decline_unless_a_rule_insists():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.zero_()
    sentinel = make_scheme("sentinel")
    assert {s.name for s in quantize_model(copy.deepcopy(model), sentinel)} == {"1.weight"}
    insisted = Recipe((Rule("0.weight", sentinel),))
    assert {s.name for s in quantize_model(model, insisted)} == {"0.weight"}


def test_quantizing_twice_changes_nothing_more():
    model = nn.Sequential(nn.Linear(16, 16), nn.Embedding(4, 4))
    quantize_model(model, BASE11)
    first = model[0]
    swaps = quantize_model(model, BASE11)
    assert model[0] is first
    assert {s.name for s in swaps} == {"1.weight"}


def test_a_model_that_is_one_layer_keeps_its_class():
    layer = nn.Linear(16, 8)
    old = layer.weight.detach().clone()
    (swap,) = quantize_model(layer, BASE11)
    assert not swap.packed
    assert layer.weight.equal(decoded(old, BASE11))


@pytest.mark.parametrize("count", [2, 64])
def test_gradients_flow_to_inputs_and_biases(count):
    dense = nn.Linear(40, 30)
    model = nn.Sequential(copy.deepcopy(dense))
    quantize_model(model, BASE11)
    x = torch.randn(count, 40, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    model(x).square().sum().backward()
    bias = dense.bias.detach().clone().requires_grad_()
    linear(y, decoded(dense.weight, BASE11), bias).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model[0].bias.grad, bias.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_other_types(dtype):
    dense = nn.Linear(40, 30).to(dtype)
    model = nn.Sequential(copy.deepcopy(dense))
    quantize_model(model, BASE11)
    x = torch.randn(3, 40).to(dtype)
    exact = linear(x.double(), decoded(dense.weight, BASE11).double(), dense.bias.double())
    assert model(x).dtype == dtype
    torch.testing.assert_close(model(x), exact.to(dtype), atol=1e-2 if dtype != torch.float64 else 1e-9, rtol=1e-2)


def test_training_mode_and_casts_are_kept():
    model = nn.Sequential(nn.Linear(16, 8)).eval()
    quantize_model(model, make_scheme("symmetric"))
    assert not model[0].training
    model.half()
    assert model[0].scale.dtype == torch.float32
    assert model[0].bias.dtype == torch.float16
    assert "symmetric 8-bit" in repr(model)
