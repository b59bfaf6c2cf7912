"""The proof that a file holds what was meant: read by this program's own reader, tensor by tensor."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from qinspect.errors import ExportError
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import LazyArray, Weights
from qinspect.quant.scheme import QTensor
from qinspect.task import Token

Content = Weights | QTensor
"""A tensor, packed or not; it may be in its file still."""

CHUNK = 1 << 22
"""Bytes handled between two checks of the token."""

_WEIGHTS = 1 << 20
"""Weights decoded at a time."""


def chunks(array: Weights) -> Iterator[memoryview]:
    """The bytes of `array` in C order, some megabytes at a time."""
    data = _bytes(array)
    return (data[start : start + CHUNK].data for start in range(0, data.size, CHUNK))


def _bytes(array: Weights) -> Weights:
    if isinstance(array, LazyArray):
        return array.reshape(-1).view(np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(a: Weights, b: Weights) -> bool:
    """Whether two arrays hold the same bytes."""
    pairs = zip(chunks(a), chunks(b), strict=True)
    return a.nbytes == b.nbytes and all(np.array_equal(x, y) for x, y in pairs)


def crc32(arrays: Sequence[Weights], token: Token) -> list[int]:
    """CRC-32 of the bytes of each array."""
    sums = []
    for array in arrays:
        crc = 0
        for chunk in chunks(array):
            token.check()
            crc = zlib.crc32(chunk, crc)
        sums.append(crc)
    return sums


def max_difference(meant: Content, found: Content, token: Token) -> float:
    """The largest |difference| of decoded weights; of a tensor that is not packed 0, or infinite if a byte differs."""
    if not isinstance(meant, QTensor) and not isinstance(found, QTensor):
        return 0.0 if _same(meant, found) else math.inf
    assert isinstance(meant, QTensor) and isinstance(found, QTensor)
    rows, cols = matrix_shape(meant.shape)
    step = max(1, _WEIGHTS // max(1, cols))
    parts = [slice(start, start + step) for start in range(0, rows, step)] if len(meant.shape) > 1 else [None]
    largest = 0.0
    for number, part in enumerate(parts):
        token.check(number / len(parts))
        a = meant.scheme.dequantize(meant, rows=part, token=token)
        b = found.scheme.dequantize(found, rows=part, token=token)
        if a.size:
            largest = max(largest, float(np.abs(a - b).max()))
    return largest


def difference_of_blocks(meant: Content, blocks: Iterable[np.ndarray], token: Token) -> float:
    """The largest |difference| of weights `[rows, cols]`, decoded elsewhere some rows at a time.

    What is not floating must have the same bytes; infinite where it has not, or where only one of two is a number.
    """
    rows, cols = matrix_shape(meant.shape)
    largest, start = 0.0, 0
    for block in blocks:
        token.check(start / max(1, rows))
        if not isinstance(meant, QTensor) and meant.dtype.kind != "f":
            return 0.0 if _same(meant, block) else math.inf
        part = slice(start, start + len(block))
        start += len(block)
        expected = _rows(meant, part, token).reshape(-1, cols)
        if not _same(expected, block):
            apart = np.abs(expected.astype(np.float64) - block.reshape(-1, cols))
            largest = max(largest, float(np.where(np.isnan(apart), math.inf, apart).max()))
    return largest if start == rows else math.inf


def _rows(content: Content, part: slice, token: Token) -> np.ndarray:
    """Some rows of a tensor as numbers; a vector is one row."""
    if isinstance(content, QTensor):
        rows = part if len(content.shape) > 1 else None
        return content.scheme.dequantize(content, rows=rows, token=token)
    return content.reshape(*matrix_shape(content.shape))[part]


def describe(content: Content) -> str:
    """Shape and how the elements are held, to compare and to show."""
    held = content.scheme.label if isinstance(content, QTensor) else content.dtype.name
    return f"{held} {list(content.shape)}"


def check(meant: Content, found: Content, crcs: Sequence[int], arrays: Sequence[Weights], token: Token) -> float:
    """`max_difference` of one tensor, which is 0; ExportError if the file does not hold what was written."""
    if describe(meant) != describe(found):
        raise ExportError(f"it was written as {describe(meant)} and reads back as {describe(found)}")
    if crc32(arrays, token) != list(crcs):
        raise ExportError("its bytes read back differently from what was written; the disk may be failing")
    difference = max_difference(meant, found, token)
    if not difference == 0:
        raise ExportError(f"it decodes to weights that are up to {difference:.3g} from what was meant")
    return difference
