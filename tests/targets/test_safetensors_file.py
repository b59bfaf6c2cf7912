"""The layout of a `.safetensors` file, held against the reference library."""

import json
import zlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from qinspect.errors import ExportError, UnsupportedError
from qinspect.targets.blueprint import Stored
from qinspect.targets.safetensors_file import SafetensorsFile

ARRAYS = {
    "odd": np.arange(7, dtype=np.uint8),
    "half": np.arange(3, dtype=np.float16),
    "double": np.arange(5, dtype=np.float64).reshape(5, 1),
    "none": np.zeros((0, 4), np.float32),
    "one": np.array(2.5, np.float32),
    'ж\u202e"\\': np.array([True, False, True]),
}
NAMES = {"uint8": "U8", "float16": "F16", "float64": "F64", "float32": "F32", "bool": "BOOL"}


def write(path, metadata):
    file = SafetensorsFile([Stored(k, NAMES[a.dtype.name], a.shape) for k, a in ARRAYS.items()], metadata)
    with path.open("wb") as out:
        for offset, data in file.frame({name: zlib.crc32(array.tobytes()) for name, array in ARRAYS.items()}):
            out.seek(offset)
            out.write(data)
        for name, array in ARRAYS.items():
            out.seek(file.offsets[name])
            out.write(array.tobytes())
    return file


def test_the_reference_library_loads_it(tmp_path):
    file = write(tmp_path / "a.safetensors", {"format": "pt", "note": "ж"})
    loaded = load_file(tmp_path / "a.safetensors")
    assert set(loaded) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)
    with safe_open(tmp_path / "a.safetensors", "np") as opened:
        metadata = opened.metadata()
    assert metadata["note"] == "ж"
    assert json.loads(metadata["qinspect.crc32"]) == {k: f"{zlib.crc32(a.tobytes()):08x}" for k, a in ARRAYS.items()}
    assert file.nbytes == (tmp_path / "a.safetensors").stat().st_size


def test_every_array_is_aligned_to_its_type(tmp_path):
    file = write(tmp_path / "a.safetensors", {})
    assert all(file.offsets[name] % array.dtype.itemsize == 0 for name, array in ARRAYS.items())


def test_what_the_format_cannot_hold():
    with pytest.raises(UnsupportedError, match="C128"):
        SafetensorsFile([Stored("a", "C128", (1,))], {})
    with pytest.raises(ExportError, match="name"):
        SafetensorsFile([Stored("__metadata__", "F32", (1,))], {})
