"""The loops between codes and bytes, compiled by numba as those of `kernels.py` are."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit


@jit
def pack_digits(codes: np.ndarray, run: int, levels: int, digits: int, words: np.ndarray) -> None:
    """`codes` `[m, cols]` into `words` uint32 `[m, groups, words a group]`, first code least significant."""
    base = np.uint32(levels)
    cols = codes.shape[1]
    for row in range(codes.shape[0]):
        for group in range(words.shape[1]):
            part = codes[row, group * run : min((group + 1) * run, cols)]
            records = words[row, group]
            done = 0
            if digits == 9:  # written out, whole words of nine take a third of the time
                square, cube = base * base, base * base * base
                done = part.size // 9
                for w in range(done):
                    d = part[9 * w : 9 * w + 9]
                    low = d[0] + base * d[1] + square * d[2]
                    middle = d[3] + base * d[4] + square * d[5]
                    high = d[6] + base * d[7] + square * d[8]
                    records[w] = np.uint32(low + cube * np.uint32(middle + cube * high))
            for w in range(done, records.size):
                found = part[w * digits : (w + 1) * digits]
                word = np.uint32(0)
                for i in range(found.size - 1, -1, -1):
                    word = np.uint32(word * base + found[i])
                records[w] = word


@jit
def unpack_digits(words: np.ndarray, run: int, levels: int, digits: int, table: np.ndarray, codes: np.ndarray) -> bool:
    """The inverse of `pack_digits`; False if a word is larger than `levels**digits − 1`.

    `table` uint32 `[levels**k]` holds, a byte each, the `k` (1 to 3) digits of every number below its length: so many
    leave a word by one division, which is slow for a base that the compiler does not know.
    """
    chunk = np.uint32(table.size)
    several = 3 if chunk == levels**3 else 2 if chunk == levels**2 else 1
    top = np.uint64(1)
    for _ in range(digits):
        top *= np.uint64(levels)
    cols = codes.shape[1]
    bad = 0
    for row in range(codes.shape[0]):
        for group in range(words.shape[1]):
            part = codes[row, group * run : min((group + 1) * run, cols)]
            records = words[row, group]
            done = 0
            if digits == 9 and several == 3:  # written out, as in pack_digits
                done = part.size // 9
                for w in range(done):
                    d = part[9 * w : 9 * w + 9]
                    word = records[w]
                    rest = word // chunk
                    last = rest // chunk
                    if np.uint64(word) >= top:
                        bad += 1
                        continue
                    low, middle, high = table[word - rest * chunk], table[rest - last * chunk], table[last]
                    d[0], d[1], d[2] = low & 0xFF, (low >> 8) & 0xFF, low >> 16
                    d[3], d[4], d[5] = middle & 0xFF, (middle >> 8) & 0xFF, middle >> 16
                    d[6], d[7], d[8] = high & 0xFF, (high >> 8) & 0xFF, high >> 16
            for w in range(done, records.size):
                word = records[w]
                if np.uint64(word) >= top:
                    bad += 1
                at, end = w * digits, min((w + 1) * digits, part.size)
                while at + several <= end:
                    rest = word // chunk
                    held = table[word - rest * chunk]
                    word = rest
                    part[at] = held & np.uint32(0xFF)
                    if several > 1:
                        part[at + 1] = (held >> np.uint32(8)) & np.uint32(0xFF)
                    if several > 2:
                        part[at + 2] = held >> np.uint32(16)
                    at += several
                held = table[word % chunk]
                while at < end:
                    part[at] = held & np.uint32(0xFF)
                    held >>= np.uint32(8)
                    at += 1
    return bad == 0


@jit
def decode_nines(
    words: np.ndarray, run: int, first: int, scale: np.ndarray, offset: np.ndarray, table: np.ndarray, out: np.ndarray
) -> bool:
    """Words of nine digits straight to weights, `level·scale + offset`; False if a word is too large.

    `table` float32 `[base³, 3]` holds the levels of the three digits of every number below its length. The result is
    that of unpacking and decoding, in a third of the time: this is what devices do, and what a drag waits for.
    """
    chunk = np.uint32(table.shape[0])
    cols = out.shape[1]
    number, bad = first, 0
    for row in range(out.shape[0]):
        for group in range(words.shape[1]):
            k = number % scale.size
            number += 1
            s, o = scale[k], offset[k]
            part, records = out[row, group * run : min((group + 1) * run, cols)], words[row, group]
            whole = part.size // 9
            for w in range(records.size):
                word = records[w]
                rest = word // chunk
                last = rest // chunk
                a, b = word - rest * chunk, rest - last * chunk
                if last >= chunk:
                    bad += 1
                elif w < whole:
                    d = part[9 * w : 9 * w + 9]
                    d[0], d[1], d[2] = table[a, 0] * s + o, table[a, 1] * s + o, table[a, 2] * s + o
                    d[3], d[4], d[5] = table[b, 0] * s + o, table[b, 1] * s + o, table[b, 2] * s + o
                    d[6], d[7], d[8] = table[last, 0] * s + o, table[last, 1] * s + o, table[last, 2] * s + o
                else:
                    for i in range(9 * w, part.size):
                        j = i - 9 * w
                        entry = a if j < 3 else b if j < 6 else last
                        part[i] = table[entry, j % 3] * s + o
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
        at = done * bits // 8
        for begin in range(done, cols, 8):
            held = np.uint64(0)
            for j in range(min(bits, found.size - at)):
                held |= np.uint64(found[at]) << np.uint64(8 * j)
                at += 1
            for j in range(min(8, cols - begin)):
                into[begin + j] = np.uint8((held >> np.uint64(j * bits)) & mask)
