"""Arrays that lie in files as they are: the file, watched for changes, spans of it, and a checkpoint made of spans."""

from __future__ import annotations

import math
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo, is_unicode
from qinspect.formats.dtypes import bits, numpy_dtype, unpacked
from qinspect.quant.lazy import LazyArray, Weights
from qinspect.quant.scheme import QTensor

T = TypeVar("T")

EXPANDED_LIMIT = 1 << 26
"""Bytes that a view which repeats its stored bytes (stride 0) may take: four of them can claim to be a terabyte."""


_SMALL = 1 << 20
"""Bytes of an array up to which it is read whole."""

_AT_ONCE = 1 << 30
"""Bytes asked of the system at once; Linux gives at most 2 GiB."""


class WatchedFile:
    """A file opened for reading. Every read makes sure that it got bytes of the file that was opened.

    Nothing is mapped into memory: reading a map where the file was cut short would end the process (SIGBUS), and no
    check beforehand can rule out that it is cut just then. Reading block by block is as fast.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor: _Descriptor | None = _Descriptor(path)
            opened = os.fstat(self._descriptor.number)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        if not stat.S_ISREG(opened.st_mode):
            raise FormatError("this is not a regular file", path=path)
        if not opened.st_size:
            raise FormatError("the file is empty", path=path)
        self.nbytes = opened.st_size
        self._identity = _identity(opened)

    def at(self, offset: int, nbytes: int) -> np.ndarray:
        """`nbytes` bytes from `offset` on, uint8, read-only; FormatError if the file has changed or is closed."""
        if offset + nbytes > self.nbytes:
            raise truncated(self.path, offset + nbytes, self.nbytes)
        descriptor = self._open()
        try:
            data = np.empty(nbytes, np.uint8)
            complete = descriptor.read(data.data, offset)
        except (OSError, MemoryError) as error:
            raise unreadable(self.path, error) from error
        self.check()
        if not complete:
            raise self._changed()
        return readonly(data)

    def _open(self) -> _Descriptor:
        if self._descriptor is None:
            raise FormatError("the file was closed; open it again", path=self.path)
        return self._descriptor

    def check(self) -> None:
        """FormatError if the file on disk is no longer the one that was opened, or was closed."""
        self._open()
        try:
            same = _identity(self.path.stat()) == self._identity
        except OSError:
            same = False
        if not same:
            raise self._changed()

    def _changed(self) -> FormatError:
        return FormatError("the file has changed on disk; open it again", path=self.path)

    def close(self) -> None:
        """Let go of the file, after any read that another thread is at."""
        self._descriptor = None


class _Descriptor:
    """A file descriptor, which is closed when nobody holds it any more: else its number could be another file's."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        self._lock = threading.Lock()

    def read(self, out: memoryview, offset: int) -> bool:
        """Fill `out` with what lies from `offset` on; False if the file ends before."""
        done = 0
        while done < out.nbytes:
            count = self._read(out[done : done + _AT_ONCE], offset + done)
            if not count:
                return False
            done += count
        return True

    def _read(self, out: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.number, [out], offset)
        with self._lock:  # Windows
            os.lseek(self.number, offset, os.SEEK_SET)
            part = os.read(self.number, out.nbytes)
        out[: len(part)] = part
        return len(part)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


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


class Source(ABC):
    """Where an array can be had from."""

    @abstractmethod
    def read(self, rows: slice | None) -> np.ndarray:
        """The array, or some rows of it: in memory of its own, read-only."""

    def lazy(self) -> Weights:
        """The array, to be read by rows when they are needed if that pays."""
        return self.read(None)


class PackedSource(ABC):
    """Where a packed tensor can be had from."""

    @abstractmethod
    def read(self, rows: slice | None) -> QTensor:
        """The tensor, or some rows of it; large arrays may still be in their file."""

    def lazy(self) -> QTensor:
        """All of it."""
        return self.read(None)


@dataclass(frozen=True)
class Given(Source):
    """An array that is known already: a number of the header, or one of them so many times."""

    array: np.ndarray

    def read(self, rows: slice | None) -> np.ndarray:
        """As it is."""
        return readonly(taken(self.array.view(), rows))


@dataclass(frozen=True)
class Derived(Source):
    """An array that is made from another: turned round, or stored in another way than it is wanted."""

    source: Source
    how: Callable[[np.ndarray], np.ndarray]

    def read(self, rows: slice | None) -> np.ndarray:
        """The whole is read."""
        return readonly(taken(self.how(self.source.read(None)), rows))


@dataclass(frozen=True)
class Span(Source):
    """An array in a file: `nbytes` from `offset` on. `strides` count elements; None means contiguous."""

    file: WatchedFile
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    def read(self, rows: slice | None) -> np.ndarray:
        """Only the bytes between the first and the last element are read."""
        dtype = numpy_dtype(self.dtype)
        self._check_expanded(dtype.itemsize)
        if rows is not None and self.shape and rows.step in (None, 1) and bits(self.dtype) == 8 * dtype.itemsize:
            return self._rows(rows).read(None)
        data = self.file.at(self.offset, self.nbytes)
        if bits(self.dtype) != 8 * dtype.itemsize:
            data = unpacked(data, self.dtype, math.prod(self.shape))
        return readonly(taken(self._view(data, dtype), rows))

    def lazy(self) -> Weights:
        """In the file if it is large, and lies there as it is."""
        dtype = numpy_dtype(self.dtype)
        packed = bits(self.dtype) != 8 * dtype.itemsize
        if self.nbytes <= _SMALL or not self.shape or self.strides is not None or packed:
            return self.read(None)
        return LazyArray(self.shape, dtype, lambda offset, nbytes: self.file.at(self.offset + offset, nbytes))

    def _rows(self, rows: slice) -> Span:
        """The span of some rows."""
        start, stop, _ = rows.indices(self.shape[0])
        shape = max(0, stop - start), *self.shape[1:]
        strides = contiguous(self.shape) if self.strides is None else self.strides
        itemsize = numpy_dtype(self.dtype).itemsize
        begin, nbytes = strides[0] * start * itemsize, _reach(shape, strides) * itemsize
        return replace(self, offset=self.offset + begin, nbytes=nbytes, shape=shape)

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
        if self.strides is not None and claimed > max(self.nbytes, EXPANDED_LIMIT):
            raise UnsupportedError(
                f"this view repeats {self.nbytes} stored bytes until they are {claimed}; save it with .clone()"
            )


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of an array in C order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last of a strided array."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))


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
        tensors: Iterable[tuple[TensorInfo, Source | PackedSource]],
        *,
        file: WatchedFile | None = None,
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

    def load(self, name: str, rows: slice | None = None) -> np.ndarray | QTensor:
        """See `Checkpoint.load`."""
        return self._had(name, lambda source: source.read(rows))

    def lazy(self, name: str) -> Weights | QTensor:
        """See `Checkpoint.lazy`."""
        return self._had(name, lambda source: source.lazy())

    def _had(self, name: str, how: Callable[[Source | PackedSource], T]) -> T:
        self.info(name)
        try:
            return how(self._sources[name])
        except QInspectError as error:
            raise error.within(path=self.path, tensor=name) from None
        except MemoryError as error:
            text = "there is too little memory to read this tensor; close other programs"
            raise UnsupportedError(text, path=self.path, tensor=name) from error

    def check(self) -> None:
        """See `Checkpoint.check`."""
        if self.file is not None:
            self.file.check()

    def close(self) -> None:
        """Release the file."""
        if self.file is not None:
            self.file.close()
