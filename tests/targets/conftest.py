"""Source checkpoints, written by the reference libraries."""

import json
from collections import defaultdict

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def tensors():
    """Every shape and type that needs care, as torch has it."""
    draw = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    return {
        "fc1.weight": normal(12, 300),
        "fc1.bias": normal(12),
        "fc2.weight": normal(8, 128).bfloat16(),
        "conv.weight": normal(6, 3, 5, 5).half(),
        "table": normal(20, 33),
        "wide.weight": normal(4, 64).double(),
        "weight": normal(5, 41),
        "norm.weight": normal(9).half(),
        "ids": torch.arange(10).reshape(2, 5),
        "mask": torch.tensor([[True, False], [False, True]]),
        "steps": torch.tensor(3),
        "none": torch.zeros(0, 7),
        "half.ids": torch.arange(5, dtype=torch.int8),
    }


@pytest.fixture(scope="session")
def packed_names():
    """Those tensors that are quantized by default."""
    return {"fc1.weight", "fc2.weight", "conv.weight", "table", "wide.weight", "weight"}


@pytest.fixture(scope="session")
def source(tensors, tmp_path_factory):
    """The tensors as a `.safetensors` file with metadata of its own."""
    path = tmp_path_factory.mktemp("source") / "source.safetensors"
    save_file(tensors, path, metadata={"format": "pt", "qinspect.network": "[]", "note": "ж"})
    return path


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """A small network that every target can export, with a tensor that it does not use."""
    draw = torch.Generator().manual_seed(7)
    tensors = {
        "fc1.weight": torch.randn(12, 300, generator=draw),
        "fc1.bias": torch.randn(12, generator=draw),
        "norm.weight": torch.randn(12, generator=draw),
        "fc2.weight": torch.randn(8, 12, generator=draw),
        "ids": torch.arange(10).reshape(2, 5),
    }
    network = [
        {"op": "linear", "prefix": "fc1"},
        {"op": "layernorm", "prefix": "norm"},
        {"op": "linear", "prefix": "fc2"},
    ]
    path = tmp_path_factory.mktemp("example") / "example.safetensors"
    save_file(tensors, path, metadata={"qinspect.network": json.dumps(network)})
    return path


@pytest.fixture(scope="session")
def gguf_example(tmp_path_factory):
    """A GGUF file with a vocabulary, and tensors that some block types do not fit."""
    path = tmp_path_factory.mktemp("gguf") / "example.gguf"
    draw = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_file_type(1)
    writer.add_rope_freq_base(500000.5)
    writer.add_token_list(["<s>", "é", *map(str, range(40))])
    shapes = {
        "token_embd.weight": (12, 512), "blk.0.attn_q.weight": (8, 512), "blk.0.attn_norm.weight": (512,),
        "blk.0.ffn_down.weight": (6, 96), "blk.0.ffn_gate_exps.weight": (3, 4, 256), "odd.weight": (5, 40),
        "blk.0.ffn_gate_inp.weight": (4, 512),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(name, (0.05 * draw.standard_normal(shape)).astype(np.float32))
    writer.add_tensor("half.weight", draw.standard_normal((4, 64)).astype(np.float16))
    blocks = gguf.quants.quantize(draw.standard_normal((8, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("packed.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model as Hugging Face keeps it, with files that belong to it and some that do not."""
    folder = tmp_path_factory.mktemp("folder") / "model"
    folder.mkdir()
    draw = torch.Generator().manual_seed(7)
    shapes = {
        "model.embed_tokens.weight": (20, 64), "model.layers.0.q_proj.weight": (12, 64),
        "model.layers.0.k_proj.weight": (5, 96), "model.layers.0.o_proj.weight": (12, 70), "lm_head.weight": (20, 64),
        "model.norm.weight": (64,),
    }  # fmt: skip
    tensors = {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    texts = {
        "config.json": '{"model_type": "llama", "hidden_size": 64}', "tokenizer.json": '{"é": 1}', "merges.txt": "",
        "LICENSE": "MIT", "old.bin": "weights", "model.safetensors.index.json.bak": "", ".hidden": "x", "notes.pdf": "",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "onnx").mkdir()
    return folder / "model.safetensors"


@pytest.fixture(scope="session")
def examples(example, gguf_example, model_folder):
    """A checkpoint that each target can export, by the target's name."""
    return defaultdict(lambda: example, {"gguf": gguf_example, "compressed-tensors": model_folder})


@pytest.fixture
def golden(request):
    """`base11_g<group>.npz` of `tests/data`."""
    return np.load(request.path.parent.parent / "data" / f"base11_g{request.param}.npz")
