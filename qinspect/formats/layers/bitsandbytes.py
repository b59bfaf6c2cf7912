"""bitsandbytes: four-bit NF4 and FP4 with scales by blocks of the flattened weights, and int8 by rows.

Four bits: `weight` uint8, two codes to a byte, the first in the high half; `weight.absmax`, `weight.quant_map` float32
`[16]`, and `weight.quant_state.bitsandbytes__nf4`, JSON as bytes: shape, block size, type. `w = quant_map[q] · absmax`.
With double quantization `absmax` is uint8: `absmax = nested_quant_map[a] · nested_absmax + nested_offset`.
Eight bits: `weight` int8 `[out, in]`, `SCB` float32 `[out]`: `w = q · SCB / 127`.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.layer import FoundLayer, LayerFormat, Part, held
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import ascending
from qinspect.quant.layout import matrix_shape

_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_STATE_BYTES = 1 << 16


class FourBit(LayerFormat):
    """NF4 and FP4."""

    name: ClassVar[str] = "bitsandbytes"
    title: ClassVar[str] = "bitsandbytes"
    order: ClassVar[int] = 40
    marks: ClassVar[tuple[str, ...]] = (".absmax", "__nf4", "__fp4")

    def prefix(self, name: str) -> str | None:
        """By the scales beside the codes; the prefix is the name of the tensor."""
        return name if self._state(name) or f"{name}.absmax" in self.stored else None

    def _state(self, name: str) -> str | None:
        states = (f"{name}.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))
        return next((state for state in states if state in self.stored), None)

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        state = self._state(prefix)
        if state is None:
            raise UnsupportedError("layers without their quant_state are not decoded here")
        said = self._said(state)
        shape, size = tuple(said["shape"]), said["blocksize"]
        rows, cols = matrix_shape(shape)
        codes = self.array(prefix, "U8")
        blocks = -(-rows * cols // size)
        if codes.size != -(-rows * cols // 2) or not rows * cols:
            raise FormatError(f"its {codes.size} bytes do not hold two codes each of shape {list(shape)}")
        scales, names = self._scales(prefix, blocks, said)
        run = size if cols % size == 0 else math.gcd(size, cols)
        table, patterns = ascending(self._map(f"{prefix}.quant_map", 16))
        kind = state.rpartition("__")[2].upper()
        runs = rows, cols // run
        scheme = Blocked(
            kind=f"{kind} g{size}" + (" double" if len(names) > 1 else ""), whole=shape,
            stored_bytes=self.nbytes(prefix, state, f"{prefix}.quant_map", *names), bits=4, block=(1, run),
            held=held(data=(np.uint8, codes.shape), scale=(np.float32, runs)), table=table, patterns=patterns,
        )  # fmt: skip
        spread = partial(_spread, scales=scales, size=size, run=run, shape=runs)
        parts = {"data": Part((prefix,), lambda array: array << 4 | array >> 4), "scale": Part(names, spread)}
        dtype = _DTYPES.get(str(said.get("dtype")))
        return self.found(prefix, scheme, parts, state, f"{prefix}.quant_map", dtype=dtype)

    def _said(self, name: str) -> dict[str, Any]:
        """What the JSON says; FormatError if it is none, or of other values than there can be."""
        if self.array(name, "U8").nbytes > _STATE_BYTES:
            raise FormatError(f"{printable(name)} is too long for a quant_state")
        try:
            said = json.loads(self.read(name).tobytes())
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{printable(name)} is not JSON") from error
        match said:
            case {"shape": [*shape], "blocksize": int(size)} if shape and 0 < size <= 1 << 20:
                if all(type(n) is int and 0 < n < 1 << 40 for n in shape):
                    return dict(said)
        raise FormatError(f"{printable(name)} does not tell shape and blocksize")

    def _map(self, name: str, entries: int) -> np.ndarray:
        if self.array(name, "F32").size != entries:
            raise FormatError(f"{printable(name)} has not {entries} entries")
        found = self.read(name).reshape(-1)
        if not np.isfinite(found).all():
            raise FormatError(f"{printable(name)} holds NaN or infinities: the file is corrupt; copy it again")
        return found

    def _scales(self, prefix: str, blocks: int, said: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """How scales follow from stored arrays, and which."""
        absmax = self.array(f"{prefix}.absmax", "F32", "U8")
        if absmax.size != blocks:
            raise FormatError(f"it has {absmax.size} scales for {blocks} blocks of {said['blocksize']}")
        if absmax.dtype == "F32":
            return (lambda array: array), (absmax.name,)
        names = f"{prefix}.nested_absmax", f"{prefix}.nested_quant_map"
        size, offset = said.get("nested_blocksize"), said.get("nested_offset")
        if type(size) is not int or not 0 < size <= 1 << 30 or not isinstance(offset, int | float):
            raise FormatError("its quant_state does not tell nested_blocksize and nested_offset")
        if self.array(names[0], "F32").size != -(-blocks // size) or self.array(names[1], "F32").size != 256:
            raise FormatError(f"its nested scales are not those of {blocks} blocks by {size}")
        return partial(_unnested, size=size, offset=np.float32(offset)), (absmax.name, *names)


class EightBit(LayerFormat):
    """LLM.int8()."""

    name: ClassVar[str] = "bitsandbytes_int8"
    title: ClassVar[str] = "bitsandbytes"
    order: ClassVar[int] = 41
    marks: ClassVar[tuple[str, ...]] = ("SCB",)

    def prefix(self, name: str) -> str | None:
        """By the scales of the rows."""
        prefix = name.removesuffix("weight")
        return prefix if prefix != name and f"{prefix}SCB" in self.stored else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names, form = [f"{prefix}weight", f"{prefix}SCB"], f"{prefix}weight_format"
        weight = self.array(names[0], "I8", dims=2)
        self.expect(self.array(names[1], "F32").name, (weight.shape[0],))
        if form in self.stored:
            if np.any(self.read(form) != 0):
                raise UnsupportedError("only weights in row order are decoded here")
            names.append(form)
        scheme = Blocked(
            kind="int8 channel", whole=weight.shape, stored_bytes=self.nbytes(*names), bits=8,
            block=(1, max(1, weight.shape[1])), signed=True,
            held=held(data=(np.int8, weight.shape), scale=(np.float32, (weight.shape[0],))),
        )  # fmt: skip
        scale = Part((names[1],), lambda array: array * np.float32(1 / 127))
        return self.found(names[0], scheme, {"data": Part((names[0],)), "scale": scale}, *names, dtype="F16")


def _spread(*arrays: np.ndarray, scales: Any, size: int, run: int, shape: tuple[int, int]) -> np.ndarray:
    """A scale for each run of each row, of those by blocks of the flattened weights, in which runs are whole."""
    found = scales(*arrays).reshape(-1)
    return np.ascontiguousarray(found[np.arange(shape[0] * shape[1]) * run // size].reshape(shape))


def _unnested(codes: np.ndarray, scales: np.ndarray, table: np.ndarray, *, size: int, offset: np.float32) -> np.ndarray:
    """Scales that were quantized themselves."""
    flat = codes.reshape(-1)
    return np.asarray(table.reshape(-1)[flat] * scales.reshape(-1)[np.arange(flat.size) // size] + offset, np.float32)
