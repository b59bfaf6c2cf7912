"""Files of `numpy.save` and `numpy.savez`: one array, or a zip archive of them. Pickled objects are refused.

The layout is that of `numpy.lib.format`: a magic number, a version, a Python literal of type, order and shape, data.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats import archive
from qinspect.formats.archive import Entry
from qinspect.formats.checkpoint import Checkpoint, Reader, TensorInfo
from qinspect.formats.dtypes import DTYPES, dtype_name
from qinspect.formats.stored import Source, Span, StoredCheckpoint, WatchedFile, readonly, taken, truncated

MAGIC = b"\x93NUMPY"
UNPACKED_LIMIT = 1 << 32
"""Bytes to which all compressed arrays of an archive may unpack: deflate can make gigabytes of a few megabytes."""
_HEADER_LIMIT = 10_000
_COUNT_LIMIT = 1 << 63


@dataclass(frozen=True)
class Header:
    """How the array behind a header of `nbytes` bytes is stored."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    nbytes: int

    @property
    def data_nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def row(self, name: str) -> TensorInfo:
        """The row of the table."""
        return TensorInfo(name, self.shape, dtype_name(self.dtype), self.data_nbytes)

    def array(self, data: np.ndarray, rows: slice | None) -> np.ndarray:
        """The array whose bytes are `data` (uint8), read-only."""
        if self.dtype.hasobject:
            raise UnsupportedError("an array of Python objects is refused, as it can run code; save numbers instead")
        if self.dtype.kind not in "fiubc":
            raise UnsupportedError(f"elements of type {self.dtype.str} are no numbers")
        try:
            whole: np.ndarray = np.ndarray(self.shape, self.dtype, data, order="F" if self.fortran else "C")
        except ValueError as error:
            raise UnsupportedError(f"this shape cannot be held in memory ({error})") from error
        part = taken(whole, rows)
        native = part.astype(part.dtype.newbyteorder("="), copy=not part.flags.aligned)
        return readonly(native)


def parse_header(head: bytes) -> Header:
    """The header with which `head` begins; FormatError if it is damaged, UnsupportedError for what is no numbers."""
    if not head.startswith(MAGIC) or len(head) < 12:
        raise FormatError("it is not an array of numpy.save")
    wide = head[6] > 1
    (length,) = struct.unpack_from("<I" if wide else "<H", head, 8)
    start = 12 if wide else 10
    if head[6] > 3 or length > _HEADER_LIMIT or start + length > len(head):
        raise FormatError("its header is longer than any that numpy.save writes, or of an unknown version")
    try:
        fields = ast.literal_eval(head[start : start + length].decode("utf-8" if head[6] == 3 else "latin-1"))
        match fields:
            case {"descr": descr, "fortran_order": bool(fortran), "shape": tuple(shape), **rest} if not rest:
                return Header(_dtype(descr), _shape(shape), fortran, start + length)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise FormatError("its header is no Python literal") from error
    raise FormatError("its header does not give type, order and shape")


def _dtype(descr: object) -> np.dtype:
    if not isinstance(descr, str):
        raise UnsupportedError("arrays of records are not read; save each field as an array")
    if not re.fullmatch(r"[<>|=][fiubcOSUVmM]\d{0,9}(\[\w{1,8}\])?", descr):
        raise ValueError(descr)
    return np.dtype(descr)


def _shape(shape: tuple[object, ...]) -> tuple[int, ...]:
    counts = tuple(n for n in shape if type(n) is int and 0 <= n < _COUNT_LIMIT)
    if len(counts) < len(shape):
        raise ValueError("negative, too large, or not a count")
    return counts


@dataclass(frozen=True)
class Plain(Source):
    """An array behind its header in a file, in an order or of a type that it is converted from."""

    file: WatchedFile
    offset: int
    header: Header

    def read(self, rows: slice | None) -> np.ndarray:
        """Converted to this machine's byte order."""
        return self.header.array(self.file.at(self.offset + self.header.nbytes, self.header.data_nbytes), rows)


