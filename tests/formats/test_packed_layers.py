"""The packed layer layout in every container: golden vectors, records, and what is assumed without them."""

import collections
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.native import LayerRecord, array_names, codebook_name, prefix_of
from qinspect.formats.open import open_checkpoint
from qinspect.nn import Linear11Bit
from qinspect.quant.scheme import QTensor, make_scheme

DATA = Path(__file__).parent.parent / "data"
GROUPS = (9, 32, 64, 126, 128, 256)
CODEBOOK = np.linspace(-1, 1, 11, dtype=np.float32)


def golden(group):
    with np.load(DATA / f"base11_g{group}.npz") as held:
        return dict(held)


def layer(prefix, held, *, book=CODEBOOK, bias=True):
    """The arrays of a golden layer as a state dict has them."""
    arrays = {f"{prefix}.{name}": held[name] for name in ("quant_packed", "min_val", "scale")}
    if bias:
        arrays[f"{prefix}.bias"] = np.arange(len(held["scale"]), dtype=np.float32)
    return arrays if book is None else arrays | {f"{prefix}.quantizer.codebook": book}


def record(held, name="fc1.weight", dtype="F32"):
    rows, cols = held["weight"].shape
    group = int(held["group_size"])
    scheme = {"scheme": "base11", "group_size": group, "param_dtype": "float16"}
    return {
        "version": 1, "name": name, "shape": [rows, cols], "dtype": dtype, "in_features": cols, "group_size": group,
        "scheme": scheme,
    }  # fmt: skip


def save(path, arrays, records=None):
    """Write arrays with layer records into the container that the suffix names, by the reference library."""
    if path.suffix == ".safetensors":
        metadata = {"qinspect.version": "1", "qinspect.layers": json.dumps(records)} if records else None
        safetensors.numpy.save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path, metadata)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        state = collections.OrderedDict((name, torch.from_numpy(array)) for name, array in arrays.items())
        if records:
            state._metadata = {prefix: {"version": 1, "qinspect": held} for prefix, held in records.items()}
        torch.save(state, path)
    return path


def assert_decodes(q, held):
    """To the tolerance of the golden vectors: 5e-7 of |min| + scale of each group."""
    group = int(held["group_size"])
    allowed = 5e-7 * (np.abs(held["min_val"].astype(np.float64)) + held["scale"]) + 1e-12
    allowed = np.repeat(allowed, group, axis=1)[:, : held["weight"].shape[1]]
    decoded = q.scheme.dequantize(q)
    assert decoded.shape == held["weight"].shape
    assert np.all(np.abs(decoded - held["dequantized"]) <= allowed)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
