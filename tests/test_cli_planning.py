"""Sweeps, plans and comparisons from the command line, on files that a reference library wrote."""

import csv
import io
import json
import math

import numpy as np
import pytest
from commandline import results, run
from safetensors.numpy import load_file, save_file

from qinspect.cli import main
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe

UP = "model.layers.0.mlp.up_proj.weight"
POINT_KEYS = ["layer", "scheme", "params", "bpw", "sqnr_db", "rmse", "max_error", "nbytes", "pareto"]


def weights():
    """Two blocks as decoders have them, a head, a norm, a counter; some layers with heavier tails than others."""
    rng = np.random.default_rng(3)
    found = {}
    for block in (0, 1):
        for name, shape in (("self_attn.q_proj", (64, 96)), ("self_attn.k_proj", (32, 96)), ("mlp.up_proj", (128, 96))):
            x = rng.normal(0, 0.05, shape)
            found[f"model.layers.{block}.{name}.weight"] = (x if name != "mlp.up_proj" else x**3 * 100).astype(
                np.float32
            )
    found["lm_head.weight"] = rng.normal(0, 0.2, (40, 100)).astype(np.float32)
    found["norm.weight"] = rng.normal(1, 0.1, 96).astype(np.float32)
    found["steps"] = np.array([3], np.int64)
    return found


