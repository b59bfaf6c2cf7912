"""The loops between codes and bytes, compiled by numba as those of `kernels.py` are."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import inlined, jit
from qinspect.quant.lanes import load8, store, stretch4

# No views of arrays in these loops: their reference counts would cost more than a group does.


@jit
def pack_digits(codes: np.ndarray, run: int, levels: int, digits: int, words: np.ndarray) -> None:
    """`codes` `[m, cols]` into `words` uint32 `[m, groups, words a group]`, first code least significant."""
    flat, records = codes.reshape(-1), words.reshape(-1)
    cols, groups, each = codes.shape[1], words.shape[1], words.shape[2]
    base = np.uint32(levels)
    full = run // digits if levels <= 16 else 0
    for row in range(codes.shape[0]):
        for group in range(groups):
            start, into = row * cols + group * run, (row * groups + group) * each
            stop = min(start + run, row * cols + cols)
            whole = full if stop - start == run else (stop - start) // digits if levels <= 16 else 0
            if digits == 9:  # with a number that the compiler knows it takes half the time
                _pack_words(flat, start, 9, levels, records, into, whole)
            elif digits == 8:
                _pack_words(flat, start, 8, levels, records, into, whole)
            else:
                _pack_words(flat, start, digits, levels, records, into, whole)
            for w in range(whole, each):
                at = np.uint64(start + w * digits)
                end = np.uint64(min(start + (w + 1) * digits, stop))
                word = np.uint32(0)
                while end > at:
                    end -= np.uint64(1)
                    word = np.uint32(word * base + flat[end])
                records[np.uint64(into + w)] = word


@inlined
def _pack_words(
    flat: np.ndarray, start: int, digits: int, levels: int, records: np.ndarray, into: int, count: int
) -> None:
    """Whole words of eight digits or more, from the code at `start` on."""
    base, eight = np.uint64(levels), np.uint32(levels**8)
    octets, rest = digits // 8, digits % 8
    for w in range(count):
        at = np.uint64(start + (w + 1) * digits)
        word = np.uint32(0)
        for _ in range(rest):
            at -= np.uint64(1)
            word = np.uint32(word * np.uint32(base) + flat[at])
        for _ in range(octets):
            at -= np.uint64(8)
            word = np.uint32(word * eight + _eight_digits(load8(flat, at), base))
        records[np.uint64(into + w)] = word


@inlined
def _eight_digits(held: np.uint64, base: np.uint64) -> np.uint32:
    """The number of eight digits, a byte each, of a base up to 16: neighbours are joined three times, all at once."""
    held = (held + base * (held >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    square = base * base
    held = (held + square * (held >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return np.uint32(held + square * square * (held >> np.uint64(32)))


@jit
def unpack_digits(
    words: np.ndarray, run: int, digits: int, top: int, table: np.ndarray, several: int, factor: int, shift: int,
    codes: np.ndarray,
) -> bool:  # fmt: skip
    """The inverse of `pack_digits`; False if a word is larger than `top`.

    `table` uint32 `[base**several]` holds, a byte each, the `several` (1 to 3) digits of every number below its length:
    so many leave a word by one division, which is a multiplication by `factor` and a `shift`.
    """
    flat, records = codes.reshape(-1), words.reshape(-1)
    cols, groups, each = codes.shape[1], words.shape[1], words.shape[2]
    chunk, times, by, largest = np.uint64(table.size), np.uint64(factor), np.uint64(shift), np.uint64(top)
    pieces = -(-digits // several)
    room = flat.size - several * (pieces - 1) - 4
    bad = 0
    for row in range(codes.shape[0]):
        for group in range(groups):
            start, source = row * cols + group * run, (row * groups + group) * each
            stop = min(start + run, row * cols + cols)
            # Digits that pad a group, and unused bytes of an entry, are overwritten by what comes next.
            done = each if start + (each - 1) * digits <= room else max(0, (room - start) // digits + 1)
            if pieces == 3:
                bad += _spread_words(records, source, done, 3, digits, largest, table, several, times, by, flat, start)
            else:
                bad += _spread_words(
                    records, source, done, pieces, digits, largest, table, several, times, by, flat, start
                )
            for w in range(done, each):
                bad += records[source + w] > largest
                word = min(np.uint64(records[source + w]), largest)
                at = start + w * digits
                end = min(at + digits, stop)
                while at < end:
                    rest = (word * times) >> by
                    held = table[word - rest * chunk]
                    word = rest
                    for i in range(at, min(at + several, end)):
                        flat[i] = held & np.uint32(0xFF)
                        held = np.uint32(held >> np.uint32(8))
                    at += several
    return bad == 0


@inlined
def _spread_words(
    records: np.ndarray, source: int, count: int, pieces: int, digits: int, largest: np.uint64,
    table: np.ndarray, several: int, times: np.uint64, by: np.uint64, flat: np.ndarray, start: int,
) -> int:  # fmt: skip
    """Words to digits from `start` on, and up to three bytes more; returns how many words are too large."""
    chunk, stride = np.uint64(table.size), np.uint64(several)
    bad = 0
    for w in range(count):
        at = np.uint64(start + w * digits)
        held = records[np.uint64(source + w)]
        bad += held > largest
        word = min(np.uint64(held), largest)
        for _ in range(pieces - 1):
            rest = (word * times) >> by
            store(flat, at, table[word - rest * chunk])
            word = rest
            at += stride
        store(flat, at, table[word])
    return bad


@jit
def decode_digits(
    words: np.ndarray, run: int, digits: int, top: int, table: np.ndarray, factor: int, shift: int,
    first: int, scale: np.ndarray, offset: np.ndarray, out: np.ndarray,
) -> bool:  # fmt: skip
    """Words of eight or nine digits straight to weights, `level·scale + offset`; False if a word is too large.

    `table` float32 `[4 base³]` holds, in four entries, the levels of the three digits of every number below `base³`.
    The result is that of unpacking and decoding: this is what devices do, and what a drag waits for.
    """
    flat, records = out.reshape(-1), words.reshape(-1)
    cols, groups, each = out.shape[1], words.shape[1], words.shape[2]
    chunk, times, by, largest = np.uint64(table.size // 4), np.uint64(factor), np.uint64(shift), np.uint64(top)
    three, four, room = np.uint64(3), np.uint64(4), flat.size - 10
    after, bad = first % scale.size, 0
    for row in range(out.shape[0]):
        for group in range(groups):
            k = after
            after = k + 1 if k + 1 < scale.size else 0
            s, o = scale[k], offset[k]
            start, source = row * cols + group * run, (row * groups + group) * each
            stop = min(start + run, row * cols + cols)
            # As in unpack_digits, too much is written and then overwritten.
            done = each if start + (each - 1) * digits <= room else max(0, (room - start) // digits + 1)
            for w in range(done):
                at = np.uint64(start + w * digits)
                held = records[np.uint64(source + w)]
                bad += held > largest
                word = min(np.uint64(held), largest)
                rest = (word * times) >> by
                last = (rest * times) >> by
                stretch4(flat, at, table, four * (word - rest * chunk), s, o)
                stretch4(flat, at + three, table, four * (rest - last * chunk), s, o)
                stretch4(flat, at + three + three, table, four * last, s, o)
            for w in range(done, each):
                bad += records[source + w] > largest
                word = min(np.uint64(records[source + w]), largest)
                at = start + w * digits
                end = min(at + digits, stop)
                while at < end:
                    rest = (word * times) >> by
                    for i in range(at, min(at + 3, end)):
                        flat[i] = table[four * (word - rest * chunk) + np.uint64(i - at)] * s + o
                    word = rest
                    at += 3
    return bad == 0


@jit
def pack_bits(codes: np.ndarray, bits: int, out: np.ndarray) -> None:
    """`codes` uint8 `[m, cols]`, 2 to 7 bits each, as a little-endian bit stream along each row of `out`."""
    cols = codes.shape[1]
    for row in range(codes.shape[0]):
        found, into = codes[row], out[row]
        done = 0
        if bits == 4:  # the common width, written out so that it vectorises
            done = cols // 2 * 2
            for j in range(cols // 2):
                into[j] = found[2 * j] | (found[2 * j + 1] << np.uint8(4))
        else:
            for at in range(0, (into.size - 8) // bits * bits + 1, bits):  # what is written too much comes again
                store(into, at, _joined(load8(found, done), bits))
                done += 8
        at = done * bits // 8
        for begin in range(done, cols, 8):
            held = np.uint64(0)
            for j in range(min(8, cols - begin)):
                held |= np.uint64(found[begin + j]) << np.uint64(j * bits)
            for _ in range(min(bits, into.size - at)):
                into[at] = np.uint8(held & np.uint64(0xFF))
                held >>= np.uint64(8)
                at += 1


@jit
def unpack_bits(data: np.ndarray, bits: int, codes: np.ndarray) -> None:
    """The inverse of `pack_bits`."""
    cols = codes.shape[1]
    mask = np.uint64((1 << bits) - 1)
    for row in range(codes.shape[0]):
        found, into = data[row], codes[row]
        done = 0
        if bits == 4:
            done = cols // 2 * 2
            for j in range(cols // 2):
                into[2 * j] = found[j] & np.uint8(15)
                into[2 * j + 1] = found[j] >> np.uint8(4)
        else:
            for at in range(0, (found.size - 8) // bits * bits + 1, bits):
                store(into, done, _parted(load8(found, at), bits))
                done += 8
        at = done * bits // 8
        for begin in range(done, cols, 8):
            held = np.uint64(0)
            for j in range(min(bits, found.size - at)):
                held |= np.uint64(found[at]) << np.uint64(8 * j)
                at += 1
            for j in range(min(8, cols - begin)):
                into[begin + j] = np.uint8((held >> np.uint64(j * bits)) & mask)


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
