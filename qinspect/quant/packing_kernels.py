"""The loops between codes and bytes, compiled by numba as those of `kernels.py` are; arrays are vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant.kernels import inlined, jit
from qinspect.quant.lanes import load8, store, stretch4


@jit
def pack_digits(
    codes: np.ndarray, rows: int, cols: int, run: int, levels: int, digits: int, out: np.ndarray, into: int
) -> None:
    """Codes of `rows` × `cols` into words of the bytes `out`, from word `into` on, a group at a time; least first."""
    each = -(-run // digits)
    base, wide, eight = np.uint32(levels), np.uint64(levels), np.uint32(levels**8)
    octets = digits // 8 if levels <= 16 else 0
    column = row = 0
    while row < rows:
        start = row * cols + column
        size = run if run < cols - column else cols - column
        done = 0
        if digits == 9:  # with a number that the compiler knows it takes half the time
            done = size // 9
            for w in range(done):
                at = np.uint64(start + w * 9)
                word = np.uint32(eight * codes[at + np.uint64(8)])
                store(out, 4 * (into + w), np.uint32(word + _eight_digits(load8(codes, at), wide)))
        for w in range(done, each):
            at = np.uint64(start + w * digits)
            end = np.uint64(start + (size if size < (w + 1) * digits else (w + 1) * digits))
            word = np.uint32(0)
            if (w + 1) * digits <= size:
                for _ in range(digits - 8 * octets):
                    end -= np.uint64(1)
                    word = np.uint32(word * base + codes[end])
                for _ in range(octets):
                    end -= np.uint64(8)
                    word = np.uint32(word * eight + _eight_digits(load8(codes, end), wide))
            while end > at:
                end -= np.uint64(1)
                word = np.uint32(word * base + codes[end])
            store(out, 4 * (into + w), word)
        into += each
        column += run
        if column >= cols:
            row, column = row + 1, 0


@inlined
def _eight_digits(held: np.uint64, base: np.uint64) -> np.uint32:
    """The number of eight digits, a byte each, of a base up to 16: neighbours are joined three times, all at once."""
    held = (held + base * (held >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    square = base * base
    held = (held + square * (held >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return np.uint32(held + square * square * (held >> np.uint64(32)))


@jit
def unpack_digits(
    words: np.ndarray, rows: int, cols: int, run: int, digits: int, top: int,
    table: np.ndarray, several: int, factor: int, shift: int, codes: np.ndarray,
) -> bool:  # fmt: skip
    """The inverse of `pack_digits`; False if a word is larger than `top`.

    `table` uint32 `[base**several]` holds, a byte each, the `several` (1 to 3) digits of every number below its length:
    so many leave a word by one division, which is a multiplication by `factor` and a `shift`.
    """
    chunk, times, by, largest = np.uint64(table.size), np.uint64(factor), np.uint64(shift), np.uint64(top)
    each, pieces, stride = -(-run // digits), -(-digits // several), np.uint64(several)
    room = codes.size - several * (pieces - 1) - 4
    column = row = source = 0
    seen = np.uint64(0)
    while row < rows:
        start = row * cols + column
        size = run if run < cols - column else cols - column
        whole = _roomy(start, each, digits, room)
        for w in range(whole):
            word = np.uint64(words[np.uint64(source + w)])
            seen = word if word > seen else seen
            word = word if word <= largest else largest
            at = np.uint64(start + w * digits)
            for _ in range(pieces - 1):
                rest = (word * times) >> by
                store(codes, at, table[word - rest * chunk])
                word = rest
                at += stride
            store(codes, at, table[word])
        for w in range(whole, each):
            word = np.uint64(words[np.uint64(source + w)])
            seen = word if word > seen else seen
            word = word if word <= largest else largest
            part = np.uint32(0)
            for i in range(size - w * digits if size < (w + 1) * digits else digits):
                if i % several == 0:
                    rest = (word * times) >> by
                    part = table[word - rest * chunk]
                    word = rest
                codes[start + w * digits + i] = part & np.uint32(0xFF)
                part = np.uint32(part >> np.uint32(8))
        source += each
        column += run
        if column >= cols:
            row, column = row + 1, 0
    return bool(seen <= largest)


@inlined
def _roomy(start: int, each: int, digits: int, room: int) -> int:
    """How many of a group's words begin at `room` or before: more than their digits may be written.

    What is written too much, digits that pad a group and unused lanes, is overwritten by what follows. The loop over
    these words has no branch, so that the compiler keeps all it needs in registers: half of the time.
    """
    if start + (each - 1) * digits <= room:
        return each
    return 0 if start > room else (room - start) // digits + 1


@jit
def decode_digits(
    words: np.ndarray, rows: int, cols: int, run: int, digits: int, top: int,
    table: np.ndarray, factor: int, shift: int, first: int, scale: np.ndarray, offset: np.ndarray, out: np.ndarray,
) -> bool:  # fmt: skip
    """Words of eight or nine digits straight to weights, `level·scale + offset`; False if a word is too large.

    `table` float32 `[4 base³]` holds, in four entries, the levels of the three digits of every number below `base³`.
    The result is that of unpacking and decoding: this is what devices do, and what a drag waits for.
    """
    chunk, largest, by = np.uint64(table.size // 4), np.uint64(top), (np.uint64(factor), np.uint64(shift))
    three, stride, each, room = np.uint64(3), np.uint64(digits), -(-run // digits), out.size - 10
    k, column, row, source = first % scale.size, 0, 0, 0
    seen = np.uint64(0)
    while row < rows:
        s, o = scale[k], offset[k]
        start = row * cols + column
        size = run if run < cols - column else cols - column
        whole = _roomy(start, each, digits, room)
        at = np.uint64(start)
        for w in range(source, source + whole):
            word = np.uint64(words[np.uint64(w)])
            seen = word if word > seen else seen
            a, b, c = _thirds(word if word <= largest else largest, chunk, by)
            stretch4(out, at, table, a, s, o)
            stretch4(out, at + three, table, b, s, o)
            stretch4(out, at + three + three, table, c, s, o)
            at += stride
        for w in range(whole, each):
            word = np.uint64(words[np.uint64(source + w)])
            seen = word if word > seen else seen
            a, b, c = _thirds(word if word <= largest else largest, chunk, by)
            for i in range(size - w * digits if size < (w + 1) * digits else digits):
                entry = a if i < 3 else b if i < 6 else c
                out[start + w * digits + i] = table[entry + np.uint64(i % 3)] * s + o
        source += each
        k = k + 1 if k + 1 < scale.size else 0
        column += run
        if column >= cols:
            row, column = row + 1, 0
    return bool(seen <= largest)


@inlined
def _thirds(word: np.uint64, chunk: np.uint64, by: tuple[np.uint64, np.uint64]) -> tuple[Any, Any, Any]:
    """Where the table of `decode_digits` holds the three lowest digits of a word, the next three, and the last."""
    rest = (word * by[0]) >> by[1]
    last = (rest * by[0]) >> by[1]
    return (word - rest * chunk) << np.uint64(2), (rest - last * chunk) << np.uint64(2), last << np.uint64(2)


@jit
def pack_bits(codes: np.ndarray, rows: int, cols: int, bits: int, out: np.ndarray, into: int) -> None:
    """Codes of 2 to 7 bits as a little-endian bit stream along each row, from byte `into` of `out` on."""
    each = (cols * bits + 7) // 8
    for row in range(rows):
        start, at = row * cols, into + row * each
        done = 0
        if bits == 4:  # the common width, written out so that it vectorises
            found, packed = codes[start : start + cols], out[at : at + each]
            done = cols // 2 * 2
            for j in range(cols // 2):
                packed[j] = found[2 * j] | (found[2 * j + 1] << np.uint8(4))
        else:
            for byte in range(at, at + (each - 8) // bits * bits + 1, bits):  # what is written too much comes again
                store(out, byte, _joined(load8(codes, start + done), bits))
                done += 8
        at = into + row * each + done * bits // 8
        for begin in range(done, cols, 8):
            held, count = np.uint64(0), 8 if cols - begin > 8 else cols - begin
            for j in range(count):
                held |= np.uint64(codes[start + begin + j]) << np.uint64(j * bits)
            for _ in range((count * bits + 7) // 8):
                out[at] = np.uint8(held & np.uint64(0xFF))
                held >>= np.uint64(8)
                at += 1


@jit
def unpack_bits(data: np.ndarray, rows: int, cols: int, bits: int, codes: np.ndarray) -> None:
    """The inverse of `pack_bits`."""
    each = (cols * bits + 7) // 8
    mask = np.uint64((1 << bits) - 1)
    for row in range(rows):
        start, at = row * cols, row * each
        done = 0
        if bits == 4:
            found, into = data[at : at + each], codes[start : start + cols]
            done = cols // 2 * 2
            for j in range(cols // 2):
                into[2 * j] = found[j] & np.uint8(15)
                into[2 * j + 1] = found[j] >> np.uint8(4)
        else:
            for byte in range(at, at + (each - 8) // bits * bits + 1, bits):
                store(codes, start + done, _parted(load8(data, byte), bits))
                done += 8
        at = row * each + done * bits // 8
        for begin in range(done, cols, 8):
            held, count = np.uint64(0), 8 if cols - begin > 8 else cols - begin
            for j in range((count * bits + 7) // 8):
                held |= np.uint64(data[at]) << np.uint64(8 * j)
                at += 1
            for j in range(count):
                codes[start + begin + j] = np.uint8((held >> np.uint64(j * bits)) & mask)


@inlined
def _joined(held: np.uint64, bits: int) -> np.uint64:
    """Eight codes, a byte each, side by side: neighbours are joined three times, all at once."""
    b, two, four = np.uint64(bits), np.uint64(2 * bits), np.uint64(4 * bits)
    low = np.uint64(0x00FF00FF00FF00FF)
    held = held & low | (held >> np.uint64(8) & low) << b
    low = np.uint64(0x0000FFFF0000FFFF)
    held = held & low | (held >> np.uint64(16) & low) << two
    return held & np.uint64(0xFFFFFFFF) | held >> np.uint64(32) << four


@inlined
def _parted(held: np.uint64, bits: int) -> np.uint64:
    """The inverse of `_joined`; what lies above the eight codes is dropped."""
    b, two, four = np.uint64(bits), np.uint64(2 * bits), np.uint64(4 * bits)
    one = np.uint64(1)
    low = (one << four) - one
    held = held & low | (held >> four & low) << np.uint64(32)
    low = ((one << two) - one) * np.uint64(0x0000000100000001)
    held = held & low | (held >> two & low) << np.uint64(16)
    low = ((one << b) - one) * np.uint64(0x0001000100010001)
    return held & low | (held >> b & low) << np.uint64(8)
