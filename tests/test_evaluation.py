"""Outputs before and after quantization, against products and networks computed here."""

import json

import numpy as np
import pytest
import torch
from commandline import run
from safetensors.numpy import save_file

import qinspect
from qinspect.errors import FormatError
from qinspect.evaluation import InputSet, evaluate, has_test_set, load_inputs
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

INT4 = make_scheme("symmetric", bits=4, granularity="channel")
NETWORK = json.dumps([{"op": "linear", "prefix": "a"}, {"op": "relu"}, {"op": "linear", "prefix": "b"}])


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((20, 8), np.float32),
        "a.bias": rng.standard_normal(20, np.float32),
        "b.weight": rng.standard_normal((3, 20), np.float32),
    }


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((5000, 8), np.float32)


def opened(tmp_path, tensors, metadata=None):
    save_file(tensors, tmp_path / "model.safetensors", metadata)
    return qinspect.open_checkpoint(tmp_path / "model.safetensors")


def decoded(w, scheme=INT4):
    return scheme.dequantize(scheme.quantize(w)).astype(np.float64)


def relative(before, after):
    return np.linalg.norm(after - before) / np.linalg.norm(before)


def test_the_sample(digits):
    with qinspect.open_checkpoint(digits) as checkpoint:
        assert has_test_set(checkpoint)
        fine = evaluate(checkpoint, Recipe.of(make_scheme("symmetric", bits=8, granularity="channel")))
        coarse = evaluate(checkpoint, Recipe.of(make_scheme("symmetric", bits=2)))
        alone = evaluate(checkpoint, Recipe((Rule("*", None), Rule("*", make_scheme("symmetric", bits=2)))))
    assert fine.samples == 450
    assert fine.before == coarse.before >= 0.96
    assert alone.after == alone.before
    assert alone.layers == ()
    assert (alone.agreement, alone.output_error) == (1.0, 0.0)
    assert fine.after == pytest.approx(fine.before, abs=0.01)
    assert coarse.after < 0.7
    assert fine.output_error < 0.05 < coarse.output_error
    prefixes = ("embed", "block.fc1", "block.fc2", "mix", "head")
    assert {one.name for one in fine.layers} == {f"{prefix}.weight" for prefix in prefixes}
    assert all(a.error < b.error for a, b in zip(fine.layers, coarse.layers, strict=True))


def test_a_network_with_the_inputs_that_its_layers_get(tmp_path, tensors, x):
    labels = np.random.default_rng(2).integers(0, 3, len(x))
    with opened(tmp_path, tensors, {"qinspect.network": NETWORK}) as checkpoint:
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}, labels))
    exact = {name: w.astype(np.float64) for name, w in tensors.items()}
    rough = exact | {name: decoded(w) for name, w in tensors.items() if w.ndim == 2}
    hidden = np.maximum(x @ exact["a.weight"].T + exact["a.bias"], 0)
    errors = {one.name: one.error for one in found.layers}
    assert errors["a.weight"] == pytest.approx(relative(x @ exact["a.weight"].T, x @ rough["a.weight"].T), rel=1e-4)
    meant = relative(hidden @ exact["b.weight"].T, hidden @ rough["b.weight"].T)
    assert errors["b.weight"] == pytest.approx(meant, rel=1e-4)
    y, z = (np.maximum(x @ w["a.weight"].T + w["a.bias"], 0) @ w["b.weight"].T for w in (exact, rough))
    assert found.output_error == pytest.approx(relative(y, z), rel=1e-4)
    assert found.agreement == pytest.approx(np.mean(y.argmax(1) == z.argmax(1)), abs=1e-3)
    assert found.before == pytest.approx(np.mean(y.argmax(1) == labels), abs=1e-3)
    assert found.after == pytest.approx(np.mean(z.argmax(1) == labels), abs=1e-3)
    assert {one.samples for one in found.layers} == {5000}


def test_layers_without_a_network(tmp_path, tensors, x):
    inputs = {"x": x, "b": np.random.default_rng(3).standard_normal((7, 20), np.float32)}
    tensors["c.weight"] = np.ones((2, 4), np.float32)
    with opened(tmp_path, tensors) as checkpoint:
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet(inputs))
        one = evaluate(checkpoint, Recipe((Rule("b.weight", INT4),)), InputSet({"b.weight": inputs["b"]}))
    layers = {layer.name: layer for layer in found.layers}
    w = tensors["b.weight"].astype(np.float64)
    meant = relative(inputs["b"] @ w.T, inputs["b"] @ decoded(tensors["b.weight"]).T)
    assert layers["b.weight"].error == pytest.approx(meant, rel=1e-4)
    assert layers["a.weight"].samples == 5000
    assert layers["c.weight"].samples == 0
    assert np.isnan(layers["c.weight"].error)
    assert found.before is found.output_error is None
    assert "no network" in found.remark
    assert one.layers[0].error == layers["b.weight"].error


