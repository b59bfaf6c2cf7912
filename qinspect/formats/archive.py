"""Zip archives as containers of arrays: every entry found, and made sure to lie where it says and nowhere else.

Facts from PKWARE's APPNOTE 4.3. A zip file says some things twice, in each entry's own header and in the directory at
its end; a file that contradicts itself is refused, because different programs would read different things in it.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.stored import WatchedFile, unreadable

SIGNATURE = b"PK\x03\x04"
ENTRIES = 20_000
"""More than a checkpoint in one archive has."""
_ALLOWED_FLAGS = 0x080E
"""Deflate's speed (bits 1 and 2), sizes after the data (3), UTF-8 names (11). Bit 0 is encryption."""

DAMAGED = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OverflowError)
"""What `zipfile` raises on archives that are broken."""


@dataclass(frozen=True)
class Entry:
    """One file in an archive: its data lies at `offset`, `nbytes` long, and is `size` long when unpacked."""

    name: str
    offset: int
    nbytes: int
    size: int
    crc: int
    compressed: bool


def names(path: Path, head: bytes) -> list[str]:
    """The names in an archive that begins with `head`; the first alone where it has lost its directory."""
    if not head.startswith(SIGNATURE):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (*DAMAGED, OSError):
        length = int.from_bytes(head[26:28], "little")
        return [head[30 : 30 + length].decode(errors="replace")]


def entries(file: WatchedFile) -> dict[str, Entry]:
    """All entries by name; FormatError unless every one lies apart from the others inside the file."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            infos, directory = archive.infolist(), archive.start_dir
    except DAMAGED as error:
        raise FormatError(
            f"the file is truncated or damaged: its {file.nbytes} bytes are no whole zip archive ({error})",
            path=file.path,
        ) from error
    except OSError as error:
        raise unreadable(file.path, error) from error
    if len(infos) > ENTRIES:
        text = f"the archive holds {len(infos)} files, more than the {ENTRIES} that are read"
        raise FormatError(text, path=file.path)
    found: dict[str, Entry] = {}
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        entry = _entry(file, info, end, directory)
        end = entry.offset + entry.nbytes
        if entry.name in found:
            raise FormatError(f"the archive holds {printable(entry.name)} twice", path=file.path)
        found[entry.name] = entry
    return found


def _entry(file: WatchedFile, info: zipfile.ZipInfo, start: int, stop: int) -> Entry:
    """One entry, which must lie between `start` and `stop`."""
    at = info.header_offset
    if not start <= at <= stop - 30:
        raise FormatError(
            f"entry {printable(info.filename)} overlaps another or lies outside of the archive", path=file.path
        )
    name = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
    header = file.at(at, min(30 + len(name), file.nbytes - at)).tobytes()
    signature, flags, method, name_length, extra_length = struct.unpack_from("<4s2xHH16xHH", header)
    offset = at + 30 + name_length + extra_length
    if offset + info.compress_size > stop:
        raise FormatError(f"entry {printable(info.filename)} reaches beyond its place in the archive", path=file.path)
    if signature != SIGNATURE or method != info.compress_type or (name_length, header[30:]) != (len(name), name):
        raise FormatError(f"entry {printable(info.filename)} contradicts the archive's directory", path=file.path)
    if (flags | info.flag_bits) & ~_ALLOWED_FLAGS:
        raise UnsupportedError(f"entry {printable(info.filename)} is encrypted or of an unusual kind", path=file.path)
    compressed = method != zipfile.ZIP_STORED
    if not compressed and info.compress_size != info.file_size:
        raise FormatError(f"entry {printable(info.filename)} has two different sizes", path=file.path)
    return Entry(info.filename, offset, info.compress_size, info.file_size, info.CRC, compressed)
