"""Hugging Face folders: the arrays by the formula of the format, the configuration, and what goes on beside them."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qinspect.errors import ExportError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.targets.target import registry

TARGET = "compressed-tensors"
INT4 = make_scheme("symmetric", bits=4, granularity="group", group_size=32)
INT8 = make_scheme("symmetric", bits=8, granularity="channel", param_dtype="float16")


def export(source, recipe, out):
    with open_checkpoint(source) as checkpoint:
        target = registry[TARGET]()
        plan = target.plan(checkpoint, recipe)
        return {row.name: row for row in plan.rows}, target.write(checkpoint, plan, out)


def decoded(arrays, prefix, bits):
    """As compressed-tensors unpacks: whole words along each row, low bits first, codes above their lowest."""
    rows, cols = arrays[f"{prefix}.weight_shape"]
    words = arrays[f"{prefix}.weight_packed"].view(np.uint32)
    codes = words[..., None] >> np.arange(0, 32, bits, dtype=np.uint32) & np.uint32((1 << bits) - 1)
    codes = codes.reshape(rows, -1)[:, :cols].astype(np.int64) - (1 << bits - 1)
    scale = arrays[f"{prefix}.weight_scale"].astype(np.float32)
    return codes.astype(np.float32) * scale.repeat(cols // scale.shape[1], axis=1)


def config(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "shared",
    [{"granularity": "group", "group_size": 32}, {"granularity": "channel"}, {"granularity": "tensor"}],
    ids=lambda shared: shared["granularity"],
)
@pytest.mark.parametrize("param_dtype", ["float16", "float32"])
def test_arrays_decode_by_the_formula_of_the_format(model_folder, tmp_path, bits, shared, param_dtype):
    scheme = make_scheme("symmetric", bits=bits, param_dtype=param_dtype, **shared)
    rows, report = export(model_folder, Recipe.of(scheme), tmp_path / "out")
    before, after = load_file(model_folder), load_file(tmp_path / "out" / "model.safetensors")
    for name in ("model.layers.0.q_proj", "model.layers.0.k_proj", "lm_head"):
        meant = scheme.dequantize(scheme.quantize(before[f"{name}.weight"]))
        np.testing.assert_array_equal(decoded(after, name, bits), meant)
        assert after[f"{name}.weight_scale"].dtype == param_dtype
        assert rows[f"{name}.weight"].stored_as == f"int{bits}"
    np.testing.assert_array_equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert max(row.max_difference for row in report.rows) == 0
    assert "not loaded in transformers" in report.proof
    weights = config(tmp_path / "out")["quantization_config"]["config_groups"]["group_0"]["weights"]
    strategy = ("group", 32) if shared["granularity"] == "group" else ("channel", None)
    assert (weights["num_bits"], weights["strategy"], weights["group_size"]) == (bits, *strategy)


def test_the_folder_is_the_models_own(model_folder, tmp_path):
    _, report = export(model_folder, Recipe.of(INT4), tmp_path / "out")
    out, source = tmp_path / "out", model_folder.parent
    kept = {"tokenizer.json", "merges.txt", "LICENSE"}
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json"} | kept
    for name in kept:
        assert (out / name).read_bytes() == (source / name).read_bytes()
    said = config(out)
    quantization = said.pop("quantization_config")
    assert said == {"model_type": "llama", "hidden_size": 64}
    assert quantization["quant_method"] == "compressed-tensors"
    assert quantization["format"] == "pack-quantized"
    assert quantization["config_groups"]["group_0"]["targets"] == ["Linear"]
    assert "model.layers.0.o_proj" in quantization["ignore"]
    assert "lm_head" not in quantization["ignore"]
    assert report.nbytes == sum(path.stat().st_size for path in out.iterdir())


def test_our_own_reader_finds_the_layers(model_folder, tmp_path):
    export(model_folder, Recipe.of(INT4), tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as found:
        kinds = {info.name: info.qtype for info in found.infos}
    assert kinds["model.layers.0.q_proj.weight"] == "int4 g32"
    assert kinds["model.embed_tokens.weight"] is None


def test_layers_of_several_kinds_are_named(model_folder, tmp_path):
    export(model_folder, Recipe((Rule("*.k_proj.*", INT8), Rule("*", INT4))), tmp_path / "out")
    groups = config(tmp_path / "out")["quantization_config"]["config_groups"]
    assert [(group["targets"], group["weights"]["num_bits"]) for group in groups.values()] == [
        (["Linear"], 4),
        (["model.layers.0.k_proj"], 8),
    ]


def test_heads_that_are_left_alone_or_tied_are_ignored(model_folder, tmp_path):
    export(model_folder, Recipe((Rule("lm_head.*", None), Rule("*", INT4))), tmp_path / "out")
    assert config(tmp_path / "out")["quantization_config"]["ignore"].count("lm_head") == 1
    shutil.copytree(model_folder.parent, tmp_path / "tied")
    tensors = load_file(model_folder)
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "tied" / "model.safetensors")
    export(tmp_path / "tied" / "model.safetensors", Recipe.of(INT4), tmp_path / "again")
    assert config(tmp_path / "again")["quantization_config"]["ignore"].count("lm_head") == 1


def test_what_stays_says_why(model_folder, tmp_path):
    rows, _ = export(model_folder, Recipe.of(INT4), tmp_path / "out")
    notes = {name.rsplit(".", 2)[-2]: row.note for name, row in rows.items() if row.wanted}
    assert notes == {
        "embed_tokens": "stays as it is: it is no weight of a linear layer, by its name",
        "o_proj": "stays as it is: groups of 32 do not divide rows of 70",
    }
    rows, _ = export(model_folder, Recipe.of(make_scheme("base11")), tmp_path / "out")
    assert all("symmetric 4 or 8 bits, not base11 g128" in row.note for row in rows.values() if row.wanted)
    assert "quantization_config" not in config(tmp_path / "out")


@pytest.mark.parametrize(
    ("scheme", "shape", "refused"),
    [
        (INT4, (4, 64), None),
        (INT4, (4, 20), None),
        (INT8, (4, 33), None),
        (INT4, (4, 48), "do not divide"),
        (INT4, (4, 4, 32), "two dimensions"),
        (make_scheme("symmetric", bits=3), (4, 64), "4 or 8 bits"),
        (make_scheme("asymmetric", bits=4), (4, 64), "4 or 8 bits"),
        (make_scheme("symmetric", bits=8, granularity="channel", axis=1), (4, 64), "rows, not to columns"),
    ],
)
def test_what_can_be_held(scheme, shape, refused):
    found = registry[TARGET]().refusal(scheme, shape)
    assert found is None if refused is None else refused in found


def test_a_model_with_turned_weights_is_left_alone(model_folder, tmp_path):
    shutil.copytree(model_folder.parent, tmp_path / "gpt2")
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "gpt2"}')
    rows, _ = export(tmp_path / "gpt2" / "model.safetensors", Recipe.of(INT4), tmp_path / "out")
    assert not any(row.scheme for row in rows.values())
    assert "[inputs, outputs]" in rows["model.layers.0.q_proj.weight"].note


def test_without_a_configuration_nothing_else_is_copied(tmp_path):
    save_file({"a.weight": np.ones((4, 32), np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "diary.txt").write_text("private")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        plan = registry[TARGET]().plan(checkpoint, Recipe.of(INT4))
    assert [name for name, _ in plan.files] == ["model.safetensors", "config.json"]
    assert "transformers needs the model's own" in plan.remark


def test_what_was_packed_by_others_is_written_decoded(model_folder, tmp_path):
    """A folder of this kind is the source, and its layers are left alone, or packed anew."""
    export(model_folder, Recipe.of(INT8), tmp_path / "int8")
    rows, _ = export(tmp_path / "int8", Recipe((Rule("lm_head.*", INT4),)), tmp_path / "out")
    assert rows["lm_head.weight"].stored_as == "int4"
    assert rows["model.layers.0.q_proj.weight"].scheme is None
    before, after = (
        load_file(tmp_path / "int8" / "model.safetensors"),
        load_file(tmp_path / "out" / "model.safetensors"),
    )
    np.testing.assert_array_equal(
        after["model.layers.0.q_proj.weight"], decoded(before, "model.layers.0.q_proj", 8).astype(np.float16)
    )


def test_bytes_that_changed_are_found_out(model_folder, tmp_path, monkeypatch):
    from qinspect.targets import compressed_tensors as target

    opened = target.open_checkpoint

    def flipped(path):
        data = bytearray(path.read_bytes())
        data[-1] ^= 64
        path.write_bytes(data)
        return opened(path)

    monkeypatch.setattr(target, "open_checkpoint", flipped)
    with pytest.raises(ExportError, match="reads back"):
        export(model_folder, Recipe.of(INT4), tmp_path / "out")
    assert not [*tmp_path.iterdir()]
