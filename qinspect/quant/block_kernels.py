"""The loops that take codes out of blocks of bytes, as ggml and others lay them out, compiled as those of `kernels.py`.

`blocks` is uint8 `[rows, blocks, bytes]`; `out` uint8 `[rows, cols]`, where `cols` are the weights of all blocks.
"""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit


@jit
def unpack_plane(blocks: np.ndarray, begin: int, across: int, bits: int, up: int, out: np.ndarray) -> None:
    """Bit fields that run across bytes: `across` bytes from `begin` on hold the first fields of as many weights, then,
    higher up, the next ones; the following `across` bytes go on. Each field is put into bit `up` of its code.
    """
    mask = np.uint8((1 << bits) - 1)
    size = out.shape[1] // blocks.shape[1]
    fields = 8 // bits
    for row in range(blocks.shape[0]):
        for number in range(blocks.shape[1]):
            block = blocks[row, number]
            codes = out[row, number * size : (number + 1) * size]
            if across == 1 and bits == 1 and up:  # written out, a tenth of the time
                for byte in range(size // 8):
                    held, into = block[begin + byte], codes[8 * byte : 8 * byte + 8]
                    for i in range(8):
                        into[i] |= ((held >> np.uint8(i)) & np.uint8(1)) << np.uint8(up)
                continue
            for piece in range(size // across):
                shift = np.uint8(bits * (piece % fields))
                at = begin + piece // fields * across
                fields_at, into = block[at : at + across], codes[piece * across : (piece + 1) * across]
                if up == 0:
                    for i in range(across):
                        into[i] = (fields_at[i] >> shift) & mask
                else:
                    for i in range(across):
                        into[i] |= ((fields_at[i] >> shift) & mask) << np.uint8(up)


@jit
def unpack_trits(blocks: np.ndarray, at: np.ndarray, times: np.ndarray, out: np.ndarray) -> None:
    """Base-3 digits of bytes that are fractions of 256: digit `floor(3·(byte·times mod 256) / 256)` of byte `at`."""
    size = at.size
    for row in range(blocks.shape[0]):
        for number in range(blocks.shape[1]):
            block = blocks[row, number]
            codes = out[row, number * size : (number + 1) * size]
            for i in range(size):
                held = (np.uint32(block[at[i]]) * np.uint32(times[i])) & np.uint32(0xFF)
                codes[i] = (held * np.uint32(3)) >> np.uint32(8)


@jit
def unpack_vectors(index: np.ndarray, signs: np.ndarray, book: np.ndarray, negative: int, out: np.ndarray) -> None:
    """Vectors of a codebook: `out[row, v·n + i] = negative + book[index[row, v], i]`, `book` uint8 `[entries, n]`.

    Where bit `i` of `signs[row, v]` is set, it is `negative − 1 − book[…]`: the mirror image.
    """
    n = book.shape[1]
    for row in range(index.shape[0]):
        for v in range(index.shape[1]):
            entry, sign = book[index[row, v]], signs[row, v]
            codes = out[row, v * n : (v + 1) * n]
            for i in range(n):
                minus = np.int64((sign >> np.uint8(i)) & np.uint8(1))
                codes[i] = np.uint8(negative - minus + (1 - 2 * minus) * np.int64(entry[i]))


@jit
def look_up(codes: np.ndarray, table: np.ndarray) -> None:
    """Each of the `codes` (uint8) replaced by its entry in `table` (uint8 `[256]`)."""
    flat = codes.reshape(-1)
    for i in range(flat.size):
        flat[i] = table[flat[i]]
