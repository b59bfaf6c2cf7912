"""A file or folder appears whole or not at all: written beside its place under another name, then renamed.

That name is `.NAME.PID-XXXXXXXX.part`. What a process that was killed has left behind goes with the next export there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qinspect.errors import ExportError, printable


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new name beside `out` to write to: it becomes `out` when the block ends well, else it is removed.

    An OSError in the block is raised as ExportError. An old file at `out` stays whole until the last moment.
    """
    _clear_dead(out)
    part = _beside(out, "part")
    try:
        yield part
        part.replace(out)
        _sync_place(out)
    except OSError as error:
        raise _explained(error, out) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(out: Path, names: Collection[str]) -> Iterator[Path]:
    """As `replacing`, for a folder, which the block makes; it and an old one at `out` hold no files but `names`."""
    _clear_dead(out)
    part = _beside(out, "part")
    try:
        yield part
        _sync_folder(part)
        if not (out.is_dir() and _exchange(part, out)):
            _take_place(part, out, names)
        _sync_place(out)
    except OSError as error:
        raise _explained(error, out) from error
    finally:
        _remove(part, names)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step, as Linux can on most file systems; False where that is not possible."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call is not None and call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0


def _take_place(part: Path, out: Path, names: Iterable[str]) -> None:
    """Rename `part` to `out` by way of a third name for an old folder, which comes back if that fails."""
    old = _beside(out, "old")
    replaced = out.is_dir()
    if replaced:
        out.rename(old)
    try:
        part.rename(out)
    except OSError:
        if replaced:
            old.rename(out)
        raise
    _remove(old, names)


def _beside(out: Path, kind: str) -> Path:
    return out.parent / f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.{kind}"


def _clear_dead(out: Path) -> None:
    """Remove what exports to `out` left that were killed; an old folder that one had just set aside comes back."""
    named = re.compile(re.escape(f".{out.name}.") + r"(\d+)-[0-9a-f]{8}\.(part|old)")
    with contextlib.suppress(OSError):
        for left in sorted(out.parent.iterdir()):
            found = named.fullmatch(left.name)
            if found is None or _alive(int(found[1])):
                continue
            if left.is_symlink() or not left.is_dir():
                left.unlink()
            elif found[2] == "old" and not out.exists():
                left.rename(out)
            else:
                _remove(left, [part.name for part in left.iterdir()])


def _alive(pid: int) -> bool:
    """Whether a process runs; where that cannot be asked without harm, on Windows, it is taken to."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(folder: Path, names: Iterable[str]) -> None:
    """A folder of ours, file by file: whatever else is in it is not ours to delete."""
    with contextlib.suppress(OSError):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _sync_place(out: Path) -> None:
    """Make a rename last; it has taken place, so that a failure here is none of the export."""
    with contextlib.suppress(OSError):
        _sync_folder(out.parent)


def _sync_folder(folder: Path) -> None:
    """Names, too, are on the disk only after this; Windows has no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def durable(part: Path) -> Iterator[BinaryIO]:
    """`part`, created and open for writing; on the disk itself, not only in the system's cache, when the block ends."""
    with part.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def check_destination(out: Path, nbytes: int, sources: Iterable[Path], names: Collection[str] = ()) -> None:
    """Raise ExportError unless `nbytes` bytes can go to `out` without harm to the open files `sources`.

    `out` becomes a file, or a folder with files `names`.
    """
    if not out.parent.is_dir():
        raise ExportError("the folder of this destination does not exist; create it or choose another", path=out)
    if names and (out.exists() or out.is_symlink()):
        _check_old_folder(out, sources, names)
    elif out.exists():
        _check_old(out, sources)
    disk = shutil.disk_usage(out.parent)
    if not disk.total:
        raise ExportError("this place is not writable: it is on no disk; choose another folder", path=out)
    if disk.free < nbytes:
        raise ExportError(f"{nbytes} bytes are to be written and {disk.free} are free; {_ELSEWHERE}", path=out)


_ELSEWHERE = "make room or choose another place"


def _check_old(out: Path, sources: Iterable[Path]) -> None:
    if not out.is_file():
        raise ExportError("the destination is not a regular file; choose a file name", path=out)
    if any(source.exists() and out.samefile(source) for source in sources):
        raise ExportError("the destination is the open file itself; choose another name", path=out)
    if not os.access(out, os.W_OK):
        raise ExportError("the destination is write-protected; choose another name", path=out)


def _check_old_folder(out: Path, sources: Iterable[Path], names: Collection[str]) -> None:
    """A folder is only replaced if an export made it: what a person keeps there would be lost with it."""
    if out.is_symlink() or not out.is_dir():
        raise ExportError("the destination is not a folder; choose the name of a new one", path=out)
    if any(source.exists() and source.resolve().is_relative_to(out.resolve()) for source in sources):
        raise ExportError("the open file lies in this folder; choose another", path=out)
    others = sorted(found.name for found in out.iterdir() if found.name not in names or not found.is_file())
    if others:
        text = f"the folder holds {printable(others[0], 60)}, which no export of this kind wrote; choose a new folder"
        raise ExportError(text, path=out)
    if not os.access(out, os.W_OK):
        raise ExportError("the destination is write-protected; choose another name", path=out)


def _explained(error: OSError, out: Path) -> ExportError:
    """`error` in one sentence with the remedy."""
    remedies = {
        errno.ENOSPC: _ELSEWHERE,
        errno.EDQUOT: _ELSEWHERE,
        errno.EACCES: "choose a folder that you may write to",
        errno.EPERM: "choose a folder that you may write to",
        errno.EROFS: "choose a folder that you may write to",
    }
    remedy = remedies.get(error.errno or 0, "choose another place")
    return ExportError(f"the file could not be written ({error.strerror or error}); {remedy}", path=out)
