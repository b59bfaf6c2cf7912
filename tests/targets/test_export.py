"""Exports end to end: sizes, arrays, what reference libraries read, and the way back."""

import json
import tracemalloc
import zlib

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qinspect.errors import ExportError, SchemeError, UnsupportedError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.targets.target import registry
from qinspect.targets.unpack import unpack

OWN = ["safetensors", "pt", "fp32"]
"""Targets that are files of this program's own formats."""

BASE11 = make_scheme("base11")
INT4 = make_scheme("symmetric", bits=4, granularity="group", group_size=32)
SCHEMES = [
    make_scheme("base11"),
    make_scheme("base11", group_size=126),
    make_scheme("base11", group_size=7, param_dtype="float32"),
    make_scheme("base_n", levels=23, group_size=64),
    make_scheme("symmetric"),
    make_scheme("symmetric", bits=4, granularity="channel", axis=1, param_dtype="float16"),
    make_scheme("symmetric", bits=3, granularity="group", group_size=48, param_dtype="bfloat16"),
    make_scheme("asymmetric", bits=5, granularity="group", group_size=32),
    make_scheme("asymmetric", bits=16, granularity="channel"),
    make_scheme("asymmetric", bits=2, offset="minimum"),
    make_scheme("sentinel"),
    make_scheme("normal_float", levels=8),
    make_scheme("fp4", group_size=32),
    make_scheme("mxfp4"),
    make_scheme("learned", levels=8),
    make_scheme("learned", levels=11, granularity="group", group_size=32, param_dtype="float16"),
    make_scheme("ternary", granularity="group", group_size=32),
]


def export(source, target, recipe, out):
    with open_checkpoint(source) as checkpoint:
        plan = registry[target]().plan(checkpoint, recipe)
        return plan, registry[target]().write(checkpoint, plan, out)


def decoded(tensor, scheme):
    w = tensor.float().numpy()
    return scheme.dequantize(scheme.quantize(w))


def test_the_registry_finds_them_all():
    assert registry.names() == [*OWN, "c", "onnx", "onnxruntime", "gguf", "compressed-tensors"]


@pytest.mark.parametrize("target", list(registry), ids=lambda target: target.name)
def test_a_target_says_what_it_can_carry(target):
    assert target.carries.endswith(".")
    reasons = [target().refusal(scheme, shape) for scheme in SCHEMES for shape in ((6, 75), (6, 256))]
    assert None in reasons
    assert all(reason is None or len(reason) > 10 for reason in reasons)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
