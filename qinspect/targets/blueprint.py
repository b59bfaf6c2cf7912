"""Where every byte of a file will lie, known from names, types and shapes alone.

So a file's size is known before it is written, and its tensors can be written in any order, one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from qinspect.formats.dtypes import itemsize


@dataclass(frozen=True)
class Stored:
    """An array of the file to be: its name, its type by safetensors name, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * itemsize(self.dtype)


class Blueprint(Protocol):
    """A file to be."""

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""

    @property
    def offsets(self) -> Mapping[str, int]:
        """Where the data of each stored array begins in the file."""

    def frame(self, crcs: Mapping[str, int]) -> Iterable[tuple[int, bytes]]:
        """All that is no array's data, and where it goes; `crcs` holds the CRC-32 of every stored array."""
