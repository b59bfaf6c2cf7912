"""A file appears whole or not at all: written beside its place under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qinspect.errors import ExportError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new name beside `out` to write to: it becomes `out` when the block ends well, else it is removed.

    An OSError in the block is raised as ExportError. An old file at `out` stays whole until the last moment.
    """
    part = out.parent / f".{out.name}.{secrets.token_hex(4)}.part"
    try:
        yield part
        part.replace(out)
    except OSError as error:
        raise _explained(error, out) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def durable(part: Path) -> Iterator[BinaryIO]:
    """`part`, created and open for writing; on the disk itself, not only in the system's cache, when the block ends."""
    with part.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def check_destination(out: Path, nbytes: int, sources: Iterable[Path]) -> None:
    """Raise ExportError unless `nbytes` bytes can go to `out` without harm to the open files `sources`."""
    if not out.parent.is_dir():
        raise ExportError("the folder of this destination does not exist; create it or choose another", path=out)
    if out.exists():
        _check_old(out, sources)
    free = shutil.disk_usage(out.parent).free
    if free < nbytes:
        raise ExportError(f"{nbytes} bytes are to be written and {free} are free; {_ELSEWHERE}", path=out)


_ELSEWHERE = "make room or choose another place"


def _check_old(out: Path, sources: Iterable[Path]) -> None:
    if not out.is_file():
        raise ExportError("the destination is not a regular file; choose a file name", path=out)
    if any(source.exists() and out.samefile(source) for source in sources):
        raise ExportError("the destination is the open file itself; choose another name", path=out)
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