@pytest.mark.parametrize("target", OWN)
def test_every_scheme_to_every_target(source, tensors, packed_names, tmp_path, scheme, target):
    out = tmp_path / "out"
    if target == "pt" and (scheme.name, getattr(scheme, "param_dtype", "")) != ("base11", "float16"):
        with pytest.raises(UnsupportedError, match="safetensors"):
            export(source, target, Recipe.of(scheme), out)
        return
    plan, report = export(source, target, Recipe.of(scheme), out)
    assert plan.nbytes == report.nbytes == out.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {row.name for row in plan.rows if row.scheme is not None} == packed_names
    assert {row.name: row.max_difference for row in report.rows} == dict.fromkeys(tensors, 0.0)
    with open_checkpoint(out) as written:
        assert {info.name: info.shape for info in written.infos} == {k: tuple(t.shape) for k, t in tensors.items()}
        for name, tensor in tensors.items():
            held = written.load(name)
            if name in packed_names:
                values = held.scheme.dequantize(held) if isinstance(held, QTensor) else held
                np.testing.assert_array_equal(values, decoded(tensor, scheme))
            else:
                exact = tensor.float() if tensor.is_floating_point() else tensor
                np.testing.assert_array_equal(np.asarray(held, exact.numpy().dtype), exact.numpy())


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_unpacking_restores_names_shapes_and_types(source, tensors, packed_names, tmp_path, scheme):
    export(source, "safetensors", Recipe.of(scheme), tmp_path / "packed")
    with open_checkpoint(tmp_path / "packed") as packed:
        unpack(packed, tmp_path / "plain.safetensors")
    plain = load_file(tmp_path / "plain.safetensors")
    assert {k: (t.shape, t.dtype) for k, t in plain.items()} == {k: (t.shape, t.dtype) for k, t in tensors.items()}
    for name, tensor in tensors.items():
        expected = torch.from_numpy(decoded(tensor, scheme)).to(tensor.dtype) if name in packed_names else tensor
        assert plain[name].equal(expected), name
    with safe_open(tmp_path / "plain.safetensors", "pt") as opened:
        assert opened.metadata()["note"] == "ж"
        assert "qinspect.layers" not in opened.metadata()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_the_reference_library_reads_packed_safetensors(source, packed_names, tmp_path, scheme):
    plan, _ = export(source, "safetensors", Recipe.of(scheme), tmp_path / "out.safetensors")
    arrays = load_file(tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert metadata["qinspect.version"] == "1"
    assert metadata["qinspect.network"] == "[]"
    layers = json.loads(metadata["qinspect.layers"])
    assert set(layers) == {name.removesuffix(".weight") if name != "weight" else "" for name in packed_names}
    assert layers["conv"] == {
        "version": 1, "name": "conv.weight", "shape": [6, 3, 5, 5], "dtype": "F16", "in_features": 75,
        "group_size": getattr(scheme, "group_size", None), "scheme": scheme.to_json(),
    }  # fmt: skip
    sums = {name: f"{zlib.crc32(a.reshape(-1).view(torch.uint8).numpy()):08x}" for name, a in arrays.items()}
    assert json.loads(metadata["qinspect.crc32"]) == sums
    assert sum(row.nbytes for row in plan.rows) == sum(a.nbytes for a in arrays.values())


@pytest.mark.parametrize("golden", [9, 32, 126, 128, 256], indirect=True)
@pytest.mark.parametrize("mmap", [False, True])
def test_packed_pt_is_the_golden_layer(golden, tmp_path, mmap):
    group, rows = int(golden["group_size"]), golden["weight"].shape[0]
    state = {"a.fc.weight": torch.from_numpy(golden["weight"]), "a.fc.bias": torch.arange(float(rows))}
    torch.save(state, tmp_path / "in.pt")
    export(tmp_path / "in.pt", "pt", Recipe.of(make_scheme("base11", group_size=group)), tmp_path / "out.pt")
    packed = torch.load(tmp_path / "out.pt", weights_only=True, mmap=mmap)
    assert list(packed) == [
        "a.fc.quant_packed", "a.fc.min_val", "a.fc.scale", "a.fc.quantizer.codebook", "a.fc.bias",
    ]  # fmt: skip
    np.testing.assert_array_equal(packed["a.fc.quant_packed"].numpy(), golden["quant_packed"], strict=True)
    np.testing.assert_array_equal(packed["a.fc.min_val"].numpy(), golden["min_val"], strict=True)
    np.testing.assert_array_equal(packed["a.fc.scale"].numpy(), golden["scale"], strict=True)
    np.testing.assert_array_equal(packed["a.fc.quantizer.codebook"].numpy(), np.linspace(-1, 1, 11, dtype=np.float32))
    assert packed["a.fc.bias"].equal(state["a.fc.bias"])
    record = packed._metadata["a.fc"]["qinspect"]
    assert record["name"] == "a.fc.weight"
    assert record["in_features"] == golden["weight"].shape[1]
    assert record["group_size"] == group


def test_what_the_source_says_of_its_network_goes_on(source, tmp_path):
    for target in OWN:
        export(source, target, Recipe.of(BASE11), tmp_path / target)
        with open_checkpoint(tmp_path / target) as written:
            assert written.metadata["qinspect.network"] == "[]"


def test_names_that_look_like_data_parallel_training_survive(tmp_path):
    """A reader takes `module.` from every name of a torch file, but not from those of one that this program wrote."""
    tensors = {"module.fc.weight": torch.ones(4, 8), "module.fc.bias": torch.ones(4)}
    save_file(tensors, tmp_path / "in")
    for recipe in (Recipe.of(BASE11), Recipe(())):
        export(tmp_path / "in", "pt", recipe, tmp_path / "out.pt")
        with open_checkpoint(tmp_path / "out.pt") as written:
            assert {info.name for info in written.infos} == set(tensors)


def test_the_documented_bytes(tmp_path):
    """The two examples in docs/formats.md."""
    save_file({"a.weight": torch.arange(11.0)[None], "b.weight": torch.tensor([[-7, 0, 3.5, 7, 1]])}, tmp_path / "in")
    recipe = Recipe((Rule("a.*", make_scheme("base11", group_size=11)), Rule("b.*", make_scheme("symmetric", bits=4))))
    export(tmp_path / "in", "safetensors", recipe, tmp_path / "out")
    arrays = load_file(tmp_path / "out")
    assert bytes(arrays["a.quant_packed"].flatten().tolist()).hex(" ") == "34 bf 07 6f 77 00 00 00"
    assert bytes(arrays["b.codes"].flatten().tolist()).hex(" ") == "81 fc 09"


def test_the_same_weights_give_the_same_bytes(examples, tmp_path, monkeypatch):
    monkeypatch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
    for target in registry.names():
        for name in ("a", "b"):
            export(examples[target], target, Recipe.of(BASE11), tmp_path / f"{target}.{name}")
        assert contents(tmp_path / f"{target}.a") == contents(tmp_path / f"{target}.b")


def test_every_size_is_known_beforehand(examples, tmp_path, monkeypatch):
    monkeypatch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
    for target in registry.names():
        for number, recipe in enumerate((Recipe.of(BASE11), Recipe(()))):
            plan, report = export(examples[target], target, recipe, tmp_path / f"{target}{number}")
            found = contents(tmp_path / f"{target}{number}")
            sizes = {name: len(data) for name, data in found.items()} if plan.files else {"": len(found)}
            assert plan.nbytes == report.nbytes == sum(sizes.values())
            assert dict(plan.files) == (sizes if plan.files else {})


def contents(path):
    """The bytes of a file, or of every file of a folder."""
    return {part.name: part.read_bytes() for part in path.iterdir()} if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("target", ["safetensors", "pt"])
def test_packed_layers_pass_through_as_they_are(source, tensors, packed_names, tmp_path, target):
    export(source, "safetensors", Recipe.of(BASE11), tmp_path / "first")
    for recipe in (Recipe.of(BASE11), Recipe(())):
        plan, _ = export(tmp_path / "first", target, recipe, tmp_path / "second")
        assert all("packed already" in row.note for row in plan.rows if row.name in packed_names)
        with open_checkpoint(tmp_path / "first") as first, open_checkpoint(tmp_path / "second") as second:
            for name in packed_names:
                a, b = first.load(name), second.load(name)
                assert a.scheme == b.scheme
                np.testing.assert_array_equal(a.data, b.data)
            assert [info.dtype for info in first.infos] == [info.dtype for info in second.infos]


def test_another_scheme_decodes_and_quantizes_again(source, tensors, packed_names, tmp_path):
    int4 = make_scheme("symmetric", bits=4, granularity="group", group_size=32)
    export(source, "safetensors", Recipe.of(BASE11), tmp_path / "first")
    plan, _ = export(tmp_path / "first", "safetensors", Recipe.of(int4), tmp_path / "second")
    assert all("decoded from" in row.note for row in plan.rows if row.name in packed_names)
    with open_checkpoint(tmp_path / "second") as second:
        for name in packed_names:
            again = int4.dequantize(int4.quantize(decoded(tensors[name], BASE11)))
            np.testing.assert_array_equal(int4.dequantize(second.load(name)), again)


def test_notes_say_what_stays_and_why(source, tmp_path):
    recipe = Recipe((Rule("table", None), Rule("norm.weight", BASE11), Rule("*", BASE11)))
    with open_checkpoint(source) as checkpoint:
        notes = {row.name: row.note for row in registry["safetensors"]().plan(checkpoint, recipe).rows}
    assert notes["fc1.bias"] == "1-D: passes through unchanged"
    assert notes["steps"] == "I64 is not floating: passes through unchanged"
    assert notes["none"] == "empty: passes through unchanged"
    assert notes["table"] == "the recipe leaves it alone"
    assert notes["norm.weight"] == notes["fc2.weight"] == ""
    assert "last holds 44 weights" in notes["fc1.weight"]


def test_a_scheme_that_does_not_fit_a_tensor_is_named(source):
    with open_checkpoint(source) as checkpoint, pytest.raises(SchemeError, match=r"wide\.weight: axis 2"):
        registry["safetensors"]().plan(checkpoint, Recipe.of(make_scheme("symmetric", granularity="channel", axis=2)))


def test_a_scheme_may_decline_unless_a_rule_insists(tmp_path):
    save_file({"zero.weight": torch.zeros(4, 8), "fine.weight": torch.ones(4, 8)}, tmp_path / "in")
    sentinel = make_scheme("sentinel")
    with open_checkpoint(tmp_path / "in") as checkpoint:
        target = registry["safetensors"]()
        rows = {row.name: row for row in target.plan(checkpoint, Recipe.of(sentinel)).rows}
        insisted = {row.name: row for row in target.plan(checkpoint, Recipe((Rule("zero.weight", sentinel),))).rows}
    assert rows["zero.weight"].scheme is None
    assert "leaves it alone: all weights are zero" in rows["zero.weight"].note
    assert rows["fine.weight"].scheme == sentinel
    assert insisted["zero.weight"].scheme == sentinel


def test_sizes_in_a_plan(tmp_path):
    save_file({"fc.weight": torch.ones(16, 128).half(), "fc.bias": torch.ones(16)}, tmp_path / "in")
    with open_checkpoint(tmp_path / "in") as checkpoint:
        plan = registry["safetensors"]().plan(checkpoint, Recipe.of(BASE11))
    # 15 words, a float16 minimum and range a row of 128; eleven float32 levels.
    assert {row.name: row.nbytes for row in plan.rows} == {"fc.weight": 16 * 64 + 44, "fc.bias": 64}
    assert plan.original_nbytes == 16 * 128 * 2 + 64
    assert plan.fp32_nbytes == 16 * 128 * 4 + 64
    assert plan.bpw == 8 * (16 * 64 + 44) / (16 * 128)


@pytest.mark.parametrize("other", ["fc", "fc.scale", "fc.quantizer.codebook"])
def test_two_tensors_under_one_name_are_refused(tmp_path, other):
    names = ("fc.weight", other)
    shapes = {"fc.scale": (2,), "fc.quantizer.codebook": (11,)}
    save_file({name: torch.ones(shapes.get(name, (4, 8))) for name in names}, tmp_path / "in")
    with pytest.raises(ExportError) as caught:
        export(tmp_path / "in", "safetensors", Recipe.of(BASE11), tmp_path / "out")
    assert all(name in str(caught.value) for name in names)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["safetensors", "pt", "fp32"])