LAYERS = [name for name, w in weights().items() if w.ndim == 2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(weights(), path)
    return path


def decoded(scheme, w):
    return scheme.dequantize(scheme.quantize(w))


def sqnr_db(pairs):
    """Of many weights and what became of them, together."""
    signal = sum((w.astype(np.float64) ** 2).sum() for w, _ in pairs)
    noise = sum(((x.astype(np.float64) - w) ** 2).sum() for w, x in pairs)
    return 10 * math.log10(signal / noise)


GRID = ("--scheme", "base11,symmetric", "--group-size", "32,63,64,126,128", "--bits", "3,4")


def test_a_sweep_has_every_combination_of_every_layer(model):
    found = results("sweep", model, *GRID)
    assert list(found) == ["sampled", "points", "skipped"]
    points = found["points"]
    assert all(list(point) == POINT_KEYS for point in points)
    tried = {(p["layer"], p["scheme"], p["params"].get("bits"), p["params"]["group_size"]) for p in points}
    sizes = (32, 63, 64, 126, 128)
    assert tried == {
        (layer, *kind, size)
        for layer in LAYERS
        for size in sizes
        for kind in (("base11", None), ("symmetric", 3), ("symmetric", 4))
    }
    assert len(points) == len(tried)
    for point in points[::7]:
        scheme = make_scheme(point["scheme"], **point["params"])
        w = weights()[point["layer"]]
        assert point["sqnr_db"] == pytest.approx(sqnr_db([(w, decoded(scheme, w))]), abs=1e-4)
        assert point["bpw"] == pytest.approx(8 * point["nbytes"] / w.size)


def test_pareto_marks_are_those_of_the_figures(model):
    points = results("sweep", model, *GRID, "--layers", "lm_head*")["points"]
    best = {p["nbytes"]: p["rmse"] for p in points if p["pareto"]}
    for p in points:
        assert p["pareto"] or any(n <= p["nbytes"] and e <= p["rmse"] for n, e in best.items())
    sizes = sorted(best)
    assert [best[n] for n in sizes] == sorted(best.values(), reverse=True)


def test_a_table_for_a_spreadsheet(model):
    done = run("sweep", model, *GRID, "--csv")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == POINT_KEYS
    points = results("sweep", model, *GRID)["points"]
    assert len(rows) == len(points)
    assert json.loads(rows[5]["params"]) == points[5]["params"]
    assert float(rows[5]["bpw"]) == points[5]["bpw"]


def test_a_person_reads_what_suits_the_row(model):
    """Rows of 100: groups of 126 are one a row and cost nothing; 63 leave a last one of 37."""
    done = run("sweep", model, "--layers", "lm_head.weight", "--scheme", "base11", "--group-size", "63,126,128")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "lm_head.weight: 2 points" in lines[0]
    (line,) = [line for line in lines if "g63" in line]
    stored = 2 * (7 * 32 + 32)
    assert f"{stored / 100 - 32 / 9 - 32 / 63:.2f} bpw, last 37 of 63" in line
    assert "● " in done.stdout
    together = run("sweep", model, "--scheme", "base11", "--group-size", "32,64")
    assert f"{len(LAYERS)} layers together: 2 points" in together.stdout


def test_a_sample_is_marked(tmp_path):
    rng = np.random.default_rng(0)
    save_file({"big.weight": rng.normal(size=(4096, 512)).astype(np.float32)}, tmp_path / "big.safetensors")
    grid = ("--scheme", "base11,symmetric", "--group-size", "128", "--bits", "4")
    quick = results("sweep", tmp_path / "big.safetensors", *grid, "--sample")
    exact = results("sweep", tmp_path / "big.safetensors", *grid)
    assert (quick["sampled"], exact["sampled"]) == (True, False)
    for some, every in zip(quick["points"], exact["points"], strict=True):
        assert some["nbytes"] == every["nbytes"]
        assert some["sqnr_db"] != every["sqnr_db"]
        assert some["sqnr_db"] == pytest.approx(every["sqnr_db"], abs=0.05)
    assert "≈ " in run("sweep", tmp_path / "big.safetensors", *grid, "--sample").stdout


def test_a_layer_that_cannot_be_swept_is_told_and_the_rest_goes_on(tmp_path):
    w = {"good.weight": weights()["lm_head.weight"], "bad.weight": np.full((8, 8), np.nan, np.float32)}
    save_file(w, tmp_path / "m.safetensors")
    done = run("sweep", tmp_path / "m.safetensors", "--scheme", "base11", "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "bad.weight" in done.stderr
    found = json.loads(done.stdout)
    assert {p["layer"] for p in found["points"]} == {"good.weight"}
    assert [(s["layer"], s["scheme"]) for s in found["skipped"]] == [("bad.weight", None)]
    assert run("plan", tmp_path / "m.safetensors", "--bpw", 5, "-o", tmp_path / "r.json").returncode == 1
    assert Recipe.load(tmp_path / "r.json").scheme_for(TensorInfo("bad.weight", (8, 8), "F32", 0)) is None


def test_a_packed_file_is_swept_too(model, tmp_path):
    packed = tmp_path / "packed.safetensors"
    results("export", model, "--to", "safetensors", "--scheme", "symmetric", "--bits", 8, "-o", packed)
    grid = ("--scheme", "base11", "--group-size", 32, "--layers", "lm_head*")
    (alone,) = results("sweep", packed, *grid)["points"]
    (against,) = results("sweep", packed, *grid, "--reference", model)["points"]
    (original,) = results("sweep", model, *grid)["points"]
    assert against["sqnr_db"] == original["sqnr_db"]
    w = decoded(make_scheme("symmetric"), weights()["lm_head.weight"])
    scheme = make_scheme("base11", group_size=32)
    assert alone["sqnr_db"] == pytest.approx(sqnr_db([(w, decoded(scheme, w))]), abs=1e-4)


def plan(model, out, *arguments):
    found = results("plan", model, "-o", out, *arguments)
    assert json.loads(out.read_text()) == found["recipe"]
    return found


@pytest.mark.parametrize("limit", ["bytes", "bpw", "sqnr"])
def test_a_plan_keeps_its_limit_and_is_exported_unchanged(model, tmp_path, limit):
    flags = {"bytes": ("--max-bytes", 40000), "bpw": ("--bpw", 4), "sqnr": ("--min-sqnr", 20)}[limit]
    recipe, out = tmp_path / "r.json", tmp_path / "out.safetensors"
    found = plan(model, recipe, *flags, "--scheme", "base11,symmetric,normal_float")
    assert len({p["scheme"] + str(p["params"]) for p in found["layers"]}) > 1
    exported = results("export", model, "--to", "safetensors", "--recipe", recipe, "-o", out)
    schemes = {t["name"]: t["scheme"] for t in exported["tensors"] if t["scheme"]}
    assert schemes == {p["layer"]: {"scheme": p["scheme"], **p["params"]} for p in found["layers"]}
    assert sum(t["nbytes"] for t in exported["tensors"]) == found["total"]["nbytes"]
    unpacked = tmp_path / "unpacked.safetensors"
    assert run("unpack", out, "-o", unpacked).returncode == 0
    restored = load_file(unpacked)
    sqnr = sqnr_db([(weights()[name], restored[name]) for name in LAYERS])
    assert found["total"]["sqnr_db"] == pytest.approx(sqnr, abs=1e-3)
    weighted = sum(weights()[name].size for name in LAYERS)
    bpw = 8 * sum(p["nbytes"] for p in found["layers"]) / weighted
    assert found["total"]["bpw"] == pytest.approx(bpw)
    assert {"bytes": found["total"]["nbytes"] <= 40000, "bpw": bpw <= 4, "sqnr": sqnr >= 20 - 1e-3}[limit]


def test_a_plan_beats_one_scheme_for_all_at_its_size(model, tmp_path):
    points = results("sweep", model, *GRID)["points"]
    for size in (32, 64):
        same = [p for p in points if p["scheme"] == "base11" and p["params"]["group_size"] == size]
        noise = sum(p["rmse"] ** 2 * weights()[p["layer"]].size for p in same)
        rest = sum(w.nbytes for name, w in weights().items() if name not in LAYERS)
        found = plan(model, tmp_path / "r.json", "--max-bytes", rest + sum(p["nbytes"] for p in same), *GRID)
        planned = sum(p["rmse"] ** 2 * weights()[p["layer"]].size for p in found["layers"])
        assert planned < noise


def test_layers_of_small_weights_are_not_sacrificed_unless_errors_are_absolute(tmp_path):
    rng = np.random.default_rng(1)
    scales = {"small.weight": 0.01, "large.weight": 1.0}
    tensors = {name: (rng.normal(size=(64, 64)) * scale).astype(np.float32) for name, scale in scales.items()}
    save_file(tensors, tmp_path / "m.safetensors")
    flags = ("--bpw", 4.5, "--scheme", "symmetric", "--group-size", 64, "--bits", "2,3,4,5,6,7,8")
    alike, absolute = (plan(tmp_path / "m.safetensors", tmp_path / "r.json", *flags, *f) for f in ((), ("--absolute",)))
    bits = [{p["layer"]: p["params"]["bits"] for p in found["layers"]} for found in (alike, absolute)]
    assert abs(bits[0]["small.weight"] - bits[0]["large.weight"]) <= 1
    assert bits[1]["small.weight"] == 2
    done = run("plan", tmp_path / "m.safetensors", "-o", tmp_path / "r.json", *flags, "--absolute")
    assert "small.weight: under 9 dB" in done.stderr


@pytest.mark.parametrize("target", ["c", "safetensors"])
def test_a_plan_for_a_target_fits_when_it_is_exported(model, tmp_path, target):
    flags = ("--scheme", "symmetric,base11", "--group-size", 32, "--bits", "3,5,7,8")
    found = plan(model, tmp_path / "r.json", "--max-bytes", "32kB", "--to", target, *flags)
    written = results(
        "export", model, "--to", target, "--recipe", tmp_path / "r.json", "-o", tmp_path / "out", "--dry-run"
    )
    size = written["needs"]["flash"] if target == "c" else written["nbytes"]
    assert size == found["total"]["nbytes"] <= 32000
    assert found["target"] == target
    said = run("plan", model, "-o", tmp_path / "r.json", "--bpw", 9, "--to", "compressed-tensors", *flags)
    assert "lm_head.weight: compressed-tensors holds none" in said.stderr


def test_a_size_has_units(model, tmp_path):
    flags = ("--scheme", "symmetric", "--group-size", 32, "--bits", "3,4")
    same = [plan(model, tmp_path / "r.json", "--max-bytes", size, *flags) for size in ("31kB", "31000")]
    assert same[0] == same[1]
    assert same[0]["total"]["nbytes"] <= 31000


def test_locks_ties_and_weights(model, tmp_path):
    wishes = ("--lock", "lm_head*=symmetric,bits=8,group-size=32", "--lock", "model.layers.0.mlp*", "--tie-fused")
    found = plan(model, tmp_path / "r.json", "--bpw", 5, *GRID, *wishes, "--weight", "model.layers.1.mlp*=1e6")
    schemes = {p["layer"]: (p["scheme"], p["params"]) for p in found["layers"]}
    head = make_scheme("symmetric", bits=8, granularity="group", group_size=32)
    assert make_scheme(schemes["lm_head.weight"][0], **schemes["lm_head.weight"][1]) == head
    assert UP not in schemes
    assert Recipe.load(tmp_path / "r.json").scheme_for(TensorInfo(UP, (128, 96), "F32", 0)) is None
    for block in (0, 1):
        assert (
            schemes[f"model.layers.{block}.self_attn.q_proj.weight"]
            == schemes[f"model.layers.{block}.self_attn.k_proj.weight"]
        )
    up = results("sweep", model, *GRID, "--layers", "model.layers.1.mlp*")["points"]
    chosen = next(p for p in found["layers"] if p["layer"] == "model.layers.1.mlp.up_proj.weight")
    assert chosen["rmse"] == min(p["rmse"] for p in up)


def test_a_recipe_can_be_analysed(model, tmp_path):
    recipe = tmp_path / "r.json"
    found = plan(model, recipe, "--bpw", 4, *GRID)
    analysed = results("analyze", model, "--recipe", recipe)
    assert (analysed["scheme"], analysed["recipe"]) == (None, found["recipe"])
    assert {x["name"]: x["sqnr_db"] for x in analysed["layers"]} == {p["layer"]: p["sqnr_db"] for p in found["layers"]}
    assert {x["name"]: x["scheme"] for x in analysed["layers"]} == {
        p["layer"]: {"scheme": p["scheme"], **p["params"]} for p in found["layers"]
    }
    assert analysed["total"]["sqnr_db"] == pytest.approx(found["total"]["sqnr_db"])
    (head,) = results("analyze", model, "--recipe", recipe, "--layers", "lm_head*")["layers"]
    assert head["name"] == "lm_head.weight"
    assert "by the recipe" in run("analyze", model, "--recipe", recipe).stdout


def test_llama_quantize_is_told_what_it_knows(model, tmp_path):
    grid = ("--scheme", "symmetric,base11", "--bits", "4,8", "--group-size", 32)
    found = run("plan", model, "-o", tmp_path / "r.json", "--bpw", 6, *grid, "--llama-quantize")
    lines = [line for line in found.stdout.splitlines() if line.startswith("--tensor-type ")]
    assert any(line.endswith("=q8_0'") for line in lines)
    assert any(line.endswith("=q4_0'") for line in lines)
    assert "lm_head.weight: q" in found.stderr
    assert "do not divide rows of 100" in found.stderr


def refusal(*arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def test_limits_that_cannot_be_kept_write_nothing(model, tmp_path):
    out = tmp_path / "r.json"
    assert "smallest takes" in refusal("plan", model, "--max-bytes", 100, "-o", out, *GRID)
    assert "bits a weight" in refusal("plan", model, "--bpw", 0.5, "-o", out, *GRID)
    assert "reaches" in refusal("plan", model, "--min-sqnr", 90, "-o", out, *GRID)
    assert "folder" in refusal("plan", model, "--bpw", 4, "-o", tmp_path / "no" / "r.json", *GRID)
    assert "nothing*" in refusal("plan", model, "--bpw", 4, "-o", out, "--lock", "nothing*")
    assert "--lock lm_head*=base12" in refusal("plan", model, "--bpw", 4, "-o", out, "--lock", "lm_head*=base12")
    assert "--weight lm_head*=0" in refusal("plan", model, "--bpw", 4, "-o", out, "--weight", "lm_head*=0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sweep", "x", "--bits", "4,nine"), "--bits"),
        (("sweep", "x", "--bits", "9"), "bits must be one of"),
        (("sweep", "x", "--scheme", "base12"), "base12"),
        (("sweep", "x", "--scheme", "base11", "--axis", "1"), "axis"),
        (("sweep", "x", "--json", "--csv"), "not allowed"),
        (("plan", "x", "-o", "r.json"), "required"),
        (("plan", "x", "-o", "r.json", "--max-bytes", "9 apples"), "is no size"),
        (("plan", "x", "--bpw", "4", "--min-sqnr", "20", "-o", "r.json"), "not allowed"),
    ],
)
def test_wrong_usage(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(list(arguments))
    assert said in capsys.readouterr().err


def test_two_files_are_compared(model, tmp_path):
    rng = np.random.default_rng(9)
    other = {f"module.{name}": w for name, w in weights().items() if name != "norm.weight"}
    other["module.lm_head.weight"] = other["module.lm_head.weight"] + rng.normal(0, 0.01, (40, 100)).astype(np.float32)
    other[f"module.{UP}"] = np.ones((3, 3), np.float32)
    save_file(other, tmp_path / "other.safetensors")
    found = results("compare", model, tmp_path / "other.safetensors")
    assert list(found) == ["a", "b", "layers", "total", "only_a", "only_b", "misshapen"]
    layers = {layer["name"]: layer for layer in found["layers"]}
    pairs = [(weights()[name], other[f"module.{name}"]) for name in layers]
    head = layers["lm_head.weight"]
    assert head["sqnr_db"] == pytest.approx(sqnr_db([(weights()["lm_head.weight"], other["module.lm_head.weight"])]))
    assert (head["other"], head["matched_by"]) == ("module.lm_head.weight", "prefix")
    assert all(layer["exact"] for name, layer in layers.items() if name != "lm_head.weight")
    assert found["total"]["sqnr_db"] == pytest.approx(sqnr_db(pairs))
    assert (found["only_a"], found["only_b"]) == (["norm.weight"], [])
    assert found["misshapen"] == [
        {
            "name": UP,
            "shape": [128, 96],
            "other": f"module.{UP}",
            "other_shape": [3, 3],
        }
    ]
    said = run("compare", model, tmp_path / "other.safetensors").stdout
    assert "only in A: norm.weight" in said
    assert "128 × 96 in A, 3 × 3 in B" in said


def test_a_packed_file_is_compared_with_its_originals(model, tmp_path):
    packed = tmp_path / "packed.safetensors"
    results("export", model, "--to", "safetensors", "--scheme", "base11", "-o", packed)
    found = results("compare", model, packed)
    analysed = {x["name"]: x["sqnr_db"] for x in results("analyze", model)["layers"]}
    compared = {x["name"]: x["sqnr_db"] for x in found["layers"] if not x["exact"]}
    assert compared == pytest.approx(analysed)
    assert found["total"]["other_nbytes"] < found["total"]["nbytes"]


def test_files_without_anything_in_common(model, tmp_path):
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "x.safetensors")
    done = run("compare", model, tmp_path / "x.safetensors")
    assert done.returncode == 1
    assert "has its like" in done.stderr


def test_weights_that_cannot_be_compared(model, tmp_path):
    other = weights()
    other["lm_head.weight"][0, 0] = np.inf
    save_file(other, tmp_path / "x.safetensors")
    done = run("compare", model, tmp_path / "x.safetensors")
    assert done.returncode == 1
    assert "lm_head.weight: 1 of its weights" in done.stderr
    assert "error" in done.stdout
