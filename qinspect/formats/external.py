"""Files beside a checkpoint in which it keeps its weights: found, and kept from pointing anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qinspect.errors import FormatError, printable
from qinspect.formats.stored import WatchedFile, truncated

_DIGITS = 20


class ExternalFiles:
    """The files that a model names; each is opened once.

    A name is a path below the model's folder. Links are followed to where they end, which must be in that folder too;
    or among the blobs of the same repository, where the model lies in the Hugging Face cache, which is all links.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._opened: dict[str, WatchedFile] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that were opened."""
        return tuple(file.path for file in self._opened.values())

    def place(self, entry: Mapping[str, str], expected: int | None) -> tuple[WatchedFile, int, int]:
        """The file, offset and length that an entry gives; `expected` is the length that the tensor needs."""
        offset, length = _count(entry, "offset") or 0, _count(entry, "length")
        if length is None:
            length = expected
        elif expected is not None and length != expected:
            raise FormatError(f"{length} bytes are kept for it in another file, where it needs {expected}")
        file = self._file(entry.get("location", ""))
        if length is None:
            length = max(0, file.nbytes - offset)
        if offset + length > file.nbytes:
            raise truncated(file.path, offset + length, file.nbytes)
        return file, offset, length

    def _file(self, location: str) -> WatchedFile:
        if location not in self._opened:
            self._opened[location] = WatchedFile(self._confined(location))
        return self._opened[location]

    def _confined(self, location: str) -> Path:
        """The path of `location`, made sure not to lead elsewhere; FormatError if it does, or nothing is there."""
        parts = location.replace("\\", "/").split("/")
        shown = printable(location)
        if not parts[0] or ".." in parts or ":" in parts[0] or any(ord(char) < 32 for char in location):
            raise FormatError(f"its data are said to lie in '{shown}', which is no file below the model's folder")
        for folder in dict.fromkeys((self._model.parent, self._model.resolve().parent)):
            path = folder.joinpath(*parts)
            try:
                real = path.resolve(strict=True)
            except (OSError, RuntimeError, ValueError):
                continue
            if not any(real.is_relative_to(place) for place in (folder.resolve(), *_blobs(folder))):
                raise FormatError(
                    f"its data lie in {shown}, a link out of the model's folder: put the file itself there"
                )
            return path
        raise FormatError(f"its data lie in {shown}, which is missing: put that file beside the model")

    def check(self) -> None:
        """FormatError if one of them has changed since it was opened."""
        for file in self._opened.values():
            file.check()

    def close(self) -> None:
        """Release all."""
        for file in self._opened.values():
            file.close()


def _blobs(folder: Path) -> tuple[Path, ...]:
    """Where the hub's cache keeps the files of the repository whose snapshot `folder` lies in."""
    absolute = folder.absolute()
    for snapshot in (absolute, *absolute.parents):
        if snapshot.parent.name == "snapshots":
            blobs = snapshot.parent.parent.resolve() / "blobs"
            return () if blobs.is_symlink() else (blobs,)
    return ()


def _count(entry: Mapping[str, str], key: str) -> int | None:
    text = entry.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise FormatError(f"the {key} of its data in another file is '{printable(text, 40)}', which is no count")
    return int(text)
