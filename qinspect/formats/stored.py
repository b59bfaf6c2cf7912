"""Arrays that lie in files as they are: the file mapped into memory, spans of it, and a checkpoint made of spans."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo, is_unicode
from qinspect.formats.dtypes import numpy_dtype

EXPANDED_LIMIT = 1 << 26
"""Bytes that a view which repeats its stored bytes (stride 0) may take: four of them can claim to be a terabyte."""


class MappedFile:
    """A file mapped read-only. Every look at it first makes sure that it is still the file that was opened.

    Without that, reading where a file was cut short would end the process (SIGBUS).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                opened = os.fstat(file.fileno())
                if not stat.S_ISREG(opened.st_mode):
                    raise FormatError("this is not a regular file", path=path)
                if not opened.st_size:
                    raise FormatError("the file is empty", path=path)
                self._map: mmap.mmap | None = mmap.mmap(file.fileno(), opened.st_size, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise unreadable(path, error) from error
        self.nbytes = opened.st_size
        self._identity = _identity(opened)

    def at(self, offset: int, nbytes: int) -> np.ndarray:
        """`nbytes` bytes from `offset` on, uint8, read-only; FormatError if the file has changed or is closed."""
        if offset + nbytes > self.nbytes:
            raise truncated(self.path, offset + nbytes, self.nbytes)
        mapped = self.check()
        try:
            return np.frombuffer(mapped, np.uint8, nbytes, offset)
        except ValueError as error:  # another thread closed it just now
            raise self._closed() from error

    def check(self) -> mmap.mmap:
        """The mapping; FormatError if the file is no longer the one that was opened, or was closed."""
        mapped = self._map
        if mapped is None:
            raise self._closed()
        try:
            same = _identity(self.path.stat()) == self._identity
        except OSError:
            same = False
        if not same:
            raise FormatError("the file has changed on disk; open it again", path=self.path)
        return mapped

    def _closed(self) -> FormatError:
        return FormatError("the file was closed; open it again", path=self.path)

    def close(self) -> None:
        """Let go of the file; arrays that were handed out keep their part of it."""
        mapped, self._map = self._map, None
        if mapped is not None:
            with contextlib.suppress(BufferError):
                mapped.close()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


def unreadable(path: Path, error: Exception) -> FormatError:
    """`error` of the operating system, as one sentence."""
    if isinstance(error, FileNotFoundError):
        return FormatError("there is no such file", path=path)
    if isinstance(error, PermissionError):
        return FormatError("the file may not be read: allow it, or copy the file", path=path)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FormatError(f"the file cannot be read ({reason})", path=path)


def truncated(path: Path, expected: int, found: int) -> FormatError:
    """What to say of a file that ends too early."""
    return FormatError(f"the file is truncated: expected {expected} bytes, has {found}; copy it again", path=path)


class Source(Protocol):
    """Where an array can be had from."""

    def read(self, rows: slice | None) -> np.ndarray:
        """The array, or some rows of it."""


@dataclass(frozen=True)
class Span:
    """An array in a mapped file: `nbytes` from `offset` on. `strides` count elements; None means contiguous."""

    file: MappedFile
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    def read(self, rows: slice | None) -> np.ndarray:
        """A view of the file where its alignment allows, else a copy."""
        dtype = numpy_dtype(self.dtype)
        self._check_expanded(dtype.itemsize)
        data = self.file.at(self.offset, self.nbytes)
        if self.dtype == "F4":
            data = np.stack([data & 15, data >> 4], axis=-1)
        part = taken(self._view(data, dtype), rows)
        return readonly(part if part.flags.aligned else part.copy())

    def _view(self, data: np.ndarray, dtype: np.dtype) -> np.ndarray:
        strides = None if self.strides is None else tuple(stride * dtype.itemsize for stride in self.strides)
        try:
            if not math.prod(self.shape):
                return np.empty(self.shape, dtype)
            return np.ndarray(self.shape, dtype, data, 0, strides)
        except ValueError as error:
            raise UnsupportedError(f"this shape cannot be held in memory ({error})") from error

    def _check_expanded(self, itemsize: int) -> None:
        claimed = math.prod(self.shape) * itemsize
        if self.dtype != "F4" and claimed > max(self.nbytes, EXPANDED_LIMIT):
            raise UnsupportedError(
                f"this view repeats {self.nbytes} stored bytes until they are {claimed}; save it with .clone()"
            )


def taken(array: np.ndarray, rows: slice | None) -> np.ndarray:
    """`rows` of the first axis, step 1."""
    if rows is None:
        return array
    if not array.ndim or rows.step not in (None, 1):
        raise UnsupportedError("rows are taken one after another, from a tensor of one dimension or more")
    part: np.ndarray = array[rows]
    return part


def readonly(array: np.ndarray) -> np.ndarray:
    """`array`, no longer writeable."""
    array.flags.writeable = False
    return array


class StoredCheckpoint(Checkpoint):
    """A checkpoint whose tensors are read from `sources`, by name."""

    def __init__(
        self,
        path: Path,
        format: str,
        tensors: Iterable[tuple[TensorInfo, Source]],
        *,
        file: MappedFile | None = None,
        metadata: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        tensors = list(tensors)
        self.path = path
        self.format = format
        self.metadata = MappingProxyType(dict(metadata or {}))
        self.notes = tuple(notes)
        self.infos = tuple(info for info, _ in tensors)
        self.file = file
        self._sources = {info.name: source for info, source in tensors}
        self._check_names()

    def _check_names(self) -> None:
        if len(self._sources) < len(self.infos):
            (twice, _), *_ = Counter(info.name for info in self.infos).most_common(1)
            raise FormatError("two tensors have this name", path=self.path, tensor=twice)
        for name in self._sources:
            if not is_unicode(name):
                raise FormatError("this name is not valid Unicode", path=self.path, tensor=name)

    def load(self, name: str, rows: slice | None = None) -> np.ndarray:
        """See `Checkpoint.load`."""
        self.info(name)
        try:
            return self._sources[name].read(rows)
        except QInspectError as error:
            raise error.within(path=self.path, tensor=name) from None

    def close(self) -> None:
        """Release the file."""
        if self.file is not None:
            self.file.close()
