"""The TFLite reader against what LiteRT computed, and on files that lie."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from handmade import tflite_bytes

from qinspect.errors import FormatError, QInspectError
from qinspect.formats import flatbuffer
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor

FROZEN = Path(__file__).parent.parent / "data" / "tflite"
F32, F16, I32, U8, I64, STRING, I8, I4 = 0, 1, 2, 3, 4, 5, 9, 17


@pytest.fixture
def opened(tmp_path):
    made = []

    def save(*arguments, **options):
        path = tmp_path / f"{len(made)}.tflite"
        content = arguments[0]
        path.write_bytes(content if isinstance(content, bytes) else tflite_bytes(*arguments, **options))
        made.append(open_checkpoint(path))
        return made[-1]

    yield save
    for checkpoint in made:
        checkpoint.close()


def decoded(checkpoint, name, rows=None):
    loaded = checkpoint.load(name, rows)
    return loaded.scheme.dequantize(loaded) if isinstance(loaded, QTensor) else loaded


LABELS = {
    "int8_tensor": "int8", "uint8_tensor": "uint8", "int16_tensor": "int16", "int8_channel": "int8 channel",
    "int8_last": "int8 channel", "int4_tensor": "int4", "int4_channel": "int4 channel", "int2_channel": "int2 channel",
    "int8_dense": "int8 channel", "int4_dense": "int4 channel", "int2_dense": "int2 channel", "float16": None,
    "int4_blocks": "int4 g32", "depthwise": "int8 channel",
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_weights_decode_as_litert_decodes_them(case):
    expected = np.load(FROZEN / f"{case}.npy")
    if case == "depthwise":
        expected = expected.transpose(3, 1, 2, 0)
    with open_checkpoint(FROZEN / f"{case}.tflite") as checkpoint:
        info = checkpoint.infos[0]
        assert (info.name, info.shape, info.qtype) == ("w", expected.shape, LABELS[case])
        assert checkpoint.metadata == {"tflite.version": "3", "tflite.description": "made for tests"}
        np.testing.assert_allclose(decoded(checkpoint, "w"), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(decoded(checkpoint, "w", slice(1, 4)), expected[1:4], rtol=1e-6, atol=1e-6)


def test_every_frozen_file_is_tested():
    assert {path.stem for path in FROZEN.glob("*.tflite")} == LABELS.keys()


def test_depthwise_weights_have_a_row_a_channel():
    with open_checkpoint(FROZEN / "depthwise.tflite") as checkpoint:
        assert [info.name for info in checkpoint.infos] == ["w", "net/depthwise.bias"]
        assert checkpoint.load("w").scheme.block == (1, 6)
        assert any("depthwise" in note for note in checkpoint.notes)


def test_scales_of_blocks_are_part_of_their_tensor():
    with open_checkpoint(FROZEN / "int4_blocks.tflite") as checkpoint:
        (info,) = checkpoint.infos
        assert info.nbytes == 8 * 64 // 2 + 8 * 2 * 2


W = np.arange(24, dtype=np.float32).reshape(4, 6)


def test_names_are_those_of_layers_where_a_converter_made_them_up(opened):
    tensors = [
        {"name": "x", "shape": [1, 6]},
        {"name": "tfl.pseudo_qconst3", "shape": [4, 6], "type": I8, "data": bytes(24), "scale": [0.5]},
        {"name": "arith.constant", "shape": [4], "data": W[0, :4].tobytes()},
        {"name": "net/dense/MatMul;net/dense/BiasAdd", "shape": [1, 4]},
        {"name": "kept", "shape": [4, 6], "data": W.tobytes()},
        {"name": "kept", "shape": [6], "data": W[1].tobytes()},
        {"shape": [2], "data": W[1, :2].tobytes()},
    ]
    checkpoint = opened(tensors, operators=[(0, [0, 1, 2], [3])])
    names = [info.name for info in checkpoint.infos]
    assert names == ["net/dense/MatMul.weight", "net/dense/MatMul.bias", "kept", "kept #2", "tensor 6"]
    np.testing.assert_array_equal(checkpoint.load("kept"), W)
    np.testing.assert_array_equal(checkpoint.load("kept #2"), W[1])


def test_shapes_and_axes_are_counted_and_biases_decoded(opened):
    bias = np.array([1000, -2000, 3], np.int32)
    tensors = [
        {"name": "shape", "shape": [2], "type": I32, "data": bytes(8)},
        {"name": "bias", "shape": [3], "type": I32, "data": bias.tobytes(), "scale": [0.5, 0.25, 2]},
        {"name": "labels", "shape": [1], "type": STRING, "data": b"abc"},
    ]
    checkpoint = opened(tensors)
    assert [info.name for info in checkpoint.infos] == ["bias"]
    np.testing.assert_array_equal(checkpoint.load("bias"), [500, -500, 6])
    assert any(note.startswith("2 lists of integers") for note in checkpoint.notes)


def test_data_behind_the_first_two_gigabytes(tmp_path):
    path, at = tmp_path / "large.tflite", 5 << 30
    path.write_bytes(tflite_bytes([{"name": "w", "shape": [4, 6], "data": (at, W.nbytes)}]))
    os.truncate(path, at)
    with path.open("ab") as file:
        file.write(W.tobytes())
    with open_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.load("w"), W)
        np.testing.assert_array_equal(checkpoint.load("w", slice(2, 3)), W[2:3])


GOOD = {"name": "w", "shape": [4, 6], "type": I8, "data": bytes(24), "scale": [1.0] * 4}
LIES = {
    "shape": (GOOD | {"shape": [4, 7]}, r"w: its 24 bytes do not hold I8 \[4, 7\]"),
    "negative shape": (GOOD | {"shape": [-4, -6]}, "is none"),
    "huge shape": (GOOD | {"shape": [1 << 30] * 5}, "do not hold"),
    "scales": (GOOD | {"scale": [1.0] * 5}, r"scale has shape \[5\]"),
    "zero points": (GOOD | {"zero": [0] * 3}, r"zero point has shape \[3\]"),
    "axis": (GOOD | {"axis": 2}, "along axis 2"),
    "negative axis": (GOOD | {"axis": -1}, "along axis -1"),
    "data elsewhere": (GOOD | {"data": (1 << 40, 24)}, "truncated"),
    "data that wraps": (GOOD | {"data": ((1 << 64) - 24, 24)}, "truncated: expected 18446744073709551616"),
    "data of another size": (GOOD | {"data": (100, 25)}, "do not hold"),
}


@pytest.mark.parametrize("case", LIES)
def test_tensors_that_lie_are_refused(opened, case):
    tensor, text = LIES[case]
    assert opened([GOOD]).info("w").qtype == "int8 channel"
    with pytest.raises(FormatError, match=text) as caught:
        opened([tensor])
    assert str(caught.value).isprintable()


def test_every_beginning_of_a_file_is_refused_or_short_of_weights(tmp_path):
    data = tflite_bytes([GOOD])
    path = tmp_path / "a.tflite"
    for length in range(1, len(data) - 16):  # at the end there is the empty buffer, which nothing refers to
        path.write_bytes(data[:length])
        with pytest.raises(FormatError) as caught:
            open_checkpoint(path)
        assert str(path) in str(caught.value)
    assert "truncated: expected" in str(caught.value)


@pytest.mark.parametrize("value", [0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_references_that_lead_anywhere_end_in_an_error_of_ours(tmp_path, value):
    data = tflite_bytes([GOOD])
    path = tmp_path / "a.tflite"
    for at in (0, *range(8, len(data) - 4, 2)):
        path.write_bytes(data[:at] + struct.pack("<I", value) + data[at + 4 :])
        try:
            with open_checkpoint(path) as checkpoint:
                for info in checkpoint.infos:
                    decoded(checkpoint, info.name)
        except QInspectError as error:
            assert str(error).isprintable()


def test_more_tables_than_any_model_has_are_refused(opened, monkeypatch):
    monkeypatch.setattr(flatbuffer, "MAX_TABLES", 100)
    with pytest.raises(FormatError, match="more than 100 tables"):
        opened([{"shape": [1]}] * 101)
