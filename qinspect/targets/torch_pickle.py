"""The pickle inside a torch `.pt` file, written opcode by opcode: a state dict is plain enough to need no torch.

Only what `torch.load(weights_only=True)` allows occurs in it (pickle protocol 2, PEP 307; opcodes as in `pickletools`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from qinspect.formats.dtypes import itemsize

STORAGES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
    "C64": "ComplexFloatStorage",
    "C128": "ComplexDoubleStorage",
}
"""Types with a storage class of their own."""

UNTYPED = {
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
"""Later types: bytes in an untyped storage, the type beside them."""

_MARK, _TUPLE, _REDUCE, _SETITEMS, _EMPTY_TUPLE, _FALSE = b"(", b"t", b"R", b"u", b")", b"\x89"


def state_dict(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, Any]) -> bytes:
    """An OrderedDict of tensors `(name, dtype, shape)`, the k-th with its bytes in `data/k`, and `_metadata` on it."""
    items = [_value(name) + _tensor(str(key), dtype, shape) for key, (name, dtype, shape) in enumerate(tensors)]
    attributes = b"}" + _MARK + _value("_metadata") + _ordered(_value(k) + _value(v) for k, v in metadata.items())
    return b"\x80\x02" + _ordered(items) + attributes + _SETITEMS + b"b."


def _ordered(items: Iterable[bytes]) -> bytes:
    return _reference("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE + _MARK + b"".join(items) + _SETITEMS


def _tensor(key: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """The call that rebuilds one tensor from its storage, as `torch.save` writes it."""
    late = dtype in UNTYPED
    size = math.prod(shape)
    storage = _reference("torch.storage", "UntypedStorage") if late else _reference("torch", STORAGES[dtype])
    numel = size * itemsize(dtype) if late else size
    pid = _MARK + _value("storage") + storage + _value(key) + _value("cpu") + _value(numel) + _TUPLE + b"Q"
    hooks = _reference("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE
    call = pid + _value(0) + _value(shape) + _value(_strides(shape)) + _FALSE + hooks
    if late:
        return _call("_rebuild_tensor_v3", call + _reference("torch", UNTYPED[dtype]))
    return _call("_rebuild_tensor_v2", call)


def _call(function: str, arguments: bytes) -> bytes:
    return _reference("torch._utils", function) + _MARK + arguments + _TUPLE + _REDUCE


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Those of a contiguous tensor, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _reference(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _value(value: Any) -> bytes:
    """None, booleans, numbers, text, tuples, lists and dictionaries."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else _FALSE
        case int():
            return _integer(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case tuple():
            return _MARK + b"".join(map(_value, value)) + _TUPLE
        case list():
            return b"]" + _MARK + b"".join(map(_value, value)) + b"e"
        case Mapping():
            return b"}" + _MARK + b"".join(_value(k) + _value(v) for k, v in value.items()) + _SETITEMS
    raise TypeError(f"a {type(value).__name__} cannot be written to a state dict's metadata")


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + struct.pack("<B", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    length = value.bit_length() // 8 + 1
    return b"\x8a" + struct.pack("<B", length) + value.to_bytes(length, "little", signed=True)
