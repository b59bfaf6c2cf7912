"""The blueprint of a torch `.pt` file: a zip archive of a pickle and one raw storage a tensor.

Nothing in it is compressed and every entry's data begins at a multiple of 64 bytes, so that
`torch.load(mmap=True)` works. Offsets and sizes from 4 GiB on follow ZIP64 (PKWARE's APPNOTE, sections 4.3 to 4.5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qinspect.targets.blueprint import Stored
from qinspect.targets.torch_pickle import state_dict

ALIGNMENT = 64
ROOT = "archive"
_LIMIT = 0xFFFFFFFF


@dataclass(frozen=True)
class TorchFile:
    """An OrderedDict of `stored` tensors, with `metadata` as its `_metadata`."""

    stored: Sequence[Stored]
    metadata: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return self._directory_offset + len(self._directory({}))

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where the data of each stored array begins in the file."""
        return {array.name: self._entries[_key(number)].data for number, array in enumerate(self.stored)}

    def frame(self, crcs: Mapping[str, int]) -> list[tuple[int, bytes]]:
        """Headers, small entries and the directory."""
        known = {_key(number): crcs[array.name] for number, array in enumerate(self.stored)}
        known |= {name: zlib.crc32(data) for name, data in self._small.items()}
        pieces = [(entry.offset, entry.header(known[name])) for name, entry in self._entries.items()]
        pieces += [(self._entries[name].data, data) for name, data in self._small.items()]
        return [*pieces, (self._directory_offset, self._directory(known))]

    @cached_property
    def _small(self) -> dict[str, bytes]:
        """The entries that hold no tensor."""
        pickle = state_dict([(array.name, array.dtype, array.shape) for array in self.stored], self.metadata)
        return {"data.pkl": pickle, "byteorder": b"little", "version": b"3\n"}

    @cached_property
    def _entries(self) -> dict[str, _Entry]:
        """In the order of the file."""
        sizes = {name: len(data) for name, data in self._small.items()}
        sizes |= {_key(number): array.nbytes for number, array in enumerate(self.stored)}
        entries, offset = {}, 0
        for name, nbytes in sizes.items():
            entries[name] = _Entry(f"{ROOT}/{name}".encode(), nbytes, offset)
            offset = entries[name].end
        return entries

    @cached_property
    def _directory_offset(self) -> int:
        return max(entry.end for entry in self._entries.values())

    def _directory(self, crcs: Mapping[str, int]) -> bytes:
        """The archive's directory with its end records."""
        records = b"".join(entry.record(crcs.get(name, 0)) for name, entry in self._entries.items())
        count, size, offset = len(self._entries), len(records), self._directory_offset
        if max(size, offset) < _LIMIT and count < 0xFFFF:
            return records + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, size, offset, 0)
        large = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset)
        locator = struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, _LIMIT, _LIMIT, 0)
        return records + large + locator + end


def _key(number: int) -> str:
    """The entry of the `number`-th tensor."""
    return f"data/{number}"


@dataclass(frozen=True)
class _Entry:
    """One file in the archive; `offset` is that of its header."""

    name: bytes
    nbytes: int
    offset: int

    @property
    def data(self) -> int:
        """Where its data begins."""
        return self.offset + len(self.header(0))

    @property
    def end(self) -> int:
        """Where the next entry may begin."""
        return self.data + self.nbytes

    def header(self, crc: int) -> bytes:
        """What stands before the data; the extra field "FB", as torch has it, only fills up to `ALIGNMENT`."""
        sizes = struct.pack("<HHQQ", 1, 16, self.nbytes, self.nbytes) if self._large else b""
        padding = -(self.offset + 30 + len(self.name) + len(sizes) + 4) % ALIGNMENT
        extra = sizes + struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        return struct.pack("<I", 0x04034B50) + self._common(crc, extra) + self.name + extra

    def record(self, crc: int) -> bytes:
        """Its line in the directory."""
        extra = struct.pack("<HHQQQ", 1, 24, self.nbytes, self.nbytes, self.offset) if self._large else b""
        place = struct.pack("<HHHII", 0, 0, 0, 0, _LIMIT if self._large else self.offset)
        return struct.pack("<IH", 0x02014B50, 45) + self._common(crc, extra) + place + self.name + extra

    def _common(self, crc: int, extra: bytes) -> bytes:
        """What header and record share; always dated 1980, so that the same weights give the same file."""
        size = _LIMIT if self._large else self.nbytes
        return struct.pack("<HHHHHIIIHH", 45, 0, 0, 0, 0x21, crc, size, size, len(self.name), len(extra))

    @property
    def _large(self) -> bool:
        return max(self.nbytes, self.offset) >= _LIMIT
