"""torchao in safetensors: tensors of classes of its own, flattened to `_<name>_qdata`, `_<name>_scale` and others.

The file's metadata has a JSON object a tensor: its class, and the sides of the block that shares a scale. Codes of a
byte are decoded, `w = (q − zero_point) · scale`; the other classes are named.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, ClassVar

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.layer import FoundLayer, LayerFormat
from qinspect.formats.layers.byte_codes import FLOAT8, byte_layer
from qinspect.quant.layout import matrix_shape

_QDATA = re.compile(r"((?:.*\.)?)_(.+)_qdata")


class TorchAO(LayerFormat):
    """Flattened tensors."""

    name: ClassVar[str] = "torchao"
    title: ClassVar[str] = "torchao"
    order: ClassVar[int] = 65
    marks: ClassVar[tuple[str, ...]] = ("_qdata",)

    def prefix(self, name: str) -> str | None:
        """By the codes; the prefix is the name of the tensor."""
        found = _QDATA.fullmatch(name)
        return f"{found[1]}{found[2]}" if found and f"{found[1]}{found[2]}" in self.raw.metadata else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        module, dot, own = prefix.rpartition(".")
        codes, scale, zero = (f"{module}{dot}_{own}_{part}" for part in ("qdata", "scale", "zero_point"))
        said = self._said(prefix)
        kind = said.get("_type")
        data = said.get("_data")
        block = data.get("block_size") if isinstance(data, dict) else None
        found = self.array(codes)
        if found.dtype not in ("I8", *FLOAT8) or not isinstance(block, list) or len(block) != len(found.shape):
            raise UnsupportedError(f"{printable(str(kind), 40)} is not decoded here")
        if len(block) < 2 or not all(type(side) is int and side > 0 for side in block):
            raise FormatError(f"its block_size {printable(str(block), 40)} cannot be")
        return byte_layer(
            self, prefix, (codes, scale, zero if zero in self.stored else None), self._block(found.shape, block)
        )

    def _said(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.raw.metadata[name])
        except (ValueError, RecursionError) as error:
            raise FormatError("what the metadata says of it is not JSON") from error
        if not isinstance(found, dict):
            raise FormatError("what the metadata says of it is no object")
        return found

    def _block(self, shape: tuple[int, ...], sides: list[int]) -> tuple[int, int]:
        """Rows and columns of the matrix that share a scale."""
        rows, cols = matrix_shape(shape)
        inner = [min(side, of) for side, of in zip(sides[1:], shape[1:], strict=True)]
        whole = [side == of for side, of in zip(inner, shape[1:], strict=True)]
        if not all(whole[1:]) and not (inner[0] == 1 and len(inner) == 2):
            raise UnsupportedError(f"blocks of {sides} of a tensor {list(shape)} are not decoded here")
        return min(sides[0], max(1, rows)), max(1, min(math.prod(inner), cols))
