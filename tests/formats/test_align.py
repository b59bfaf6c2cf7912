"""GGUF files beside the Hugging Face files that they are made from: names, rows of heads, experts, either way round."""

import json

import gguf
import numpy as np
import pytest
import safetensors.numpy
from gguf import GGMLQuantizationType

from qinspect.cli import main
from qinspect.compare import match
from qinspect.formats.align import align
from qinspect.formats.open import open_checkpoint
from qinspect.session import Request, Session
from qinspect.versus import open_other

HEADS, KV_HEADS, WIDTH = 4, 2, 64
RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


LLAMA = {
    "model.embed_tokens.weight": normal(20, WIDTH),
    "model.layers.0.self_attn.q_proj.weight": normal(WIDTH, WIDTH),
    "model.layers.0.self_attn.q_proj.bias": normal(WIDTH),
    "model.layers.0.self_attn.k_proj.weight": normal(WIDTH // 2, WIDTH),
    "model.layers.0.self_attn.v_proj.weight": normal(WIDTH // 2, WIDTH),
    "model.layers.0.mlp.down_proj.weight": normal(WIDTH, 96),
    "model.layers.0.input_layernorm.weight": normal(WIDTH),
    "lm_head.weight": normal(20, WIDTH),
}
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
    "model.layers.0.self_attn.q_proj.bias": "blk.0.attn_q.bias",
    "model.layers.0.self_attn.k_proj.weight": "blk.0.attn_k.weight",
    "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
    "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
    "lm_head.weight": "output.weight",
}
EXPERTS = {f"model.layers.0.block_sparse_moe.experts.{i}.w1.weight": normal(32, WIDTH) for i in range(3)}


def permuted(weights, heads):
    """What the converter of llama.cpp does to query and key weights of Llama."""
    halves = weights.reshape(heads, 2, len(weights) // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def converted(permute=True):
    made = {}
    for name, weights in LLAMA.items():
        heads = HEADS if ".q_proj." in name else KV_HEADS if ".k_proj." in name else 0
        made[NAMES[name]] = permuted(weights, heads) if heads and permute else weights
    return made | {"blk.0.ffn_gate_exps.weight": np.stack(list(EXPERTS.values()))}


def write(path, tensors, kind=GGMLQuantizationType.Q8_0):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    for name, weights in tensors.items():
        if weights.ndim > 1:
            writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=[True, False], ids=["rows permuted", "rows as they are"])
def files(request, tmp_path):
    safetensors.numpy.save_file(LLAMA | EXPERTS, tmp_path / "hf.safetensors")
    path = write(tmp_path / "model.gguf", converted(request.param))
    with open_checkpoint(path) as packed, open_checkpoint(tmp_path / "hf.safetensors") as original:
        yield packed, original


def decoded(held):
    return held.scheme.dequantize(held) if hasattr(held, "scheme") else np.asarray(held)


class TestOriginalsOfAFile:
    def test_every_tensor_is_found_in_place(self, files):
        packed, original = files
        aligned = align(original, packed)
        pairs = match(packed, aligned).pairs
        assert {pair.a.name for pair in pairs} == {info.name for info in packed.infos}
        for pair in pairs:
            a, b = decoded(packed.load(pair.a.name)), aligned.load(pair.b.name)
            assert np.abs(a - b).max() < 0.03, pair.a.name  # half a step of 8 bits

    def test_some_rows(self, files):
        packed, original = files
        aligned = align(original, packed)
        for info in aligned.infos:
            whole = aligned.load(info.name)
            assert whole.shape == info.shape
            if len(info.shape) > 1:
                for rows in (slice(1, 2), slice(2, 20), slice(0, 0)):
                    np.testing.assert_array_equal(aligned.load(info.name, rows), whole[rows])
            np.testing.assert_array_equal(aligned.lazy(info.name), whole)

    def test_a_session_measures_against_them(self, files, tmp_path):
        packed, original = files
        session = Session()
        session.open(packed)
        session.attach(original)
        assert set(session.originals) == {info.name for info in packed.infos}

    def test_aligned_twice_is_aligned(self, files):
        packed, original = files
        aligned = align(original, packed)
        assert align(aligned, packed) is aligned


def test_the_command_line_compares_them(files, capsys):
    packed, original = files
    assert main(["compare", str(original.path), str(packed.path), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert {layer["name"] for layer in compared["layers"]} == {info.name for info in original.infos}
    assert compared["only_a"] == []
    assert compared["total"]["sqnr_db"] > 40


class TestAFileAsOriginal:
    def test_every_tensor_is_found_in_place(self, files):
        packed, original = files
        aligned = align(packed, original)
        pairs = match(original, aligned).pairs
        assert {pair.a.name for pair in pairs} == {info.name for info in original.infos}
        for pair in pairs:
            assert pair.a.shape == pair.b.shape
            a, b = original.load(pair.a.name), decoded(aligned.load(pair.b.name))
            assert np.abs(a - b).max() < 0.03, pair.a.name

    def test_what_is_in_order_stays_packed(self, files):
        packed, original = files
        aligned = align(packed, original)
        assert aligned.info("model.layers.0.mlp.down_proj.weight").qtype == "Q8_0"
        assert hasattr(aligned.load("model.layers.0.mlp.down_proj.weight", slice(0, 2)), "scheme")


def test_other_files_are_left_as_they_are(tmp_path):
    safetensors.numpy.save_file(LLAMA, tmp_path / "hf.safetensors")
    path = write(tmp_path / "model.gguf", converted())
    with open_checkpoint(path) as packed, open_checkpoint(tmp_path / "hf.safetensors") as original:
        assert align(packed, packed) is packed
        assert align(original, original) is original
    safetensors.numpy.save_file({"something.else": LLAMA["lm_head.weight"]}, tmp_path / "other.safetensors")
    with open_checkpoint(path) as packed, open_checkpoint(tmp_path / "other.safetensors") as other:
        assert align(other, packed) is other


def test_an_unknown_architecture_has_no_names(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "nothing-known")
    writer.add_tensor("w", np.ones((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    safetensors.numpy.save_file(LLAMA, tmp_path / "hf.safetensors")
    with open_checkpoint(tmp_path / "x.gguf") as packed, open_checkpoint(tmp_path / "hf.safetensors") as original:
        assert align(original, packed) is original


@pytest.mark.parametrize("square", [True, False])
def test_experts_of_gpt_oss_are_turned_round(tmp_path, capsys, square):
    """Transformers has them [experts, in, out]; for square ones no shape tells."""
    rng = np.random.default_rng(0)
    out = 64 if square else 96
    codes = rng.integers(0, 256, (3, out, 2, 16), dtype=np.uint8)
    arrays = {"e.down_proj_blocks": codes, "e.down_proj_scales": np.full((3, out, 2), 127, np.uint8)}
    safetensors.numpy.save_file(arrays, tmp_path / "packed.safetensors")
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    weights = levels[np.stack([codes & 15, codes >> 4], axis=-1)].reshape(3, out, 64)
    turned = np.ascontiguousarray(weights.swapaxes(1, 2))
    safetensors.numpy.save_file({"e.down_proj": turned}, tmp_path / "plain.safetensors")
    paths = tmp_path / "packed.safetensors", tmp_path / "plain.safetensors"
    with open_checkpoint(paths[0]) as packed, open_checkpoint(paths[1]) as plain:
        np.testing.assert_array_equal(align(plain, packed).load("e.down_proj"), weights)
        np.testing.assert_array_equal(align(plain, packed).load("e.down_proj", slice(1, 3)), weights[1:3])
        np.testing.assert_array_equal(align(align(plain, packed), packed).load("e.down_proj"), weights)
        np.testing.assert_array_equal(align(packed, plain).load("e.down_proj"), turned)
        assert align(plain, plain) is plain
    assert main(["compare", *map(str, paths)]) == 0
    assert "exact" in capsys.readouterr().out


def test_what_is_packed_in_another_order_of_rows_is_not_shown_as_if_it_were_floats(files, request):
    packed, original = files
    other, file = open_other(packed.path, original)
    lacking = {one.name for one in other.unmatched if "packed in another order" in one.reason}
    heads = {name for name in LLAMA if "q_proj.weight" in name or "k_proj.weight" in name}
    permuted_rows = "rows permuted" in request.node.name
    assert lacking == (heads if permuted_rows else set()) | set(EXPERTS)
    down = "model.layers.0.mlp.down_proj.weight"
    b = other.request(Request(original, original.info(down), None))
    assert (b.info.qtype, b.original) == (packed.info(NAMES[down]).qtype, down)
    file.close()
