"""Importance from a file: it lowers the error that counts, in figures and in what is exported; mistakes are told."""

import gguf
import numpy as np
import pytest
from commandline import results, run
from safetensors.numpy import load_file, save_file

from qinspect.formats.open import open_checkpoint
from qinspect.importance import Importance
from qinspect.quant.scheme import scheme_from_json

SCHEME = ("--scheme", "symmetric", "--bits", 3, "--group-size", 32)
LEAST = (*SCHEME, "--calibration", "mse")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two layers, and energies of input channels that differ by orders of magnitude."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("importance")
    weights = {"a.weight": rng.standard_normal((48, 128)), "b.weight": rng.standard_normal((16, 64))}
    save_file({name: w.astype(np.float32) for name, w in weights.items()}, path / "model.safetensors")
    energies = {"a": np.exp(3 * rng.standard_normal(128)), "b.weight": np.exp(3 * rng.standard_normal(64))}
    np.savez(path / "energies.npz", **energies)
    return path


def energies(folder):
    with np.load(folder / "energies.npz") as file:
        return {name.removesuffix(".weight"): file[name] for name in file}


def weighted(w, decoded, energy):
    """As its definition says, in numpy."""
    w, decoded = w.astype(np.float64), decoded.astype(np.float64)
    return 10 * np.log10((energy * w**2).sum() / (energy * (w - decoded) ** 2).sum())


def test_the_error_that_counts_is_less_and_shown(folder):
    model, file = folder / "model.safetensors", folder / "energies.npz"
    plain = {one["name"]: one for one in results("analyze", model, *LEAST)["layers"]}
    heeded = {one["name"]: one for one in results("analyze", model, *LEAST, "--importance", file)["layers"]}
    for out, more in (("plain", ()), ("heeded", ("--importance", file))):
        results("export", model, "--to", "fp32", *LEAST, *more, "-o", folder / out)
    original, decoded = load_file(model), {out: load_file(folder / out) for out in ("plain", "heeded")}
    for name, energy in energies(folder).items():
        before, after = (
            weighted(original[f"{name}.weight"], decoded[out][f"{name}.weight"], energy) for out in decoded
        )
        assert after > before + 1
        assert heeded[f"{name}.weight"]["weighted_sqnr_db"] == pytest.approx(after, abs=1e-3)
        assert heeded[f"{name}.weight"]["sqnr_db"] < plain[f"{name}.weight"]["sqnr_db"]
        assert "weighted_sqnr_db" not in plain[f"{name}.weight"]
    shown = run("analyze", model, *LEAST, "--importance", file).stdout
    assert "weighted dB" in shown.splitlines()[0]
    assert f"{heeded['a.weight']['weighted_sqnr_db']:.2f}" in shown


def test_verify_needs_the_same_importance(folder):
    model, file, out = folder / "model.safetensors", folder / "energies.npz", folder / "packed.safetensors"
    results("export", model, "--to", "safetensors", *LEAST, "--importance", file, "-o", out)
    assert run("verify", out, "--against", model, "--importance", file).returncode == 0
    without = run("verify", out, "--against", model)
    assert without.returncode == 1
    assert "codes differ" in without.stderr


def test_an_imatrix_of_llama_cpp(folder):
    """Sums of squares over tokens; layers are found by the names of GGUF files."""
    made = gguf.GGUFWriter(folder / "imatrix.gguf", "")
    made.add_type("imatrix")
    for name, energy in energies(folder).items():
        made.add_tensor(f"{name}.weight.in_sum2", (energy * 50)[None].astype(np.float32))
        made.add_tensor(f"{name}.weight.counts", np.array([[50]], np.float32))
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    read = Importance.load(folder / "imatrix.gguf")
    for name, energy in energies(folder).items():
        assert read.vectors[f"{name}.weight"] == pytest.approx(energy, rel=1e-6)
    model = folder / "model.safetensors"
    both = [results("analyze", model, *LEAST, "--importance", folder / f) for f in ("imatrix.gguf", "energies.npz")]
    dbs = [[one["weighted_sqnr_db"] for one in found["layers"]] for found in both]
    assert dbs[0] == pytest.approx(dbs[1], abs=1e-3)


def test_layers_without_a_vector_are_named_and_calibrated_as_usual(folder, tmp_path):
    np.savez(tmp_path / "some.npz", a=energies(folder)["a"])
    done = run("analyze", folder / "model.safetensors", *LEAST, "--importance", tmp_path / "some.npz", "--json")
    assert done.returncode == 0
    assert "some.npz: has no vector of b.weight; there all input channels count alike" in done.stderr


