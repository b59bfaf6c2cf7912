"""Codes to bytes and back: fixed-width bit fields along a row, or base-N digits in 32-bit words along a group.

Codes are unsigned here, 0 … levels−1. Both packings work on a block of rows; `shape` tells how a tensor is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qinspect.errors import FormatError
from qinspect.quant.layout import Layout
from qinspect.quant.lazy import Weights
from qinspect.quant.places import Place

if TYPE_CHECKING:
    from qinspect.quant.scheme import Grid


class Packing(Protocol):
    """How the codes of a tensor are laid out in bytes."""

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """Shape of the uint8 array that holds a tensor of this layout; its first axis is the matrix row."""

    def pack(self, codes: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Write `codes` `[m, cols]` into `out`, the `m` rows of a stored array."""

    def unpack(self, data: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Read `m` stored rows into `out` `[m, cols]`."""

    def places(self, layout: Layout, start: int, stop: int) -> Iterator[Place]:
        """Where in the bytes of a row the codes of columns `start`…`stop` are."""


@dataclass(frozen=True)
class BitPacking:
    """`bits` bits a code: a little-endian bit stream along each row, first code lowest, rows padded to bytes."""

    bits: int

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """`[rows, ceil(cols · bits / 8)]`."""
        return layout.rows, -(-layout.cols * self.bits // 8)

    def pack(self, codes: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Codes `[m, cols]`, uint8 (uint16 for 16 bits), into `out` `[m, row bytes]`."""
        from qinspect.quant import packing_kernels

        if self.bits == 8:
            out[...] = codes
        elif self.bits == 16:
            out[...] = codes.astype("<u2", copy=False).view(np.uint8)
        else:
            packing_kernels.pack_bits(codes.reshape(-1), *codes.shape, self.bits, out.reshape(-1), 0)

    def unpack(self, data: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Stored rows `[m, row bytes]` into codes `[m, cols]`."""
        from qinspect.quant import packing_kernels

        if self.bits == 8:
            out[...] = data
        elif self.bits == 16:
            out[...] = np.ascontiguousarray(data).view("<u2")
        else:
            found = np.ascontiguousarray(data).reshape(-1)
            packing_kernels.unpack_bits(found, *out.shape, self.bits, out.reshape(-1))

    def places(self, layout: Layout, start: int, stop: int) -> Iterator[Place]:
        """As many codes together as fill whole bytes."""
        together = math.lcm(self.bits, 8) // self.bits
        for first in range(start // together * together, stop, together):
            count = min(together, layout.cols - first)
            yield Place(first * self.bits // 8, -(-count * self.bits // 8), first, count, 1 << self.bits)


def read_bits(stream: Weights, bits: int, row_bits: int, start: int, out: np.ndarray) -> None:
    """Codes of `bits` bits, low bits first, from a uint8 `stream` into `out` `[m, cols]`, from row `start` on.

    Row `i` begins at bit `i · row_bits`, in a whole byte unless rows follow each other without padding.
    """
    packing = BitPacking(bits)
    rows, cols = out.shape
    if row_bits % 8 == 0:
        step = row_bits // 8
        data = stream[start * step : (start + rows - 1) * step + -(-cols * bits // 8)]
        strides = step, 1
        data = np.ndarray((rows, -(-cols * bits // 8)), np.uint8, data, 0, strides)
        packing.unpack(data, Layout(rows, cols, cols, cols, (1,)), out)
        return
    # Eight codes fill whole bytes.
    skipped = start * cols % 8
    n = skipped + out.size
    first = (start * cols - skipped) * bits // 8
    codes = np.empty((1, n), out.dtype)
    packing.unpack(stream[first : first + -(-n * bits // 8)][None], Layout(1, n, n, n, (1,)), codes)
    out[...] = codes[0, skipped:].reshape(out.shape)


def digits_per_word(levels: int) -> int:
    """How many base-`levels` digits fit a uint32: 9 for 11 levels."""
    digits = 1
    while levels ** (digits + 1) <= 1 << 32:
        digits += 1
    return digits


@cache
def _split(levels: int) -> tuple[np.ndarray, int, int, int]:
    """How digits leave a word, several at once: a table, how many they are, factor and shift that divide by so many.

    The table, uint32, holds the digits of every number that has no more, a byte each.
    """
    top = levels ** digits_per_word(levels) - 1
    for several in range(3 if levels <= 16 else 2 if levels <= 64 else 1, 4):
        chunk = levels**several
        for shift in range(chunk.bit_length(), 64):
            factor = -(-(1 << shift) // chunk)
            # Exact for every word, and within 64 bits.
            if top * (factor * chunk - (1 << shift)) < 1 << shift and top * factor < 1 << 64:
                numbers = np.arange(chunk)
                table: np.ndarray = sum(numbers // levels**j % levels << 8 * j for j in range(several))
                return table.astype(np.uint32), several, factor, shift
    raise AssertionError(f"words of base {levels} cannot be divided by multiplication")


@lru_cache(maxsize=32)
def _level_table(levels: bytes) -> np.ndarray:
    """The levels of the three digits of every number that has no more, and a zero: float32 `[4 base³]`."""
    table = np.frombuffer(levels, np.float32)
    numbers = np.arange(table.size**3)
    columns = [table[numbers // table.size**j % table.size] for j in range(3)]
    return np.stack([*columns, np.zeros_like(columns[0])], axis=1).reshape(-1)


@dataclass(frozen=True)
class RowDigitPacking:
    """As `DigitPacking`, but words run on along the whole row, whatever shares parameters."""

    levels: int

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """`[rows, 4 · ceil(cols / digits)]`."""
        rows, _, nbytes = DigitPacking(self.levels).shape(_whole_rows(layout))
        return rows, nbytes

    def pack(self, codes: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Codes `[m, cols]` uint8 into `out` `[m, row bytes]`."""
        DigitPacking(self.levels).pack(codes, _whole_rows(layout), out[:, None])

    def unpack(self, data: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Stored rows `[m, row bytes]` into codes `[m, cols]`; FormatError as in `DigitPacking`."""
        DigitPacking(self.levels).unpack(data[:, None], _whole_rows(layout), out)

    def places(self, layout: Layout, start: int, stop: int) -> Iterator[Place]:
        """Words of the row."""
        return DigitPacking(self.levels).places(_whole_rows(layout), start, stop)


def row_packing(levels: int) -> Packing:
    """How any number of levels is stored along each row: as bit fields for a power of two, else as digits."""
    bits = levels.bit_length() - 1
    return BitPacking(bits) if levels == 1 << bits else RowDigitPacking(levels)


def _whole_rows(layout: Layout) -> Layout:
    return replace(layout, line=layout.cols, run=layout.cols)


@dataclass(frozen=True)
class DigitPacking:
    """`levels` values a digit, as many digits as fit in each little-endian uint32, first weight least significant.

    Every group starts a new word and is padded with digit 0; a ragged last group is stored in a record of full width.
    """

    levels: int

    @property
    def digits(self) -> int:
        """Digits in a word."""
        return digits_per_word(self.levels)

    @property
    def top_word(self) -> int:
        """The largest word that codes can give; a larger one in a file is corruption."""
        return int(self.levels**self.digits) - 1

    def record_bytes(self, group: int) -> int:
        """Bytes of one group."""
        return 4 * -(-group // self.digits)

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """`[rows, groups, 4 · ceil(group / digits)]`."""
        return layout.rows, layout.runs_per_row, self.record_bytes(layout.run)

    def pack(self, codes: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Codes `[m, cols]` uint8 into `out` `[m, groups, record]`."""
        from qinspect.quant import packing_kernels

        sizes = *codes.shape, layout.run, self.levels, self.digits
        packing_kernels.pack_digits(codes.reshape(-1), *sizes, out.reshape(-1), 0)

    def unpack(self, data: np.ndarray, layout: Layout, out: np.ndarray) -> None:
        """Stored records `[m, groups, record]` into codes `[m, cols]`; a word above `top_word` is a FormatError."""
        from qinspect.quant import packing_kernels

        words = np.ascontiguousarray(data).view("<u4").reshape(-1)
        sizes = *out.shape, layout.run, self.digits, self.top_word
        if not packing_kernels.unpack_digits(words, *sizes, *_split(self.levels), out.reshape(-1)):
            raise self._corrupt(words)

    def places(self, layout: Layout, start: int, stop: int) -> Iterator[Place]:
        """Words of the groups."""
        for group in range(start // layout.run, -(-stop // layout.run)):
            begin, end = group * layout.run, min((group + 1) * layout.run, layout.cols)
            first = begin + max(0, start - begin) // self.digits * self.digits
            for at in range(first, min(end, stop), self.digits):
                offset = group * self.record_bytes(layout.run) + (at - begin) // self.digits * 4
                yield Place(offset, 4, at, min(self.digits, end - at), self.levels)

    def decode(self, data: np.ndarray, layout: Layout, first: int, grid: Grid, out: np.ndarray) -> bool:
        """Stored records straight to weights `[m, cols]` where that is faster; False where it is not done."""
        from qinspect.quant import packing_kernels

        if self.digits not in (8, 9) or grid.table is None:
            return False
        words = np.ascontiguousarray(data).view("<u4").reshape(-1)
        table, (_, _, factor, shift) = _level_table(grid.table.tobytes()), _split(self.levels)
        sizes = *out.shape, layout.run, self.digits, self.top_word
        sets = first, grid.scale, grid.offset
        if not packing_kernels.decode_digits(words, *sizes, table, factor, shift, *sets, out.reshape(-1)):
            raise self._corrupt(words)
        return True

    def _corrupt(self, words: np.ndarray) -> FormatError:
        bad = int(np.count_nonzero(words > self.top_word))
        return FormatError(
            f"{bad} packed words are above {self.levels}^{self.digits}−1 = {self.top_word}: the file is corrupt; "
            "copy or export it again"
        )
