"""Messages of ONNX, written field by field (onnx.proto, IR version 10): every size is known before any weight is read.

A message is a list of pieces: bytes, a stored array whose data come later, or a stretch of a file that is taken over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from qinspect.targets.pieces import Piece, size

TYPES = {
    "F32": 1, "U8": 2, "I8": 3, "U16": 4, "I16": 5, "I32": 6, "I64": 7, "BOOL": 9, "F16": 10, "F64": 11, "U32": 12,
    "U64": 13, "BF16": 16, "U4": 21, "I4": 22,
}  # fmt: skip
"""`TensorProto.DataType` by the names of element types."""


Message = list[Piece]


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64 bits."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: int | str | bytes | Sequence[Piece]) -> Message:
    """One field: an integer, a text, bytes or a message."""
    if isinstance(value, int):
        return [varint(number << 3) + varint(value)]
    if isinstance(value, str):
        value = value.encode()
    pieces = [value] if isinstance(value, bytes) else [*value]
    return [varint(number << 3 | 2) + varint(size(pieces)), *pieces]


def joined(*parts: Iterable[Piece]) -> Message:
    """Fields one after the other."""
    return [piece for part in parts for piece in part]


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], *, domain: str = "", name: str = "", **attributes: Any
) -> Message:
    """A `NodeProto`; attributes are integers, floats, texts or lists of integers."""
    fields = [field(1, text) for text in inputs] + [field(2, text) for text in outputs]
    fields += [field(3, name)] if name else []
    fields += [field(4, op)]
    fields += [field(5, _attribute(key, value)) for key, value in attributes.items()]
    fields += [field(7, domain)] if domain else []
    return joined(*fields)


def _attribute(name: str, value: Any) -> Message:
    if isinstance(value, float):
        return joined(field(1, name), [varint(2 << 3 | 5) + struct.pack("<f", value)], field(20, 1))
    if isinstance(value, int):
        return joined(field(1, name), field(3, value), field(20, 2))
    assert isinstance(value, list)
    return joined(field(1, name), *(field(8, number) for number in value), field(20, 7))


def tensor(name: str, dtype: str, shape: Sequence[int], data: Sequence[Piece]) -> Message:
    """A `TensorProto` with raw data."""
    dims = [field(1, side) for side in shape]
    return joined(*dims, field(2, TYPES[dtype]), field(8, name), field(9, data))


def integers(name: str, values: Sequence[int]) -> Message:
    """A `TensorProto` of int64 numbers `[n]`."""
    return tensor(name, "I64", [len(values)], [np.asarray(values, "<i8").tobytes()])


def value_info(name: str, dtype: str, shape: Sequence[int | str]) -> Message:
    """A `ValueInfoProto`; a side that is a text may have any size."""
    sides = [field(1, field(2, side) if isinstance(side, str) else field(1, side)) for side in shape]
    kind = joined(field(1, TYPES[dtype]), field(2, joined(*sides)))
    return joined(field(1, name), field(2, field(1, kind)))


def opset(version: int, domain: str = "") -> Message:
    """An `OperatorSetIdProto`."""
    return joined(field(1, domain) if domain else [], field(2, version))


def pair(key: str, value: str) -> Message:
    """A `StringStringEntryProto`."""
    return joined(field(1, key), field(2, value))
