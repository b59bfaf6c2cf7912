"""Flat buffers where they lie in a file: tables and vectors, read field by field, each made sure to lie inside it.

The layout is that of flatbuffers.dev/internals: a table begins with the distance to its vtable, which has the place of
each field in it; a reference is the distance to what it refers to. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.errors import FormatError
from qinspect.formats.stored import WatchedFile, truncated

MAX_TABLES = 60_000
"""Large models have some thousand tensors and operators, and two or three tables for each."""
_SHIFT = 14
_PAGE = 1 << _SHIFT
_PAGES = 256
"""Pages that are kept: the structure of a file is near together, but weights lie between."""
_FIELDS = 64
"""More than any table of a model has."""
_MAX_TEXT = 1 << 20
_LAYOUTS = {layout: struct.Struct(layout) for layout in ("<b", "<B", "<H", "<i", "<I", "<Q")}


class FlatBuffer:
    """A file that is one flat buffer, perhaps with other data behind it."""

    def __init__(self, file: WatchedFile) -> None:
        self.file = file
        self._pages: dict[int, bytes] = {}
        self._descriptions: dict[int, tuple[int, ...]] = {}
        self._tables = 0

    def root(self) -> Table:
        """The table that everything hangs on."""
        return self.table(self.number("<I", 0))

    def table(self, at: int) -> Table:
        """The table at a place; FormatError if there can be none."""
        self._tables += 1
        if self._tables > MAX_TABLES:
            raise FormatError(f"it has more than {MAX_TABLES} tables, which no model needs")
        vtable = at - self.number("<i", at)
        places = self._descriptions.get(vtable)
        if places is None:
            places = self._descriptions[vtable] = self._description(vtable, at)
        return Table(self, at, places)

    def _description(self, vtable: int, at: int) -> tuple[int, ...]:
        """The places of fields, which many tables share."""
        if vtable < 0:
            raise FormatError(f"the table at byte {at} has no description")
        size = self.number("<H", vtable)
        if size < 4 or size % 2:
            raise FormatError(f"the description at byte {vtable} of the table at byte {at} is damaged")
        fields = min(size // 2 - 2, _FIELDS)
        return struct.unpack(f"<{fields}H", self.raw(vtable + 4, 2 * fields))

    def number(self, layout: str, at: int) -> int:
        """An integer, or a boolean; FormatError if the file ends before."""
        reading = _LAYOUTS[layout]
        page = self._pages.get(at >> _SHIFT, b"")
        begin = at & _PAGE - 1
        if begin + reading.size > len(page):
            found: int = reading.unpack(self.raw(at, reading.size))[0]
        else:
            found = reading.unpack_from(page, begin)[0]
        return found

    def raw(self, at: int, nbytes: int) -> bytes:
        """Some bytes of the structure; FormatError if the file ends before."""
        if at < 0 or at + nbytes > self.file.nbytes:
            raise truncated(self.file.path, at + nbytes, self.file.nbytes)
        begin = at & _PAGE - 1
        if begin + nbytes > _PAGE:
            return self.file.at(at, nbytes).tobytes()
        return self._page(at >> _SHIFT)[begin : begin + nbytes]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= _PAGES:
                del self._pages[next(iter(self._pages))]
            start = number << _SHIFT
            page = self._pages[number] = self.file.at(start, min(_PAGE, self.file.nbytes - start)).tobytes()
        return page

    def text(self, at: int) -> str:
        """The text at a place."""
        length = self.number("<I", at)
        if length > _MAX_TEXT:
            raise FormatError(f"the text at byte {at} has {length} bytes, more than the {_MAX_TEXT} that are read")
        return self.raw(at + 4, length).decode(errors="replace")


@dataclass(frozen=True)
class Vector:
    """Elements one after another: `count` of them, the first at byte `at`."""

    buffer: FlatBuffer
    at: int
    count: int
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.count * self.width

    def numbers(self, letter: str) -> tuple[int, ...]:
        """All elements as integers, by their letter in `struct`."""
        if self.nbytes > _MAX_TEXT:
            raise FormatError(f"the list at byte {self.at} has {self.count} entries, which no model needs")
        return struct.unpack(f"<{self.count}{letter}", self.buffer.raw(self.at, self.nbytes))

    def tables(self) -> Iterator[Table]:
        """All elements, which are references to tables."""
        for index in range(self.count):
            yield self.table(index)

    def table(self, index: int) -> Table:
        """One of them; FormatError if there are fewer."""
        if not 0 <= index < self.count:
            raise FormatError(f"the list at byte {self.at} has {self.count} entries; number {index} is asked for")
        place = self.at + 4 * index
        return self.buffer.table(place + self.buffer.number("<I", place))


@dataclass(frozen=True)
class Table:
    """A table at byte `at`; `places` are those of its fields within it, 0 for one that it has not."""

    buffer: FlatBuffer
    at: int
    places: tuple[int, ...]

    def _place(self, field: int) -> int | None:
        if field >= len(self.places) or not self.places[field]:
            return None
        return self.at + self.places[field]

    def number(self, field: int, layout: str, default: int = 0) -> int:
        """A number among the fields, by its layout in `struct`."""
        place = self._place(field)
        return default if place is None else self.buffer.number(layout, place)

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return self._place(field) is not None

    def table(self, field: int) -> Table | None:
        """A table that a field refers to."""
        place = self._reference(field)
        return None if place is None else self.buffer.table(place)

    def text(self, field: int) -> str:
        """A text; empty where there is none."""
        place = self._reference(field)
        return "" if place is None else self.buffer.text(place)

    def vector(self, field: int, width: int) -> Vector:
        """A vector of elements of `width` bytes; empty where there is none. FormatError if it leaves the file."""
        place = self._reference(field)
        if place is None:
            return Vector(self.buffer, 0, 0, width)
        count = self.buffer.number("<I", place)
        end = place + 4 + count * width
        if end > self.buffer.file.nbytes:
            raise truncated(self.buffer.file.path, end, self.buffer.file.nbytes)
        return Vector(self.buffer, place + 4, count, width)

    def _reference(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + self.buffer.number("<I", place)
