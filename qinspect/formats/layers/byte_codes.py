"""Layers of one byte a weight beside scales, and seldom zero points: what several formats share."""

from __future__ import annotations

from typing import Any

import ml_dtypes

from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import powers_of_two
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import float_codes
from qinspect.quant.layout import matrix_shape

FLOAT8 = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
POWERS = ("U8", "F8_E8M0")
"""Types of scales that are powers of two."""


def byte_layer(
    reader: LayerFormat, name: str, arrays: tuple[str, str, str | None], block: tuple[int, int]
) -> FoundLayer:
    """The layer `name` of codes, scales and zero points, by the names of these; a scale serves a `block`."""
    weight, scale = reader.array(arrays[0], "I8", *FLOAT8), reader.array(arrays[1], *FLOATS, *POWERS)
    powers = scale.dtype in POWERS
    scale_type = ml_dtypes.float8_e8m0fnu if powers else numpy_dtype(scale.dtype)
    kinds = held(data=(numpy_dtype(weight.dtype), weight.shape), scale=(scale_type, scale.shape))
    parts = {"data": Part((arrays[0],)), "scale": Part((arrays[1],), powers_of_two if powers else None)}
    if arrays[2] is not None:
        zero = reader.array(arrays[2], "I8", "I32", "I64", *FLOATS)
        kinds += held(zero_point=(numpy_dtype(zero.dtype), zero.shape))
        parts["zero_point"] = Part((arrays[2],))
    floats: dict[str, Any] = {"signed": True}
    if weight.dtype != "I8":
        table, patterns = float_codes(numpy_dtype(weight.dtype))
        floats = {"table": table, "patterns": patterns}
    scheme = Blocked(
        kind=_title(weight.dtype, block, weight.shape), whole=weight.shape, bits=8, block=block, held=kinds,
        stored_bytes=reader.nbytes(*(array for array in arrays if array)), **floats,
    )  # fmt: skip
    return reader.found(name, scheme, parts, dtype=scale.dtype)


def _title(dtype: str, block: tuple[int, int], shape: tuple[int, ...]) -> str:
    rows, cols = matrix_shape(shape)
    kind = "int8" if dtype == "I8" else f"fp8 {dtype[3:].lower()}"
    if block[0] == 1:
        return f"{kind} channel" if block[1] == cols else f"{kind} g{block[1]}"
    return kind if block[0] >= rows and block[1] >= cols else f"{kind} {block[0]}×{block[1]}"
