"""The files of `torch.save` (.pt, .pth, .bin): a zip archive of a pickle and one raw storage a tensor.

The pickle is read as data (`pickles`), so nothing in it runs, and torch itself is not needed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats import archive, pickles
from qinspect.formats.archive import Entry
from qinspect.formats.checkpoint import Checkpoint, Reader, TensorInfo
from qinspect.formats.dtypes import stored_nbytes
from qinspect.formats.native import LAYERS_KEY, RECORD_KEY
from qinspect.formats.pickles import Key, Object
from qinspect.formats.state_dict import Contents, StoredTensor, contents_of, is_understood
from qinspect.formats.stored import Span, StoredCheckpoint, WatchedFile

_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The pickled magic number with which torch before 1.6 began."""
_NAMED = 8
"""Names in a note, and notes of one kind; the rest is counted."""


class TorchZip(Reader):
    """`.pt`, `.pth` and `.bin` files."""

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "PyTorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth", ".bin", ".ckpt")
    order: ClassVar[int] = 20

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """A zip archive with a `data.pkl` (at its beginning, if it has lost its end), or an older torch file."""
        if head.startswith(_LEGACY) or (head[257:262] == b"ustar" and b"storages" in head):
            return True
        return any(name.endswith("data.pkl") or "/data/" in name for name in archive.names(path, head))

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only its directory and pickle are read."""
        file = WatchedFile(path)
        if not file.at(0, min(4, file.nbytes)).tobytes().startswith(archive.SIGNATURE):
            raise UnsupportedError(
                "this is the format of torch before 1.6; save it again: torch.save(torch.load(old), new)", path=path
            )
        try:
            return _checkpoint(file, cls.title)
        except (FormatError, UnsupportedError) as error:
            raise error.within(path=path) from None


class TorchCheckpoint(StoredCheckpoint):
    """An open torch file; `entries` are its pickle and its storages, each by the name of its first tensor."""

    entries: Mapping[str, Entry] = MappingProxyType({})

    def checksums(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """What the archive keeps of every entry; torch writes 0 where it was told not to compute it."""
        assert self.file is not None
        for name, entry in self.entries.items():
            if entry.crc:
                yield name, entry.crc, self.file.at(entry.offset, entry.nbytes)


def _checkpoint(file: WatchedFile, title: str) -> Checkpoint:
    entries = archive.entries(file)
    roots = [name.removesuffix("data.pkl") for name in entries if name.rpartition("/")[2] == "data.pkl"]
    if len(roots) != 1:
        raise FormatError(f"it holds {len(roots)} pickles named data.pkl where a checkpoint has one")
    root = roots[0]
    _check_byteorder(file, entries.get(f"{root}byteorder"))
    tree, objects = pickles.parse(_bytes(file, entries[f"{root}data.pkl"]))
    contents = contents_of(tree)
    storages = {tensor.key: entries.get(f"{root}data/{tensor.key}") for tensor in contents.tensors}
    checkpoint = TorchCheckpoint(
        file.path,
        title,
        [_tensor(file, tensor, storages[tensor.key]) for tensor in contents.tensors],
        file=file,
        metadata=_metadata(contents),
        notes=[*_notes(contents), *_refusals(objects)],
    )
    first = {tensor.key: tensor.name for tensor in reversed(contents.tensors)}
    placed = {first[key]: entry for key, entry in storages.items() if entry is not None}
    checkpoint.entries = {"data.pkl": entries[f"{root}data.pkl"], **placed}
    return checkpoint


def _bytes(file: WatchedFile, entry: Entry) -> bytes:
    _check_stored(entry)
    if entry.nbytes > pickles.MAX_BYTES:
        raise FormatError(f"its pickle has {entry.nbytes} bytes, more than the {pickles.MAX_BYTES} that are read")
    return file.at(entry.offset, entry.nbytes).tobytes()


def _check_stored(entry: Entry) -> None:
    if entry.compressed:
        raise FormatError(
            f"entry {printable(entry.name)} is compressed, which torch.save never does; save it again with torch"
        )


def _check_byteorder(file: WatchedFile, entry: Entry | None) -> None:
    if entry is not None and _bytes(file, entry) != b"little":
        raise UnsupportedError("it was written on a big-endian machine; save it again on a little-endian one")


def _tensor(file: WatchedFile, tensor: StoredTensor, entry: Entry | None) -> tuple[TensorInfo, Span]:
    """The row and the place of one tensor, made sure to lie inside its storage."""
    if entry is None:
        raise FormatError(f"its storage {printable(tensor.key)} is not in the archive", tensor=tensor.name)
    _check_stored(entry)
    itemsize = stored_nbytes(tensor.dtype, (1,)) or 1
    begin, nbytes = tensor.offset * itemsize, tensor.reach * itemsize
    if begin + nbytes > entry.nbytes:
        raise FormatError(f"it needs {begin + nbytes} bytes of a storage that has {entry.nbytes}", tensor=tensor.name)
    shape, strides = tensor.shape, None if tensor.contiguous else tensor.strides
    if tensor.dtype == "F4":
        shape = (*shape[:-1], 2 * shape[-1])
    span = Span(file, entry.offset + begin, nbytes, tensor.dtype, shape, strides)
    return TensorInfo(tensor.name, shape, tensor.dtype, min(nbytes, stored_nbytes(tensor.dtype, shape) or 0)), span


def _metadata(contents: Contents) -> dict[str, str]:
    """The records of packed layers as one JSON text, and what the model's own attributes say under `qinspect.…`."""
    records = {prefix: held[RECORD_KEY] for prefix, held in contents.attributes.items() if RECORD_KEY in held}
    found = {LAYERS_KEY: json.dumps(_plain(records))} if records else {}
    for key, text in contents.attributes.get("", {}).items():
        if isinstance(key, str) and isinstance(text, str) and key.startswith(f"{RECORD_KEY}."):
            found[key] = text
    return found


def _plain(value: Any, depth: int = 8) -> Any:
    """Part of a pickle's tree as JSON has it; what JSON has not becomes null."""
    if isinstance(value, dict) and depth:
        return {key.text if isinstance(key, Key) else key: _plain(part, depth - 1) for key, part in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_plain(part, depth - 1) for part in value]
    return value if isinstance(value, str | int | float | bool) else None


def _notes(contents: Contents) -> Iterator[str]:
    sharing: dict[str, list[str]] = defaultdict(list)
    for tensor in contents.tensors:
        sharing[tensor.key].append(tensor.name)
    shared = [names for names in sharing.values() if len(names) > 1]
    for names in shared[:_NAMED]:
        yield f"{_some(names)} share one storage."
    if len(shared) > _NAMED:
        yield f"The same is true of {len(shared) - _NAMED} more storages."
    if contents.unreadable:
        some = _some(contents.unreadable)
        yield f"Not shown, being sparse, quantized by torch, without data or of an unread type: {some}."
    if contents.optimizers:
        yield f"The state of an optimizer is not shown: {_some(contents.optimizers)}."


def _refusals(objects: Iterable[Object]) -> Iterator[str]:
    """What the pickle wanted to run or load."""
    others = [made for made in objects if not is_understood(made)]
    if called := [made.origin for made in others if made.called]:
        yield f"{_some(called)} was refused: nothing that a checkpoint asks for is ever run."
    if classes := [made.origin for made in others if not made.called]:
        yield f"Only data was taken from instances of {_some(classes)}: their classes were not loaded."


def _some(names: Iterable[str]) -> str:
    """A few of the names, each once."""
    names = list(dict.fromkeys(names))
    more = len(names) - _NAMED
    return ", ".join(map(printable, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")
