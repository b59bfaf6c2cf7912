"""What the command line says to mistakes: a sentence that names the file, what is wrong with it, and the remedy."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.commandline import failure, results, run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    draw = np.random.default_rng(5)
    save_file({f"fc{n}.weight": draw.normal(size=(16, 64)).astype(np.float32) for n in (1, 2)}, path)
    return path


def recipe_of(folder, *rules):
    path = folder / "recipe.json"
    path.write_text(json.dumps({"version": 1, "rules": list(rules)}))
    return path


def test_an_export_that_packs_nothing_says_so_and_what_the_target_takes(model, tmp_path):
    export = ("export", model, "--to", "compressed-tensors", "-o", tmp_path / "out", "--dry-run")
    done = run(*export)
    assert done.returncode == 0
    assert "nothing is packed; --to compressed-tensors carries: Symmetric 4 and 8 bits" in done.stderr
    assert run(*export, "--scheme", "symmetric", "--bits", 4, "--granularity", "channel").stderr == ""


@pytest.mark.parametrize("verb", [("analyze",), ("export", "--to", "fp32", "-o", "unwritten.safetensors", "--dry-run")])
def test_rules_that_match_nothing_are_named(model, tmp_path, verb):
    rules = [{"match": "mixx*", "scheme": "base11"}, {"match": "fc1*", "scheme": "base11"}]
    done = run(verb[0], model, *verb[1:], "--recipe", recipe_of(tmp_path, *rules))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("qinspect: note: ")
    assert "rule 1 (mixx*) matches no tensor" in line


def usage(*arguments):
    """The one line that is said of wrong usage."""
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("qinspect: error: ")
    return line


def test_a_verb_with_a_typo(model):
    assert "no verb or file 'analyse'; did you mean analyze? See `qinspect --help`" in usage("analyse", model)
    assert "no verb or file 'nonsense'; see" in usage("nonsense", model)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--scheme", "symmetric", "--bits", 9), "bits must be one of 2, 3, 4, 5, 6, 7, 8, 16, not 9; see"),
        (("--scheme", "symetric"), "no scheme 'symetric'; choose one of base11, .*; did you mean symmetric[?] See"),
        (("--bits", 4), "base11 has no --bits, as symmetric, asymmetric, sentinel have; it has --group-size,.*; see"),
        (("--bit", 4), "--bit 4 means nothing here; did you mean --bits[?] See"),
        (("--bits", "four"), "--bits: invalid int value: 'four'; see"),
    ],
)
def test_wrong_flags_get_one_sentence(model, flags, said):
    assert re.search(f"{said} `qinspect analyze --help`", usage("analyze", model, *flags))


def test_a_target_with_a_typo(model):
    assert "did you mean onnx?" in usage("export", model, "--to", "onx", "-o", "out")


@pytest.mark.parametrize("verb", ["analyze", "export", "evaluate", "verify", "gui", "screenshot"])
def test_help_tells_each_flag_once_and_ends_with_examples(verb):
    said = " ".join(run(verb, "--help").stdout.split())
    assert said.count("weights along a row") + said.count("Weights along a row") == 1
    assert "(symmetric, asymmetric, sentinel)" in said
    assert f"examples: qinspect {verb} " in said


def test_a_recipe_is_compared_with_the_file_and_with_a_scheme(model, tmp_path):
    recipe = recipe_of(tmp_path, {"match": "fc1*", "scheme": "symmetric", "bits": 4})
    plain = results("compare", model, recipe)
    (layer,) = plain["layers"]
    assert (layer["name"], layer["stored_as"], layer["sqnr_db"], layer["bpw"]) == ("fc1.weight", "F32", None, 32)
    assert layer["other_nbytes"] == 16 * 64 // 2 + 4
    w = load_file(model)["fc1.weight"]
    scale = np.abs(w).max() / np.float32(7)
    noise = np.square(np.clip(np.rint(w / scale), -8, 7) * scale - w).sum()
    assert layer["other_sqnr_db"] == pytest.approx(10 * np.log10(np.square(w).sum() / noise), abs=1e-3)
    eight = ("compare", model, recipe, "--scheme", "symmetric", "--bits", 8)
    both = results(*eight)["total"]
    assert both["nbytes"] == 16 * 64 + 4
    assert both["other_sqnr_db"] == layer["other_sqnr_db"]
    assert f"{both['other_sqnr_db'] - both['sqnr_db']:+.2f}" in run(*eight).stdout


def test_a_recipe_that_quantizes_nothing_is_no_comparison(model, tmp_path):
    done = run("compare", model, recipe_of(tmp_path, {"match": "*", "scheme": None}))
    assert done.returncode == 1
    assert "quantizes nothing" in done.stderr


def test_a_scheme_that_fits_no_layer_is_one_error(model):
    done = run("analyze", model, "--scheme", "symmetric", "--axis", 5)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "axis 5 does not exist in a tensor of shape [16, 64]; choose another axis" in done.stderr


def test_a_recipe_that_is_text(model, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text("hello")
    said = failure("analyze", model, "--recipe", path)
    assert f"{path}: the recipe is not JSON in line 1, column 1; a recipe is written" in said


def test_packed_layers_are_evaluated_against_their_originals(model, tmp_path):
    packed, data = tmp_path / "packed.safetensors", tmp_path / "data.npz"
    flags = ("--scheme", "symmetric", "--bits", 3)
    assert run("export", model, "--to", "safetensors", *flags, "-o", packed).returncode == 0
    np.savez(data, x=np.random.default_rng(1).normal(size=(20, 64)).astype(np.float32))
    alone = run("evaluate", packed, "--data", data)
    assert "name their originals with --reference" in alone.stderr
    errors = [
        {layer["name"]: layer["output_error"] for layer in results("evaluate", *of, "--data", data)["layers"]}
        for of in ((packed, "--reference", model), (model, *flags))
    ]
    assert errors[0] == errors[1]
    assert min(errors[0].values()) > 0.05
    save_file({"other": np.ones((4, 4), np.float32)}, tmp_path / "other.safetensors")
    done = run("evaluate", packed, "--data", data, "--reference", tmp_path / "other.safetensors")
    assert "no packed layer of it has its original" in done.stderr


def test_nan_is_said_before_data_is_asked_for(tmp_path):
    save_file({"w": np.full((4, 4), np.nan, np.float32)}, tmp_path / "nan.safetensors")
    assert re.search("w: .*NaN", failure("evaluate", tmp_path / "nan.safetensors"))


def test_a_place_on_no_disk_is_not_writable(model, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    assert "not writable" in failure("export", model, "--to", "pt", "-o", tmp_path / "x.pt")
