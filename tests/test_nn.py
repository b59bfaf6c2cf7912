"""The torch modules against the recipe's own formula in plain torch, `nn.Linear`, and the golden vectors."""

import copy
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from qinspect.errors import FormatError, QInspectError, SchemeError
from qinspect.formats.open import open_checkpoint
from qinspect.nn import Base11Quantizer, BigNet11Bit, Linear11Bit, SentinelLinear, SentinelQuantizer, load
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.packed_pt import PackedPt

DATA = Path(__file__).parent / "data"
GOLDEN = sorted(DATA.glob("base11_*.npz"))
RAGGED = [(64, 64), (300, 128), (1024, 256), (5, 128), (130, 9)]
C1 = -0.007994021805953


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def digits(packed):
    """Base-11 digits of little-endian words, least significant first: `[out, groups, 9 · words]`."""
    words = packed.unflatten(-1, (-1, 4)).long() @ torch.tensor([1, 1 << 8, 1 << 16, 1 << 24])
    return (words[..., None] // 11 ** torch.arange(9) % 11).flatten(-2)


def recipe(packed, min_val, scale, in_features, group_size):
    """Weights as the published recipe decodes them."""
    codes = digits(packed)[..., : min(group_size, in_features)]
    levels = torch.linspace(-1, 1, 11)[codes]
    return ((levels + 1) / 2 * scale.float()[..., None] + min_val.float()[..., None]).flatten(1)[:, :in_features]


def decoded(layer):
    return recipe(layer.quant_packed, layer.min_val, layer.scale, layer.in_features, layer.group_size)


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
class TestGoldenVectors:
    def test_quantize(self, path):
        golden = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
        group = int(golden["group_size"])
        packed, min_val, scale = Base11Quantizer(group).quantize(golden["weight"])
        assert torch.equal(min_val, golden["min_val"])
        assert torch.equal(scale, golden["scale"])
        assert packed.shape == golden["quant_packed"].shape
        ours, theirs = digits(packed), digits(golden["quant_packed"])
        steps = (
            (golden["weight"].unflatten(1, (-1, group)) - min_val.float()[..., None]) / scale.float()[..., None] * 10
        )
        tie = ((steps - steps.floor() - 0.5).abs() < 1e-4) & ((ours - theirs).abs()[..., :group] <= 1)
        assert ((ours == theirs)[..., :group] | tie).all()
        assert torch.equal(ours[..., group:], theirs[..., group:])

    def test_dequantize(self, path):
        golden = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
        arrays = golden["quant_packed"], golden["min_val"], golden["scale"]
        weights = Base11Quantizer(int(golden["group_size"])).dequantize(*arrays)
        allowed = 5e-7 * (arrays[1].float().abs() + arrays[2].float())[..., None]
        error = (weights - golden["dequantized"]).unflatten(1, (*arrays[1].shape[1:], -1)).abs()
        assert (error <= allowed).all()


class TestBase11Quantizer:
    @pytest.mark.parametrize(("columns", "group"), RAGGED)
    def test_round_trip_keeps_every_column(self, columns, group):
        w = torch.randn(7, columns)
        packed, min_val, scale = Base11Quantizer(group).quantize(w)
        effective = min(group, columns)
        assert packed.shape == (7, math.ceil(columns / effective), 4 * math.ceil(effective / 9))
        assert (packed.dtype, min_val.dtype, scale.dtype) == (torch.uint8, torch.float16, torch.float16)
        back = Base11Quantizer(group).dequantize(packed, min_val, scale, in_features=columns)
        torch.testing.assert_close(back, recipe(packed, min_val, scale, columns, group), rtol=1e-6, atol=1e-6)
        assert ((back - w).abs() <= 0.051 * scale.float().amax(1, keepdim=True) + 1e-3).all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_weights_of_any_float_type(self, dtype):
        w = torch.randn(4, 64).to(dtype)
        pairs = zip(Base11Quantizer(32).quantize(w), Base11Quantizer(32).quantize(w.float()), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    def test_arrays_that_do_not_fit_are_named(self):
        quantizer = Base11Quantizer(32)
        packed, min_val, scale = quantizer.quantize(torch.randn(4, 70))
        with pytest.raises(SchemeError, match=r"packed is .*in_features"):
            quantizer.dequantize(packed, min_val, scale, in_features=30)
        with pytest.raises(SchemeError, match=r"scale is torch\.float32"):
            quantizer.dequantize(packed, min_val, scale.float(), in_features=70)
        packed[2, 1] = 255
        with pytest.raises(FormatError, match=r"11\^9"):
            quantizer.dequantize(packed, min_val, scale, in_features=70)

    def test_codebook(self):
        torch.testing.assert_close(Base11Quantizer().codebook, torch.linspace(-1, 1, 11), rtol=0, atol=1e-7)


class TestLinear11Bit:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize(("columns", "group"), RAGGED)
    def test_forward_is_that_of_the_decoded_weights(self, columns, group, dtype):
        layer = Linear11Bit(columns, 12, group_size=group)
        x = torch.randn(2, 3, columns).to(dtype)
        y = layer(x)
        expected = linear(x.double(), decoded(layer).double(), layer.bias.double())
        assert y.dtype == dtype
        torch.testing.assert_close(layer.dequantize(), decoded(layer))
        torch.testing.assert_close(y, expected.to(dtype), atol=1e-5, rtol=torch.finfo(dtype).eps * 4 + 1e-6)

    def test_rows_decoded_in_several_blocks(self):
        layer = Linear11Bit(4096, 1536, group_size=126)
        x = torch.randn(3, 4096, requires_grad=True)
        dense = nn.Linear(4096, 1536)
        dense.load_state_dict({"weight": decoded(layer), "bias": layer.bias})
        (ours,) = torch.autograd.grad(layer(x).square().sum(), x)
        (theirs,) = torch.autograd.grad(dense(x).square().sum(), x)
        torch.testing.assert_close(layer(x), dense(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 0, 6)])
    def test_input_without_or_with_empty_batch(self, shape):
        layer = Linear11Bit(6, 4)
        assert layer(torch.randn(shape)).shape == (*shape[:-1], 4)

    def test_gradients_are_those_of_nn_linear(self):
        layer = Linear11Bit(40, 9, group_size=16)
        dense = nn.Linear(40, 9)
        dense.load_state_dict({"weight": decoded(layer), "bias": layer.bias})
        x = torch.randn(5, 40, requires_grad=True)
        ours = torch.autograd.grad(layer(x).sin().sum(), [x, layer.bias])
        theirs = torch.autograd.grad(dense(x).sin().sum(), [x, dense.bias])
        torch.testing.assert_close(ours, theirs)
        assert [name for name, _ in layer.named_parameters()] == ["bias"]

    def test_first_and_second_derivative_against_differences(self):
        layer = Linear11Bit(7, 3, group_size=4).double()
        x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(layer, (x,))
        assert torch.autograd.gradgradcheck(layer, (x,))

    def test_no_gradient_from_weights_overwritten_after_forward(self):
        layer = Linear11Bit(8, 3)
        y = layer(torch.randn(2, 8, requires_grad=True)).sum()
        layer.load_state_dict(Linear11Bit(8, 3).state_dict())
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()

    @pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float"])
    def test_casts_leave_packed_parameters_alone(self, cast):
        layer = Linear11Bit(30, 4)
        before = copy.deepcopy(layer.state_dict())
        getattr(nn.Sequential(layer), cast)()
        for name in ("quant_packed", "min_val", "scale", "quantizer.codebook"):
            assert layer.state_dict()[name].dtype == before[name].dtype
            assert torch.equal(layer.state_dict()[name], before[name])
        assert layer(torch.randn(2, 30).to(layer.bias.dtype)).dtype == layer.bias.dtype

    def test_moves_with_its_buffers(self):
        layer = Linear11Bit(30, 4).to("meta", torch.float16)
        assert {tensor.device.type for tensor in layer.state_dict().values()} == {"meta"}
        assert layer.scale.dtype == torch.float16
        assert layer.quantizer.codebook.dtype == torch.float32

    def test_repr_is_that_of_nn_linear_and_the_group_size(self):
        for bias in (True, False):
            shown = repr(nn.Linear(8, 4, bias=bias)).replace("Linear", "Linear11Bit").replace(")", ", group_size=256)")
            assert repr(Linear11Bit(8, 4, bias=bias)) == shown

    @pytest.mark.parametrize("x", [torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.int64), torch.tensor(1.0)])
    def test_unfit_input_is_refused(self, x):
        with pytest.raises(SchemeError, match=r"\[…, 6\]"):
            Linear11Bit(6, 2)(x)


