"""The files of `torch.save` before torch 1.6: five pickles, and then every storage behind the number of its elements.

As `torch.serialization._legacy_save` writes them: a magic number, a version, what kind of machine wrote it, the object
itself, and the keys of the storages in the order in which they follow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats import pickles
from qinspect.formats.checkpoint import Checkpoint, Reader
from qinspect.formats.dtypes import bits
from qinspect.formats.pickles import PERSISTENT, Global, Object
from qinspect.formats.state_dict import STORAGES, contents_of
from qinspect.formats.stored import StoredCheckpoint, WatchedFile, truncated
from qinspect.formats.torch_checkpoint import Place, TorchFile

_MAGIC = 0x1950A86A20F9469CFC6C
_BEGIN = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The pickled magic number."""
_VERSION = 1001
_WINDOW = 1 << 20
"""Bytes in which the pickles are looked for first."""


class TorchLegacy(Reader):
    """`.pt`, `.pth` and `.bin` files of old versions, and of new ones that were told to write so."""

    name: ClassVar[str] = "torch_legacy"
    title: ClassVar[str] = "PyTorch before 1.6"
    suffixes: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[int] = 21

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """The pickled magic number; or the archive that torch wrote in its first year."""
        return head.startswith(_BEGIN[: max(1, len(head))]) or (head[257:262] == b"ustar" and b"storages" in head)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only its pickles are read."""
        file = WatchedFile(path)
        try:
            if not file.at(0, 1).tobytes() == _BEGIN[:1]:
                raise UnsupportedError(
                    "this is the format of torch 0.1; save it again: torch.save(torch.load(old), new)"
                )
            found = _read(file)
            return StoredCheckpoint(
                path, cls.title, found.tensors(), file=file, metadata=found.metadata(), notes=found.notes()
            )
        except QInspectError as error:
            file.close()
            raise error.within(path=path) from None


def _read(file: WatchedFile) -> TorchFile:
    found, at = _pickles(file)
    (magic, _), (version, _), (system, _), (tree, objects), (keys, _) = found
    if magic != _MAGIC or version != _VERSION:
        raise FormatError("it does not begin with the magic number and the version of an old torch file")
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise UnsupportedError("it was written on a big-endian machine; save it again on a little-endian one")
    return TorchFile(file, contents_of(tree), objects, _places(file, at, keys, _itemsizes(objects)))


def _pickles(file: WatchedFile) -> tuple[list[tuple[Any, list[Object]]], int]:
    """The five pickles, and where they end, from no more of the file than need be: weights follow."""
    window = _WINDOW
    while True:
        data = file.at(0, min(window, file.nbytes)).tobytes()
        found, at = [], 0
        try:
            for _ in range(5):
                tree, objects, at = pickles.parse_at(data, at)
                found.append((tree, objects))
            return found, at
        except EOFError as error:
            if window >= min(file.nbytes, pickles.MAX_BYTES):
                raise FormatError(f"the file is truncated: its {file.nbytes} bytes end within a pickle") from error
            window *= 4


def _itemsizes(objects: list[Object]) -> dict[str, int]:
    """Bits of an element of each storage, by its key."""
    found = {}
    for made in objects:
        match made:
            case Object(origin=origin, args=("storage", Global(stored_as), str(key), *_)) if origin == PERSISTENT:
                dtype = STORAGES.get(stored_as.rpartition(".")[2], "U8")
                found[key] = max(8, bits(dtype) or 8)  # of those that share a byte, bytes are counted
    return found


def _places(file: WatchedFile, at: int, keys: Any, widths: dict[str, int]) -> dict[str, Place]:
    """Where each storage lies; FormatError if the file ends before."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise FormatError("its list of storages is no list of keys")
    places = {}
    for key in keys:
        if key not in widths:
            raise FormatError(f"its storage {printable(key)} is not described in its pickle")
        if at + 8 > file.nbytes:
            raise truncated(file.path, at + 8, file.nbytes)
        count = int(file.at(at, 8).view("<i8")[0])
        if count < 0:
            raise FormatError(f"its storage {printable(key)} says that it has {count} elements")
        nbytes = -(-count * widths[key] // 8)
        if at + 8 + nbytes > file.nbytes:
            raise truncated(file.path, at + 8 + nbytes, file.nbytes)
        places[key] = Place(at + 8, nbytes)
        at += 8 + nbytes
    return places
