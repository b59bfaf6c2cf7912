"""A GGUF model that is to be written anew: its files, and the pieces of one file with some tensors in other blocks."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from qinspect.errors import UnsupportedError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.gguf import NUMBERS
from qinspect.formats.gguf_header import MAGIC, Entry, Header, scan
from qinspect.formats.gguf_names import GGUFNaming
from qinspect.formats.stored import WatchedFile
from qinspect.targets.blueprint import Stored
from qinspect.targets.pieces import Piece, Pieces, Stretch, size

_OF_SPLIT = "split."
"""Keys that say which of several files one is."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model, and the file that it is in."""

    file: WatchedFile
    entry: Entry


class Model:
    """The headers of an open GGUF checkpoint, of one file or several; the metadata are those of the first."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        if not isinstance(checkpoint.naming, GGUFNaming):
            raise UnsupportedError(
                "a GGUF file needs the architecture and the tokenizer, which this checkpoint does not hold: convert "
                "the model with convert_hf_to_gguf.py of llama.cpp, then open and export the .gguf file",
                path=checkpoint.path,
            )
        self.files = [WatchedFile(path) for path in dict.fromkeys(checkpoint.files)]
        headers = [scan(file) for file in self.files]
        self.header: Header = headers[0]
        self.tensors = {
            entry.name: Tensor(file, entry)
            for file, header in zip(self.files, headers, strict=True)
            for entry in header.tensors
        }

    @property
    def metadata(self) -> dict[str, str]:
        """What goes on: all but what tells the files of a split model apart."""
        return {key: text for key, text in self.header.metadata.items() if not key.startswith(_OF_SPLIT)}

    def written(self, blocks: Mapping[str, tuple[str, Stored]], kept: Mapping[str, int]) -> Pieces:
        """The file in which the tensors `blocks` are blocks of a type, and others keep their bytes, `kept` of them."""
        spans = [self.header.spans[key] for key in self.metadata]
        counts = MAGIC + struct.pack("<IQQ", self.header.version, len(self.tensors), len(spans))
        pieces: list[Piece] = [counts, *(Stretch(self.files[0], *span) for span in spans)]
        heads, data, at = [], [], 0
        for name, tensor in self.tensors.items():
            if name in blocks:
                kind, found = blocks[name]
                piece: Piece = found
                heads.append(_described(tensor.entry, NUMBERS[kind], at))
            else:
                start = tensor.entry.offset
                piece = Stretch(tensor.file, start, start + kept[name])
                heads.append(_described(tensor.entry, tensor.entry.type, at))
            padding = bytes(-size([piece]) % self.header.alignment)
            data += [piece, padding]
            at += size([piece, padding])
        pieces += heads
        return Pieces([*pieces, bytes(-size(pieces) % self.header.alignment), *data])


def _described(entry: Entry, kind: int, offset: int) -> bytes:
    """A tensor in the header, the fastest axis first."""
    name = entry.name.encode()
    sizes = struct.pack(f"<I{len(entry.shape)}Q", len(entry.shape), *entry.shape[::-1])
    return struct.pack("<Q", len(name)) + name + sizes + struct.pack("<IQ", kind, offset)