@pytest.mark.parametrize("group", GROUPS)
def test_golden_layers_decode_without_a_record(tmp_path, suffix, group):
    held = golden(group)
    path = save(tmp_path / f"a{suffix}", layer("model.0.fc", held))
    with open_checkpoint(path, group_size=group) as checkpoint:
        assert {info.name for info in checkpoint.infos} == {"model.0.fc.weight", "model.0.fc.bias"}
        info, q = checkpoint.info("model.0.fc.weight"), checkpoint.load("model.0.fc.weight")
        assert isinstance(q, QTensor)
        assert info.qtype == q.scheme.label
        assert info.nbytes == q.nbytes == sum(held[name].nbytes for name in ("quant_packed", "min_val", "scale"))
        assert info.metadata == {"prefix": "model.0.fc", "assumed": True}
        cols = held["weight"].shape[1]
        assert info.shape[1] == -(-cols // group) * group
        part = q.scheme.dequantize(q)[:, :cols]
        np.testing.assert_allclose(part, held["dequantized"], atol=1e-5)
        assert any("model.0.fc.weight" in note and "assumed" in note for note in checkpoint.notes)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("group", GROUPS)
def test_golden_layers_decode_with_their_record(tmp_path, suffix, group):
    held = golden(group)
    path = save(tmp_path / f"a{suffix}", layer("fc1", held), {"fc1": record(held)})
    with open_checkpoint(path) as checkpoint:
        info, q = checkpoint.info("fc1.weight"), checkpoint.load("fc1.weight")
        assert (info.shape, info.dtype, info.metadata["assumed"]) == (held["weight"].shape, "F32", False)
        assert_decodes(q, held)
        assert checkpoint.notes == ()
        assert not any(key.startswith("qinspect") for key in checkpoint.metadata)
        rows = checkpoint.load("fc1.weight", slice(3, 7))
        assert rows.shape == (4, info.shape[1])
        np.testing.assert_array_equal(q.scheme.dequantize(rows), q.scheme.dequantize(q)[3:7])


@pytest.mark.parametrize(
    ("words", "asked", "group"),
    [(15, None, 128), (4, None, 32), (8, None, 64), (29, None, 256), (14, None, 126), (1, None, 8), (15, 130, 130)],
)
def test_the_group_is_the_power_of_two_that_fits_else_nine_a_word(tmp_path, words, asked, group):
    arrays = {
        "fc.quant_packed": np.zeros((2, 3, 4 * words), np.uint8),
        "fc.min_val": np.zeros((2, 3), np.float16),
        "fc.scale": np.ones((2, 3), np.float16),
    }
    with open_checkpoint(save(tmp_path / "a.safetensors", arrays), asked) as checkpoint:
        assert checkpoint.info("fc.weight").shape == (2, 3 * group)
        assert checkpoint.load("fc.weight").scheme == make_scheme("base11", group_size=group)


def test_a_row_shorter_than_the_asked_group_is_one_group(tmp_path):
    arrays = {
        "fc.quant_packed": np.zeros((2, 1, 60), np.uint8),
        "fc.min_val": np.zeros((2, 1), np.float32),
        "fc.scale": np.ones((2, 1), np.float32),
    }
    with open_checkpoint(save(tmp_path / "a.safetensors", arrays), 256) as checkpoint:
        assert checkpoint.info("fc.weight").shape == (2, 128)
        assert checkpoint.load("fc.weight").scheme == make_scheme("base11", group_size=256, param_dtype="float32")


def test_a_group_that_cannot_be_is_refused(tmp_path):
    path = save(tmp_path / "a.safetensors", layer("fc", golden(128)))
    with pytest.raises(FormatError, match=r"group size of 64 does not fit.* 127 to 135"):
        open_checkpoint(path, 64)


def test_a_single_layer_has_no_prefix(tmp_path):
    held = golden(32)
    arrays = {name.removeprefix("."): array for name, array in layer("", held).items()}
    with open_checkpoint(save(tmp_path / "a.pt", arrays, {"": record(held, "weight")})) as checkpoint:
        assert [info.name for info in checkpoint.infos] == ["weight", "bias"]
        assert_decodes(checkpoint.load("weight"), held)


def test_the_module_of_this_project_saves_what_is_read(tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Sequential(Linear11Bit(100, 6, group_size=32), torch.nn.ReLU(), Linear11Bit(6, 2))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert {info.name for info in checkpoint.infos} == {"0.weight", "0.bias", "2.weight", "2.bias"}
        assert checkpoint.info("0.weight").shape == (6, 100)
        for index in (0, 2):
            q = checkpoint.load(f"{index}.weight")
            np.testing.assert_array_equal(q.scheme.dequantize(q), module[index].dequantize().numpy())


OTHERS = [
    make_scheme("base_n", levels=16, group_size=20),
    make_scheme("symmetric", bits=4, granularity="group", group_size=16, param_dtype="bfloat16"),
    make_scheme("symmetric", bits=3, granularity="channel", axis=1),
    make_scheme("asymmetric", bits=5, granularity="channel"),
    make_scheme("asymmetric", bits=16, offset="minimum"),
    make_scheme("asymmetric", bits=16),
    make_scheme("sentinel"),
]


@pytest.mark.parametrize("scheme", OTHERS, ids=lambda scheme: scheme.label)
@pytest.mark.parametrize("shape", [(7, 50), (6, 5, 3, 2), (33,)], ids=str)
def test_every_scheme_comes_back_from_its_record(tmp_path, scheme, shape):
    if getattr(scheme, "axis", 0) >= len(shape):
        scheme = make_scheme("symmetric", bits=3, granularity="channel")
    w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    q = scheme.quantize(w)
    names = array_names("conv", scheme)
    arrays = {names["data"]: q.data} | {names[key]: array for key, array in q.params.items()}
    held = LayerRecord("conv.weight", shape, "F16", scheme)
    path = save(tmp_path / "a.safetensors", arrays, {"conv": held.to_json()})
    with open_checkpoint(path) as checkpoint:
        assert [(info.name, info.shape, info.dtype) for info in checkpoint.infos] == [("conv.weight", shape, "F16")]
        loaded = checkpoint.load("conv.weight")
        assert loaded.scheme == scheme
        np.testing.assert_array_equal(scheme.dequantize(loaded), scheme.dequantize(q))
        if len(shape) == 1:
            with pytest.raises(UnsupportedError, match="rows"):
                checkpoint.load("conv.weight", slice(0, 1))
        else:
            for rows in (slice(2, 5), slice(-2, None), slice(0, 0), slice(5, 2)):
                part = checkpoint.load("conv.weight", rows)
                np.testing.assert_array_equal(scheme.dequantize(part), scheme.dequantize(q)[rows])


def test_names_of_stored_arrays():
    assert (prefix_of("fc1.weight"), prefix_of("weight"), prefix_of("fc1.kernel")) == ("fc1", "", "fc1.kernel")
    assert prefix_of(".weight") == ".weight"
    assert array_names("fc", make_scheme("base11")) == {
        "data": "fc.quant_packed",
        "min_val": "fc.min_val",
        "scale": "fc.scale",
    }
    assert array_names("", make_scheme("asymmetric")) == {"data": "codes", "scale": "scale", "zero_point": "zero_point"}
    assert codebook_name("fc") == "fc.quantizer.codebook"


def test_records_go_to_json_and_back():
    held = LayerRecord("a.weight", (4, 6), "BF16", make_scheme("symmetric", bits=4))
    text = json.dumps(held.to_json())
    assert LayerRecord.from_json(json.loads(text)) == held
    assert json.loads(text)["in_features"] == 6
    assert json.loads(text)["group_size"] == 128
    assert LayerRecord("a", (3,), "F32", make_scheme("sentinel")).to_json()["group_size"] is None


GOOD = record(golden(128))
BAD_RECORDS = {
    "not an object": 5,
    "no version": {key: value for key, value in GOOD.items() if key != "version"},
    "later version": GOOD | {"version": 2},
    "negative shape": GOOD | {"shape": [-1, 128]},
    "shape of text": GOOD | {"shape": "12"},
    "boolean shape": GOOD | {"shape": [True, 128]},
    "other shape": GOOD | {"shape": [1, 1]},
    "huge shape": GOOD | {"shape": [2**62, 2**62]},
    "unknown scheme": GOOD | {"scheme": {"scheme": "base12"}},
    "scheme without a name": GOOD | {"scheme": {}},
    "unknown parameter": GOOD | {"scheme": {"scheme": "base11", "colour": 1}},
    "parameter out of range": GOOD | {"scheme": {"scheme": "base11", "group_size": 0}},
    "other group": GOOD | {"scheme": {"scheme": "base11", "group_size": 64}},
    "other parameters": GOOD | {"scheme": {"scheme": "base11", "param_dtype": "float32"}},
    "axis that is not there": GOOD | {"scheme": {"scheme": "symmetric", "granularity": "channel", "axis": 5}},
    "other scheme": GOOD | {"scheme": {"scheme": "sentinel", "bits": 8}},
    "other row": GOOD | {"in_features": 129},
    "group told in two ways": GOOD | {"group_size": 64},
    "type of no weights": GOOD | {"dtype": "F33"},
    "name is a number": GOOD | {"name": 1},
    "name is half a character": GOOD | {"name": "\ud800"},
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_records_that_contradict_the_file_are_refused(tmp_path, case):
    path = save(tmp_path / "a.safetensors", layer("fc1", golden(128)), {"fc1": BAD_RECORDS[case]})
    with pytest.raises(FormatError, match=r"a\.safetensors: fc1.*record|fc1.*this packed layer"):
        open_checkpoint(path)


@pytest.mark.parametrize("text", ["[]", "no JSON", "[" * 100_000, '{"a": [1, 2]}'])
def test_layer_metadata_that_is_none_is_refused(tmp_path, text):
    safetensors.numpy.save_file({"w": np.ones(1)}, tmp_path / "a.safetensors", {"qinspect.layers": text})
    with pytest.raises(FormatError, match=r"qinspect\.layers|record"):
        open_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("missing", ["quant_packed", "min_val", "scale"])
def test_a_recorded_layer_without_one_of_its_arrays_is_refused(tmp_path, missing):
    arrays = layer("fc1", golden(64))
    del arrays[f"fc1.{missing}"]
    path = save(tmp_path / "a.safetensors", arrays, {"fc1": record(golden(64))})
    with pytest.raises(FormatError, match=f"fc1.{missing} of this packed layer is missing"):
        open_checkpoint(path)


@pytest.mark.parametrize("missing", ["min_val", "scale"])
def test_without_a_record_incomplete_layers_are_shown_as_stored(tmp_path, missing):
    arrays = layer("fc1", golden(64))
    del arrays[f"fc1.{missing}"]
    with open_checkpoint(save(tmp_path / "a.safetensors", arrays)) as checkpoint:
        assert {info.name for info in checkpoint.infos} == set(arrays)
        assert any("fc1.quant_packed is shown as it is stored" in note for note in checkpoint.notes)


def test_what_only_looks_alike_is_shown_as_stored(tmp_path):
    held = golden(64)
    good = layer("fc", held, book=None)
    for name, changed in {
        "fc.quant_packed": held["quant_packed"].astype(np.int16),
        "fc.min_val": held["min_val"][:, :1],
        "fc.scale": held["scale"].astype(np.float64),
        "fc.weight": np.ones((2, 2), np.float32),
        "fc.quantizer.codebook": np.ones(1, np.float32),
    }.items():
        arrays = good | {name: changed}
        with open_checkpoint(save(tmp_path / "a.safetensors", arrays)) as checkpoint:
            assert {info.name for info in checkpoint.infos} == set(arrays)
            assert len(checkpoint.notes) == 1


def test_a_codebook_of_another_length_means_other_levels(tmp_path):
    scheme = make_scheme("base_n", levels=7, group_size=33)
    q = scheme.quantize(np.random.default_rng(1).standard_normal((3, 66)).astype(np.float32))
    arrays = {"fc.quant_packed": q.data, "fc.min_val": q.params["min_val"], "fc.scale": q.params["scale"]}
    arrays["fc.quantizer.codebook"] = np.linspace(-1, 1, 7, dtype=np.float32)
    with open_checkpoint(save(tmp_path / "a.safetensors", arrays)) as checkpoint:
        loaded = checkpoint.load("fc.weight")
        # 33 weights take three words of eleven digits; the power of two in 23 … 33 is 32, so it takes asking.
        assert loaded.scheme == make_scheme("base_n", levels=7, group_size=32)
    with open_checkpoint(tmp_path / "a.safetensors", 33) as checkpoint:
        loaded = checkpoint.load("fc.weight")
        np.testing.assert_array_equal(scheme.dequantize(loaded), scheme.dequantize(q))


@pytest.mark.parametrize("with_record", [True, False])
def test_corrupt_layers_open_and_say_what_is_wrong_when_loaded(tmp_path, with_record):
    held = golden(128)
    words = held["quant_packed"].copy()
    words.view("<u4")[2, 0, 1] = 11**9
    cases = {
        "words": (held | {"quant_packed": words}, CODEBOOK, r"1 packed words are above 11\^9−1 = 2357947690"),
        "book": (held, CODEBOOK[::-1].copy(), r"linspace\(-1, 1, 11\)"),
        "nan": (held | {"scale": np.where(held["scale"] > 0, np.float16("nan"), 0)}, CODEBOOK, "scale are NaN"),
    }
    arrays, records = {}, {}
    for prefix, (changed, book, _) in cases.items():
        arrays |= layer(prefix, changed, book=book)
        records[prefix] = record(held, f"{prefix}.weight")
    with open_checkpoint(save(tmp_path / "a.pt", arrays, records if with_record else None)) as checkpoint:
        for prefix, (_, _, text) in cases.items():
            with pytest.raises(FormatError, match=rf"a\.pt: {prefix}\.weight: .*{text}"):
                checkpoint.load(f"{prefix}.weight")
        # Rows without the damage are still good.
        assert checkpoint.load("words.weight", slice(3, 4)).shape[0] == 1


def test_the_record_decides_the_name_and_the_codebook_is_optional(tmp_path):
    held = golden(9)
    path = save(tmp_path / "a.safetensors", layer("k", held, book=None), {"k": record(held, "k", "BF16")})
    with open_checkpoint(path) as checkpoint:
        assert {(info.name, info.dtype) for info in checkpoint.infos} == {("k", "BF16"), ("k.bias", "F32")}
        assert_decodes(checkpoint.load("k"), held)


def test_a_record_that_takes_another_tensors_name_is_refused(tmp_path):
    held = golden(9)
    path = save(tmp_path / "a.safetensors", layer("k", held), {"k": record(held, "k.bias")})
    with pytest.raises(FormatError, match="one name"):
        open_checkpoint(path)


class TestChecksums:
    def arrays(self):
        return layer("fc1", golden(32))

    def written(self, path, crcs):
        metadata = {"qinspect.crc32": crcs if isinstance(crcs, str) else json.dumps(crcs)}
        safetensors.numpy.save_file(self.arrays(), path, metadata)
        return open_checkpoint(path)

    def test_every_stored_array_can_be_checked(self, tmp_path):
        crcs = {name: f"{zlib.crc32(array.tobytes()):08x}" for name, array in self.arrays().items()}
        with self.written(tmp_path / "a.safetensors", crcs | {"fc1.scale": "00000000"}) as checkpoint:
            found = {name: zlib.crc32(data) == crc for name, crc, data in checkpoint.checksums()}
            assert "qinspect.crc32" not in checkpoint.metadata
        assert found == {name: name != "fc1.scale" for name in crcs}

    @pytest.mark.parametrize("crcs", [{"other": "00000000"}, {"fc1.scale": "xyz"}, "[]", "no JSON"])
    def test_nonsense_is_an_error_when_asked_for(self, tmp_path, crcs):
        with self.written(tmp_path / "a.safetensors", crcs) as checkpoint, pytest.raises(FormatError):
            list(checkpoint.checksums())