def test_weights_that_are_no_numbers_are_named(tmp_path, target):
    weights = torch.ones(4, 8)
    weights[1, 2] = float("nan")
    save_file({"good.weight": torch.ones(4, 8), "bad.weight": weights}, tmp_path / "in")
    with pytest.raises(SchemeError, match=r"bad\.weight.*1 NaN"):
        export(tmp_path / "in", target, Recipe.of(BASE11), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_fp32_keeps_values_that_are_no_numbers_where_nothing_is_quantized(tmp_path):
    odd = torch.tensor([float("nan"), float("inf"), 1e-3]).bfloat16()
    save_file({"a": odd}, tmp_path / "in")
    plan, _ = export(tmp_path / "in", "fp32", Recipe(()), tmp_path / "out")
    assert plan.rows[0].note == "BF16 becomes F32"
    np.testing.assert_array_equal(load_file(tmp_path / "out")["a"], odd.float())


def test_fp32_refuses_what_it_cannot_hold(tmp_path):
    save_file({"a": torch.tensor([1e300, 1.0], dtype=torch.float64)}, tmp_path / "in")
    with pytest.raises(ExportError, match=r"a: .*float32"):
        export(tmp_path / "in", "fp32", Recipe(()), tmp_path / "out")


def test_unpacked_weights_stay_in_the_range_of_their_type(tmp_path):
    """Rounding may decode beyond the largest float16, which must not become infinite."""
    save_file({"a.weight": torch.tensor([[65504.0, -65504.0, 1.0, 0.3]]).half()}, tmp_path / "in")
    scheme = make_scheme("symmetric", bits=4, granularity="group", group_size=4, param_dtype="bfloat16")
    export(tmp_path / "in", "safetensors", Recipe.of(scheme), tmp_path / "packed")
    with open_checkpoint(tmp_path / "packed") as packed:
        unpack(packed, tmp_path / "out")
    assert load_file(tmp_path / "out")["a.weight"].isfinite().all()


def test_a_tensor_type_that_the_target_cannot_hold(tmp_path):
    torch.save({"a": torch.ones(2, dtype=torch.complex128)}, tmp_path / "in.pt")
    with pytest.raises(UnsupportedError, match="C128"):
        export(tmp_path / "in.pt", "safetensors", Recipe(()), tmp_path / "out")
    export(tmp_path / "in.pt", "pt", Recipe(()), tmp_path / "out.pt")
    assert torch.load(tmp_path / "out.pt", weights_only=True)["a"].dtype == torch.complex128


def test_views_of_shared_memory_are_written_as_they_look(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    torch.save({"t": base.T, "part": base[1:3, 2:5], "tied": base}, tmp_path / "in.pt")
    for target in OWN:
        export(tmp_path / "in.pt", target, Recipe(()), tmp_path / "out")
        with open_checkpoint(tmp_path / "out") as written:
            np.testing.assert_array_equal(written.load("t"), base.T)
            np.testing.assert_array_equal(written.load("part"), base[1:3, 2:5])


def test_a_file_without_tensors_to_pack(tmp_path):
    save_file({"ids": torch.arange(3)}, tmp_path / "in")
    for target in (*OWN, "c"):
        plan, _ = export(tmp_path / "in", target, Recipe.of(BASE11), tmp_path / target)
        assert plan.bpw is None


@pytest.mark.parametrize("target", [*OWN, "c", "gguf", "compressed-tensors"])
def test_one_tensor_is_in_memory_at_a_time(examples, target, tmp_path, monkeypatch):
    """Compiling takes long, and what the compiled program decodes is read in the same blocks as without one."""
    monkeypatch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
    recipe = Recipe.of(INT4 if target == "compressed-tensors" else BASE11)
    export(examples[target], target, recipe, tmp_path / "warm")
    source, nbytes = tmp_path / "layers", 24 << 20
    weights = {f"fc{i}.weight": np.random.default_rng(i).random((1024, nbytes // 4096), np.float32) for i in range(2)}
    if target == "gguf":
        writer = gguf.GGUFWriter(source, "llama")
        for name, w in weights.items():
            writer.add_tensor(name, w)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    else:
        save_file({name: torch.from_numpy(w) for name, w in weights.items()}, source)
    del weights
    with open_checkpoint(source) as checkpoint:
        plan = registry[target]().plan(checkpoint, recipe)
        tracemalloc.start()
        registry[target]().write(checkpoint, plan, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.5 * nbytes
