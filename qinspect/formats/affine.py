"""Quantized integers or small floats with scales along an axis, or by blocks of it: as ONNX and TFLite have them.

A weight is `(code − zero_point)·scale`. Whatever the axis, a tensor becomes one whose first axis is the matrix row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.dtypes import bits, numpy_dtype
from qinspect.formats.stored import Derived, Given, PackedSource, Source, Span
from qinspect.quant.decode_only import Blocked, DecodeOnly
from qinspect.quant.floats import float_codes
from qinspect.quant.layout import Layout, matrix_shape
from qinspect.quant.packing import BitPacking
from qinspect.quant.scheme import QTensor

INTEGERS = ("I8", "U8", "I16", "U16", "I4", "U4", "I2", "U2")
"""Types of codes with a zero point."""
FLOATS = ("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F4")
"""Types of codes that are numbers themselves."""
SCALES = ("F32", "F16", "BF16", "F64")

_TITLES = {"I": "int", "U": "uint", "F": "fp"}


class Stored(Protocol):
    """An array of a file."""

    @property
    def dtype(self) -> str:
        """Its type, by its safetensors name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the file."""

    @property
    def source(self) -> Source:
        """Where it is read."""


@dataclass(frozen=True)
class Array:
    """The plainest of them."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    source: Source

    @classmethod
    def of(cls, value: float, dtype: str) -> Array:
        """A single number."""
        array = np.array(value, numpy_dtype(dtype))
        return cls(dtype, (), array.nbytes, Given(array))


@dataclass(frozen=True)
class Packed(PackedSource):
    """A packed tensor from the arrays that its scheme speaks of."""

    scheme: DecodeOnly
    arrays: tuple[tuple[str, Source], ...]

    def read(self, rows: slice | None) -> QTensor:
        """Codes may stay in the file."""
        return self.scheme.tensor(
            {name: source.lazy() if name == "data" else source.read(None) for name, source in self.arrays}, rows
        )


