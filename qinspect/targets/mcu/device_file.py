"""The blueprint of `model.bin`: a header, the model's data in 32-bit words as the device has them, and a directory.

| words | meaning |
|---|---|
| 0 | magic, "QINS" |
| 1 | version of the format, 1 |
| 2 | layout: CRC-32 of the directory; equal for models that one `model.c` can run |
| 3 | words of header and data together |
| 4 | CRC-32 of the data |
| 5 | bytes of the directory |
| 6, 7 | 0 |

The data follow, then the directory, JSON that only programs on a PC need. All numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qinspect.errors import UnsupportedError
from qinspect.quant.scheme import Scheme
from qinspect.targets.blueprint import Stored
from qinspect.targets.matrix import Matrix
from qinspect.targets.read_back import CHUNK

MAGIC = 0x534E4951
VERSION = 1
HEADER_WORDS = 8
CRC_WORD = 4
LIMIT = 1 << 32
"""Bytes that places counted in 32-bit words and a C compiler can reasonably reach."""


@dataclass(frozen=True)
class Entry:
    """A tensor in the file: a matrix of the runtime, or a plain array of `dtype`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: Scheme | None
    matrix: Matrix | None

    @property
    def stored(self) -> dict[str, Stored]:
        """Its arrays by the runtime's names; a plain one is called `values`."""
        arrays = {"values": (self.dtype, self.shape)} if self.matrix is None else self.matrix.arrays
        return {part: Stored(f"{self.name}:{part}", dtype, shape) for part, (dtype, shape) in arrays.items()}


@dataclass(frozen=True)
class DeviceFile:
    """`entries` one after the other, each array from a new word on."""

    entries: Sequence[Entry]
    network: Sequence[Mapping[str, Any]] | None

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where the data of each stored array begins in the file."""
        found, end = {}, 4 * HEADER_WORDS
        for entry in self.entries:
            for array in entry.stored.values():
                found[array.name] = end
                end += -(-array.nbytes // 4) * 4
        if end >= LIMIT:
            raise UnsupportedError(f"{end} bytes are too many for C source; fewer bits or another target can hold them")
        return found

    @cached_property
    def words(self) -> int:
        """Words of header and data, which are the array in `model.c`."""
        sizes = (array.nbytes for entry in self.entries for array in entry.stored.values())
        return HEADER_WORDS + sum(-(-size // 4) for size in sizes)

    def places(self, entry: Entry) -> dict[str, int]:
        """Where each array of a tensor begins, counted in words."""
        return {part: self.offsets[array.name] // 4 for part, array in entry.stored.items()}

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return 4 * self.words + len(self.directory)

    @property
    def layout(self) -> int:
        """What a device compares before it runs other data than its own."""
        return zlib.crc32(self.directory)

    def frame(self, crcs: Mapping[str, int]) -> list[tuple[int, bytes]]:
        """Header and directory; the CRC-32 of the data is filled in by `seal`, once they are there."""
        header = struct.pack("<8I", MAGIC, VERSION, self.layout, self.words, 0, len(self.directory), 0, 0)
        return [(0, header), (4 * self.words, self.directory)]

    @cached_property
    def directory(self) -> bytes:
        """What the data are, for readers on a PC."""
        listed = {"network": self.network, "tensors": [self._listed(entry) for entry in self.entries]}
        return json.dumps(listed, separators=(",", ":")).encode()

    def _listed(self, entry: Entry) -> dict[str, Any]:
        places = self.places(entry)
        arrays = {
            part: {"word": places[part], "dtype": array.dtype, "shape": list(array.shape)}
            for part, array in entry.stored.items()
        }
        matrix = entry.matrix and {
            name: getattr(entry.matrix, name)
            for name in ("rows", "cols", "group", "sets", "base", "digits", "fixed_zero", "fixed_offset")
        }
        return {
            "name": entry.name,
            "shape": list(entry.shape),
            "dtype": entry.dtype,
            "scheme": entry.scheme and entry.scheme.to_json(),
            "matrix": matrix,
            "arrays": arrays,
        }


def seal(path: Path, words: int) -> int:
    """Fill in the CRC-32 of the data of a file that is written otherwise; the CRC-32."""
    crc, end = 0, 4 * words
    with path.open("r+b") as file:
        for start in range(4 * HEADER_WORDS, end, CHUNK):
            file.seek(start)
            crc = zlib.crc32(file.read(min(CHUNK, end - start)), crc)
        file.seek(4 * CRC_WORD)
        file.write(struct.pack("<I", crc))
        file.flush()
        os.fsync(file.fileno())
    return crc
