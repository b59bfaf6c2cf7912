"""The layout of a `.pt` file, held against torch itself and Python's zip reader."""

import zipfile
import zlib
from collections import OrderedDict

import numpy as np
import pytest
import torch

from qinspect.targets.blueprint import Stored
from qinspect.targets.torch_file import TorchFile

METADATA = {"fc": {"qinspect": {"version": 1, "name": "fc.weight", "group_size": None, "x": [1.5, -3, 1 << 40, True]}}}


def write(path, arrays, metadata):
    """Lay the arrays `(name, dtype, shape, bytes)` out as the blueprint says."""
    file = TorchFile([Stored(name, dtype, shape) for name, dtype, shape, _ in arrays], metadata)
    with path.open("wb") as out:
        for offset, data in file.frame({name: zlib.crc32(data) for name, _, _, data in arrays}):
            out.seek(offset)
            out.write(data)
        for name, _, _, data in arrays:
            out.seek(file.offsets[name])
            out.write(data)
    return file


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
        torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    ],
)  # fmt: skip
@pytest.mark.parametrize("mmap", [False, True])
def test_torch_loads_every_type(tmp_path, dtype, mmap):
    names = {
        "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
        "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "complex128": "C128",
        "uint16": "U16", "uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
        "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
    }  # fmt: skip
    raw = (np.arange(6 * dtype.itemsize) % 2).astype(np.uint8)
    tensor = torch.from_numpy(raw).view(dtype).reshape(2, 3)
    name = names[str(dtype).removeprefix("torch.")]
    write(tmp_path / "a.pt", [("t", name, (2, 3), raw.tobytes())], {})
    loaded = torch.load(tmp_path / "a.pt", weights_only=True, mmap=mmap)["t"]
    assert loaded.dtype == dtype
    assert loaded.shape == (2, 3)
    assert loaded.contiguous().view(torch.uint8).equal(tensor.view(torch.uint8))


def test_an_ordered_state_dict_with_metadata(tmp_path):
    arrays = [("b", "F32", (), bytes(4)), ("ж\n", "I64", (0, 3), b""), ("a", "U8", (2, 3, 4), bytes(range(24)))]
    file = write(tmp_path / "a.pt", arrays, METADATA)
    state = torch.load(tmp_path / "a.pt", weights_only=True, mmap=True)
    assert type(state) is OrderedDict
    assert list(state) == ["b", "ж\n", "a"]
    assert dict(state._metadata) == METADATA
    assert state["ж\n"].shape == (0, 3)
    assert state["a"].flatten().tolist() == list(range(24))
    assert file.nbytes == (tmp_path / "a.pt").stat().st_size


def test_torch_writes_the_same_pickle_meaning(tmp_path):
    """What `torch.save` makes of the same state dict loads as the same thing, so neither form is special."""
    state = OrderedDict(w=torch.arange(6, dtype=torch.float32).reshape(2, 3))
    state._metadata = OrderedDict(METADATA)
    torch.save(state, tmp_path / "b.pt")
    write(tmp_path / "a.pt", [("w", "F32", (2, 3), state["w"].numpy().tobytes())], METADATA)
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt"))
    assert a["w"].equal(b["w"])
    assert a["w"].stride() == b["w"].stride()
    assert a._metadata == b._metadata


def test_entries_are_stored_aligned_and_whole(tmp_path):
    write(tmp_path / "a.pt", [(f"t{k}", "U8", (k,), bytes(k)) for k in range(70)], {})
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[:3] == ["archive/data.pkl", "archive/byteorder", "archive/version"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        for info in archive.infolist():
            with archive.open(info) as entry:
                assert entry._orig_compress_start % 64 == 0


def test_beyond_four_gibibytes(tmp_path):
    """Sparse: nothing of the large tensor is ever on the disk, or read."""
    size = (4 << 30) + 100
    stored = [Stored("large", "U8", (size,)), Stored("after", "U8", (3,))]
    file = TorchFile(stored, {})
    path = tmp_path / "a.pt"
    with path.open("wb") as out:
        for offset, data in file.frame({"large": 0, "after": zlib.crc32(b"abc")}):
            out.seek(offset)
            out.write(data)
        out.seek(file.offsets["after"])
        out.write(b"abc")
    assert path.stat().st_size == file.nbytes > size
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("archive/data/0").file_size == size
        assert archive.read("archive/data/1") == b"abc"
    state = torch.load(path, weights_only=True, mmap=True)
    assert state["large"].shape == (size,)
    assert bytes(state["after"].tolist()) == b"abc"


def test_more_entries_than_a_plain_directory_counts(tmp_path):
    stored = [Stored(str(number), "U8", (0,)) for number in range(65_600)]
    file = TorchFile(stored, {})
    path = tmp_path / "a.pt"
    with path.open("wb") as out:
        for offset, data in file.frame(dict.fromkeys(file.offsets, 0)):
            out.seek(offset)
            out.write(data)
    assert path.stat().st_size == file.nbytes
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 65_603