def test_convolutions_take_patches(tmp_path):
    w = np.random.default_rng(0).standard_normal((4, 3, 2, 2), np.float32)
    patches = np.random.default_rng(1).standard_normal((9, 3, 2, 2), np.float32)
    np.savez(tmp_path / "p.npz", **{"conv.weight": patches})
    with opened(tmp_path, {"conv.weight": w}) as checkpoint:
        (layer,) = evaluate(checkpoint, Recipe.of(INT4), load_inputs(tmp_path / "p.npz")).layers
    flat = patches.reshape(9, 12)
    meant = relative(flat @ w.reshape(4, 12).T, flat @ decoded(w).reshape(4, 12).T)
    assert layer.error == pytest.approx(meant, rel=1e-4)


def test_packed_layers_that_stay_change_nothing(tmp_path, tensors, x):
    from qinspect.targets.packed_safetensors import PackedSafetensors

    with opened(tmp_path, tensors, {"qinspect.network": NETWORK}) as checkpoint:
        target = PackedSafetensors()
        target.write(checkpoint, target.plan(checkpoint, Recipe.of(INT4)), tmp_path / "packed.safetensors")
    with qinspect.open_checkpoint(tmp_path / "packed.safetensors") as packed:
        found = evaluate(packed, Recipe(()), InputSet({"x": x}))
    assert found.output_error == 0
    assert {one.error for one in found.layers} == {0.0}


@pytest.mark.parametrize("kind", ["npz", "pt", "safetensors", "npy"])
def test_inputs_of_every_kind_of_file(tmp_path, kind):
    x, y = np.arange(12, dtype=np.float64).reshape(4, 3), np.array([0, 1, 2, 0])
    path = tmp_path / f"set.{kind}"
    match kind:
        case "npz":
            np.savez(path, x=x, y=y)
        case "npy":
            np.save(path, x)
        case "pt":
            torch.save({"x": torch.tensor(x), "y": torch.tensor(y)}, path)
        case "safetensors":
            save_file({"x": x, "y": y}, path)
    found = load_inputs(path)
    np.testing.assert_array_equal(found.features("x"), x)
    assert found.features("x").dtype == np.float32
    if kind != "npy":
        np.testing.assert_array_equal(found.labels, y)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones(3, np.float32)}, "n, features"),
        ({"x": np.ones((0, 3), np.float32)}, "n, features"),
        ({"x": np.ones((2, 3), bool)}, "n, features"),
        ({"y": np.ones(3, np.int64)}, "no inputs"),
        ({"x": np.ones((2, 3)), "y": np.ones(3, np.int64)}, "one for each x"),
        ({"x": np.ones((2, 3)), "y": np.ones(2)}, "labels y are integers"),
    ],
)
def test_what_is_no_input_set_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(FormatError, match=message):
        load_inputs(tmp_path / "set.npz")


def test_without_inputs_it_says_where_to_name_them(tmp_path, tensors):
    with opened(tmp_path, tensors) as checkpoint, pytest.raises(FormatError, match="--data"):
        evaluate(checkpoint, Recipe.of(INT4))


def test_the_command(digits, tmp_path):
    done = run("evaluate", digits, "--scheme", "symmetric", "--bits", 2, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with qinspect.open_checkpoint(digits) as checkpoint:
        assert found == evaluate(checkpoint, Recipe.of(make_scheme("symmetric", bits=2))).to_json()
    rows = np.load(digits.with_suffix(".test.npz"))
    np.savez(tmp_path / "ten.npz", x=rows["x"][:10])
    done = run("evaluate", digits, "--data", tmp_path / "ten.npz")
    assert "10 inputs: the network's outputs differ by" in done.stdout
    assert "labels" not in done.stdout
    errors = [float(line.split()[-2]) for line in done.stdout.splitlines() if ".weight" in line]
    assert len(errors) == 5
    assert errors == sorted(errors, reverse=True)
    failed = run("evaluate", digits, "--data", tmp_path / "none.npz")
    assert failed.returncode == 1
    assert "none.npz" in failed.stderr
