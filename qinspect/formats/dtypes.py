"""Element types by their safetensors names (F32, BF16, I64 …), which are this program's names for every format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import ml_dtypes
import numpy as np

from qinspect.errors import UnsupportedError

DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "F64": np.dtype("<f8"),
        "F32": np.dtype("<f4"),
        "F16": np.dtype("<f2"),
        "BF16": np.dtype(ml_dtypes.bfloat16),
        "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
        "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
        "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
        "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
        "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
        "F4": np.dtype(ml_dtypes.float4_e2m1fn),
        "I64": np.dtype("<i8"),
        "I32": np.dtype("<i4"),
        "I16": np.dtype("<i2"),
        "I8": np.dtype("i1"),
        "U64": np.dtype("<u8"),
        "U32": np.dtype("<u4"),
        "U16": np.dtype("<u2"),
        "U8": np.dtype("u1"),
        "BOOL": np.dtype("?"),
        "I4": np.dtype(ml_dtypes.int4),
        "U4": np.dtype(ml_dtypes.uint4),
        "I2": np.dtype(ml_dtypes.int2),
        "U2": np.dtype(ml_dtypes.uint2),
        "C64": np.dtype("<c8"),
        "C128": np.dtype("<c16"),
    }
)
"""The types that can be loaded, as numpy has them. C128, I4, U4, I2 and U2 are not safetensors types."""

_SMALL_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I4": 4, "U4": 4, "I2": 2, "U2": 2}
"""Types of which several share a byte in a file."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def bits(name: str) -> int | None:
    """Bits that an element of type `name` takes in a file; None for an unknown type."""
    if name in _SMALL_BITS:
        return _SMALL_BITS[name]
    return 8 * DTYPES[name].itemsize if name in DTYPES else None


def itemsize(name: str) -> int:
    """Bytes of an element; UnsupportedError for a type that is unknown or smaller than a byte."""
    found = bits(name)
    if found is None or found % 8:
        raise UnsupportedError(f"elements of type {name} cannot be written")
    return found // 8


def numpy_dtype(name: str) -> np.dtype:
    """The numpy type of `name`; UnsupportedError if there is none."""
    if name not in DTYPES:
        raise UnsupportedError(f"elements of type {name} cannot be read; convert the tensor to F32")
    return DTYPES[name]


def dtype_name(dtype: np.dtype) -> str:
    """The name of a numpy type in either byte order, or numpy's own where there is none."""
    return _NAMES.get(dtype.newbyteorder("<")) or str(dtype.str)


def stored_nbytes(name: str, shape: tuple[int, ...]) -> int | None:
    """Bytes of an array in a file; None where the type is unknown or the last byte would be shared."""
    found = bits(name)
    total = None if found is None else math.prod(shape) * found
    return None if total is None or total % 8 else total // 8


def unpacked(data: np.ndarray, name: str, count: int) -> np.ndarray:
    """`count` elements, a byte each, of a type of which several share a byte of `data` (uint8), the first lowest."""
    width = _SMALL_BITS[name]
    places = [(data >> shift) & ((1 << width) - 1) for shift in range(0, 8, width)]
    found = np.stack(places, axis=-1).reshape(-1)[:count]
    if name.startswith("I"):
        found = ((found << 8 - width).view(np.int8) >> 8 - width).view(np.uint8)
    return found.view(DTYPES[name])
