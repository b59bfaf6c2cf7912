"""GGUF, the files of llama.cpp: metadata and tensors, many of them packed in ggml's block types."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats.checkpoint import Checkpoint, Reader, TensorInfo
from qinspect.formats.dtypes import stored_nbytes
from qinspect.formats.ggml import TYPES, Blocks, blocks_of
from qinspect.formats.gguf_header import MAGIC, Entry, Header, scan
from qinspect.formats.gguf_names import GGUFNaming
from qinspect.formats.sharded import ShardedCheckpoint
from qinspect.formats.stored import PackedSource, Source, Span, StoredCheckpoint, WatchedFile, truncated
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import LazyArray
from qinspect.quant.scheme import QTensor

_PLAIN = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_PACKED = {
    2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
_UNREAD = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8", 41: "Q1_0",
}  # fmt: skip
"""Types that exist and that nothing can be done with here: of computations only, of old versions, too new."""

NUMBERS = {name: number for number, name in (_PLAIN | _PACKED).items()}
"""Of the types that can be read, by name."""

_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class GGUF(Reader):
    """`.gguf` files, and models split into several."""

    name: ClassVar[str] = "gguf"
    title: ClassVar[str] = "GGUF"
    suffixes: ClassVar[tuple[str, ...]] = (".gguf",)
    order: ClassVar[int] = 60

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """By its magic."""
        return head.startswith(MAGIC)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file, and the others of its model if it is split; only headers are read."""
        first = _open(path)
        return _joined(first) if first.metadata.get("split.count", "1") not in ("0", "1") else first


@dataclass(frozen=True)
class BlockSpan(PackedSource):
    """A packed tensor in a file."""

    file: WatchedFile
    offset: int
    scheme: Blocks

    def read(self, rows: slice | None) -> QTensor:
        """The tensor; of some rows only their blocks are read."""
        part = self if rows is None else self._rows(rows)
        data = part.file.at(part.offset, part.scheme.stored_bytes)
        return part.scheme.tensor({"data": data.reshape(part.scheme.arrays()["data"][1])})

    def lazy(self) -> QTensor:
        """Its blocks stay in the file."""
        dtype, shape = self.scheme.arrays()["data"]
        fetch = LazyArray(shape, dtype, lambda offset, nbytes: self.file.at(self.offset + offset, nbytes))
        return self.scheme.tensor({"data": fetch})

    def _rows(self, rows: slice) -> BlockSpan:
        whole = self.scheme.whole
        start, stop, step = rows.indices(whole[0])
        if len(whole) < 2 or step != 1:
            raise UnsupportedError("rows are taken one after another, from a packed tensor of two dimensions or more")
        row = self.scheme.stored_bytes // max(1, whole[0])
        part = blocks_of(self.scheme.type, (max(0, stop - start), *whole[1:]))
        return replace(self, offset=self.offset + start * row, scheme=part)


def _open(path: Path) -> StoredCheckpoint:
    file = WatchedFile(path)
    try:
        header = scan(file)
        notes: list[str] = []
        tensors = list(_tensors(file, header, notes))
        name = header.metadata.get("general.architecture")
        title = f"GGUF v{header.version}" + (f" ({printable(name, 40)})" if name else "")
        opened = StoredCheckpoint(path, title, tensors, file=file, metadata=header.metadata, notes=notes)
        opened.naming = GGUFNaming(header.metadata)
        return opened
    except QInspectError as error:
        file.close()
        raise error.within(path=path) from None


def _tensors(file: WatchedFile, header: Header, notes: list[str]) -> Iterator[tuple[TensorInfo, Source | PackedSource]]:
    """What is in the file, in its order; FormatError where tensors overlap or go beyond its end."""
    ends = _ends(file, header.tensors)
    unread: dict[str, int] = {}
    for entry in header.tensors:
        if entry.type in _PACKED:
            scheme = blocks_of(TYPES[_PACKED[entry.type]], entry.shape)
            info = TensorInfo(entry.name, entry.shape, "F32", scheme.stored_bytes, scheme.label)
            yield info, BlockSpan(file, entry.offset, scheme)
            continue
        dtype = _PLAIN.get(entry.type) or _UNREAD.get(entry.type, f"type {entry.type}")
        nbytes = ends[entry.name] - entry.offset
        if entry.type not in _PLAIN:
            unread[dtype] = unread.get(dtype, 0) + 1
        yield TensorInfo(entry.name, entry.shape, dtype, nbytes), Span(file, entry.offset, nbytes, dtype, entry.shape)
    for dtype, count in unread.items():
        notes.append(f"{count} of its tensors are {dtype}, which cannot be decoded here: they are listed, not shown.")


def _ends(file: WatchedFile, entries: Iterable[Entry]) -> dict[str, int]:
    """Where each tensor ends; of a type whose size is not known, where the next one begins."""
    ends: dict[str, int] = {}
    following = file.nbytes
    for entry in sorted(entries, key=lambda entry: (entry.offset, math.prod(entry.shape)), reverse=True):
        size = _nbytes(entry)
        end = following if size is None else entry.offset + size
        if max(end, entry.offset) > file.nbytes:
            raise truncated(file.path, max(end, entry.offset), file.nbytes).within(tensor=entry.name)
        if end > following:
            text = f"its data, from byte {entry.offset} to {end}, overlaps another tensor's at {following}"
            raise FormatError(text, tensor=entry.name)
        ends[entry.name] = end
        following = entry.offset
    return ends


def _nbytes(entry: Entry) -> int | None:
    """Bytes of a tensor; FormatError if blocks do not divide its rows."""
    if entry.type in _PLAIN:
        return stored_nbytes(_PLAIN[entry.type], entry.shape)
    if entry.type not in _PACKED:
        return None
    kind = TYPES[_PACKED[entry.type]]
    if entry.shape and entry.shape[-1] % kind.weights:
        text = f"its rows of {entry.shape[-1]} weights are no whole {kind.name} blocks of {kind.weights}"
        raise FormatError(text, tensor=entry.name)
    if not entry.shape:
        raise FormatError(f"it is {kind.name} without any dimension", tensor=entry.name)
    rows, cols = matrix_shape(entry.shape)
    return rows * (cols // kind.weights) * kind.nbytes


def _joined(first: StoredCheckpoint) -> Checkpoint:
    """All files of a model that is split, from any of them."""
    name, count = _SPLIT.fullmatch(first.path.name), first.metadata["split.count"]
    if name is None or not count.isdecimal() or int(name[3]) != int(count):
        text = f"it is one of {printable(count, 20)} files of a model, but not named …-00001-of-{count:0>5}.gguf"
        raise FormatError(text, path=first.path)
    paths = [first.path.with_name(f"{name[1]}-{number:05}-of-{name[3]}.gguf") for number in range(1, int(count) + 1)]
    shards: dict[str, Checkpoint] = {}
    places: dict[str, str] = {}
    try:
        for path in paths:
            if not path.exists():
                text = f"the file {printable(path.name)} of this split model is missing: put it beside this one"
                raise FormatError(text, path=first.path)
            shards[path.name] = first if path == first.path else _open(path)
            for info in shards[path.name].infos:
                if places.setdefault(info.name, path.name) != path.name:
                    raise FormatError("two files of this model hold a tensor of this name", path=path, tensor=info.name)
        joined = ShardedCheckpoint(paths[0], places, shards)
        joined.naming = first.naming
        return joined
    except QInspectError:
        for opened in shards.values():
            opened.close()
        raise