@dataclass(frozen=True)
class Deflated(Source):
    """An array in a compressed entry of an archive, which is unpacked whole each time."""

    file: WatchedFile
    entry: Entry
    header: Header

    def read(self, rows: slice | None) -> np.ndarray:
        """A copy."""
        data = np.frombuffer(_unpack(self.file, self.entry, self.entry.size), np.uint8)
        return self.header.array(data[self.header.nbytes :], rows)


def _plain(file: WatchedFile, offset: int, header: Header) -> Source:
    """The array whose header lies at `offset`: a span, of which rows can be read, wherever it can be one."""
    name = dtype_name(header.dtype)
    if header.fortran or DTYPES.get(name) != header.dtype:
        return Plain(file, offset, header)
    return Span(file, offset + header.nbytes, header.data_nbytes, name, header.shape)


class Npy(Reader):
    """`.npy` files."""

    name: ClassVar[str] = "npy"
    title: ClassVar[str] = "NumPy array"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
    order: ClassVar[int] = 31

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """The magic number."""
        return head.startswith(MAGIC)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; its one array is named after it."""
        file = WatchedFile(path)
        try:
            header = parse_header(file.at(0, min(file.nbytes, _HEADER_LIMIT + 12)).tobytes())
        except QInspectError as error:
            raise error.within(path=path) from None
        if header.nbytes + header.data_nbytes > file.nbytes and not header.dtype.hasobject:
            raise truncated(path, header.nbytes + header.data_nbytes, file.nbytes)
        row = header.row(path.stem)
        return StoredCheckpoint(path, cls.title, [(row, _plain(file, 0, header))], file=file)


class Npz(Reader):
    """`.npz` files."""

    name: ClassVar[str] = "npz"
    title: ClassVar[str] = "NumPy archive"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)
    order: ClassVar[int] = 30

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """A zip archive of nothing but arrays."""
        names = archive.names(path, head)
        return bool(names) and all(name.endswith(".npy") for name in names)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only the arrays' headers are read."""
        file = WatchedFile(path)
        entries = archive.entries(file)
        unpacked = sum(entry.size for entry in entries.values() if entry.compressed)
        if unpacked > UNPACKED_LIMIT:
            text = f"it would unpack to {unpacked} bytes; save it with numpy.savez, not savez_compressed"
            raise UnsupportedError(text, path=path)
        return StoredCheckpoint(path, cls.title, [_member(file, entry) for entry in entries.values()], file=file)


def _member(file: WatchedFile, entry: Entry) -> tuple[TensorInfo, Source]:
    name = entry.name.removesuffix(".npy")
    try:
        header = parse_header(_unpack(file, entry, min(entry.size, _HEADER_LIMIT + 12)))
        if header.nbytes + header.data_nbytes != entry.size and not header.dtype.hasobject:
            raise FormatError(f"its {entry.size} bytes do not hold {header.dtype} {list(header.shape)}")
    except QInspectError as error:
        raise error.within(path=file.path, tensor=name) from None
    row = header.row(name)
    return row, Deflated(file, entry, header) if entry.compressed else _plain(file, entry.offset, header)


def _unpack(file: WatchedFile, entry: Entry, nbytes: int) -> bytes:
    """The first bytes of an entry."""
    file.check()
    if not entry.compressed:
        return file.at(entry.offset, nbytes).tobytes()
    try:
        with zipfile.ZipFile(file.path) as opened, opened.open(entry.name) as stream:
            data = stream.read(nbytes)
    except (*archive.DAMAGED, zlib.error, OSError) as error:
        raise FormatError(f"it cannot be unpacked ({error})") from error
    if len(data) < nbytes:
        raise FormatError(f"it unpacks to {len(data)} bytes, not {nbytes}")
    return data
