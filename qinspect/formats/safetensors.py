"""The safetensors container: a length, a JSON header, then the arrays without holes.

The checks are those of the reference library (github.com/huggingface/safetensors, `SafeTensors::deserialize`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.checkpoint import Checkpoint, Reader, TensorInfo
from qinspect.formats.dtypes import DTYPES, bits, stored_nbytes
from qinspect.formats.native import CRC_KEY
from qinspect.formats.stored import Span, StoredCheckpoint, WatchedFile, truncated

HEADER_LIMIT = 12_000_000
"""Bytes: some hundred thousand tensors. The reference library allows eight times as much, which takes long to read."""
_TENSORS, _ENTRIES = 60_000, 1 << 16
"""More than a file has: the largest models, of many files, have twice as many tensors altogether."""
_COUNT_LIMIT = 1 << 63
_DIMENSIONS = 64
"""As many as an array in memory may have."""


class Safetensors(Reader):
    """`.safetensors` files."""

    name: ClassVar[str] = "safetensors"
    title: ClassVar[str] = "safetensors"
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors",)
    order: ClassVar[int] = 10

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """A plausible length and the first brace."""
        return len(head) > 8 and struct.unpack_from("<Q", head)[0] <= HEADER_LIMIT and head[8:9] == b"{"

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only its header is read."""
        file = WatchedFile(path)
        try:
            header, begin = _header(file)
            metadata = _metadata(header.pop("__metadata__", {}))
            if len(header) > _TENSORS:
                raise FormatError(f"its header lists {len(header)} tensors, more than the {_TENSORS} that are read")
            spans = {name: _span(file, name, entry, begin) for name, entry in header.items()}
            _check_cover(file, spans, begin)
        except FormatError as error:
            raise error.within(path=path) from None
        tensors = [(TensorInfo(name, span.shape, span.dtype, span.nbytes), span) for name, span in spans.items()]
        return SafetensorsCheckpoint(path, cls.title, tensors, file=file, metadata=metadata)


class SafetensorsCheckpoint(StoredCheckpoint):
    """An open `.safetensors` file."""

    def checksums(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """What the metadata says under `qinspect.crc32`; FormatError where it speaks of other arrays than there are."""
        expected = _checksums(self.metadata[CRC_KEY], self.path) if CRC_KEY in self.metadata else {}
        for name, crc in expected.items():
            self.info(name)
            span = self._sources[name]
            assert isinstance(span, Span)
            yield name, crc, span.file.at(span.offset, span.nbytes)


def _header(file: WatchedFile) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the data begins."""
    if file.nbytes < 8:
        raise truncated(file.path, 8, file.nbytes)
    length = int(file.at(0, 8).view("<u8")[0])
    if length > HEADER_LIMIT:
        raise FormatError(f"its header claims {length} bytes, more than the {HEADER_LIMIT} that are allowed")
    if 8 + length > file.nbytes:
        raise truncated(file.path, 8 + length, file.nbytes)
    text = file.at(8, length).tobytes()
    if not text.startswith(b"{"):
        raise FormatError("its header does not begin with a brace")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise FormatError("its header is not UTF-8") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"its header is not JSON ({error})") from error
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormatError("a name occurs twice in its header")
    return found


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError("the metadata in its header is not a map of text to text")
    if len(value) > _ENTRIES:
        raise FormatError(f"its header has {len(value)} entries of metadata, more than the {_ENTRIES} that are read")
    return value


def _span(file: WatchedFile, name: str, entry: Any, begin: int) -> Span:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]}:
            if dtype not in DTYPES and not re.fullmatch(r"\w{1,32}", dtype, re.ASCII):
                raise FormatError("its dtype is not a name of a type", tensor=name)
            if not _counts([start, stop, *shape]) or start > stop:
                raise FormatError("its shape or its offsets are not counts in order", tensor=name)
            _check_size(name, dtype, tuple(shape), stop - start)
            return Span(file, begin + start, stop - start, dtype, tuple(shape))
    raise FormatError("its header entry is not dtype, shape and data_offsets", tensor=name)


def _counts(values: list[Any]) -> bool:
    for value in values:
        if type(value) is not int or not 0 <= value < _COUNT_LIMIT:
            return False
    return len(values) <= _DIMENSIONS + 2


def _check_size(name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> None:
    """A type that is not known can't be checked; it is listed and not loaded."""
    if bits(dtype) is not None and stored_nbytes(dtype, shape) != nbytes:
        raise FormatError(f"its {nbytes} bytes do not hold {dtype} {list(shape)}", tensor=name)


def _check_cover(file: WatchedFile, spans: dict[str, Span], begin: int) -> None:
    """The arrays follow each other from the first byte of data to the last."""
    end = begin
    for name, span in sorted(spans.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if span.offset != end:
            raise FormatError("there is a hole before its data, or it overlaps another tensor's", tensor=name)
        end += span.nbytes
    if end > file.nbytes:
        raise truncated(file.path, end, file.nbytes)
    if end < file.nbytes:
        raise FormatError(f"{file.nbytes - end} bytes follow the last tensor")


def _checksums(text: str, path: Path) -> dict[str, int]:
    try:
        found = json.loads(text)
        return {str(name): int(digits, 16) for name, digits in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"the metadata entry {CRC_KEY} is damaged", path=path) from error
