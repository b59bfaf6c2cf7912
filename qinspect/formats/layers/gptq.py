"""GPTQ: integers in 32-bit words down each column, zero points along the other side, groups that may be reordered.

`qweight` int32 `[in · bits / 32, out]`, `qzeros` int32 `[groups, out · bits / 32]`, `scales` `[groups, out]`, and
`g_idx` int32 `[in]`, the group g of each input. `w[n, k] = scales[g, n] · (q − z)`; version 1 stores z − 1.
Words are one stream of bits, low bits first, 3-bit codes crossing words; the planar layout of 3, 5, 6 and 7 bits has
for every 32 codes a plane of their lower bits, then one of higher bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, Part, held
from qinspect.formats.layers.words import WordLayers, stream_codes, turned
from qinspect.quant.decode_only import Blocked, Ordered

_PLANES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
"""Bits of each plane, the lowest first."""


class GPTQ(WordLayers):
    """Layers of AutoGPTQ and GPTQModel."""

    name: ClassVar[str] = "gptq"
    title: ClassVar[str] = "GPTQ"
    order: ClassVar[int] = 20

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = self.arrays(prefix)
        if names is None:
            return None
        qweight, scales = self.array(names[0], "I32", dims=2), self.array(names[1], *FLOATS, dims=2)
        words, rows = qweight.shape
        if scales.shape[1] != rows:
            return None  # AWQ has other names for its sides
        more, planar = self._layout()
        bits = self._bits(self.array(names[2], "I32", dims=2).shape, scales.shape[0], rows)
        planar = bits in (5, 6, 7) or (planar and bits == 3)
        cols, order = self._columns(f"{prefix}g_idx", 32 * words // bits, scales.shape[0])
        if not cols or words != -(-cols * bits // 32):
            raise FormatError(f"its {words} words a column do not hold {cols} codes of {bits} bits")
        parts = {
            "data": Part((names[0],), partial(_codes, bits=bits, planar=planar)),
            "scale": Part((names[1],), turned),
            "zero_point": Part((names[2],), partial(_zero_points, bits=bits, count=rows, planar=planar, more=more)),
        }
        sets = rows, scales.shape[0]
        kinds = held(
            data=(np.int32, (rows, words)), scale=(numpy_dtype(scales.dtype), sets), zero_point=(np.uint16, sets)
        )
        if order is not None:
            kinds += held(order=(np.int32, (cols,)))
            parts["order"] = Part((f"{prefix}g_idx",))
        group = self._group(cols, scales.shape[0])
        scheme = (Blocked if order is None else Ordered)(
            kind=f"GPTQ {bits}-bit g{group}" + ("" if order is None else " reordered"),
            whole=(rows, cols), stored_bytes=self.nbytes(*names, *self._index(prefix)),
            bits=bits, block=(1, group), held=kinds, row_bits=32 * words,
        )  # fmt: skip
        return self.found(f"{prefix}weight", scheme, parts, *self._index(prefix), dtype=scales.dtype)

    def notes(self, layers: Iterable[FoundLayer]) -> Iterator[str]:
        """What version 1 cannot say."""
        if self._layout()[0] and self.config.quantization.get("sym") is False:
            yield (
                "GPTQ version 1 stores zero points less 1: where one was 0, it and its neighbours were damaged when "
                "the file was written, and nothing in it tells where."
            )

    def _index(self, prefix: str) -> list[str]:
        return [f"{prefix}g_idx"] if f"{prefix}g_idx" in self.stored else []

    def _layout(self) -> tuple[int, bool]:
        """What is to be added to stored zero points, and whether 3 bits are planar."""
        layout = "marlin" if self.config.quantization.get("is_marlin_format") else self.config.text("checkpoint_format")
        if layout not in ("", "gptq", "gptq_v2", "gptq_p"):
            raise UnsupportedError(f"the layout {printable(layout, 40)} is not decoded here")
        return int(layout in ("", "gptq")), layout == "gptq_p"

    def _bits(self, qzeros: tuple[int, ...], groups: int, rows: int) -> int:
        """From the zero points, whose number is known."""
        if len(qzeros) == 2 and qzeros[0] == groups and rows:
            for bits in (2, 3, 4, 5, 6, 7, 8):
                if qzeros[1] == -(-rows * bits // 32) and (32 % bits == 0 or rows % 32 == 0):
                    return bits
        raise FormatError(f"its qzeros {list(qzeros)} are not those of {groups} groups of {rows} outputs")

    def _columns(self, name: str, most: int, groups: int) -> tuple[int, np.ndarray | None]:
        """How many inputs there are, and the group of each if they are not in order."""
        if name not in self.stored:
            return most, None
        index = self.read(self.array(name, "I32", dims=1).name)
        if not 0 < index.size <= most or index.min() < 0 or index.max() >= groups:
            raise FormatError(f"{printable(name)} has {index.size} entries which do not name groups 0 to {groups - 1}")
        group = self._group(index.size, groups)
        return index.size, None if np.array_equal(index, np.arange(index.size) // group) else index

    def _group(self, cols: int, groups: int) -> int:
        said = self.config.number("group_size", -1)
        if groups == 1:
            return cols
        if said is not None and said > 0 and -(-cols // said) == groups:
            return said
        if groups and cols % groups == 0:
            return cols // groups
        raise FormatError(f"{groups} groups do not divide {cols} inputs")


def _codes(words: np.ndarray, *, bits: int, planar: bool) -> np.ndarray:
    """The words of each output in a row, which then is a stream of bits."""
    rows = turned(words)
    return _joined(rows, bits) if planar else rows


def _zero_points(words: np.ndarray, *, bits: int, count: int, planar: bool, more: int) -> np.ndarray:
    """Zero points `[out, groups]`."""
    found = stream_codes(_joined(words, bits) if planar else words, bits, count)
    return np.ascontiguousarray(found.T).astype(np.uint16) + np.uint16(more)


def _joined(words: np.ndarray, bits: int) -> np.ndarray:
    """Planes of bits as the stream of whole codes, in words of the same number."""
    rows = len(words)
    blocks = words.view(np.uint8).reshape(rows, -1, 4 * bits)
    single, begin = [], 0
    for width in _PLANES[bits]:
        plane = np.unpackbits(blocks[..., begin : begin + 4 * width], axis=-1, bitorder="little")
        single.append(plane.reshape(rows, -1, 32, width))
        begin += 4 * width
    joined = np.concatenate(single, axis=-1).reshape(rows, -1)
    return np.packbits(joined, axis=-1, bitorder="little").view(np.int32)
