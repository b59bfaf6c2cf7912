"""The block types of ggml, which GGUF files hold: bytes to codes, and what these mean.

A row is cut into blocks of 32 to 256 weights, each some bytes of codes and scales together. The layouts are those of
ggml (github.com/ggml-org/ggml, `ggml-common.h`); weights are computed in the order of its `gguf` package, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from qinspect.quant.decode_only import Arrays, DecodeOnly, even, uneven
from qinspect.quant.e2m1 import CODE_OF_PATTERN, TABLE
from qinspect.quant.layout import Layout, matrix_shape, per_group
from qinspect.quant.scheme import Grid, QTensor

Parameters = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""Scale, zero and offset of every run, float32 `[rows, blocks, runs]`; None is 0."""


@dataclass(frozen=True, eq=False)
class BlockType:
    """`weights` in `nbytes`, `run` of which share parameters; a code is looked up in `table` if there is one."""

    name: str
    weights: int
    nbytes: int
    run: int
    codes: tuple[int, int]
    unpack: Callable[[np.ndarray, np.ndarray], None]
    """Blocks uint8 `[rows, blocks, nbytes]` to codes uint8 `[rows, cols]`, less the lowest code."""
    parameters: Callable[[np.ndarray], Parameters]
    table: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Blocks(DecodeOnly):
    """A tensor in blocks of one type, which divide its rows."""

    type: BlockType

    def arrays(self) -> Arrays:
        """All blocks."""
        rows, cols = matrix_shape(self.whole)
        return {"data": (np.dtype(np.uint8), (rows, cols // self.type.weights, self.type.nbytes))}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Runs along each row."""
        return per_group(shape, self.type.run)

    @property
    def code_range(self) -> tuple[int, int]:
        """As the type has it."""
        return self.type.codes

    def read(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """See `DecodeOnly.read`."""
        self.type.unpack(q.data[start:stop], out)

    def grid_rows(self, params: Mapping[str, np.ndarray], start: int, stop: int) -> Grid:
        """See `DecodeOnly.grid_rows`."""
        scale, zero, offset = (
            None if part is None else part.reshape(-1) for part in self.type.parameters(params["data"][start:stop])
        )
        assert scale is not None
        if self.type.table is not None:
            return uneven(scale, self.type.table)
        none = np.zeros_like(scale)
        return even(scale, none if zero is None else zero, none if offset is None else offset, self.type.codes)


def blocks_of(kind: BlockType, shape: tuple[int, ...]) -> Blocks:
    """The scheme of a tensor whose rows are whole blocks of this type."""
    rows, cols = matrix_shape(shape)
    nbytes = rows * (cols // kind.weights) * kind.nbytes
    return Blocks(kind=kind.name, whole=shape, stored_bytes=nbytes, type=kind)


# Codes.

Plane = tuple[int, int, int]
"""First byte, bytes across, bits: see `block_kernels.unpack_plane`."""


def planes(*found: Plane, codes: np.ndarray | None = None) -> Callable[[np.ndarray, np.ndarray], None]:
    """What takes bit fields out of blocks, of one or more planes, the lowest first, and makes codes of patterns."""

    def unpack(blocks: np.ndarray, out: np.ndarray) -> None:
        from qinspect.quant import block_kernels

        up = 0
        for begin, across, bits in found:
            block_kernels.unpack_plane(blocks, begin, across, bits, up, out)
            up += bits
        if codes is not None:
            block_kernels.look_up(out, codes)

    return unpack


_TRITS = (np.arange(32) + 32 * np.zeros((5, 1), int), np.arange(32, 48) + np.zeros((5, 1), int))
_TRIT_AT = np.concatenate([*(part.reshape(-1) for part in _TRITS), np.tile(np.arange(48, 52), 4)])
_TRIT_TIMES = np.concatenate([np.repeat([1, 3, 9, 27, 81], n) for n in (32, 16)] + [np.repeat([1, 3, 9, 27], 4)])


def _trits(blocks: np.ndarray, out: np.ndarray) -> None:
    from qinspect.quant import block_kernels

    block_kernels.unpack_trits(blocks, _TRIT_AT, _TRIT_TIMES, out)


# Parameters.


def numbers(blocks: np.ndarray, begin: int, dtype: str, count: int = 1) -> np.ndarray:
    """`count` numbers of a little-endian type from byte `begin` of each block on: `[rows, blocks, count]`."""
    size = np.dtype(dtype).itemsize * count
    return np.ascontiguousarray(blocks[..., begin : begin + size]).view(dtype)


def half(blocks: np.ndarray, begin: int) -> np.ndarray:
    """A float16 in each block as float32 `[rows, blocks, 1]`."""
    from qinspect.quant import half_kernels

    return half_kernels.widen(numbers(blocks, begin, "<f2").reshape(-1)).reshape(*blocks.shape[:2], 1)


def nibbles(values: np.ndarray) -> np.ndarray:
    """Both halves of each byte of the last axis, the lower first."""
    return np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:-1], -1)


def _bytes(blocks: np.ndarray, out: np.ndarray) -> None:
    """Bytes in two's complement behind a scale."""
    codes = out.reshape(*blocks.shape[:2], -1)
    np.bitwise_xor(blocks[..., 2:], np.uint8(128), out=codes)


def _only_scale(blocks: np.ndarray, *, at: int) -> Parameters:
    return half(blocks, at), None, None


def _scale_and_minimum(blocks: np.ndarray) -> Parameters:
    return half(blocks, 0), None, half(blocks, 2)


def _q2_k(blocks: np.ndarray) -> Parameters:
    held = blocks[..., :16]
    scale = half(blocks, 80) * (held & 15).astype(np.float32)
    return scale, None, -(half(blocks, 82) * (held >> 4).astype(np.float32))


def _q3_k(blocks: np.ndarray) -> Parameters:
    """Six bits a scale: the low four of each in eight bytes, the high two in four more."""
    low, high = blocks[..., 96:104], blocks[..., 104:108]
    low = np.concatenate([low & 15, low >> 4], axis=-1)
    high = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1)
    return half(blocks, 108) * ((low | high << 4).astype(np.float32) - 32), None, None


def _q4_k(blocks: np.ndarray) -> Parameters:
    """Six bits a scale and a minimum of eight runs, in twelve bytes."""
    first, second, third = (blocks[..., begin : begin + 4] for begin in (4, 8, 12))
    scale = np.concatenate([first & 63, (third & 15) | (first >> 2 & 48)], axis=-1)
    minimum = np.concatenate([second & 63, (third >> 4) | (second >> 2 & 48)], axis=-1)
    return half(blocks, 0) * scale.astype(np.float32), None, -(half(blocks, 2) * minimum.astype(np.float32))


def _q6_k(blocks: np.ndarray) -> Parameters:
    return half(blocks, 208) * numbers(blocks, 192, "i1", 16).astype(np.float32), None, None


def _mxfp4(blocks: np.ndarray) -> Parameters:
    """A power of two; ggml halves it, as its levels are twice those of the standard."""
    return np.ldexp(np.float32(1), blocks[..., :1].astype(np.int32) - 127), None, None


def _nvfp4(blocks: np.ndarray) -> Parameters:
    """E4M3 without its sign, for 16 weights each."""
    held = blocks[..., :4]
    exponent, mantissa = (held >> 3 & 15).astype(np.int32), (held & 7).astype(np.float32)
    small = mantissa * np.float32(2**-9)
    scale = np.where(exponent == 0, small, np.ldexp(1 + mantissa / 8, exponent - 7))
    return np.where(held == 0x7F, np.float32(0), scale), None, None


def _iq4_xs(blocks: np.ndarray) -> Parameters:
    low = nibbles(blocks[..., 4:8])
    high = numbers(blocks, 2, "<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    return half(blocks, 0) * ((low | high << 4).astype(np.float32) - 32), None, None


_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
_E2M1 = np.tile(CODE_OF_PATTERN, 16)


def _simple() -> list[BlockType]:
    scale, minimum = partial(_only_scale, at=0), _scale_and_minimum
    return [
        BlockType("Q4_0", 32, 18, 32, (-8, 7), planes((2, 16, 4)), scale),
        BlockType("Q4_1", 32, 20, 32, (0, 15), planes((4, 16, 4)), minimum),
        BlockType("Q5_0", 32, 22, 32, (-16, 15), planes((6, 16, 4), (2, 1, 1)), scale),
        BlockType("Q5_1", 32, 24, 32, (0, 31), planes((8, 16, 4), (4, 1, 1)), minimum),
        BlockType("Q8_0", 32, 34, 32, (-128, 127), _bytes, scale),
        BlockType("Q2_K", 256, 84, 16, (0, 3), planes((16, 32, 2)), _q2_k),
        BlockType("Q3_K", 256, 110, 16, (-4, 3), planes((32, 32, 2), (0, 32, 1)), _q3_k),
        BlockType("Q4_K", 256, 144, 32, (0, 15), planes((16, 32, 4)), _q4_k),
        BlockType("Q5_K", 256, 176, 32, (0, 31), planes((48, 32, 4), (16, 32, 1)), _q4_k),
        BlockType("Q6_K", 256, 210, 16, (-32, 31), planes((0, 64, 4), (128, 32, 2)), _q6_k),
        BlockType("TQ1_0", 256, 54, 256, (-1, 1), _trits, partial(_only_scale, at=52)),
        BlockType("TQ2_0", 256, 66, 256, (-1, 2), planes((0, 32, 2)), partial(_only_scale, at=64)),
        BlockType("MXFP4", 32, 17, 32, (0, 14), planes((1, 16, 4), codes=_E2M1), _mxfp4, TABLE),
        BlockType("NVFP4", 64, 36, 16, (0, 14), planes((4, 8, 4), codes=_E2M1), _nvfp4, TABLE),
        BlockType("IQ4_NL", 32, 18, 32, (0, 15), planes((2, 16, 4)), scale, _IQ4),
        BlockType("IQ4_XS", 256, 136, 32, (0, 15), planes((8, 16, 4)), _iq4_xs, _IQ4),
    ]


# Vectors of a codebook: a number names eight (or four) magnitudes at once, signs stand beside it.


@dataclass(frozen=True, eq=False)
class _Vectors:
    """How such a type tells the entries of its codebook and their signs: `[rows, blocks, vectors]` each."""

    book: str
    entries: Callable[[np.ndarray], np.ndarray]
    signs: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, blocks: np.ndarray, out: np.ndarray) -> None:
        from qinspect.quant import block_kernels

        book, top = _codebook(self.book)
        index = self.entries(blocks).reshape(len(blocks), -1)
        if self.signs is None:
            signs, negative = np.zeros(index.shape, np.uint8), 0
        else:
            signs, negative = self.signs(blocks).reshape(len(blocks), -1).astype(np.uint8), top
        block_kernels.unpack_vectors(index.astype(np.uint16), signs, book, negative, out)


@cache
def _codebook(name: str) -> tuple[np.ndarray, int]:
    """The entries of a codebook as indices into its magnitudes, uint8 `[entries, n]`; how many magnitudes there are."""
    from gguf import quants

    found: Any = getattr(quants, name)
    found.init_grid()
    values = np.unique(found.grid_map)
    return np.searchsorted(values, found.grid.reshape(found.grid_shape)).astype(np.uint8), values.size


def _mirrored(*magnitudes: int) -> np.ndarray:
    return np.array([*(-m for m in magnitudes[::-1]), *magnitudes], np.float32)


def _byte(begin: int, stop: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda blocks: blocks[..., begin:stop]


_SEVEN = np.arange(128, dtype=np.uint8)
_SIGNS = _SEVEN | np.bitwise_count(_SEVEN) << 7
"""Seven signs are stored; the eighth makes their number even."""


def _fields(values: np.ndarray, step: int, count: int, mask: int) -> np.ndarray:
    """`count` bit fields of each number of the last axis, `step` bits apart, the lowest first."""
    parts: np.ndarray = values[..., None] >> np.arange(0, step * count, step, dtype=values.dtype)
    parts &= values.dtype.type(mask)
    return parts.reshape(*values.shape[:-1], -1)


def _bits_above(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return low.astype(np.uint16) | high.astype(np.uint16) << 8


def _words(blocks: np.ndarray) -> np.ndarray:
    """The second of each pair of uint32 of IQ2_XXS: four times seven signs, and a scale."""
    return numbers(blocks, 2, "<u4", 16)[..., 1::2]


def _quarters(scale: np.ndarray, held: np.ndarray, unit: float = 0.25) -> Parameters:
    return scale * (np.float32(0.5) + held.astype(np.float32)) * np.float32(unit), None, None


def _odd(scale: np.ndarray, held: np.ndarray) -> np.ndarray:
    return scale * (2 * held.astype(np.float32) + 1)


def _delta(negative: np.ndarray) -> np.ndarray:
    """The zero of levels −1, 0, 1 that are shifted by an eighth."""
    return np.where(negative, np.float32(0.125), np.float32(-0.125))


def _iq1_s(blocks: np.ndarray) -> Parameters:
    held = numbers(blocks, 34, "<u2", 8)
    return _odd(half(blocks, 0), held >> 12 & 7), _delta(held & 0x8000 != 0), None


def _iq1_m(blocks: np.ndarray) -> Parameters:
    """The float16 scale is in the top four bits of four words; a shift for every eight weights."""
    held = numbers(blocks, 48, "<u2", 4)
    bits = held >> 12
    whole = bits[..., 0] | bits[..., 1] << 4 | bits[..., 2] << 8 | bits[..., 3] << 12
    scale = _odd(whole[..., None].view("<f2").astype(np.float32), _fields(held, 3, 4, 7))
    return scale.repeat(2, axis=-1), _delta(nibbles(blocks[..., 32:48]) & 8 != 0), None


def _vectors() -> list[BlockType]:
    two, three = _mirrored(8, 25, 43), _mirrored(4, 12, 20, 28, 36, 44, 52, 62)
    odd = _mirrored(1, 3, 5, 7, 9, 11, 13, 15)
    iq2_xxs = _Vectors(
        "IQ2_XXS",
        lambda b: b[..., 2:66].reshape(*b.shape[:2], 8, 8)[..., :4],
        lambda b: _SIGNS[_fields(_words(b), 7, 4, 127)],
    )
    iq2_xs = _Vectors(
        "IQ2_XS", lambda b: numbers(b, 2, "<u2", 32) & 511, lambda b: _SIGNS[numbers(b, 2, "<u2", 32) >> 9]
    )
    iq2_s = _Vectors("IQ2_S", lambda b: _bits_above(b[..., 2:34], _fields(b[..., 66:74], 2, 4, 3)), _byte(34, 66))
    iq3_xxs = _Vectors("IQ3_XXS", _byte(2, 66), lambda b: nibbles(_SIGNS[_fields(numbers(b, 66, "<u4", 8), 7, 4, 127)]))
    iq3_s = _Vectors(
        "IQ3_S",
        lambda b: _bits_above(b[..., 2:66], _fields(b[..., 66:74], 1, 8, 1)),
        lambda b: nibbles(b[..., 74:106]),
    )
    iq1_s = _Vectors("IQ1_S", lambda b: _bits_above(b[..., 2:34], _fields(numbers(b, 34, "<u2", 8), 3, 4, 7)))
    iq1_m = _Vectors("IQ1_S", lambda b: _bits_above(b[..., :32], nibbles(b[..., 32:48]) & 7))
    return [
        BlockType("IQ2_XXS", 256, 66, 32, (0, 5), iq2_xxs, lambda b: _quarters(half(b, 0), _words(b) >> 28), two),
        BlockType("IQ2_XS", 256, 74, 16, (0, 5), iq2_xs, lambda b: _quarters(half(b, 0), nibbles(b[..., 66:74])), two),
        BlockType("IQ2_S", 256, 82, 16, (0, 5), iq2_s, lambda b: _quarters(half(b, 0), nibbles(b[..., 74:82])), two),
        BlockType(
            "IQ3_XXS", 256, 98, 32, (0, 15), iq3_xxs,
            lambda b: _quarters(half(b, 0), numbers(b, 66, "<u4", 8) >> 28, 0.5), three,
        ),
        BlockType(
            "IQ3_S", 256, 110, 32, (0, 15), iq3_s,
            lambda b: (_odd(half(b, 0), nibbles(b[..., 106:110])), None, None), odd
        ),
        BlockType("IQ1_S", 256, 50, 32, (-1, 1), iq1_s, _iq1_s),
        BlockType("IQ1_M", 256, 56, 8, (-1, 1), iq1_m, _iq1_m),
    ]  # fmt: skip


TYPES: Mapping[str, BlockType] = {kind.name: kind for kind in (*_simple(), *_vectors())}
"""By the names that ggml gives them."""
