"""The blueprint of an ONNX file: the pieces of its message, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from qinspect.errors import UnsupportedError
from qinspect.targets.blueprint import Stored
from qinspect.targets.graph.wire import Message, Stretch, size
from qinspect.targets.read_back import CHUNK

LIMIT = (1 << 31) - 1
"""Bytes of a message that readers of protocol buffers take."""


@dataclass(frozen=True)
class OnnxLayout:
    """A file of these pieces."""

    pieces: Message

    @cached_property
    def nbytes(self) -> int:
        """Size of the whole file."""
        found = size(self.pieces)
        if found > LIMIT:
            text = f"an ONNX file holds at most {LIMIT} bytes, and this would be one of {found}; take fewer bits"
            raise UnsupportedError(text)
        return found

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where the data of each stored array begins in the file."""
        return {piece.name: at for at, piece in self._placed() if isinstance(piece, Stored)}

    def frame(self, crcs: Mapping[str, int]) -> Iterator[tuple[int, bytes]]:
        """All else; what is taken over from another file is read as it is asked for."""
        for at, piece in self._placed():
            if isinstance(piece, bytes):
                yield at, piece
            elif isinstance(piece, Stretch):
                for start in range(0, piece.nbytes, CHUNK):
                    nbytes = min(CHUNK, piece.nbytes - start)
                    yield at + start, piece.file.at(piece.start + start, nbytes).tobytes()

    def _placed(self) -> Iterator[tuple[int, bytes | Stored | Stretch]]:
        at = 0
        for piece in self.pieces:
            yield at, piece
            at += len(piece) if isinstance(piece, bytes) else piece.nbytes
