"""What the packed targets share: the arrays of a layer, and how its weights become them."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from qinspect.errors import ExportError
from qinspect.formats.dtypes import dtype_name, numpy_dtype
from qinspect.formats.native import LayerRecord, array_names, codebook_name, prefix_of
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor
from qinspect.quant.schemes.base_n import BaseN, codebook
from qinspect.targets.blueprint import Stored
from qinspect.targets.choice import same_scheme
from qinspect.targets.read_back import Content
from qinspect.targets.target import PlanRow
from qinspect.targets.tensor_file import TensorFile
from qinspect.task import Token


class Packed(TensorFile):
    """A file in which every tensor that has a scheme is stored packed, the others as they are."""

    def stored(self, row: PlanRow) -> list[Stored]:
        """Codes, parameters and codebook; or the tensor itself."""
        if row.scheme is None:
            return [Stored(row.name, row.dtype, row.shape)]
        prefix = prefix_of(row.name)
        names = array_names(prefix, row.scheme)
        kinds = row.scheme.stored(row.shape)
        arrays = [Stored(names[key], dtype_name(dtype), shape) for key, (dtype, shape) in kinds.items()]
        if isinstance(row.scheme, BaseN):
            arrays.append(Stored(codebook_name(prefix), "F32", (row.scheme.levels,)))
        return arrays

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """The codes, made now unless the source has just these."""
        return packed_or_plain(row, held, token)

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """In the order of `stored`."""
        if not isinstance(content, QTensor):
            return [content]
        arrays: list[Weights] = [content.data, *(content.params[name] for name in content.scheme.param_names)]
        return [*arrays, codebook(content.scheme.levels)] if isinstance(content.scheme, BaseN) else arrays


def packed_or_plain(row: PlanRow, held: Content, token: Token) -> Content:
    """`held` in the scheme of `row`; where there is none its weights, decoded if it is packed."""
    content = packed(row, held, token)
    if row.scheme is None and isinstance(content, QTensor):
        return within(content.scheme.dequantize(content, token=token), numpy_dtype(row.dtype))
    return content


def packed(row: PlanRow, held: Content, token: Token) -> Content:
    """`held` in the scheme of `row`; as it is where there is none, or where it is packed so already."""
    if isinstance(held, QTensor):
        if row.scheme is None or same_scheme(held.scheme, row.scheme):
            return held
        held = held.scheme.dequantize(held, token=token)
    return held if row.scheme is None else row.scheme.quantize(held, importance=row.importance, token=token)


def within(decoded: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Decoded float32 weights in the original type; one that rounding put just beyond its range becomes its end."""
    if dtype == decoded.dtype:
        return decoded
    limit = min(float(ml_dtypes.finfo(dtype).max), float(np.finfo(decoded.dtype).max))
    return np.clip(decoded, -limit, limit, out=decoded).astype(dtype)


def converted(weights: Weights, dtype: np.dtype) -> Weights:
    """`weights` in another type; ExportError for a finite weight that becomes infinite there."""
    if weights.dtype == dtype:
        return weights
    try:
        with np.errstate(over="raise"):
            return np.asarray(weights).astype(dtype, copy=False)
    except FloatingPointError:
        raise ExportError(f"there are weights that {dtype.name} cannot hold; unpack keeps the type they have") from None


def records(rows: Sequence[PlanRow]) -> dict[str, LayerRecord]:
    """What a reader needs of each packed layer, by prefix."""
    packed_rows = [(row, row.scheme) for row in rows if row.scheme is not None]
    return {prefix_of(row.name): LayerRecord(row.name, row.shape, row.dtype, scheme) for row, scheme in packed_rows}
