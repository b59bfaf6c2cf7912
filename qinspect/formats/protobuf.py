"""Protocol buffers walked field by field where they lie in a file; nothing is read but what is asked for.

The encoding is that of protobuf.dev/programming-guides/encoding: a field is a number, a wire type and a value, either
a varint (seven bits a byte, the lowest first), or four or eight bytes, or a length and so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.stored import WatchedFile, truncated

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, which nothing here uses."""

Field = tuple[int, int, int, int]
"""Number and wire type; then a varint and 0, or where the value begins and ends."""

MAX_FIELDS = 600_000
"""A graph of ten thousand nodes has about two hundred thousand."""
_MAX_TEXT = 1 << 20
_WINDOW = 1 << 16
_LONGEST = 20
"""Bytes of a tag and a varint together, at most."""
_FIXED = {FIXED64: 8, FIXED32: 4}
_KINDS = (BYTES, VARINT, FIXED32, FIXED64)
_U64 = (1 << 64) - 1


class Wire:
    """A file of protocol buffers, and how many fields of it were looked at."""

    def __init__(self, file: WatchedFile) -> None:
        self.file = file
        self._count = 0
        self._window = b"", 0, -1

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message from `start` to `stop`; FormatError where it is none."""
        held, base, safe = self._window
        at, count = start, 0
        try:
            while at < stop:
                if not base <= at <= safe:
                    self._count, count = self._count + count, 0
                    held, base, safe = self._around(at)
                count += 1
                i = at - base + 1
                tag = held[i - 1]
                if tag > 127:
                    tag, i = _varint(held, i - 1)
                kind, begin = tag & 7, base + i
                if kind not in _KINDS:
                    raise FormatError(f"at byte {at} there is no field of a protocol buffer")
                if kind in _FIXED:
                    at = begin + _FIXED[kind]
                else:
                    value, i = _varint(held, i) if held[i] > 127 else (held[i], i + 1)
                    begin = base + i
                    at = begin + value if kind == BYTES else begin
                if at > stop:
                    raise self._beyond(at, stop)
                yield (tag >> 3, kind, value, 0) if kind == VARINT else (tag >> 3, kind, begin, at)
        except IndexError as error:
            raise truncated(self.file.path, self.file.nbytes + 1, self.file.nbytes) from error
        finally:
            self._count += count

    def _beyond(self, at: int, stop: int) -> FormatError:
        if stop == self.file.nbytes:
            return truncated(self.file.path, at, self.file.nbytes)
        return FormatError(f"a field that ends at byte {at} lies in a message that ends at byte {stop}")

    def _around(self, at: int) -> tuple[bytes, int, int]:
        """A piece of the file from `at` on, where it begins, and up to where it surely has whole tags and lengths."""
        if self._count > MAX_FIELDS:
            raise FormatError(f"it has more than {MAX_FIELDS} fields, which no model needs")
        nbytes = min(_WINDOW, self.file.nbytes - at)
        held = self.file.at(at, nbytes).tobytes()
        ends = at + nbytes == self.file.nbytes
        self._window = held, at, at + nbytes - (0 if ends else _LONGEST)
        return self._window

    def bytes(self, start: int, stop: int) -> bytes:
        """What lies there; it is meant for names, and there is a limit."""
        if stop - start > _MAX_TEXT:
            raise FormatError(
                f"at byte {start} there is a text of {stop - start} bytes, more than the {_MAX_TEXT} read"
            )
        held, base, _ = self._window
        if base <= start and stop <= base + len(held):
            return held[start - base : stop - base]
        return self.file.at(start, stop - start).tobytes()

    def text(self, start: int, stop: int) -> str:
        """The text there; FormatError if it is not UTF-8."""
        try:
            return self.bytes(start, stop).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"the text at byte {start} is not UTF-8") from error

    def counts(self, field: Field) -> list[int]:
        """The integers of a repeated field, of which this is one part: a single one, or several packed in a row."""
        _, kind, start, stop = field
        if kind == VARINT:
            return [signed(start)]
        if kind != BYTES:
            raise FormatError("an integer of it is written as something else")
        data, found, i = self.bytes(start, stop), [], 0
        try:
            while i < len(data):
                value, i = _varint(data, i)
                found.append(signed(value))
        except IndexError as error:
            raise FormatError(f"the integers at byte {start} end in the midst of one") from error
        return found


def _varint(data: bytes, i: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[i]
        i += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _U64, i
        shift += 7
        if shift > 63:
            raise FormatError("an integer in it has more than ten bytes")


def begin_of(head: bytes) -> list[tuple[int, int]]:
    """Numbers and wire types of the fields with which a message begins; none if it cannot be one."""
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < len(head):
            tag, at = _varint(head, at)
            kind = tag & 7
            if kind not in _KINDS or not tag >> 3:
                return []
            found.append((tag >> 3, kind))
            if kind in _FIXED:
                at += _FIXED[kind]
            else:
                value, at = _varint(head, at)
                at += value if kind == BYTES else 0
    except (IndexError, FormatError):
        return found
    return found


def signed(value: int) -> int:
    """A varint as an int64."""
    return value - (1 << 64) if value >> 63 else value


def varints(data: np.ndarray, count: int) -> np.ndarray:
    """`count` packed varints, uint64, from their bytes; FormatError if there are not just so many."""
    last = data < 128
    if int(np.count_nonzero(last)) != count or (data.size and not last[-1]):
        raise FormatError(f"it holds {int(np.count_nonzero(last))} values where its shape has {count}")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1]) if count else ends
    lengths = ends - starts + 1
    if count and int(lengths.max()) > 10:
        raise FormatError("a value in it has more than ten bytes")
    found = np.zeros(count, np.uint64)
    for place in range(int(lengths.max(initial=0))):
        there = lengths > place
        found[there] |= (data[starts[there] + place] & 127).astype(np.uint64) << np.uint64(7 * place)
    return found
