"""How the arguments of a pickle's operations are written: a reader for each kind that `pickletools` knows.

A reader takes the pickle and where the argument begins, and gives it and where it ends. It raises IndexError or
struct.error where the pickle ends before, and ValueError for what is no argument of its kind.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

Reader = Callable[[bytes, int], tuple[Any, int]]

_MAX_DIGITS = 4300
"""Decimal digits of a number; Python itself converts no more."""


def _fixed(layout: str) -> Reader:
    read, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)
    return lambda data, at: (read(data, at)[0], at + size)


def _counted(layout: str, convert: Callable[[bytes], Any]) -> Reader:
    """A length, and so many bytes."""
    read, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)

    def reader(data: bytes, at: int) -> tuple[Any, int]:
        begin = at + size
        stop = begin + read(data, at)[0]
        if not begin <= stop <= len(data):
            raise IndexError(f"{stop - begin} bytes are wanted at {begin}, it ends at {len(data)}")
        return convert(data[begin:stop]), stop

    return reader


def _line(convert: Callable[[bytes], Any]) -> Reader:
    """Everything up to the end of the line."""

    def reader(data: bytes, at: int) -> tuple[Any, int]:
        stop = data.find(b"\n", at)
        if stop < 0:
            raise IndexError("a line has no end")
        return convert(data[at:stop]), stop + 1

    return reader


def _pair(data: bytes, at: int) -> tuple[Any, int]:
    """Two lines: a module and a name in it."""
    first, at = _line(bytes.decode)(data, at)
    second, at = _line(bytes.decode)(data, at)
    return f"{first} {second}", at


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _decimal(data: bytes) -> int:
    if len(data) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(data)} digits")
    return int(data)


def _short_decimal(data: bytes) -> int | bool:
    return {b"00": False, b"01": True}[data] if data in (b"00", b"01") else _decimal(data)


def _long_decimal(data: bytes) -> int:
    return _decimal(data.removesuffix(b"L"))


def _two_complement(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _quoted(data: bytes) -> str:
    quote = data[:1]
    if len(data) < 2 or quote not in (b"'", b'"') or data[-1:] != quote:
        raise ValueError("a text is not in quotes")
    return str(codecs.escape_decode(data[1:-1])[0], "latin-1")


READERS: dict[str, Reader] = {
    "uint1": lambda data, at: (data[at], at + 1),
    "uint2": _fixed("<H"),
    "int4": _fixed("<i"),
    "uint4": _fixed("<I"),
    "uint8": _fixed("<Q"),
    "float8": _fixed(">d"),
    "bytes1": _counted("<B", bytes),
    "bytes4": _counted("<I", bytes),
    "bytes8": _counted("<Q", bytes),
    "bytearray8": _counted("<Q", bytearray),
    "string1": _counted("<B", lambda data: data.decode("latin-1")),
    "string4": _counted("<i", lambda data: data.decode("latin-1")),
    "unicodestring1": _counted("<B", _text),
    "unicodestring4": _counted("<I", _text),
    "unicodestring8": _counted("<Q", _text),
    "long1": _counted("<B", _two_complement),
    "long4": _counted("<i", _two_complement),
    "decimalnl_short": _line(_short_decimal),
    "decimalnl_long": _line(_long_decimal),
    "floatnl": _line(float),
    "stringnl": _line(_quoted),
    "stringnl_noescape": _line(bytes.decode),
    "stringnl_noescape_pair": _pair,
    "unicodestringnl": _line(lambda data: data.decode("raw-unicode-escape")),
}
"""By the names that `pickletools` gives them."""
