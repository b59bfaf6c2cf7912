"""What the command line says to mistakes: a sentence that names the file, what is wrong with it, and the remedy."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.commandline import run


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
