"""NVFP4, MXFP4 and MXFP6 as compressed-tensors packs them.

`weight_packed` uint8, a stream of bits along each row, and `weight_scale`: E4M3 for 16 weights, divided by the
`weight_global_scale` of the layer, or powers of two for 32.
"""

from __future__ import annotations

from typing import ClassVar

import ml_dtypes
import numpy as np

from qinspect.errors import FormatError, printable
from qinspect.formats.layer import FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import powers_of_two
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import float_codes


class CompressedFloats(LayerFormat):
    """Packed small floats."""

    name: ClassVar[str] = "compressed_floats"
    title: ClassVar[str] = "compressed-tensors"
    order: ClassVar[int] = 12
    marks: ClassVar[tuple[str, ...]] = ("weight_packed",)

    def prefix(self, name: str) -> str | None:
        """By the codes."""
        bytes_of_codes = name.endswith("weight_packed") and self.stored[name].dtype == "U8"
        return name.removesuffix("weight_packed") if bytes_of_codes else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = [f"{prefix}weight_packed", f"{prefix}weight_scale"]
        packed, scale = self.array(names[0], dims=2), self.array(names[1], "F8_E4M3", "F8_E8M0", "U8", dims=2)
        rows, across = packed.shape[0], scale.shape[1]
        kind, group = ("NVFP4", 16) if scale.dtype == "F8_E4M3" else ("MXFP4", 32)
        if kind == "MXFP4" and packed.shape[1] == across * 24:
            kind = "MXFP6"
        bits, float_type = (6, ml_dtypes.float6_e2m3fn) if kind == "MXFP6" else (4, ml_dtypes.float4_e2m1fn)
        cols = packed.shape[1] * 8 // bits
        if scale.shape != (rows, -(-cols // group)):
            raise FormatError(f"its weight_scale {list(scale.shape)} does not go with {rows} rows of {cols} codes")
        scales = Part((names[1],), powers_of_two)
        if kind == "NVFP4":
            names.append(f"{prefix}weight_global_scale")
            if self.array(names[2], "F32").size != 1:
                raise FormatError(f"{printable(names[2])} is not one number")
            scales = Part((names[1], names[2]), _divided)
        table, patterns = float_codes(np.dtype(float_type))
        scale_type = np.float32 if kind == "NVFP4" else ml_dtypes.float8_e8m0fnu
        scheme = Blocked(
            kind=kind, whole=(rows, cols), stored_bytes=self.nbytes(*names), bits=bits, block=(1, group),
            held=held(data=(np.uint8, packed.shape), scale=(scale_type, scale.shape)), table=table, patterns=patterns,
        )  # fmt: skip
        return self.found(f"{prefix}weight", scheme, {"data": Part((names[0],)), "scale": scales})


def _divided(scale: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(scale.astype(np.float32) / whole.reshape(()), np.float32)
