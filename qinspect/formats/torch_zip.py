"""The files of `torch.save` (.pt, .pth, .bin) and TorchScript: a zip archive of a pickle and one raw storage a tensor.

The pickle is read as data (`pickles`), so nothing in it runs, and torch itself is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats import archive, pickles
from qinspect.formats.archive import Entry
from qinspect.formats.checkpoint import Checkpoint, Reader
from qinspect.formats.pickles import Object
from qinspect.formats.state_dict import Contents, QuantizedTensor, StoredTensor, contents_of
from qinspect.formats.stored import StoredCheckpoint, WatchedFile
from qinspect.formats.torch_checkpoint import Place, TorchFile

_CONSTANTS = "CONSTANTS"
"""How the code of a TorchScript archive calls the tensors that are no module's."""


class TorchZip(Reader):
    """`.pt`, `.pth` and `.bin` files."""

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "PyTorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth", ".bin", ".ckpt")
    order: ClassVar[int] = 20

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """A zip archive with a `data.pkl`, or at its beginning one of the entries of one if it has lost its end."""
        return any(name.endswith("data.pkl") or "/data/" in name for name in archive.names(path, head))

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only its directory and pickle are read."""
        file = WatchedFile(path)
        try:
            return _checkpoint(file, cls.title)
        except QInspectError as error:
            file.close()
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
    contents = contents_of(tree, "data/")
    used = _storages(entries, root, contents)
    script = f"{root}constants.pkl" in entries
    if script:
        _add_constants(file, entries, root, contents, objects, used)
    found = TorchFile(file, contents, objects, {key: Place(entry.offset, entry.nbytes) for key, entry in used.items()})
    checkpoint = TorchCheckpoint(
        file.path,
        "TorchScript" if script else title,
        found.tensors(),
        file=file,
        metadata=found.metadata(),
        notes=found.notes(),
    )
    checkpoint.entries = {"data.pkl": entries[f"{root}data.pkl"], **_by_tensor(contents, used)}
    return checkpoint


def _storages(entries: Mapping[str, Entry], root: str, contents: Contents) -> dict[str, Entry]:
    """The entries of the storages that tensors are in, by their keys."""
    found = {}
    for tensor in contents.tensors:
        for part in _parts(tensor):
            entry = entries.get(root + part.key)
            if entry is not None:
                _check_stored(entry)
                found[part.key] = entry
    return found


def _parts(tensor: StoredTensor | QuantizedTensor) -> list[StoredTensor]:
    return tensor.parts if isinstance(tensor, QuantizedTensor) else [tensor]


def _by_tensor(contents: Contents, used: Mapping[str, Entry]) -> dict[str, Entry]:
    """Each storage by the name of its first tensor."""
    first: dict[str, str] = {}
    for tensor in contents.tensors:
        for part in _parts(tensor):
            first.setdefault(part.key, part.name)
    return {first[key]: entry for key, entry in used.items()}


def _add_constants(
    file: WatchedFile,
    entries: Mapping[str, Entry],
    root: str,
    contents: Contents,
    objects: list[Object],
    used: dict[str, Entry],
) -> None:
    """The tensors of a TorchScript archive that are no module's; its code calls them `CONSTANTS.c0` and so on."""
    tree, more = pickles.parse(_bytes(file, entries[f"{root}constants.pkl"]))
    values = tree if isinstance(tree, list | tuple) else ()
    found = contents_of({_CONSTANTS: {f"c{number}": value for number, value in enumerate(values)}}, "constants/")
    used |= _storages(entries, root, found)
    contents.tensors += found.tensors
    objects += more


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
