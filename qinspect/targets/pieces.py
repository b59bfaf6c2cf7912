"""A file as a list of pieces, one after the other: bytes, stored arrays, and stretches taken over from another file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from qinspect.formats.stored import WatchedFile
from qinspect.targets.blueprint import Stored
from qinspect.targets.read_back import CHUNK


@dataclass(frozen=True)
class Stretch:
    """Bytes `start` … `stop` of a file that is taken over."""

    file: WatchedFile
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """How many."""
        return self.stop - self.start

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """The bytes, some megabytes at a time, and how far into the stretch each part begins."""
        for at in range(0, self.nbytes, CHUNK):
            yield at, self.file.at(self.start + at, min(CHUNK, self.nbytes - at)).tobytes()


Piece = bytes | Stored | Stretch


def size(pieces: Iterable[Piece]) -> int:
    """Bytes of pieces together."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)


@dataclass(frozen=True)
class Pieces:
    """The blueprint of a file of these pieces."""

    pieces: list[Piece]

    @cached_property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return size(self.pieces)

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
                for begin, data in piece.chunks():
                    yield at + begin, data

    def _placed(self) -> Iterator[tuple[int, Piece]]:
        at = 0
        for piece in self.pieces:
            yield at, piece
            at += len(piece) if isinstance(piece, bytes) else piece.nbytes
