"""HQQ: integers with a float zero point, packed by rows that lie far apart.

`W_q` holds groups as rows (`axis` 1) or as columns (`axis` 0) of a matrix; of a byte, the highest bits are a row of the
first part of that matrix and the lowest one of the last. 3-bit codes are ten to an int32. `scale` and `zero` have one
entry a group: `w = (q − zero) · scale`. What else there is to know stands beside as small arrays: `shape`, `nbits`,
`group_size`, `axis`, texts as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import stream_bytes
from qinspect.quant.decode_only import Blocked
from qinspect.quant.layout import Layout, per_group

_SAID = (
    "nbits", "group_size", "shape", "axis", "packing", "unpack_view_dtype", "view_as_float", "quant_scale",
    "quant_zero", "compute_dtype", "channel_wise", "optimize", "round_zero", "offload_meta", "encoded_state_dict",
    "stores_quant_config",
)  # fmt: skip
"""Small arrays that belong to a layer."""


@dataclass(frozen=True, kw_only=True)
class Columns(Blocked):
    """As `Blocked`, but weight i of the flattened tensor is of set i modulo the number of sets."""

    @property
    def sets(self) -> int:
        """As many as there are scales."""
        return math.prod(self.arrays()["scale"][1])

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Neighbouring weights share nothing."""
        return per_group(shape, 1)

    def values(self, params: Mapping[str, np.ndarray], name: str, first: int, stop: int) -> np.ndarray | None:
        """One a weight."""
        if name not in params:
            return None
        cols = self.blocks[1]
        index = np.arange(first * cols, stop * cols) % self.sets
        return params[name].reshape(-1)[index].astype(np.float32).reshape(stop - first, cols)


class HQQ(LayerFormat):
    """Layers of HQQ."""

    name: ClassVar[str] = "hqq"
    title: ClassVar[str] = "HQQ"
    order: ClassVar[int] = 55
    marks: ClassVar[tuple[str, ...]] = ("W_q",)

    def prefix(self, name: str) -> str | None:
        """By the codes."""
        return name.removesuffix("W_q") if name == "W_q" or name.endswith(".W_q") else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = [f"{prefix}{part}" for part in ("W_q", "scale", "zero")]
        if names[1] not in self.stored or names[2] not in self.stored:
            raise UnsupportedError("scales and zero points that are quantized themselves are not decoded here")
        bits, axis = self._number(f"{prefix}nbits", 1, 8), self._number(f"{prefix}axis", 0, 1)
        shape = self._shape(f"{prefix}shape")
        group = self._number(f"{prefix}group_size", 1, math.prod(shape))
        if bits not in (1, 2, 3, 4, 8) or math.prod(shape) % group:
            raise UnsupportedError(f"{bits} bits in groups of {group} of {list(shape)} are not decoded here")
        sets = math.prod(shape) // group
        matrix = (sets, group) if axis == 1 else (group, sets)
        self._check_codes(names[0], bits, matrix)
        for name in names[1:]:
            if self.array(name, *FLOATS).size != sets:
                raise FormatError(f"{printable(name)} has not one entry for each of {sets} groups")
        said = [name for part in _SAID if (name := f"{prefix}{part}") in self.stored]
        rows, cols = shape[0], math.prod(shape[1:])
        if axis == 1 and cols % group:
            raise UnsupportedError(f"groups of {group} do not divide rows of {cols} weights")
        kinds = held(
            data=(np.uint8, (rows, -(-cols * bits // 8))),
            scale=(numpy_dtype(self.stored[names[1]].dtype), self.stored[names[1]].shape),
            zero_point=(numpy_dtype(self.stored[names[2]].dtype), self.stored[names[2]].shape),
        )
        scheme = (Blocked if axis == 1 else Columns)(
            kind=f"HQQ {bits}-bit g{group}" + ("" if axis == 1 else " columns"), whole=shape,
            stored_bytes=self.nbytes(*names, *said), bits=bits, block=(1, group if axis == 1 else 1), held=kinds,
            row_bits=8 * -(-cols * bits // 8),
        )  # fmt: skip
        unpacked = partial(_rows, bits=bits, count=matrix[0], shape=(rows, cols))
        parts = {"data": Part((names[0],), unpacked), "scale": Part((names[1],)), "zero_point": Part((names[2],))}
        return self.found(f"{prefix}weight", scheme, parts, *said, dtype=self.stored[names[1]].dtype)

    def _number(self, name: str, low: int, high: int) -> int:
        """A number that the file holds as an array of one."""
        said = self.config.quantization.get(name.rpartition(".")[2])
        if name in self.stored:
            if self.array(name).size != 1:
                raise FormatError(f"{printable(name)} is not one number")
            said = self.read(name).reshape(-1)[0].item()
        if not isinstance(said, int) or not low <= said <= high:
            raise FormatError(f"{printable(name)} is not told, or none of {low} to {high}")
        return said

    def _shape(self, name: str) -> tuple[int, ...]:
        if not 1 < self.array(name, "I64", "I32", dims=1).size <= 8:
            raise FormatError(f"{printable(name)} is no shape of two dimensions or more")
        shape = tuple(self.read(name).tolist())
        if min(shape) < 1 or math.prod(shape) >= 1 << 50:
            raise FormatError(f"{printable(name)} is {list(shape)}, which cannot be")
        return shape

    def _check_codes(self, name: str, bits: int, matrix: tuple[int, int]) -> None:
        """FormatError unless `name` holds the codes of this matrix."""
        per = 10 if bits == 3 else 8 // bits
        rows = -(-matrix[0] // per) if bits == 3 else matrix[0] // per
        found = self.array(name, "I32" if bits == 3 else "U8", dims=2)
        if found.shape != (rows, matrix[1]) or (bits != 3 and matrix[0] % per):
            raise FormatError(f"{printable(name)} {list(found.shape)} does not hold {bits}-bit codes {list(matrix)}")


def _rows(packed: np.ndarray, *, bits: int, count: int, shape: tuple[int, int]) -> np.ndarray:
    """The codes in the order of the weights, as a stream of bits along each row."""
    places = range(27, -1, -3) if bits == 3 else range(8 - bits, -1, -bits)
    parts = [packed >> place & packed.dtype.type((1 << bits) - 1) for place in places]
    codes = np.concatenate(parts)[:count].astype(np.uint8).reshape(shape)
    return stream_bytes(codes, bits)
