"""GGUF files written anew: blocks as the gguf package has them, all else of the file as it was."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, quants
from safetensors.numpy import save_file

from qinspect.errors import ExportError, UnsupportedError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.targets.ggml.carriers import carrier_of
from qinspect.targets.target import registry

BLOCK = {"granularity": "group", "group_size": 32, "param_dtype": "float16"}
LONG = BLOCK | {"group_size": 256}
CARRIED = {
    "Q4_0": make_scheme("symmetric", bits=4, **BLOCK),
    "Q4_1": make_scheme("asymmetric", bits=4, offset="minimum", **BLOCK),
    "Q5_0": make_scheme("symmetric", bits=5, **BLOCK),
    "Q5_1": make_scheme("asymmetric", bits=5, offset="minimum", **BLOCK),
    "Q8_0": make_scheme("symmetric", bits=8, **BLOCK),
    "TQ1_0": make_scheme("ternary", **LONG),
    "TQ2_0": make_scheme("symmetric", bits=2, **LONG),
    "MXFP4": make_scheme("mxfp4"),
}
"""What is stored in these blocks just as it is."""


def export(source, recipe, out):
    with open_checkpoint(source) as checkpoint:
        target = registry["gguf"]()
        plan = target.plan(checkpoint, recipe)
        return {row.name: row for row in plan.rows}, target.write(checkpoint, plan, out)


def read(path):
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def decoded(tensor):
    return quants.dequantize(tensor.data, tensor.tensor_type)


def weights_of(path):
    with open_checkpoint(path) as checkpoint:
        return {info.name: checkpoint.load(info.name) for info in checkpoint.infos if info.qtype is None}


@pytest.mark.parametrize("kind", CARRIED)
def test_blocks_decode_to_what_the_scheme_says(gguf_example, tmp_path, kind):
    scheme = CARRIED[kind]
    rows, report = export(gguf_example, Recipe.of(scheme), tmp_path / "out.gguf")
    found, weights = read(tmp_path / "out.gguf"), weights_of(gguf_example)
    for name in ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_gate_exps.weight"):
        assert found[name].tensor_type.name == rows[name].stored_as == kind
        meant = scheme.dequantize(scheme.quantize(weights[name]))
        np.testing.assert_array_equal(decoded(found[name]).reshape(meant.shape), meant)
    assert "every weight is as it was meant" in report.proof
    assert f"gguf package {version('gguf')}" in report.proof
    assert "not run in llama.cpp" in report.proof


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "Q5_1", "MXFP4"])
def test_bytes_are_those_of_the_gguf_package_where_parameters_need_no_rounding(tmp_path, kind):
    """Every block spans the levels exactly, under a scale and a minimum that float16 has."""
    draw = np.random.default_rng(3)
    low, high = {"Q8_0": (-127, 127), "Q4_1": (0, 15), "Q5_1": (0, 31), "MXFP4": (-4, 4)}[kind]
    codes = draw.integers(low, high + 1, (6, 4, 32)).astype(np.float32)
    codes[..., 0], codes[..., 1] = low, high
    scale = 2.0 ** draw.integers(-8, 0, (6, 4, 1))
    minimum = scale * draw.integers(-20, 20, (6, 4, 1)) if kind in ("Q4_1", "Q5_1") else 0
    weights = (codes * scale + minimum).astype(np.float32).reshape(6, 128)
    writer = gguf.GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_tensor("w.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    export(tmp_path / "in.gguf", Recipe.of(CARRIED[kind]), tmp_path / "out.gguf")
    theirs = quants.quantize(weights, GGMLQuantizationType[kind])
    np.testing.assert_array_equal(read(tmp_path / "out.gguf")["w.weight"].data, theirs)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_base_11_is_carried_in_q4_1(gguf_example, tmp_path, group):
    scheme = make_scheme("base11", group_size=group)
    rows, report = export(gguf_example, Recipe.of(scheme), tmp_path / "out.gguf")
    weights, found = weights_of(gguf_example), read(tmp_path / "out.gguf")
    for name in ("token_embd.weight", "blk.0.attn_q.weight"):
        assert rows[name].stored_as == "Q4_1"
        assert "within 4.9e-4 of each group's range" in rows[name].note
        q = scheme.quantize(weights[name])
        span = q.params["scale"].astype(np.float32).repeat(group, axis=1)
        apart = np.abs(decoded(found[name]) - scheme.dequantize(q)) / span
        assert 0 < apart.max() < 4.9e-4
    assert "of its group's range from what was meant" in report.proof
    assert 0 < max(row.max_difference for row in report.rows) < 4e-3


def test_everything_else_is_copied(gguf_example, tmp_path):
    rows, report = export(gguf_example, Recipe.of(CARRIED["Q4_0"]), tmp_path / "out.gguf")
    before, after = GGUFReader(gguf_example), GGUFReader(tmp_path / "out.gguf")
    assert [*before.fields] == [*after.fields]
    for key, field in before.fields.items():
        if not key.startswith("GGUF."):
            assert [part.tobytes() for part in field.parts] == [part.tobytes() for part in after.fields[key].parts]
    olds, news = read(gguf_example), read(tmp_path / "out.gguf")
    assert [*olds] == [*news]
    for name, old in olds.items():
        assert old.shape.tolist() == news[name].shape.tolist()
        if rows[name].scheme is None:
            assert old.tensor_type == news[name].tensor_type
            assert old.data.tobytes() == news[name].data.tobytes()
    assert report.nbytes == (tmp_path / "out.gguf").stat().st_size
    assert {row.name for row in report.rows} == set(olds)


def test_what_stays_says_why(gguf_example, tmp_path):
    recipe = Recipe(
        (Rule("packed.weight", None), Rule("blk.0.attn_norm.weight", CARRIED["Q4_0"]), Rule("*", CARRIED["Q4_0"]))
    )
    rows, _ = export(gguf_example, recipe, tmp_path / "out.gguf")
    stays = {name: (row.note, row.wanted is not None) for name, row in rows.items() if row.scheme is None}
    assert stays == {
        "packed.weight": ("Q8_0 in the file already: copied as it is", False),
        "blk.0.attn_norm.weight": ("stays as it is: llama.cpp wants it as floats", True),
        "blk.0.ffn_gate_inp.weight": ("stays as it is: llama.cpp wants it as floats", True),
        "odd.weight": ("stays as it is: Q4_0 has blocks of 32, which do not divide rows of 40", True),
    }
    rows, _ = export(gguf_example, Recipe.of(CARRIED["Q8_0"]), tmp_path / "again.gguf")
    assert "decoded from Q8_0 and quantized again" in rows["packed.weight"].note


def test_layers_of_one_file_have_types_of_their_own(gguf_example, tmp_path):
    recipe = Recipe((Rule("token*", CARRIED["Q8_0"]), Rule("blk.*.attn_q*", CARRIED["TQ2_0"]), Rule("*", None)))
    export(gguf_example, recipe, tmp_path / "out.gguf")
    kinds = {name: tensor.tensor_type.name for name, tensor in read(tmp_path / "out.gguf").items()}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_q.weight"] == "TQ2_0"
    assert kinds["blk.0.ffn_down.weight"] == "F32"


@pytest.mark.parametrize(
    ("scheme", "shape", "carrier"),
    [
        (make_scheme("symmetric", bits=3, **BLOCK), (4, 64), "Q4_0"),
        (make_scheme("symmetric", bits=6, **BLOCK), (4, 64), "Q8_0"),
        (make_scheme("symmetric", bits=8), (4, 64), "Q8_0"),
        (make_scheme("symmetric", bits=8, granularity="channel"), (4, 64), "Q8_0"),
        (make_scheme("symmetric_n", levels=11, **BLOCK), (4, 64), "Q4_0"),
        (make_scheme("ternary", **BLOCK), (4, 64), "Q4_0"),
        (make_scheme("base_n", levels=32, group_size=64), (4, 64), "Q5_1"),
        (make_scheme("asymmetric", bits=4, **BLOCK), (4, 64), "Q4_1"),
        (make_scheme("sentinel", bits=4), (4, 64), "Q4_1"),
        (make_scheme("base11", group_size=64), (4, 96), "Q4_1"),
        (make_scheme("base11", group_size=48), (4, 96), "groups of 48 are no multiple"),
        (make_scheme("base11"), (4, 100), "do not divide rows of 100"),
        (make_scheme("asymmetric", bits=8, **BLOCK), (4, 64), "no block type like"),
        (make_scheme("symmetric", bits=8, granularity="channel", axis=1), (4, 64), "across rows"),
        (make_scheme("symmetric", bits=16), (4, 64), "no block type like"),
        (make_scheme("normal_float"), (4, 64), "no block type like"),
        (make_scheme("base11"), (64,), "vectors as floats"),
    ],
)
def test_which_blocks_carry_what(scheme, shape, carrier):
    found = carrier_of(scheme, shape)
    if isinstance(found, str):
        assert carrier in found
    else:
        assert found.type.name == carrier


@pytest.mark.parametrize("name", ["symmetric", "asymmetric", "sentinel", "base_n"])
def test_float32_parameters_are_rounded_and_that_is_said(gguf_example, tmp_path, name):
    scheme = make_scheme(name, **{"base_n": {"levels": 9, "param_dtype": "float32"}}.get(name, {"bits": 4}))
    rows, report = export(gguf_example, Recipe.of(scheme), tmp_path / "out.gguf")
    weights, found = weights_of(gguf_example)["token_embd.weight"], read(tmp_path / "out.gguf")["token_embd.weight"]
    apart = np.abs(decoded(found) - scheme.dequantize(scheme.quantize(weights))).max()
    assert 0 < apart < 1e-3 * np.ptp(weights)
    assert "rounded to float16" in rows["token_embd.weight"].note
    assert max(row.max_difference for row in report.rows) >= apart


def test_scales_beyond_float16_are_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_tensor("huge.weight", np.full((4, 64), 1e30, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ExportError, match=r"huge\.weight: a scale is too large for float16"):
        export(tmp_path / "in.gguf", Recipe.of(make_scheme("symmetric", bits=8)), tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]


def test_a_split_model_becomes_one_file(tmp_path):
    made = {}
    for number in range(2):
        writer = gguf.GGUFWriter(tmp_path / f"m-{number + 1:05}-of-00002.gguf", "llama")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        made[f"w{number}.weight"] = np.random.default_rng(number).standard_normal((4, 64)).astype(np.float32)
        writer.add_tensor(f"w{number}.weight", made[f"w{number}.weight"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    scheme = CARRIED["Q8_0"]
    export(tmp_path, Recipe((Rule("w0*", scheme),)), tmp_path / "whole.gguf")
    found = read(tmp_path / "whole.gguf")
    np.testing.assert_array_equal(decoded(found["w0.weight"]), scheme.dequantize(scheme.quantize(made["w0.weight"])))
    np.testing.assert_array_equal(found["w1.weight"].data, made["w1.weight"])
    assert not [key for key in GGUFReader(tmp_path / "whole.gguf").fields if key.startswith("split")]


def test_without_the_package_our_reader_decodes_and_that_is_said(gguf_example, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    _, report = export(gguf_example, Recipe.of(CARRIED["Q4_0"]), tmp_path / "out.gguf")
    assert "this program's reader (pip install gguf" in report.proof
    assert "gguf package" not in report.proof


def test_a_checkpoint_without_tokenizer_is_refused_with_a_remedy(tmp_path):
    save_file({"a.weight": np.ones((4, 64), np.float32)}, tmp_path / "in.safetensors")
    with pytest.raises(UnsupportedError, match=r"convert_hf_to_gguf\.py"):
        export(tmp_path / "in.safetensors", Recipe.of(CARRIED["Q4_0"]), tmp_path / "out.gguf")


@pytest.mark.parametrize("at", [-40, -1500, 140, 230])
def test_a_disk_that_changes_bytes_is_found_out(gguf_example, tmp_path, monkeypatch, at):
    """In blocks, in a tensor that was copied, in a number of the metadata, in the vocabulary."""
    synced = os.fsync

    def flip(descriptor):
        synced(descriptor)
        with Path(f"/proc/self/fd/{descriptor}").open("r+b") as file:
            data = bytearray(file.read())
            data[at] ^= 1
            file.seek(0)
            file.write(data)

    monkeypatch.setattr(os, "fsync", flip)
    with pytest.raises(ExportError, match=r"read(s)? back|it decodes to"):
        export(gguf_example, Recipe.of(CARRIED["Q4_0"]), tmp_path / "out.gguf")
    assert not [*tmp_path.iterdir()]
