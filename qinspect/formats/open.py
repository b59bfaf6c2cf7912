"""Opens any checkpoint, whatever its container; its content decides, not its name."""

from __future__ import annotations

import gc
import re
import threading
from pathlib import Path

from qinspect.errors import FormatError, QInspectError, printable
from qinspect.formats.checkpoint import Checkpoint, Reader, registry
from qinspect.formats.magic import foreign, foreign_folder, text, unknown
from qinspect.formats.stored import unreadable
from qinspect.formats.unfold import unfold

_HEAD = 4096

_LATER_PART = re.compile(r"-(?!00001-)\d{5}-of-\d{5}\.gguf$")
"""The first file of a split model opens the others."""


def open_checkpoint(path: str | Path, group_size: int | None = None) -> Checkpoint:
    """Open a file, or the one checkpoint in a folder; only headers are read.

    `group_size` is that of packed layers that do not tell theirs. FormatError or UnsupportedError say in one sentence
    why a file cannot be opened.
    """
    with _UNCOLLECTED:
        container = open_container(_file(Path(path)))
        try:
            opened = unfold(container, group_size)
            if not opened.infos:
                opened.notes += ("There are no tensors in this file.",)
            return opened
        except QInspectError as error:
            container.close()
            raise error.within(path=container.path) from None


class _Uncollected:
    """While any thread is in it, nobody looks for cyclic garbage.

    All that opening makes is kept, and each search goes over it again: half the time of ten thousands of tensors.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._was_on:
                gc.enable()


_UNCOLLECTED = _Uncollected()


def open_container(path: Path) -> Checkpoint:
    """Open a file as it is stored: packed layers are still the arrays that they consist of."""
    try:
        if path.exists() and not path.is_file():
            raise FormatError("this is not a regular file", path=path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not head:
        raise FormatError("the file is empty", path=path)
    return _reader(path, head).open(path)


def _reader(path: Path, head: bytes) -> type[Reader]:
    for reader in registry:
        if reader.recognises(path, head):
            return reader
    if error := foreign(path, head) or text(path, head):
        raise error
    for reader in registry:
        if path.name.endswith(reader.suffixes):
            return reader  # damaged at its very beginning: the reader says how
    raise unknown(path, head)


def _file(path: Path) -> Path:
    """`path`, or what is to be opened in it if it is a folder: an index before files, safetensors before others."""
    try:
        if not path.is_dir():
            return path
        files = sorted(file for file in path.iterdir() if file.is_file())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    others = tuple(suffix for reader in registry for suffix in reader.suffixes)
    files = [file for file in files if not _LATER_PART.search(file.name)]
    for suffixes in (".safetensors.index.json", ".index.json", ".safetensors", others):
        found = [file for file in files if file.name.endswith(suffixes)]
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(printable(file.name) for file in found[:8])
            raise FormatError(f"this folder holds several checkpoints; choose one of {some}", path=path)
    raise foreign_folder(path, [entry.name for entry in files])