class TestStateDict:
    def test_keys_and_metadata_survive_a_file(self):
        net = nn.Sequential(nn.ReLU(), Linear11Bit(300, 20, group_size=128))
        state = saved_and_loaded(net.state_dict())
        names = ("quant_packed", "min_val", "scale", "bias", "quantizer.codebook")
        assert set(state) == {f"1.{name}" for name in names}
        record = state._metadata["1"]["qinspect"]
        assert record["scheme"]["scheme"] == "base11"
        assert {key: record[key] for key in ("version", "name", "shape", "dtype", "in_features", "group_size")} == {
            "version": 1, "name": "1.weight", "shape": [20, 300], "dtype": "F32", "in_features": 300, "group_size": 128,
        }  # fmt: skip
        again = nn.Sequential(nn.ReLU(), Linear11Bit(300, 20, group_size=128))
        again.load_state_dict(state)
        x = torch.randn(2, 300)
        assert torch.equal(again(x), net(x))
        assert "bias" not in Linear11Bit(3, 2, bias=False).state_dict()

    def test_exported_file_is_what_the_layer_saves(self, tmp_path):
        dense = nn.Sequential(nn.Linear(300, 20), nn.ReLU(), nn.Linear(20, 4, bias=False))
        torch.save(dense.state_dict(), tmp_path / "dense.pt")
        with open_checkpoint(tmp_path / "dense.pt") as checkpoint:
            plan = PackedPt().plan(checkpoint, Recipe.of(make_scheme("base11", group_size=128)))
            PackedPt().write(checkpoint, plan, tmp_path / "packed.pt")
        exported = torch.load(tmp_path / "packed.pt", weights_only=True, mmap=True)
        net = nn.Sequential(Linear11Bit(300, 20, group_size=128), nn.ReLU(), Linear11Bit(20, 4, False, group_size=128))
        net.load_state_dict(dense.state_dict())
        assert set(exported) == set(net.state_dict())
        assert all(torch.equal(tensor, exported[name]) for name, tensor in net.state_dict().items())
        assert all(exported._metadata[i]["qinspect"] == net.state_dict()._metadata[i]["qinspect"] for i in "02")
        net.load_state_dict(exported, assign=True)

    @pytest.mark.parametrize("assign", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_float_weight_is_quantized_as_it_loads(self, dtype, assign):
        dense = nn.Sequential(nn.Linear(70, 5), nn.ReLU()).to(dtype)
        net = nn.Sequential(Linear11Bit(70, 5, group_size=32), nn.ReLU())
        state = dense.state_dict()
        net.load_state_dict(state, assign=assign)
        expected = Base11Quantizer(32).quantize(dense[0].weight)
        assert all(map(torch.equal, (net[0].quant_packed, net[0].min_val, net[0].scale), expected))
        assert torch.equal(net[0].bias.float(), dense[0].bias.float())
        assert list(state) == ["0.weight", "0.bias"]

    def test_codebook_may_be_missing_but_not_another(self):
        layer = Linear11Bit(8, 2)
        state = layer.state_dict()
        del state["quantizer.codebook"]
        layer.load_state_dict(state)
        state["quantizer.codebook"] = torch.linspace(0, 1, 11)
        with pytest.raises(RuntimeError, match=r"quantizer\.codebook is not linspace"):
            layer.load_state_dict(state)
        torch.testing.assert_close(layer.quantizer.codebook, torch.linspace(-1, 1, 11), rtol=0, atol=1e-7)

    def test_group_size_of_the_file_must_be_that_of_the_layer(self):
        # 250 and 252 weights both take 28 words, and 1024 columns make 5 groups of either: only the record tells.
        state = saved_and_loaded(nn.Sequential(Linear11Bit(1024, 2, group_size=250)).state_dict())
        with pytest.raises(RuntimeError, match=r"0\.quant_packed was packed as base11 g250.*is base11 g252"):
            nn.Sequential(Linear11Bit(1024, 2, group_size=252)).load_state_dict(state)
        state._metadata["0"]["qinspect"] = {"version": 1}
        with pytest.raises(RuntimeError, match=r"0\.quant_packed: its record is not one"):
            nn.Sequential(Linear11Bit(1024, 2, group_size=250)).load_state_dict(state)
        narrow = saved_and_loaded(Linear11Bit(20, 2, group_size=128).state_dict())
        Linear11Bit(20, 2, group_size=256).load_state_dict(narrow)

    @pytest.mark.parametrize(
        ("key", "change", "message"),
        [
            ("weight", lambda _: torch.full((2, 8), math.nan), "fc.weight: 16 NaN of 16 weights"),
            ("weight", lambda _: torch.zeros(2, 9), r"fc.weight: shape \[2, 9\] is not the \[2, 8\]"),
            ("weight", lambda _: torch.zeros(2, 8, dtype=torch.int32), "fc.weight: int32"),
            ("weight", lambda _: torch.full((2, 8), 1e9), "fc.weight: min_val does not fit float16"),
            ("quant_packed", lambda t: torch.full_like(t, 255), "fc.quant_packed holds 2 words above 11"),
            ("quant_packed", lambda t: t[:1], "size mismatch for fc.quant_packed"),
            ("quant_packed", lambda t: t.int(), "fc.quant_packed is torch.int32"),
            ("scale", lambda t: t / 0, "fc.scale holds values that are no finite float16"),
            ("min_val", lambda t: torch.full(t.shape, 0.1), "fc.min_val holds values that are no finite float16"),
            ("min_val", lambda _: None, 'Missing key.*"fc.min_val"'),
            ("fc2", lambda _: torch.zeros(1), 'Unexpected key.*"fc.fc2"'),
        ],
    )
    def test_what_is_wrong_is_named(self, key, change, message):
        net = nn.Sequential()
        net.add_module("fc", Linear11Bit(8, 2, group_size=8))
        state = {"fc.bias": torch.zeros(2)} if key == "weight" else dict(net.state_dict())
        changed = change(state.pop(f"fc.{key}", None))
        state |= {} if changed is None else {f"fc.{key}": changed}
        with pytest.raises(RuntimeError, match=message):
            net.load_state_dict(state)

    def test_float32_parameters_that_are_exact_in_float16_are_taken(self):
        layer, other = Linear11Bit(8, 2), Linear11Bit(8, 2)
        other.load_state_dict(
            {name: t.float() if t.is_floating_point() else t for name, t in layer.state_dict().items()}
        )
        assert torch.equal(other.scale, layer.scale)
        assert other.scale.dtype == torch.float16


class TestSentinel:
    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_linear_holds_the_golden_codes(self, bits):
        golden = np.load(DATA / "affine.npz")
        layer = SentinelLinear(160, 48, bits=bits)
        layer.load_state_dict({"weight": torch.from_numpy(golden["weight"])}, strict=False)
        x = torch.randn(4, 160, requires_grad=True)
        assert torch.equal(layer(x), linear(x, torch.from_numpy(golden["weight"]), layer.bias))
        assert layer.quantize() is layer.quantize()
        assert layer.quantized_weight.dtype == torch.int8
        assert torch.equal(layer.quantized_weight, torch.from_numpy(golden[f"sentinel{bits}_codes"]))
        assert layer.weight_scale.item() == np.float32(golden[f"sentinel{bits}_scale"])
        weights = layer.quantized_weight.float() * layer.weight_scale + C1
        torch.testing.assert_close(layer(x), linear(x, weights, layer.bias))
        torch.testing.assert_close(torch.autograd.grad(layer(x).sum(), x)[0], weights.sum(0).expand(4, -1))

    def test_linear_state_dict_puts_a_new_layer_in_the_same_state(self):
        layer = SentinelLinear(6, 3).half()
        assert set(layer.state_dict()) == {"weight", "bias"}
        layer.quantize().double()
        state = saved_and_loaded(layer.state_dict())
        assert {name: t.dtype for name, t in state.items()} == {
            "quantized_weight": torch.int8, "weight_scale": torch.float32, "bias": torch.float64,
        }  # fmt: skip
        other = SentinelLinear(6, 3)
        other.load_state_dict(state)
        x = torch.randn(2, 6)
        torch.testing.assert_close(other(x), layer(x))
        with pytest.raises(RuntimeError, match=r"quantized_weight is torch\.float32, not int8"):
            other.load_state_dict({name: tensor.float() for name, tensor in state.items()})

    def test_linear_refuses_what_int8_cannot_hold(self):
        with pytest.raises(SchemeError, match="16 bits"):
            SentinelLinear(6, 3, bits=16)
        layer = SentinelLinear(6, 3)
        nn.init.constant_(layer.weight, math.inf)
        with pytest.raises(SchemeError, match="weight: 18 infinite"):
            layer.quantize()

    def test_model_round_trip(self):
        model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))
        model[2].weight.requires_grad_(False)
        before = copy.deepcopy(model.state_dict())
        quantizer = SentinelQuantizer()
        quantized = quantizer.quantize_model(model)
        assert set(quantized) == set(before) - {"2.weight"}
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert quantizer.dequantize_model(model, quantized) is model
        for name in ("0.weight", "0.bias", "1.weight", "2.bias"):
            scale = before[name].abs().max() / math.e
            expected = ((before[name] - C1) / scale).round().clamp(-128, 127) * scale + C1
            assert isinstance(quantized[name], QTensor)
            torch.testing.assert_close(model.state_dict()[name], expected)
        assert torch.equal(model[1].bias, before["1.bias"])  # all zeros, which the scheme would decode to C1
        assert torch.equal(model[2].weight, before["2.weight"])

    def test_model_problems_are_named(self):
        model = nn.Sequential(nn.Linear(6, 5))
        quantized = SentinelQuantizer().quantize_model(model)
        with pytest.raises(SchemeError, match=r"0.weight: the model has no parameter .*\[5, 6\]"):
            SentinelQuantizer().dequantize_model(nn.Sequential(nn.Linear(5, 5)), quantized)
        nn.init.constant_(model[0].bias, math.nan)
        with pytest.raises(SchemeError, match=r"0\.bias: 5 NaN"):
            SentinelQuantizer().quantize_model(model)


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) + x