@dataclass(frozen=True)
class Sharing:
    """Which weights of a tensor share a scale: all, those with one index of `axis`, or runs of `block` along it."""

    axis: int | None = None
    block: int = 0

    def reordered(self, order: tuple[int, ...]) -> Sharing:
        """Of the tensor with its axes in another order."""
        return self if self.axis is None else Sharing(order.index(self.axis), self.block)

    def label(self, shape: tuple[int, ...]) -> str:
        """`channel`, `g32` or nothing."""
        if self.axis is None or not shape:
            return ""
        return f" g{self.block}" if self.block else " channel"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the scales of a tensor of `shape`."""
        if self.axis is None:
            return ()
        if not self.block:
            return (shape[self.axis],)
        return tuple(-(-side // self.block) if axis == self.axis else side for axis, side in enumerate(shape))

    def arrangement(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], int]:
        """Rows and columns of the matrix that share a scale, and how often the scales repeat along a row.

        UnsupportedError where no rectangle does.
        """
        rows, cols = matrix_shape(shape)
        axis = self.axis
        if axis is None or not rows * cols:
            return (max(1, rows), max(1, cols)), 1
        if len(shape) == 1:
            return (1, self.block or 1), 1
        inner = math.prod(shape[axis + 1 :])
        if not self.block:
            return ((1, cols), 1) if axis == 0 else ((rows, inner), math.prod(shape[1:axis]))
        if axis == 0:
            return (self.block, 1), 1
        if inner == 1 and (len(shape) == 2 or shape[axis] % self.block == 0):
            return (1, self.block), 1
        raise UnsupportedError(f"blocks of {self.block} along axis {axis} of {list(shape)} are not decoded here")


def packed_affine(
    codes: Stored,
    scale: Stored,
    zero: Stored | None,
    sharing: Sharing,
    *,
    order: tuple[int, ...] | None = None,
    title: str = "",
) -> Packed:
    """The tensor of these arrays, its axes in the given order if there is one.

    FormatError where they contradict each other, UnsupportedError for what no decode-only scheme here can express.
    """
    expected = sharing.params_shape(codes.shape)
    params = {"scale": scale} | ({} if zero is None or codes.dtype in FLOATS else {"zero_point": zero})
    for name, array in params.items():
        if math.prod(array.shape) not in (1, math.prod(expected)):
            text = f"its {name.replace('_', ' ')} has shape {list(array.shape)} where {list(expected)} is needed"
            raise FormatError(text)
    if scale.dtype not in SCALES:
        raise UnsupportedError(f"scales of type {scale.dtype} are not read")
    turn = order if sharing.block else None
    shape = codes.shape
    if order is not None:
        shape, sharing = tuple(shape[axis] for axis in order), sharing.reordered(order)
    block, repeats = sharing.arrangement(shape)
    arrays = {name: parameter_source(array.source, expected, turn, repeats) for name, array in params.items()}
    data, data_shape = _codes(codes, shape, order)
    held = [("data", np.dtype(np.uint8), data_shape)]
    held += [(name, numpy_dtype(array.dtype), (repeats * math.prod(expected),)) for name, array in params.items()]
    table, patterns = float_codes(numpy_dtype(codes.dtype)) if codes.dtype in FLOATS else (None, None)
    scheme = Blocked(
        kind=title or f"{type_title(codes.dtype)}{sharing.label(shape)}",
        whole=shape,
        stored_bytes=codes.nbytes + sum(array.nbytes for array in params.values()),
        bits=bits(codes.dtype) or 8,
        block=block,
        held=tuple(held),
        signed=codes.dtype.startswith("I"),
        table=table,
        patterns=patterns,
        row_bits=8 * data_shape[1] if len(data_shape) > 1 else None,
    )
    return Packed(scheme, (("data", data), *arrays.items()))


def decoded(codes: Stored, scale: Stored, zero: Stored | None, sharing: Sharing) -> Source:
    """The weights themselves, for codes of so many bits that no view could show them; in the type of the scale."""

    def weights(array: np.ndarray) -> np.ndarray:
        low = 0 if zero is None else spread(zero.source.read(None), sharing, codes.shape).astype(np.float64)
        values = (array - low) * spread(scale.source.read(None), sharing, codes.shape).astype(np.float64)
        return np.asarray(values, numpy_dtype(scale.dtype))

    return Derived(codes.source, weights)


def spread(param: np.ndarray, sharing: Sharing, shape: tuple[int, ...]) -> np.ndarray:
    """Scales or zero points in a shape that goes with the tensor; FormatError if there are too few or too many."""
    expected = sharing.params_shape(shape)
    if param.size != math.prod(expected):
        raise FormatError(f"it has {param.size} scales or zero points where {list(expected)} are needed")
    if sharing.axis is None:
        return param.reshape(())
    if sharing.block:
        whole = np.repeat(param.reshape(expected), sharing.block, axis=sharing.axis)
        return whole[tuple(slice(0, side) for side in shape)]
    return param.reshape([-1 if axis == sharing.axis else 1 for axis in range(len(shape))])


def type_title(dtype: str) -> str:
    """`int8` for I8, `fp8 e4m3` for F8_E4M3."""
    kind, _, rest = dtype.partition("_")
    return f"{_TITLES[kind[0]]}{kind[1:]}" + (f" {rest.lower()}" if rest else "")


def parameter_source(source: Source, shape: tuple[int, ...], order: tuple[int, ...] | None, repeats: int) -> Source:
    """Scales or zero points as one vector, in the order of the blocks of the matrix."""

    def arranged(array: np.ndarray) -> np.ndarray:
        array = array.reshape(shape) if array.size == math.prod(shape) else np.broadcast_to(array.reshape(()), shape)
        return np.tile((array if order is None else array.transpose(order)).reshape(-1), repeats)

    return Derived(source, arranged)


def _codes(codes: Stored, shape: tuple[int, ...], order: tuple[int, ...] | None) -> tuple[Source, tuple[int, ...]]:
    """The codes as they lie in the file if that can be, else packed anew row by row; and the shape of that."""
    if isinstance(codes.source, Span) and codes.source.strides is None and order is None:
        span = codes.source
        return Span(span.file, span.offset, span.nbytes, "U8", (span.nbytes,)), (span.nbytes,)
    rows, cols = matrix_shape(shape)
    width = bits(codes.dtype) or 8
    layout = Layout(rows, cols, cols, cols, (1,))

    def packed(array: np.ndarray) -> np.ndarray:
        array = array if order is None else np.ascontiguousarray(array.transpose(order))
        out = np.empty(BitPacking(width).shape(layout), np.uint8)
        patterns: np.ndarray = array.reshape(rows, cols).view(np.uint16 if width == 16 else np.uint8)
        BitPacking(width).pack(patterns & np.uint8((1 << width) - 1) if width < 8 else patterns, layout, out)
        return out

    return Derived(codes.source, packed), BitPacking(width).shape(layout)
