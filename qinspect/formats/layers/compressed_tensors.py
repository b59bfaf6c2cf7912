"""compressed-tensors, the packed layers of llm-compressor and vLLM: integers of 1 to 8 bits.

`weight_packed` int32 `[out, words]`, along each row a stream of bits of codes + 2^(b−1), low bits first (up to version
0.11 each word held 32 // b codes, which shows in the number of words); `weight_scale`, `weight_shape`, and
`weight_zero_point`, packed along the outputs. `w = (q − z) · scale`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import stream_bytes, stream_codes
from qinspect.quant.decode_only import Blocked, Ordered


class CompressedTensors(LayerFormat):
    """Packed integers; `compressed_floats.py` has the floats, `scaled.py` what is stored as int8 or float8."""

    name: ClassVar[str] = "compressed_tensors"
    title: ClassVar[str] = "compressed-tensors"
    order: ClassVar[int] = 10
    marks: ClassVar[tuple[str, ...]] = ("weight_packed", "bitmask", "compressed")

    def prefix(self, name: str) -> str | None:
        """By the codes, or the bit masks of sparse layers."""
        for part in ("weight_packed", "bitmask", "compressed"):
            if name == part or name.endswith(f".{part}"):
                return name.removesuffix(part)
        return None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        if f"{prefix}meta" in self.stored or f"{prefix}bitmask" in self.stored:
            raise UnsupportedError("sparse layers (marlin-24, sparse-bitmask) are not decoded here")
        name = f"{prefix}weight_packed"
        if name not in self.stored or self.stored[name].dtype != "I32":
            return None
        if len(self.stored[name].shape) != 2:
            raise UnsupportedError(f"codes of {len(self.stored[name].shape)} dimensions are not decoded here")
        return self._integers(prefix, *self.stored[name].shape)

    def _integers(self, prefix: str, rows: int, words: int) -> FoundLayer:
        cols = self._columns(prefix, rows)
        bits, dense = self._bits(words, cols)
        scale = self.array(f"{prefix}weight_scale", *FLOATS)
        down, across = scale.shape if len(scale.shape) == 2 else (scale.size, 1)
        names = [f"{prefix}{part}" for part in ("weight_packed", "weight_scale", "weight_shape")]
        stream = words * 4 if dense else -(-cols * bits // 8)
        kinds = held(
            data=(np.int32, (rows, words)) if dense else (np.uint8, (rows, stream)),
            scale=(numpy_dtype(scale.dtype), scale.shape),
        )
        again = partial(_packed_again, bits=bits, count=cols)
        parts = {"data": Part((names[0],), None if dense else again), "scale": Part((names[1],))}
        if (zero := f"{prefix}weight_zero_point") in self.stored:
            names.append(zero)
            kinds += held(zero_point=(np.int16, (rows, across)))
            parts["zero_point"] = Part((zero,), self._zero_points(zero, bits, rows, across, dense))
        if (order := f"{prefix}weight_g_idx") in self.stored and across > 1:
            names.append(order)
            self.expect(order, (cols,))
            kinds += held(order=(numpy_dtype(self.array(order, "I32", "I64").dtype), (cols,)))
            parts["order"] = Part((order,), partial(_checked_order, groups=across))
        group = self._group(cols, across)
        scheme = (Ordered if "order" in parts else Blocked)(
            kind=f"int{bits} g{group}" + (" reordered" if "order" in parts else ""),
            whole=(rows, cols), stored_bytes=self.nbytes(*names), bits=bits, lowest=-(1 << bits - 1),
            block=(1 if down == rows else rows, group), held=kinds, row_bits=8 * stream,
        )  # fmt: skip
        return self.found(f"{prefix}weight", scheme, parts, *names, dtype=scale.dtype)

    def _columns(self, prefix: str, rows: int) -> int:
        shape = self.read(self.array(f"{prefix}weight_shape", "I64", "I32", dims=1).name).tolist()
        if len(shape) != 2 or shape[0] != rows or not 0 < shape[1] < 1 << 40:
            raise FormatError(f"its weight_shape {shape[:8]} is not that of {rows} rows of codes")
        return int(shape[1])

    def _bits(self, words: int, cols: int) -> tuple[int, bool]:
        """Bits of a code, and whether codes cross words: what is told, as far as the number of words agrees."""
        said = [weights.get("num_bits") for weights in self._weights()]
        told = [bits for bits in range(8, 0, -1) if bits in said] or list(range(8, 0, -1))
        for bits in told:
            if words == -(-cols * bits // 32):
                return bits, True
        for bits in told:
            if words == -(-cols // (32 // bits)):
                return bits, False
        raise FormatError(f"its {words} words a row do not hold {cols} codes of {' or '.join(map(str, told))} bits")

    def _weights(self) -> list[dict[str, Any]]:
        """What is told of the weights of each group of layers."""
        groups = self.config.quantization.get("config_groups")
        found = [g.get("weights") for g in groups.values() if isinstance(g, dict)] if isinstance(groups, dict) else []
        return [weights for weights in found if isinstance(weights, dict)]

    def _group(self, cols: int, across: int) -> int:
        if across and cols % across == 0:
            return cols // across
        for weights in self._weights():
            size = weights.get("group_size")
            if type(size) is int and size > 0 and -(-cols // size) == across:
                return size
        raise FormatError(f"{across} groups do not divide rows of {cols} weights")

    def _zero_points(self, name: str, bits: int, rows: int, across: int, dense: bool) -> Any:
        """How zero points become integers `[rows, across]`; they are packed along the rows."""
        found = self.array(name, "I32", "I8", dims=2)
        if found.dtype == "I8":
            self.expect(name, (rows, across))
            return lambda array: array.astype(np.int16)
        self.expect(name, (-(-rows * bits // 32) if dense else -(-rows // (32 // bits)), across))

        def unpacked(words: np.ndarray) -> np.ndarray:
            turned = np.ascontiguousarray(words.T)
            codes = stream_codes(turned, bits, rows) if dense else old_codes(turned, bits, rows)
            return np.ascontiguousarray(codes.T).astype(np.int16) - np.int16(1 << bits - 1)

        return unpacked


def old_codes(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` codes of each row of int32 words that hold 32 // bits codes each, the lowest first."""
    places = np.arange(0, 32 // bits * bits, bits, dtype=np.uint32)
    codes = words.view(np.uint32)[..., None] >> places & np.uint32((1 << bits) - 1)
    return np.ascontiguousarray(codes.reshape(len(words), -1)[:, :count], dtype=np.uint8)


def _packed_again(words: np.ndarray, *, bits: int, count: int) -> np.ndarray:
    return stream_bytes(old_codes(words, bits, count), bits)


def _checked_order(order: np.ndarray, *, groups: int) -> np.ndarray:
    if order.size and not 0 <= order.min() <= order.max() < groups:
        raise FormatError(f"its weight_g_idx does not name groups 0 to {groups - 1}")
    return order
