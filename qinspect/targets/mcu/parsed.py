"""A reader of `model.bin` that shares nothing with the code that writes it: plain numpy from the documented layout.

It proves an export where there is no C compiler, and computes what the self-test on the device expects.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from qinspect.errors import FormatError

BLOCK = 1 << 20
"""Weights decoded at a time."""

_TYPES: Mapping[str, Any] = {
    "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F64": "<f8",
    "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8",
    "BOOL": "?",
}  # fmt: skip


class Parsed:
    """An opened `model.bin`; FormatError if its header, sums or directory are not those of one."""

    def __init__(self, path: Path) -> None:
        stored = np.memmap(path, np.uint8, "r")
        magic, version, layout, words, crc, directory = (int(word) for word in stored[:24].view("<u4"))
        self.words: np.ndarray = stored[: 4 * words].view("<u4")
        """Header and data, as the device has them."""
        data, text = stored[32 : 4 * words], bytes(stored[4 * words :])
        if magic != int.from_bytes(b"QINS", "little") or version != 1 or len(text) != directory:
            raise FormatError("this is no model.bin of version 1", path=path)
        if zlib.crc32(data.data) != crc or zlib.crc32(text) != layout:
            raise FormatError("the CRC-32 of the file is not the one that it states", path=path)
        self._tensors = {entry["name"]: entry for entry in json.loads(text)["tensors"]}

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a matrix."""
        matrix = self._tensors[name]["matrix"]
        return matrix["rows"], matrix["cols"]

    def array(self, name: str, part: str = "values") -> np.ndarray | None:
        """An array as it is stored; None if the tensor has no such part."""
        array = self._tensors[name]["arrays"].get(part)
        if array is None:
            return None
        dtype, count = np.dtype(_TYPES[array["dtype"]]), int(np.prod(array["shape"]))
        stored = self.words[array["word"] : array["word"] - (-count * dtype.itemsize // 4)]
        found: np.ndarray = stored.view(np.uint8)[: count * dtype.itemsize].view(dtype).reshape(array["shape"])
        return found

    def tensor(self, name: str) -> np.ndarray | None:
        """A whole tensor as numbers; None if there is none of this name."""
        if name not in self._tensors:
            return None
        return np.concatenate([*self.blocks(name)]).reshape(self._tensors[name]["shape"])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The float32 weights of a matrix, some rows at a time; a plain array as one block, a vector as one row."""
        values = self.array(name)
        if values is not None:
            yield values.reshape(len(values) if values.ndim > 1 else 1, -1)
            return
        rows, cols = self.shape(name)
        step = max(1, BLOCK // max(1, cols))
        for start in range(0, rows, step):
            yield self._decoded(name, start, min(start + step, rows))

    def _decoded(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a matrix."""
        matrix, codes = self._tensors[name]["matrix"], self.array(name, "codes")
        assert codes is not None
        if not matrix["base"]:
            rows: np.ndarray = codes[start:stop]
            return rows
        words, groups = -(-matrix["group"] // matrix["digits"]), -(-matrix["cols"] // matrix["group"])
        rest = np.zeros((stop - start, groups * words), np.uint32)
        rest[:, : codes.shape[1]] = codes[start:stop]
        digits = np.empty((*rest.shape, matrix["digits"]), np.uint16)
        for place in range(matrix["digits"]):
            digits[:, :, place] = rest % matrix["base"]
            rest //= matrix["base"]
        code = digits.reshape(stop - start, groups, -1)[:, :, : matrix["group"]]
        scale, offset, zero = (self._sets(name, part, start, stop) for part in ("scale", "offset", "zero"))
        table = self.array(name, "table")
        level = code.astype(np.float32) - zero if table is None else table[code]
        weights: np.ndarray = (level * scale + offset).reshape(stop - start, -1)[:, : matrix["cols"]]
        return weights

    def _sets(self, name: str, part: str, start: int, stop: int) -> np.ndarray:
        """Parameters of the groups of some rows, float32 `[rows, groups, 1]`."""
        matrix, stored = self._tensors[name]["matrix"], self.array(name, part)
        if stored is None:
            return np.full((1, 1, 1), matrix[f"fixed_{part}"], np.float32)
        values = stored.reshape(-1).astype(np.float32)
        if not matrix["sets"]:
            return values.reshape(1, 1, 1)
        return values.reshape(-1, matrix["sets"], 1)[start:stop]
