"""Weights stored as int8 or float8 beside their scales: by tensor, row, group, or tile.

compressed-tensors (`int-quantized`, `float-quantized`, `mxfp8-quantized`), FP8 of DeepSeek, Qwen and many others, and
NVFP4 of ModelOpt: `weight`, with `weight_scale` or `weight_scale_inv`, and seldom `weight_zero_point`.
`w = (q − z) · scale`; a `weight_scale_2` multiplies the scales.
"""

from __future__ import annotations

from typing import ClassVar

import ml_dtypes
import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.formats.layer import FLOATS, FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.byte_codes import FLOAT8, byte_layer
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import float_codes
from qinspect.quant.layout import matrix_shape


class Scaled(LayerFormat):
    """Weights of a byte, or two to a byte, and scales of their own."""

    name: ClassVar[str] = "scaled"
    title: ClassVar[str] = "scaled weights"
    order: ClassVar[int] = 60
    marks: ClassVar[tuple[str, ...]] = ("_scale", "_scale_inv")

    def prefix(self, name: str) -> str | None:
        """A small type with scales beside it; the prefix is the whole name."""
        small = self.stored[name].dtype in ("I8", "U8", *FLOAT8)
        return name if small and self._scale_name(name) else None

    def _scale_name(self, name: str) -> str | None:
        return next((name + part for part in ("_scale_inv", "_scale") if name + part in self.stored), None)

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        weight, name = self.stored[prefix], self._scale_name(prefix)
        assert name is not None
        scale = self.array(name, *FLOATS, "F8_E4M3", "F8_E8M0", "U8")
        if len(weight.shape) < 2:
            return None
        if weight.dtype == "U8":
            return self._two_to_a_byte(prefix, weight, scale)
        zero = f"{prefix}_zero_point" if f"{prefix}_zero_point" in self.stored else None
        return byte_layer(self, prefix, (prefix, name, zero), self._block(weight.shape, scale.shape))

    def _two_to_a_byte(self, prefix: str, weight: TensorInfo, scale: TensorInfo) -> FoundLayer | None:
        """NVFP4 as ModelOpt stores it."""
        second = f"{prefix}_scale_2"
        if second not in self.stored or scale.dtype != "F8_E4M3" or len(weight.shape) != 2:
            return None
        rows, cols = weight.shape[0], 2 * weight.shape[1]
        self.expect(scale.name, (rows, -(-cols // 16)))
        if self.array(second, "F32").size != 1:
            raise FormatError(f"{printable(second)} is not one number")
        table, patterns = float_codes(np.dtype(ml_dtypes.float4_e2m1fn))
        scheme = Blocked(
            kind="NVFP4", whole=(rows, cols), stored_bytes=self.nbytes(prefix, scale.name, second), bits=4,
            block=(1, 16), held=held(data=(np.uint8, weight.shape), scale=(np.float32, scale.shape)),
            table=table, patterns=patterns,
        )  # fmt: skip
        parts = {"data": Part((prefix,)), "scale": Part((scale.name, second), _multiplied)}
        return self.found(prefix, scheme, parts)

    def _block(self, shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns that share a scale."""
        rows, cols = matrix_shape(shape)
        down, across = matrix_shape(scales) if len(scales) > 1 else (scales[0] if scales else 1, 1)
        if (down, across) == (1, 1):
            return max(1, rows), max(1, cols)
        if len(shape) > 2:
            if scales[: len(shape) - 1] == shape[:-1] and shape[-1] % scales[-1] == 0:
                return 1, shape[-1] // scales[-1]
            raise UnsupportedError(f"scales {list(scales)} of weights {list(shape)} are not decoded here")
        for high, wide in self._tiles():
            if (-(-rows // high), -(-cols // wide)) == (down, across):
                return high, wide
        if down and across and rows % down == 0 and cols % across == 0:
            return rows // down, cols // across
        raise FormatError(f"its scales {list(scales)} do not go with weights {list(shape)}")

    def _tiles(self) -> list[tuple[int, int]]:
        """Rows and columns of a tile: as it is told, or as usual."""
        match self.config.quantization.get("weight_block_size"):
            case [int(high), int(wide)] if high > 0 < wide:
                return [(high, wide), (128, 128)]
        return [(128, 128)]


def _multiplied(scale: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(scale.astype(np.float32) * whole.reshape(()), np.float32)
