"""Exports that are read and not made here are verified as they decode."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.target import registry
from qinspect.targets.verify import verify
from tests.commandline import failure, run

INT4 = make_scheme("symmetric", bits=4, granularity="group", group_size=32)
MINIMA = make_scheme("asymmetric", bits=4, offset="minimum", granularity="group", group_size=32, param_dtype="float16")
CLIPPED = make_scheme(
    "symmetric", bits=4, granularity="group", group_size=32, calibration="percentile", percentile=93.5
)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    path = tmp_path_factory.mktemp("linear") / "linear.safetensors"
    draw = np.random.default_rng(3)
    weights = {"up.weight": draw.normal(size=(24, 64)), "down.weight": draw.normal(size=(8, 96))}
    save_file({name: w.astype(np.float32) for name, w in weights.items()} | {"bias": np.ones(4, np.float32)}, path)
    return path


def export(source, target, out, scheme):
    with open_checkpoint(source) as checkpoint:
        made = registry[target]()
        made.write(checkpoint, made.plan(checkpoint, Recipe.of(scheme)), out)
    return out


def verified(packed, against, **more):
    with open_checkpoint(packed) as a, open_checkpoint(against) as b:
        return verify(a, b, **more)


def test_the_scheme_of_a_folder_for_transformers_is_found(linear, tmp_path):
    found = verified(export(linear, "compressed-tensors", tmp_path / "out", INT4), linear)
    assert found.mismatches == ()
    assert {(one.name, one.scheme, one.difference) for one in found.decoded} == {
        (name, INT4, 0.0) for name in ("up.weight", "down.weight")
    }


@pytest.mark.parametrize("scheme", [MINIMA, make_scheme("base11", group_size=64)], ids=lambda scheme: scheme.label)
def test_blocks_of_llama_cpp(gguf_example, tmp_path, scheme):
    out = export(gguf_example, "gguf", tmp_path / "out.gguf", scheme)
    found = verified(out, gguf_example)
    assert found.mismatches == ()
    assert {type(one.scheme) for one in found.decoded} == {type(scheme)}
    done = run("verify", out, "--against", gguf_example)
    assert (done.returncode, done.stderr) == (0, "")
    assert "makes of the originals" in " ".join(done.stdout.split())


def test_one_changed_code_is_found_and_names_the_exported_file(linear, tmp_path):
    out = export(linear, "compressed-tensors", tmp_path / "out", INT4)
    arrays = load_file(out / "model.safetensors")
    arrays["up.weight_packed"][-1, -1] ^= 1
    save_file(arrays, out / "model.safetensors")
    found = verified(out, linear)
    assert [one.name for one in found.mismatches] == ["up.weight"]
    assert found.mismatches[0].text.startswith("1 of 1536 weights decode to others than symmetric 4-bit g32")
    done = run("verify", out, "--against", linear)
    assert done.returncode == 1
    assert all(str(out / "model.safetensors") in line for line in done.stderr.splitlines())
    assert "2 of 3 tensors match" in done.stderr


def test_a_scheme_that_nobody_guesses_can_be_named(linear, tmp_path):
    out = export(linear, "compressed-tensors", tmp_path / "out", CLIPPED)
    unknown = verified(out, linear).mismatches
    assert {one.name for one in unknown} == {"up.weight", "down.weight"}
    assert all("--scheme" in one.text and "int4 g32" in one.text for one in unknown)
    flags = ("--scheme", "symmetric", "--bits", 4, "--group-size", 32, "--calibration", "percentile")
    done = run("verify", out, "--against", linear, *flags, "--percentile", 93.5)
    assert (done.returncode, done.stderr) == (0, "")
    assert "are exactly what symmetric 4-bit g32 percentile 93.5 makes" in " ".join(done.stdout.split())
    assert run("verify", out, "--against", linear, *flags, "--percentile", 80).returncode == 1


def test_decoded_weights_are_verified_under_a_scheme_that_is_named(linear, tmp_path):
    out = export(linear, "fp32", tmp_path / "out.safetensors", INT4)
    assert len(verified(out, linear, recipe=Recipe.of(INT4)).decoded) == 2
    with pytest.raises(FormatError, match="nothing in this file is packed"):
        verified(out, linear)
    assert "nothing in this file is packed" in failure("verify", linear, "--against", linear)


def test_originals_of_another_model_are_one_sentence(linear, tmp_path):
    save_file({"other": np.ones((4, 4), np.float32)}, tmp_path / "other.safetensors")
    out = export(linear, "safetensors", tmp_path / "packed.safetensors", INT4)
    assert "choose the checkpoint it was made from" in failure(
        "verify", out, "--against", tmp_path / "other.safetensors"
    )


def test_a_scheme_that_is_nearly_right_gives_way_to_the_right_one(tmp_path):
    """With scales in half precision a few weights near a boundary would have other codes."""
    w = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    save_file({"a.weight": w}, tmp_path / "a.safetensors")
    scheme = make_scheme("symmetric", bits=4, granularity="channel")
    out = export(tmp_path / "a.safetensors", "compressed-tensors", tmp_path / "out", scheme)
    found = verified(out, tmp_path / "a.safetensors")
    assert found.mismatches == ()
    assert [(one.scheme, one.difference) for one in found.decoded] == [(scheme, 0.0)]


def test_scales_that_are_no_numbers_are_told_of_the_exported_file(linear, tmp_path):
    out = export(linear, "compressed-tensors", tmp_path / "out", INT4)
    arrays = load_file(out / "model.safetensors")
    arrays["up.weight_scale"][0, 0] = np.nan
    save_file(arrays, out / "model.safetensors")
    (found,) = verified(out, linear).mismatches
    assert found.name == "up.weight"
    assert "holds values that cannot be: the file is corrupt" in found.text
