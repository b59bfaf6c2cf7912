"""Damaged files of every format: whatever the damage, only the program's own errors come out, and in bounded time."""

import collections
import io
import json
import struct
import warnings

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from handmade import tflite_bytes
from handmade_gguf import array, entry, header, tensor, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qinspect.errors import QInspectError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor, make_scheme

# Python's own tool for pickles warns of backslashes in the text of protocol 0.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

W = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
Q = make_scheme("base11", group_size=20).quantize(W)
RECORD = {
    "version": 1, "name": "fc.weight", "shape": [6, 40], "dtype": "F32", "in_features": 40, "group_size": 20,
    "scheme": {"scheme": "base11", "group_size": 20, "param_dtype": "float16"},
}  # fmt: skip
PACKED = {"fc.quant_packed": Q.data, "fc.min_val": Q.params["min_val"], "fc.scale": Q.params["scale"]}


def torch_file(**options):
    state = collections.OrderedDict((name, torch.tensor(array)) for name, array in PACKED.items())
    state["view"] = torch.arange(12.0).reshape(3, 4).T
    state["half"] = torch.ones(2, dtype=torch.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to give up its quantized types
        state["quantized"] = torch._make_per_tensor_quantized_tensor(torch.ones(2, 3, dtype=torch.int8), 0.5, 1)
    state._metadata = {"fc": {"qinspect": RECORD}}
    stream = io.BytesIO()
    torch.save({"model": state, "module": torch.nn.Linear(2, 2), "epoch": 1}, stream, **options)
    return stream.getvalue()


def numpy_file(save, *arrays, **named):
    stream = io.BytesIO()
    save(stream, *arrays, **named)
    return stream.getvalue()


def gguf_file():
    entries = [
        entry("general.architecture", 8, text("llama")),
        entry("general.alignment", 4, struct.pack("<I", 32)),
        entry("tokens", 9, array(8, 12, text("word") * 12)),
        entry("scores", 9, array(6, 10, bytes(40))),
    ]
    tensors = [
        tensor("blk.0.attn_q.weight", (64, 3), 2, 0),
        tensor("blk.0.ffn_up.weight", (256, 2), 12, 128),
        tensor("norm", (8,), 0, 416),
    ]
    return header(entries, tensors, data=bytes(448))


def onnx_file():
    """A quantized weight, a constant, and a weight that a MatMul takes."""
    helper, of = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=0, block_size=3),
        helper.make_node("MatMul", ["x", "d"], ["y"], name="/fc/MatMul"),
        helper.make_node("MatMulNBits", ["y", "b", "bs"], ["n"], domain="com.microsoft", K=32, N=4, block_size=16),
        helper.make_node("Constant", [], ["c"], value=of(W[0])),
        helper.make_node("Gemm", ["n", "w", "typed"], ["o"]),
    ]
    tensors = {
        "q": np.ones((6, 8), np.int8), "s": np.ones((2, 8), np.float32), "z": np.zeros((2, 8), np.int8),
        "b": np.ones((4, 2, 8), np.uint8), "bs": np.ones((4, 2), np.float16), "w": W,
    }  # fmt: skip
    protos = [of(array, name) for name, array in tensors.items()]
    protos.append(helper.make_tensor("typed", onnx.TensorProto.INT8, [4], [1, -2, 3, 4]))
    return helper.make_model(helper.make_graph(nodes, "g", [], [], protos)).SerializeToString()


SEEDS = {
    ".gguf": gguf_file(),
    ".safetensors": safetensors.numpy.save(
        PACKED | {"fc.bias": W[0], "w": W}, {"qinspect.layers": json.dumps({"fc": RECORD}), "qinspect.crc32": "{}"}
    ),
    "bare.safetensors": safetensors.numpy.save(PACKED),
    ".pt": torch_file(),
    "old.pth": torch_file(_use_new_zipfile_serialization=False),
    ".npz": numpy_file(np.savez, w=W, x=np.arange(3)),
    "small.npz": numpy_file(np.savez_compressed, w=np.zeros((20, 20)), x=np.arange(3)),
    ".npy": numpy_file(np.save, np.asfortranarray(W)),
    ".onnx": onnx_file(),
    ".tflite": tflite_bytes(
        [
            {"name": "x", "shape": [1, 8]},
            {"name": "w", "shape": [6, 8], "type": 9, "data": bytes(range(48)), "scale": [0.5] * 6, "zero": [1] * 6},
            {"name": "arith.constant", "shape": [6], "type": 2, "data": bytes(24), "scale": [0.5]},
            {"name": "y", "shape": [1, 6]},
            {"name": "v", "shape": [6, 40], "data": W.tobytes()},
        ],
        operators=[(0, [0, 1, 2], [3])],
    ),
    ".index.json": json.dumps({"metadata": {}, "weight_map": {"w": "good.safetensors"}}).encode(),
}


@st.composite
def damage(draw, seed):
    """`seed` with some bytes changed, left out, repeated or put in, most often where headers are."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.one_of(st.integers(0, len(content)), st.integers(0, min(400, len(content)))))
        noise = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, b"9" * 20, b"-1", b"\x00" * 4]))
        length = draw(st.integers(0, 40))
        match draw(st.integers(0, 3)):
            case 0:
                content[where : where + len(noise)] = noise
            case 1:
                content[where:where] = noise
            case 2:
                del content[where : where + length]
            case 3:
                content[where:where] = content[where : where + length]
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("damaged")
    safetensors.numpy.save_file({"w": W}, made / "good.safetensors")
    return made


def read_everything(path):
    """Load every tensor; what could not be read, in errors of ours with a text that can be shown."""
    said = []
    with open_checkpoint(path) as checkpoint:
        for _, _, data in checkpoint.checksums():
            data.sum()
        for info in checkpoint.infos:
            assert isinstance(info.size, int)
            for rows in (None, slice(1, 2)):
                try:
                    loaded = checkpoint.load(info.name, rows)
                    decoded = loaded.scheme.dequantize(loaded) if isinstance(loaded, QTensor) else loaded
                    assert rows or decoded.shape == info.shape
                    decoded.tobytes()
                except QInspectError as error:
                    assert str(error).isprintable()
                    said.append(str(error))
    return said


@pytest.mark.parametrize("suffix", SEEDS)
def test_undamaged_files_read_whole(folder, suffix):
    path = folder / f"whole{suffix}"
    path.write_bytes(SEEDS[suffix])
    assert read_everything(path) == []


@pytest.mark.parametrize("suffix", SEEDS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damage_gives_only_our_own_errors(folder, suffix, data):
    path = folder / f"damaged{suffix}"
    path.write_bytes(data.draw(damage(SEEDS[suffix])))
    try:
        said = read_everything(path)
    except QInspectError as error:
        said = [str(error)]
    assert all(str(folder) in text and text.isprintable() for text in said), said


def test_a_file_of_one_or_two_bytes_is_refused_whatever_they_are(tmp_path):
    path = tmp_path / "short"
    for first in range(256):
        for data in (bytes([first]), bytes([first, 0]), bytes([first, 255])):
            path.write_bytes(data)
            with pytest.raises(QInspectError):
                open_checkpoint(path)