@pytest.mark.parametrize(
    ("vectors", "scheme", "told"),
    [
        ({"a": np.ones(127)}, LEAST, "a.weight: the importance has 127 values, the layer 128 input channels"),
        ({"a": -np.ones(128)}, LEAST, "a finite number, 0 or more"),
        ({"a": np.full(128, np.nan)}, LEAST, "a finite number, 0 or more"),
        ({"a": np.zeros(128)}, LEAST, "not 0 for all"),
        ({"other": np.ones(128)}, LEAST, "has no vector of a layer of model.safetensors: it has other"),
        ({"a": np.ones((2, 64))}, LEAST, "holds no importance"),
        ({"a": np.ones(128)}, SCHEME, "heeds no importance; choose calibration=mse or mse_ends"),
        ({"a": np.ones(128)}, ("--scheme", "sentinel"), "sentinel 8-bit heeds no importance"),
    ],
)
def test_mistakes_are_one_sentence(folder, tmp_path, vectors, scheme, told):
    np.savez(tmp_path / "wrong.npz", **vectors)
    model = folder / "model.safetensors"
    for verb in (("analyze", model), ("export", model, "--to", "safetensors", "-o", tmp_path / "out")):
        done = run(*verb, *scheme, "--importance", tmp_path / "wrong.npz")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_experts_share_a_vector(tmp_path):
    sums = np.array([[1, 2, 3], [5, 6, 7]], np.float32)
    save_file({"e.in_sum2": sums, "e.counts": np.array([[1], [3]], np.float32)}, tmp_path / "experts.safetensors")
    assert Importance.load(tmp_path / "experts.safetensors").vectors["e"].tolist() == [1.5, 2.0, 2.5]


def test_a_recipe_may_heed_it_in_some_layers(folder, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        '{"version": 1, "rules": [{"match": "a*", "scheme": "symmetric", "bits": 3, "calibration": "mse"},'
        ' {"match": "*", "scheme": "base11"}]}'
    )
    model, out = folder / "model.safetensors", tmp_path / "packed.safetensors"
    more = ("--importance", folder / "energies.npz")
    results("export", model, "--to", "safetensors", "--recipe", recipe, *more, "-o", out)
    with open_checkpoint(out) as packed, open_checkpoint(model) as original:
        scheme = packed.load("a.weight").scheme
        expected = scheme.quantize(original.load("a.weight"), importance=energies(folder)["a"])
        assert np.array_equal(packed.load("a.weight").data, expected.data)


def test_an_imatrix_for_a_model_with_the_names_of_hugging_face(tmp_path):
    rng = np.random.default_rng(1)
    names = [f"model.layers.{n}.{part}.weight" for n in (0, 1) for part in ("self_attn.q_proj", "mlp.down_proj")]
    weights = {name: rng.standard_normal((32, 64)).astype(np.float32) for name in names}
    save_file(weights, tmp_path / "model.safetensors")
    called = ["blk.0.attn_q", "blk.0.ffn_down", "blk.1.attn_q", "blk.1.ffn_down"]
    sums = {name: rng.random((1, 64)).astype(np.float32) + 0.1 for name in called}
    arrays = {f"{name}.weight.in_sum2": value for name, value in sums.items()}
    arrays |= {f"{name}.weight.counts": np.array([[2]], np.float32) for name in called}
    save_file(arrays, tmp_path / "imatrix.safetensors")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        found = Importance.load(tmp_path / "imatrix.safetensors").known(checkpoint)
    assert set(found) == set(names)
    for name, of in zip(names, called, strict=True):
        np.testing.assert_array_equal(found[name], sums[of][0] / 2)


def test_sweeps_and_plans_count_by_it(folder, tmp_path):
    model, more = folder / "model.safetensors", ("--importance", folder / "energies.npz")
    lists = ("--scheme", "symmetric", "--group-size", "32", "--bits", "3,4", "--calibration", "mse")
    points = results("sweep", model, *lists, *more)["points"]
    weights = load_file(model)
    for point in points:
        name = point["layer"]
        energy = energies(folder)[name.removesuffix(".weight")].astype(np.float32)
        scheme = scheme_from_json({"scheme": "symmetric", **point["params"]})
        decoded = scheme.dequantize(scheme.quantize(weights[name], importance=energy))
        assert point["sqnr_db"] == pytest.approx(weighted(weights[name], decoded, energy), abs=1e-4)
    plan = results("plan", model, "--bpw", "4.6", "-o", tmp_path / "recipe.json", *lists, *more)
    known = {(point["layer"], point["params"]["bits"]): point["sqnr_db"] for point in points}
    for layer in plan["layers"]:
        assert layer["sqnr_db"] == known[layer["layer"], layer["params"]["bits"]]


def test_one_that_is_the_same_for_all_channels_changes_no_figure(folder, tmp_path):
    np.savez(tmp_path / "same.npz", a=np.full(128, 7.0), b=np.full(64, 0.5))
    lists = ("--scheme", "symmetric", "--group-size", "32", "--bits", "3", "--calibration", "mse")
    model = folder / "model.safetensors"
    plain, same = (
        results("sweep", model, *lists, *more)["points"] for more in ((), ("--importance", tmp_path / "same.npz"))
    )
    assert [p["sqnr_db"] for p in same] == pytest.approx([p["sqnr_db"] for p in plain], abs=1e-3)


def test_a_stack_of_experts_has_inputs_on_another_axis_and_goes_without(tmp_path):
    weights = {"e.weight": np.ones((2, 3, 32), np.float32), "a.weight": np.ones((3, 32), np.float32)}
    save_file(weights, tmp_path / "model.safetensors")
    np.savez(tmp_path / "some.npz", e=np.ones(32), a=np.ones(32))
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert set(Importance.load(tmp_path / "some.npz").known(checkpoint)) == {"a.weight"}