def plain_big_net():
    """The reference network with `nn.Linear`; its state dict has the same prefixes."""
    net = nn.Sequential()
    for number in range(11):
        layers = (nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024))
        net.append(nn.LayerNorm(1024) if number % 2 else Residual(*layers))
    return nn.ModuleDict({"model": net})


class TestBigNet:
    def test_keys(self):
        linears = [f"model.{i}.model.{j}" for i in range(0, 12, 2) for j in (0, 2, 4)]
        arrays = ("quant_packed", "min_val", "scale", "bias", "quantizer.codebook")
        expected = {f"{prefix}.{name}" for prefix in linears for name in arrays}
        expected |= {f"model.{i}.{name}" for i in range(1, 10, 2) for name in ("weight", "bias")}
        assert set(load(None).state_dict()) == expected

    def test_random_network_runs(self):
        y = load(None)(torch.randn(3, 1024))
        assert y.shape == (3, 1024)
        assert y.isfinite().all()

    @pytest.mark.parametrize("group_size", [None, 126])
    def test_file_gives_the_network_of_its_decoded_weights(self, tmp_path, group_size):
        dense = plain_big_net()
        nn.init.normal_(dense["model"][3].weight)
        packed = BigNet11Bit(group_size or 256)
        packed.load_state_dict(dense.state_dict())
        torch.save(dense.state_dict() if group_size is None else packed.state_dict(), tmp_path / "net.pt")
        net = load(tmp_path / "net.pt")
        assert all(torch.equal(tensor, packed.state_dict()[name]) for name, tensor in net.state_dict().items())
        for name, module in net.named_modules():
            if isinstance(module, Linear11Bit):
                assert module.group_size == (group_size or 256)
                dense.get_submodule(name).load_state_dict({"weight": decoded(module), "bias": module.bias})
        x = torch.randn(2, 1024)
        torch.testing.assert_close(net(x), dense["model"](x), atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize(
        ("remove", "add", "message"),
        [
            (["model.4.model.2.weight"], {}, "net.pt.*Missing.*model.4.model.2.quant_packed"),
            (["model.3.bias"], {}, "Missing.*model.3.bias"),
            ([], {"head.weight": torch.zeros(2, 2)}, "Unexpected.*head.weight"),
            ([], {"model.0.model.0.weight": torch.full((1024, 1024), math.nan)}, "model.0.model.0.weight: 1048576 NaN"),
        ],
    )
    def test_what_is_missing_unexpected_or_broken_is_named(self, tmp_path, remove, add, message):
        state = plain_big_net().state_dict()
        kept = {name: tensor for name, tensor in state.items() if name not in remove}
        torch.save(kept | add, tmp_path / "net.pt")
        with pytest.raises(FormatError, match=message):
            load(tmp_path / "net.pt")

    def test_only_the_array_that_a_packed_layer_lacks_is_named(self, tmp_path):
        state = dict(BigNet11Bit().state_dict())
        del state["model.4.model.2.min_val"]
        torch.save(state, tmp_path / "net.pt")
        with pytest.raises(FormatError, match=r'Net11Bit: Missing [^:]*: "model.4.model.2.min_val"\.$'):
            load(tmp_path / "net.pt")

    def test_layers_of_several_group_sizes_are_refused(self, tmp_path):
        net = BigNet11Bit(128)
        net.model[2].model[0] = Linear11Bit(1024, 1024, group_size=64)
        torch.save(net.state_dict(), tmp_path / "net.pt")
        with pytest.raises(QInspectError, match=r"one group size.*g128.*g64"):
            load(tmp_path / "net.pt")
