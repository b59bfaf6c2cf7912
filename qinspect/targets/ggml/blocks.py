"""Blocks of ggml from codes and parameters; the layouts are those that `formats/ggml.py` reads.

The fields of a block, in bytes: `d` and `m` are float16.

| type | layout |
|---|---|
| Q8_0 | d, 32 signed bytes |
| Q4_0, Q4_1 | d, (m,) 16 bytes: weights 0 … 15 in the low halves, 16 … 31 in the high |
| Q5_0, Q5_1 | d, (m,) 4 bytes with the fifth bits, the first lowest, then 16 bytes as above |
| MXFP4 | exponent + 127, 16 bytes as above |
| TQ1_0 | 32 and 16 bytes of five trits, 4 bytes of four, d |
| TQ2_0 | 64 bytes of four codes, d |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qinspect.quant.e2m1 import PATTERN_OF_CODE
from qinspect.quant.scheme import QTensor
from qinspect.targets.ggml.carriers import Carrier
from qinspect.task import Token

_AT_ONCE = 1 << 20
"""Weights that become blocks between two checks of the token."""


def blocks_from(q: QTensor, carrier: Carrier, token: Token) -> np.ndarray:
    """The tensor as blocks, uint8 `[rows, blocks, bytes]`."""
    m, kind = carrier.matrix, carrier.type
    heads = _heads(q, carrier)
    out = np.empty((m.rows, m.cols // kind.weights, kind.nbytes), np.uint8)
    step = max(1, _AT_ONCE // m.cols)
    for start in range(0, m.rows, step):
        token.check(start / m.rows)
        stop = min(m.rows, start + step)
        codes = np.empty((stop - start, m.cols), np.uint8)
        q.scheme.unpack(q, start, stop, codes)
        held = _shifted(codes, carrier).reshape(stop - start, -1, kind.weights)
        _LAYOUTS[kind.name](held, [head[start:stop] for head in heads], out[start:stop])
    return out


def _heads(q: QTensor, carrier: Carrier) -> list[np.ndarray]:
    """The parameters of every block as bytes, `[rows, blocks, bytes]` each."""
    if carrier.type.name == "MXFP4":
        return [carrier.exponents(q)[..., None]]
    step, low = carrier.grid(q)
    with np.errstate(over="ignore"):
        found = [(-step if carrier.negated else step).astype("<f2")]
        if carrier.type.name in ("Q4_1", "Q5_1"):
            found.append(low.astype("<f2"))
    return [np.ascontiguousarray(array)[..., None].view(np.uint8) for array in found]


def _shifted(codes: np.ndarray, carrier: Carrier) -> np.ndarray:
    """Codes counted from the lowest of the scheme to those counted from the lowest of the type."""
    if carrier.type.name in ("MXFP4", "Q4_1", "Q5_1"):
        return codes
    if carrier.negated:
        return np.uint8(carrier.n_codes - 1) - codes
    return codes + np.uint8(-carrier.type.codes[0] - int(carrier.matrix.fixed_zero))


def _halves(codes: np.ndarray) -> np.ndarray:
    """Two codes of four bits a byte: the first half of the block low, the second high."""
    return np.asarray(codes[..., :16] & 15 | codes[..., 16:] << 4)


def _four_bits(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    np.concatenate([*heads, _halves(codes)], axis=-1, out=out)


def _five_bits(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    fifth = np.packbits(codes >> 4, axis=-1, bitorder="little")
    np.concatenate([*heads, fifth, _halves(codes)], axis=-1, out=out)


def _bytes(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    np.concatenate([*heads, codes ^ np.uint8(128)], axis=-1, out=out)


def _patterns(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    _four_bits(PATTERN_OF_CODE[codes], heads, out)


def _quarters(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    parts = codes.reshape(*codes.shape[:2], 2, 4, 32)
    held = parts[..., 0, :] | parts[..., 1, :] << 2 | parts[..., 2, :] << 4 | parts[..., 3, :] << 6
    np.concatenate([held.reshape(*codes.shape[:2], 64), *heads], axis=-1, out=out)


def _trits(codes: np.ndarray, heads: list[np.ndarray], out: np.ndarray) -> None:
    """A byte is 256/243 of a number of five trits, rounded up, so that multiplying by three shifts out the first."""
    parts = []
    for start, width, trits in ((0, 32, 5), (160, 16, 5), (240, 4, 4)):
        part = codes[..., start : start + width * trits].reshape(*codes.shape[:2], trits, width)
        places = 3 ** np.arange(4, 4 - trits, -1, dtype=np.uint16)
        parts.append(np.tensordot(part.astype(np.uint16), places, ([2], [0])))
    number = np.concatenate(parts, axis=-1)
    np.concatenate([((number * 256 + 242) // 243).astype(np.uint8), *heads], axis=-1, out=out)


_LAYOUTS: dict[str, Callable[[np.ndarray, list[np.ndarray], np.ndarray], None]] = {
    "Q8_0": _bytes, "Q4_0": _four_bits, "Q4_1": _four_bits, "Q5_0": _five_bits, "Q5_1": _five_bits,
    "MXFP4": _patterns, "TQ1_0": _trits, "TQ2_0": _quarters,
}  # fmt: skip
