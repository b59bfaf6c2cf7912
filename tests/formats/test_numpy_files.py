"""The readers of `.npy` and `.npz` against numpy itself, and against headers that lie."""

import io
import struct

import numpy as np
import pytest
from handmade import Zip

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats import numpy_files
from qinspect.formats.open import open_checkpoint


@pytest.fixture
def opened(tmp_path):
    made = []

    def open_bytes(content, suffix):
        path = tmp_path / f"{len(made)}{suffix}"
        path.write_bytes(content)
        made.append(open_checkpoint(path))
        return made[-1]

    yield open_bytes
    for checkpoint in made:
        checkpoint.close()


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def handmade(header, data=b"", version=b"\x01\x00"):
    header = header.encode()
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + data


ARRAYS = {
    "f64": np.arange(6.0).reshape(2, 3),
    "f32": np.float32([[1, -2]]),
    "f16": np.float16([1, 2, 3]),
    "i64": np.array(5),
    "u16": np.uint16([[1], [2]]),
    "bool": np.array([True, False]),
    "c64": np.complex64([1j]),
    "big": np.array([[1, 2], [3, 4]], ">f4"),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "empty": np.zeros((0, 4), np.float32),
    "five": np.arange(32).reshape(2, 2, 2, 2, 2),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_archives(tmp_path, compressed):
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, **ARRAYS)
    with open_checkpoint(path) as checkpoint:
        assert [info.name for info in checkpoint.infos] == list(ARRAYS)
        for name, array in ARRAYS.items():
            info, loaded = checkpoint.info(name), checkpoint.load(name)
            assert (info.shape, info.nbytes) == (array.shape, array.nbytes)
            np.testing.assert_array_equal(loaded, array)
            assert loaded.dtype == array.dtype.newbyteorder("=")
            assert loaded.flags.aligned and not loaded.flags.writeable
            if array.ndim:
                np.testing.assert_array_equal(checkpoint.load(name, slice(1, 2)), array[1:2])
    assert checkpoint.info("big").dtype == "F32"


@pytest.mark.parametrize("name", ARRAYS)
def test_single_arrays_are_named_after_their_file(opened, name):
    checkpoint = opened(npy(ARRAYS[name]), ".npy")
    assert [info.name for info in checkpoint.infos] == ["0"]
    np.testing.assert_array_equal(checkpoint.load("0"), ARRAYS[name])


def test_objects_are_refused_when_loaded_and_the_rest_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", bad=np.array([{}, None], object), text=np.array(["x"]), good=np.ones(2))
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert checkpoint.load("good").tolist() == [1, 1]
        with pytest.raises(UnsupportedError, match="Python objects"):
            checkpoint.load("bad")
        with pytest.raises(UnsupportedError, match="no numbers"):
            checkpoint.load("text")


def test_records_are_refused(opened):
    with pytest.raises(UnsupportedError, match="records"):
        opened(npy(np.zeros(2, [("a", "f4"), ("b", "i2")])), ".npy")


def test_all_versions_of_the_header(opened):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        assert opened(handmade(text, bytes(4), version), ".npy").load(f"{version[0] - 1}").tolist() == [0]
    with pytest.raises(FormatError, match="version"):
        opened(handmade(text, bytes(4), b"\x04\x00"), ".npy")


DATA = bytes(16)
BAD = {
    "magic alone": b"\x93NUMPY",
    "header cut": handmade("{'descr': '<f4'")[:20],
    "not a literal": handmade("__import__('os').getcwd()", DATA),
    "not a dictionary": handmade("(1, 2)", DATA),
    "field missing": handmade("{'descr': '<f4', 'shape': (4,)}", DATA),
    "field too many": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}", DATA),
    "shape is a list": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': [4]}", DATA),
    "negative": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}", DATA),
    "boolean": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", DATA),
    "2^50 elements": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (1125899906842624,)}", DATA),
    "2^64 elements": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,)}", DATA),
    "too short": handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (5,)}", DATA),
    "unknown type": handmade("{'descr': 'zz', 'fortran_order': False, 'shape': (4,)}", DATA),
    "type of odd size": handmade("{'descr': '<f5', 'fortran_order': False, 'shape': (4,)}", DATA),
    "type of huge size": handmade("{'descr': '|V999999999', 'fortran_order': False, 'shape': (4,)}", DATA),
    "deep": handmade("(" * 5000, DATA),
    "long header": handmade(" " * 20000 + "{}", DATA),
    "NUL": handmade("\x00", DATA),
}


@pytest.mark.parametrize("case", BAD)
def test_headers_that_lie_are_refused(opened, tmp_path, case):
    for content, suffix in ((BAD[case], ".npy"), (Zip().add("w.npy", BAD[case]).bytes(), ".npz")):
        with pytest.raises(FormatError) as caught:
            opened(content, suffix)
        assert str(caught.value).startswith(str(tmp_path))


def test_archive_entries_hold_exactly_one_array(opened):
    with pytest.raises(FormatError, match="do not hold"):
        opened(Zip().add("w.npy", npy(np.ones(2)) + b"x").bytes(), ".npz")


def test_damage_inside_compressed_data_is_found_when_loaded(opened):
    checkpoint = opened(Zip().add("w.npy", npy(np.zeros(10_000)), method=8, crc=1).bytes(), ".npz")
    with pytest.raises(FormatError, match="cannot be unpacked"):
        checkpoint.load("w")


def test_bombs_are_refused_before_they_unpack(opened, monkeypatch):
    monkeypatch.setattr(numpy_files, "UNPACKED_LIMIT", 10_000)
    with pytest.raises(UnsupportedError, match=r"unpack to 800128 bytes.*savez"):
        opened(Zip().add("w.npy", npy(np.zeros(100_000)), method=8).bytes(), ".npz")


def test_an_array_of_too_many_dimensions_is_refused_when_loaded(opened):
    shape = "(" + "1," * 100 + ")"
    checkpoint = opened(handmade(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}", b"x"), ".npy")
    with pytest.raises(UnsupportedError, match="cannot be held"):
        checkpoint.load("0")
