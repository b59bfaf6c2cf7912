"""The blueprint of a `.safetensors` file: a length, a JSON header, then the data without holes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from qinspect.errors import ExportError, UnsupportedError
from qinspect.formats.dtypes import itemsize
from qinspect.formats.native import CRC_KEY
from qinspect.targets.blueprint import Stored

_METADATA = "__metadata__"


@dataclass(frozen=True)
class SafetensorsFile:
    """`stored` arrays with `metadata` and a CRC-32 of each in the header."""

    stored: Sequence[Stored]
    metadata: Mapping[str, str]

    def __post_init__(self) -> None:
        for array in self.stored:
            if array.dtype == "C128":
                raise UnsupportedError("a .safetensors file cannot hold C128 numbers", tensor=array.name)
            if array.name == _METADATA:
                raise ExportError("a .safetensors file cannot hold a tensor of this name; rename it", tensor=array.name)

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return self._data_offset + sum(array.nbytes for array in self.stored)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where the data of each stored array begins in the file."""
        return {name: self._data_offset + begin for name, begin in self._begins.items()}

    def frame(self, crcs: Mapping[str, int]) -> list[tuple[int, bytes]]:
        """The header with its length."""
        return [(0, self._header(crcs))]

    @cached_property
    def _begins(self) -> dict[str, int]:
        """Offsets within the data: wide types first, so that every array is aligned although there are no holes."""
        begins, end = {}, 0
        for array in sorted(self.stored, key=lambda array: -itemsize(array.dtype)):
            begins[array.name] = end
            end += array.nbytes
        return begins

    @cached_property
    def _data_offset(self) -> int:
        return len(self._header({}))

    def _header(self, crcs: Mapping[str, int]) -> bytes:
        """Always equally long: a CRC is eight hexadecimal digits, known or not. Some programs insist on a `format`."""
        sums = {array.name: f"{crcs.get(array.name, 0):08x}" for array in self.stored}
        fields: dict[str, object] = {_METADATA: {"format": "pt", **self.metadata, CRC_KEY: json.dumps(sums)}}
        for array in self.stored:
            begin = self._begins[array.name]
            fields[array.name] = {
                "dtype": array.dtype,
                "shape": list(array.shape),
                "data_offsets": [begin, begin + array.nbytes],
            }
        text = json.dumps(fields, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text
