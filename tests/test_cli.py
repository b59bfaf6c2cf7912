"""The command line as a person or a script uses it, on files that reference libraries wrote."""

import json
import os
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from commandline import failure, process, results, run
from safetensors.numpy import load_file, save_file

from qinspect.cli import main
from qinspect.quant.scheme import make_scheme

LAYER_KEYS = [
    "name", "shape", "sqnr_db", "sqnr_in_range_db", "rmse", "mse", "rmse_per_step", "snr_db_eps", "cosine", "max_error",
    "mean_error", "exact", "bpw", "nbytes", "levels", "levels_used", "entropy_bits", "clipped", "findings",
    "limits",
]  # fmt: skip
FINDING_KEYS = ["rule", "severity", "text", "remedy", "gain_db", "place"]


def usage(capsys, *arguments):
    """What is said of a command line that is wrong."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def weights():
    """A small network as checkpoints hold them: matrices, a convolution, what belongs to them, a counter."""
    rng = np.random.default_rng(7)
    # The last layer is the worst: a single outlier in each row stretches its groups.
    tail = rng.normal(0, 0.02, (16, 300))
    tail[:, 0] = 1
    return {
        "conv.weight": rng.normal(0, 0.1, (8, 4, 3, 3)).astype(np.float32),
        "norm.weight": rng.normal(1, 0.1, 64).astype(np.float32),
        "half.weight": rng.normal(0, 1, (10, 64)).astype(np.float16),
        "steps": np.array([12], np.int64),
        "tail.bias": rng.normal(0, 1, 16).astype(np.float32),
        "tail.weight": tail.astype(np.float32),
    }


LAYERS = ("conv.weight", "half.weight", "tail.weight")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(weights(), path)
    return path


@pytest.fixture(scope="module")
def packed(model):
    """The same model packed, base-11 in groups of 32."""
    path = model.with_name("packed.safetensors")
    results("export", model, "--to", "safetensors", "--scheme", "base11", "--group-size", 32, "-o", path)
    return path


def base11(w, group_size):
    """The published recipe in plain numpy: decoded weights and the bytes they take."""
    rows = w.astype(np.float32).reshape(len(w), -1)
    decoded, nbytes = np.empty_like(rows), 0
    levels = np.linspace(-1, 1, 11, dtype=np.float32)
    size = min(group_size, rows.shape[1])
    for start in range(0, rows.shape[1], size):
        group = rows[:, start : start + size]
        low = group.min(1, keepdims=True).astype(np.float16).astype(np.float32)
        high = group.max(1, keepdims=True).astype(np.float16).astype(np.float32)
        scale = np.maximum(high - low, 1e-5).astype(np.float16).astype(np.float32)
        codes = np.abs((2 * (group - low) / scale - 1)[..., None] - levels).argmin(-1)
        decoded[:, start : start + size] = (levels[codes] + 1) / 2 * scale + low
        nbytes += len(rows) * (4 * -(-size // 9) + 4)
    return decoded.reshape(w.shape), nbytes


def symmetric(w, bits, group_size):
    rows = w.astype(np.float32).reshape(-1, group_size)
    top = 2 ** (bits - 1) - 1
    scale = np.abs(rows).max(1, keepdims=True) / np.float32(top)
    return (np.clip(np.rint(rows / scale), -top - 1, top) * scale).reshape(w.shape)


def sqnr_db(w, decoded):
    w, decoded = w.astype(np.float64), decoded.astype(np.float64)
    return 10 * np.log10((w**2).sum() / ((w - decoded) ** 2).sum())


def test_info_lists_every_tensor(model):
    done = process("info", model, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout)
    assert list(listed) == ["path", "format", "metadata", "tensors"]
    assert listed["path"] == str(model)
    types = {"float32": "F32", "float16": "F16", "int64": "I64"}
    tensors = sorted(listed["tensors"], key=lambda tensor: tensor["name"])
    for tensor, (name, w) in zip(tensors, sorted(weights().items()), strict=True):
        expected = {
            "name": name, "shape": list(w.shape), "dtype": types[w.dtype.name], "nbytes": w.nbytes, "qtype": None
        }  # fmt: skip
        assert tensor == expected


def test_analysis_follows_the_formulas(model):
    found = results("analyze", model, "--scheme", "base11", "--group-size", 32)
    assert list(found) == ["scheme", "layers", "total"]
    assert found["scheme"] == make_scheme("base11", group_size=32).to_json()
    signal = noise = size = 0
    for layer, name in zip(sorted(found["layers"], key=lambda layer: layer["name"]), LAYERS, strict=True):
        w = weights()[name]
        decoded, nbytes = base11(w, 32)
        error = decoded.astype(np.float64) - w
        assert list(layer) == LAYER_KEYS
        assert (layer["name"], layer["shape"], layer["nbytes"]) == (name, list(w.shape), nbytes)
        assert layer["bpw"] == pytest.approx(8 * nbytes / w.size)
        assert layer["sqnr_db"] == pytest.approx(sqnr_db(w, decoded), abs=1e-3)
        assert layer["mse"] == pytest.approx((error**2).mean(), rel=1e-3)
        assert layer["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)
        assert layer["max_error"] == pytest.approx(np.abs(error).max(), rel=1e-3)
        assert layer["mean_error"] == pytest.approx(np.abs(error).mean(), rel=1e-3)
        assert layer["exact"] is False
        assert layer["levels"] == 11
        signal, noise, size = signal + (w.astype(np.float64) ** 2).sum(), noise + (error**2).sum(), size + w.size
    assert list(found["total"]) == ["sqnr_db", "bpw", "nbytes", "original_nbytes"]
    assert found["total"]["sqnr_db"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)
    assert found["total"]["nbytes"] == sum(base11(weights()[name], 32)[1] for name in LAYERS)
    assert found["total"]["bpw"] == pytest.approx(8 * found["total"]["nbytes"] / size)
    assert found["total"]["original_nbytes"] == sum(weights()[name].nbytes for name in LAYERS)


def test_a_group_size_implies_groups(model):
    (layer,) = results(
        "analyze", model, "--scheme", "symmetric", "--bits", 4, "--group-size", 32, "--layers", "half.*"
    )["layers"]  # fmt: skip
    w = weights()["half.weight"]
    assert layer["sqnr_db"] == pytest.approx(sqnr_db(w, symmetric(w, 4, 32)), abs=1e-3)


def test_findings_are_told_in_words(tmp_path):
    w = np.full((64, 64), 0.001, np.float32) * np.sign(np.arange(4096).reshape(64, 64) % 3 - 0.5)
    w[0, 0] = 10
    save_file({"bad.weight": w.astype(np.float32)}, tmp_path / "bad.safetensors")
    (layer,) = results("analyze", tmp_path / "bad.safetensors", "--scheme", "sentinel", "--layers", "bad*")["layers"]
    assert layer["findings"]
    assert all(list(finding) == FINDING_KEYS for finding in layer["findings"])
    said = run("analyze", tmp_path / "bad.safetensors", "--scheme", "sentinel").stdout
    assert all(finding["text"].split()[0] in said for finding in layer["findings"])


def test_an_infinite_sqnr_is_null_and_exact(tmp_path):
    w = np.arange(-127, 128, dtype=np.float32).reshape(5, 51)
    save_file({"whole.weight": w}, tmp_path / "whole.safetensors")
    found = results("analyze", tmp_path / "whole.safetensors", "--scheme", "symmetric", "--bits", 8)
    assert found["layers"][0]["sqnr_db"] is None
    assert found["layers"][0]["exact"] is True
    assert found["total"]["sqnr_db"] is None


def test_a_gain_without_bound_is_null_too(tmp_path):
    # The maximum is rounded down to fp16 and so lies beyond the last code; in range, nothing is lost.
    w = np.zeros((4, 4), np.float32)
    w[0, 0] = 0.1
    save_file({"clipped.weight": w}, tmp_path / "clipped.safetensors")
    (layer,) = results("analyze", tmp_path / "clipped.safetensors", "--scheme", "base11")["layers"]
    assert np.float32(np.float16(0.1)) < np.float32(0.1)
    assert layer["sqnr_in_range_db"] is None
    assert {finding["rule"]: finding["gain_db"] for finding in layer["findings"]}["clipped"] is None


def test_the_table_is_worst_first_and_fits_the_terminal(model, monkeypatch):
    for columns in (70, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        done = run("analyze", model)
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= columns
        names = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(LAYERS)]
        decoded = {name: base11(weights()[name], 128)[0] for name in LAYERS}
        assert names == sorted(LAYERS, key=lambda name: sqnr_db(weights()[name], decoded[name]))


def test_broken_layers_are_reported_and_the_rest_goes_on(tmp_path):
    w = weights()
    w["half.weight"][3, :2] = np.nan
    w["two\nlines\x1b[2J.weight"] = w["conv.weight"][:, 0]
    save_file(w, tmp_path / "broken.safetensors")
    done = run("analyze", tmp_path / "broken.safetensors", "--layers", "*", "--json")
    assert done.returncode == 1
    layers = {layer["name"]: layer for layer in json.loads(done.stdout)["layers"]}
    assert set(layers) == set(w)
    assert {name for name, layer in layers.items() if "error" in layer} == {"half.weight", "steps"}
    assert layers["half.weight"]["sqnr_db"] is None
    assert layers["norm.weight"]["sqnr_db"] > 10
    assert "2" in layers["half.weight"]["error"]
    assert [line.count("half.weight") + line.count("steps") for line in done.stderr.splitlines()] == [1, 1]

    done = run("analyze", tmp_path / "broken.safetensors")
    assert done.returncode == 1
    assert "half.weight" in done.stdout
    assert "two\\nlines\\x1b[2J.weight" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in run("info", tmp_path / "broken.safetensors").stdout


def test_export_packs_what_torch_loads(model, tmp_path):
    out = tmp_path / "packed.pt"
    written = results("export", model, "--to", "pt", "--scheme", "base11", "--group-size", 32, "-o", out)
    assert written["path"] == str(out)
    assert written["nbytes"] == out.stat().st_size
    assert written["fp32_nbytes"] == sum(4 * w.size for w in weights().values())
    schemes = {tensor["name"]: tensor["scheme"] for tensor in written["tensors"]}
    assert {name for name, scheme in schemes.items() if scheme} == set(LAYERS)
    state = torch.load(out, weights_only=True)
    assert state["tail.quant_packed"].shape == (16, 10, 16)
    assert state["tail.min_val"].dtype == torch.float16
    np.testing.assert_array_equal(state["norm.weight"].numpy(), weights()["norm.weight"])


def test_a_dry_run_plans_and_writes_nothing(model, tmp_path):
    for target in ("safetensors", "compressed-tensors", "c"):
        out = tmp_path / f"out-{target}"
        flags = ("--scheme", "symmetric", "--bits", 4, "--granularity", "channel", "-o", out)
        planned = results("export", model, "--to", target, *flags, "--dry-run")
        assert (planned["proof"], planned["path"]) == (None, str(out))
        assert not out.exists()
        written = results("export", model, "--to", target, *flags)
        assert planned["nbytes"] == written["nbytes"]
        assert {each["name"]: each["nbytes"] for each in planned["tensors"]} == {
            each["name"]: each["nbytes"] for each in written["tensors"]
        }
        said = run("export", model, "--to", target, *flags, "--dry-run").stdout
        assert said.startswith("would write ")
        assert "nothing is written" in said


def test_a_packed_file_is_analysed_as_it_is_stored(model, packed):
    stored = results("analyze", packed)
    assert stored["scheme"] is None
    assert {layer["name"] for layer in stored["layers"]} == set(LAYERS)
    for layer in stored["layers"]:
        assert layer["sqnr_db"] is layer["rmse"] is layer["exact"] is None
        assert layer["levels_used"] == 11
        assert layer["nbytes"] == base11(weights()[layer["name"]], 32)[1]
    compared = {layer["name"]: layer for layer in results("analyze", packed, "--reference", model)["layers"]}
    fresh = results("analyze", model, "--group-size", 32)["layers"]
    for layer in fresh:
        assert compared[layer["name"]]["sqnr_db"] == pytest.approx(layer["sqnr_db"], abs=1e-9)


def test_what_a_reference_lacks_is_said(packed, tmp_path):
    save_file({"half.weight": weights()["half.weight"]}, tmp_path / "part.safetensors")
    done = run("analyze", packed, "--reference", tmp_path / "part.safetensors", "--layers", "[ht]*.weight", "--json")
    assert done.returncode == 0
    assert {layer["name"]: layer["exact"] for layer in json.loads(done.stdout)["layers"]} == {
        "half.weight": False, "tail.weight": None
    }  # fmt: skip
    assert "tail.weight" in done.stderr
    assert "half.weight" not in done.stderr


def test_a_group_size_that_a_file_does_not_tell_can_be_given(tmp_path):
    w = np.random.default_rng(1).normal(size=(4, 72)).astype(np.float32)
    save_file({"layer.weight": w}, tmp_path / "model.safetensors")
    results(
        "export", tmp_path / "model.safetensors", "--to", "pt", "--group-size", 36, "-o", tmp_path / "whole.pt"
    )  # fmt: skip
    torch.save(dict(torch.load(tmp_path / "whole.pt", weights_only=True)), tmp_path / "bare.pt")
    done = run("info", tmp_path / "bare.pt", "--json")
    assert "assumed" in done.stderr
    assert json.loads(done.stdout)["tensors"][0]["shape"] == [4, 64]
    listed = results("info", tmp_path / "bare.pt", "--group-size", 36)
    assert listed["tensors"][0]["shape"] == [4, 72]
    (layer,) = results(
        "analyze", tmp_path / "bare.pt", "--group-size", 36, "--reference", tmp_path / "model.safetensors"
    )["layers"]  # fmt: skip
    assert layer["sqnr_db"] == pytest.approx(sqnr_db(w, base11(w, 36)[0]), abs=1e-3)


def test_unpacking_restores_names_shapes_and_types(packed, tmp_path):
    out = tmp_path / "unpacked.safetensors"
    assert run("unpack", packed, "-o", out).returncode == 0
    restored = load_file(out)
    assert {n: (w.shape, w.dtype) for n, w in restored.items()} == {n: (w.shape, w.dtype) for n, w in weights().items()}
    for name in LAYERS:
        np.testing.assert_allclose(restored[name], base11(weights()[name], 32)[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(restored["steps"], weights()["steps"])


def test_verify_tells_the_originals_from_others(model, packed, tmp_path):
    done = run("verify", packed, "--against", model)
    assert (done.returncode, done.stderr) == (0, "")
    other = weights()
    other["half.weight"] += 1
    other["norm.weight"][0] = 0
    save_file(other, tmp_path / "other.safetensors")
    done = run("verify", packed, "--against", tmp_path / "other.safetensors")
    assert done.returncode == 1
    assert "half.weight" in done.stdout + done.stderr
    assert "tail.weight" not in done.stderr


def test_a_recipe_decides_and_the_scheme_gets_the_rest(model, tmp_path):
    rules = [{"match": "tail*", "scheme": "symmetric", "bits": 4}, {"match": "half*", "scheme": None}]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"version": 1, "rules": rules}))
    export = ("export", model, "--to", "fp32", "--recipe", recipe, "-o", tmp_path / "out.safetensors")
    alone = {tensor["name"]: tensor["scheme"] for tensor in results(*export)["tensors"]}
    assert alone["tail.weight"]["scheme"] == "symmetric"
    assert alone["half.weight"] is alone["conv.weight"] is None
    both = {tensor["name"]: tensor["scheme"] for tensor in results(*export, "--scheme", "sentinel")["tensors"]}
    assert both["conv.weight"]["scheme"] == "sentinel"
    assert both["half.weight"] is None


def test_wrong_usage_names_what_is_right(model, capsys):
    assert "--bits" in usage(capsys, "analyze", model, "--scheme", "sentinel", "--group-size", 64)
    assert "--granularity group" in usage(
        capsys, "analyze", model, "--scheme", "symmetric", "--granularity", "tensor", "--group-size", 64
    )
    assert "bits" in usage(capsys, "analyze", model, "--scheme", "symmetric", "--bits", 9)
    assert "group_size" in usage(capsys, "analyze", model, "--group-size", 0)
    assert "base11" in usage(capsys, "analyze", model, "--scheme", "base12")
    assert "--to" in usage(capsys, "export", model, "-o", "x.pt")
    assert "1600x1000" in usage(capsys, "screenshot", model, "-o", "x.png", "--size", "big")


def test_what_cannot_be_opened_is_said_in_one_line(model, tmp_path):
    assert "missing.safetensors" in failure("info", tmp_path / "missing.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model.read_bytes()[:-100])
    assert "cut.safetensors" in failure("info", cut)
    text = tmp_path / "notes\x1b[1m.txt"
    text.write_text("no checkpoint at all")
    assert "\x1b" not in failure("analyze", text)
    assert "weihgts" in failure("analyze", model, "--layers", "*.weihgts")
    assert "nowhere.pt" in process(tmp_path / "nowhere.pt").stderr


def test_exports_that_cannot_be_written_leave_everything_as_it_was(model, tmp_path):
    before = model.read_bytes()
    assert str(model) in failure("export", model, "--to", "safetensors", "-o", model)
    assert model.read_bytes() == before
    assert "folder" in failure("export", model, "--to", "pt", "-o", tmp_path / "no" / "where.pt")
    assert "file name" in failure("export", model, "--to", "pt", "-o", tmp_path)
    assert "recipe" in failure("export", model, "--to", "pt", "--recipe", model, "-o", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_enough_ends_the_program_quietly(model):
    with subprocess.Popen(
        [sys.executable, "-m", "qinspect", "info", model], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only POSIX has named pipes")
def test_an_interrupt_ends_the_program_with_130(model, tmp_path):
    pipe = tmp_path / "recipe.json"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "qinspect", "export", model, "--to", "pt", "--recipe", pipe, "-o", tmp_path / "x"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process, pipe.open("w"):
        # The pipe opens when the program has come to read its recipe, for which it then waits.
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("qinspect 0.")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_the_window_says_so(model):
    done = process(model, DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")
    assert done.returncode == 1
    assert "no display" in done.stderr
    assert done.stderr.count("\n") == 1


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:])


def test_a_screenshot_has_the_size_asked_for(model, tmp_path):
    out = tmp_path / "window.png"
    done = process("screenshot", model, "-o", out, "--layer", "tail.weight", "--size", "1200x800", "--theme", "light")
    assert (done.returncode, done.stderr) == (0, "")
    assert png_size(out) == (1200, 800)
    assert "no.weight" in failure("screenshot", model, "-o", tmp_path / "x.png", "--layer", "no.weight")
    assert "layers" in failure("screenshot", model, "-o", tmp_path / "x.png", "--view", "nothing")
    assert not (tmp_path / "x.png").exists()


def test_a_screenshot_of_a_view(model, tmp_path):
    plain, layers = tmp_path / "plain.png", tmp_path / "layers.png"
    size = ("--size", "900x600")
    assert process("screenshot", model, "-o", plain, *size).returncode == 0
    assert process("screenshot", model, "-o", layers, *size, "--view", "layers").returncode == 0
    assert png_size(layers) == (900, 600)
    assert plain.read_bytes() != layers.read_bytes()


def test_the_demo_runs_without_a_display(digits, tmp_path):
    done = process("demo", "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["digits.packed.safetensors", "digits.png"]
    for name in ("digits.packed.safetensors", "digits.png"):
        assert name in done.stdout
    png_size(tmp_path / "out" / "digits.png")
    assert "99.3%" in done.stdout  # as measured when it was trained, see its README
    assert (tmp_path / "out" / "digits.packed.safetensors").stat().st_size < digits.stat().st_size / 4
