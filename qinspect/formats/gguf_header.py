"""The header of a GGUF file, scanned without building what is not needed: a vocabulary is stepped over.

magic `GGUF` | u32 version | u64 tensors | u64 entries | entries (key, u32 type, value) | tensors (name, u32 dimensions,
i64 sizes with the fastest first, u32 type, u64 offset) | padding to `general.alignment` | data. Strings are a u64
length and UTF-8; version 2 and 3 differ in nothing but that 3 may be big-endian. Sizes are checked before they are
used.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.stored import WatchedFile, truncated

MAGIC = b"GGUF"
VERSIONS = (2, 3)

_ENTRIES, _TENSORS, _STRINGS = 1 << 16, 1 << 16, 1 << 21
"""More of them than any model has: what a lying count may cost is bounded."""
_TEXT_BYTES = 1 << 16
"""A name has no more, and of a longer text no more is kept."""
_AT_ONCE = 1 << 20
"""Bytes that are read at a time."""
_SHOWN = 8
"""Elements of an array that are kept to be shown."""
_DIMENSIONS = 4

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_LAYOUTS = {code: struct.Struct(f"<{code}") for code in _NUMBERS.values()}
_PLACED = [struct.Struct(f"<{dimensions}qIQ") for dimensions in range(_DIMENSIONS + 1)]
"""Sizes, type and offset of a tensor of so many dimensions."""


@dataclass(frozen=True)
class Entry:
    """A tensor as the header has it: `shape` with the slowest axis first, `type` a number, `offset` within the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its data begins; metadata as text, of arrays the first elements and how many.

    `spans` is where in the file each entry of the metadata lies, with its key: first byte and last, exclusive.
    """

    version: int
    metadata: dict[str, str]
    tensors: tuple[Entry, ...]
    spans: dict[str, tuple[int, int]]
    alignment: int


def scan(file: WatchedFile) -> Header:
    """The header of `file`; FormatError that names the byte where it is not one."""
    cursor = _Cursor(file)
    cursor.take(4, "the magic")
    version = cursor.number("I", "the version")
    _check_version(version)
    tensors = cursor.count(_TENSORS, 24, "tensors")
    entries = cursor.count(_ENTRIES, 13, "metadata entries")
    metadata: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(entries):
        start = cursor.at
        key = cursor.name("a key")
        if key in metadata:
            raise FormatError(f"the metadata key {printable(key)} occurs twice, again before byte {cursor.at}")
        metadata[key] = _value(cursor, cursor.number("I", "the type of a value"), key)
        spans[key] = start, cursor.at
    found = [_tensor(cursor) for _ in range(tensors)]
    alignment = _alignment(metadata)
    begin = -(-cursor.at // alignment) * alignment
    return Header(version, metadata, tuple(_placed(entry, begin, alignment) for entry in found), spans, alignment)


def _check_version(version: int) -> None:
    if version in VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
        raise UnsupportedError("this GGUF file is big-endian; convert it with gguf_convert_endian.py of llama.cpp")
    if version == 1:
        raise UnsupportedError("this is GGUF version 1, of August 2023; convert the model again with llama.cpp")
    raise UnsupportedError(f"this is GGUF version {version}; versions 2 and 3 can be read")


class _Cursor:
    """Reads on and on, some of the file at a time, and never past its end."""

    def __init__(self, file: WatchedFile) -> None:
        self.file = file
        self.at = 0
        self._begin = 0
        self._held = memoryview(b"")

    def take(self, nbytes: int, what: str) -> int:
        """Step over `nbytes`; where they begin."""
        at, end = self.at, self.at + nbytes
        if end > self.file.nbytes:
            error = truncated(self.file.path, end, self.file.nbytes)
            raise FormatError(f"{error.message} ({what} begins at byte {at} and takes {nbytes})")
        self.at = end
        return at

    def _from(self, at: int, nbytes: int) -> memoryview:
        """The bytes from `at` on, at least `nbytes`, which the file has."""
        if not self._begin <= at <= at + nbytes <= self._begin + len(self._held):
            size = min(max(nbytes, _AT_ONCE), self.file.nbytes - at)
            self._begin, self._held = at, self.file.at(at, size).data
        return self._held[at - self._begin :]

    def number(self, code: str, what: str) -> Any:
        """A little-endian number of the struct type `code`."""
        return self.numbers(_LAYOUTS[code], what)[0]

    def numbers(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        """Numbers that follow each other."""
        return layout.unpack_from(self._from(self.take(layout.size, what), layout.size))

    def count(self, most: int, least_bytes: int, what: str) -> int:
        """How many things follow, each of which takes `least_bytes` or more."""
        at, count = self.at, int(self.number("Q", f"the number of {what}"))
        fit = min(most, (self.file.nbytes - self.at) // least_bytes)
        if count > fit:
            raise FormatError(f"it claims {count} {what} at byte {at}, where at most {fit} can be: it is damaged")
        return count

    def text(self, what: str, most: int | None = None) -> tuple[bytes, int]:
        """The bytes of a string, or the first that are wanted of a long one, and how many it has."""
        length = int(self.number("Q", f"the length of {what}"))
        if most is not None and length > most:
            raise FormatError(f"{what} before byte {self.at} claims {length} bytes, more than the {most} allowed")
        at, kept = self.take(length, what), min(length, _TEXT_BYTES)
        return bytes(self._from(at, kept)[:kept]), length

    def name(self, what: str) -> str:
        """A string that must be UTF-8."""
        at = self.at
        try:
            return self.text(what, _TEXT_BYTES)[0].decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{what} at byte {at} is not UTF-8") from error

    def skip_texts(self, count: int, what: str) -> None:
        """Step over strings, fast: a vocabulary and its merges are hundreds of thousands."""
        read = struct.Struct("<Q").unpack_from
        while count:
            held = self._from(self.at, min(8, self.file.nbytes - self.at))
            at, last = 0, len(held) - 8
            for done in range(count):
                if at > last:
                    count -= done
                    break
                at += 8 + read(held, at)[0]
            else:
                count = 0
            self.take(at or 8, what)


def _value(cursor: _Cursor, kind: int, key: str) -> str:
    """A metadata value as text."""
    if kind == _STRING:
        held, length = cursor.text(f"the value of {printable(key)}")
        return held.decode(errors="replace") + (f" … ({length} bytes)" if length > len(held) else "")
    if kind == _ARRAY:
        return _array(cursor, key)
    return _number_text(kind, _scalar(cursor, kind, key))


def _scalar(cursor: _Cursor, kind: int, key: str) -> Any:
    code = "B" if kind == _BOOL else _NUMBERS.get(kind)
    if code is None:
        raise FormatError(f"the value of {printable(key)} before byte {cursor.at} is of type {kind}; types are 0 to 12")
    return cursor.number(code, f"the value of {printable(key)}")


def _number_text(kind: int, value: Any) -> str:
    if kind == _BOOL:
        return "true" if value else "false"
    return str(np.float32(value)) if kind == 6 else str(value)


def _array(cursor: _Cursor, key: str) -> str:
    """The first elements and how many there are; the others are only stepped over."""
    what = f"elements of {printable(key)}"
    kind = cursor.number("I", f"the type of the {what}")
    if kind == _STRING:
        count = cursor.count(_STRINGS, 8, what)
        some = [cursor.text(f"one of the {what}")[0].decode(errors="replace") for _ in range(min(count, _SHOWN))]
        cursor.skip_texts(count - len(some), f"one of the {what}")
    elif kind == _BOOL or kind in _NUMBERS:
        size = 1 if kind == _BOOL else struct.calcsize(_NUMBERS[kind])
        count = cursor.count(1 << 63, size, what)
        some = [_number_text(kind, _scalar(cursor, kind, key)) for _ in range(min(count, _SHOWN))]
        cursor.take(size * (count - len(some)), f"the array {printable(key)}")
    else:
        nested = "an array of arrays" if kind == _ARRAY else f"an array of type {kind}"
        raise FormatError(f"{printable(key)} is {nested} before byte {cursor.at}, which GGUF files do not have")
    return ", ".join(some) + (f", … ({count})" if count > len(some) else "")


def _alignment(metadata: dict[str, str]) -> int:
    text = metadata.get("general.alignment", "32")
    found = int(text) if text.isdecimal() else 0
    if not 8 <= found <= 1 << 20 or found & (found - 1):
        raise FormatError(f"general.alignment is {printable(text, 20)}, where a power of two from 8 on belongs")
    return found


def _tensor(cursor: _Cursor) -> Entry:
    name = cursor.name("the name of a tensor")
    dimensions = cursor.number("I", "its number of dimensions")
    if dimensions > _DIMENSIONS:
        text = f"it has {dimensions} dimensions before byte {cursor.at}, at most {_DIMENSIONS} are allowed"
        raise FormatError(text, tensor=name)
    at = cursor.at
    *sizes, kind, offset = cursor.numbers(_PLACED[dimensions], "shape, type and offset of a tensor")
    if any(size < 0 for size in sizes) or math.prod(max(1, size) for size in sizes) >= 1 << 60:
        raise FormatError(f"its shape {sizes[::-1]} at byte {at} cannot be", tensor=name)
    return Entry(name, tuple(sizes[::-1]), kind, offset)


def _placed(entry: Entry, begin: int, alignment: int) -> Entry:
    if entry.offset % alignment:
        text = f"its data begins at {entry.offset}, which is no multiple of the alignment {alignment}"
        raise FormatError(text, tensor=entry.name)
    return Entry(entry.name, entry.shape, entry.type, begin + entry.offset)
