"""The product of two quantized matrices as an integer device computes it: whole sums, scaled once at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant.affine import Affine
from qinspect.quant.layout import Granularity
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import QTensor

ACCUMULATOR = np.iinfo(np.int32)


@dataclass(frozen=True, eq=False)
class Product:
    """`a @ b` of quantized operands: `values = accumulator · scale`.

    `accumulator` is int32 `[rows, cols]` and exact, with zero points taken off. `scale` float32 is the product of both
    operands' scales, `[rows or 1, cols or 1]`. `nbytes` counts both stored operands and float32 `values`,
    `original_nbytes` all three matrices in float32.
    """

    accumulator: np.ndarray
    scale: np.ndarray
    values: np.ndarray
    nbytes: int
    original_nbytes: int

    @property
    def accumulator_range(self) -> tuple[int, int]:
        """The least and the greatest sum; zeros where there are none."""
        return int(self.accumulator.min(initial=0)), int(self.accumulator.max(initial=0))

    def errors(self, reference: np.ndarray) -> ProductErrors:
        """How far `values` are from `reference`, the product of the matrices before they were quantized."""
        if reference.shape != self.values.shape:
            raise SchemeError(f"the reference has shape {list(reference.shape)}, the product {list(self.values.shape)}")
        exact = reference.astype(np.float64)
        error = np.abs(self.values - exact)
        known = exact != 0  # nothing is relative to zero
        return ProductErrors(
            max_error=float(error.max(initial=0.0)),
            mean_error=float(error.mean()) if error.size else 0.0,
            mean_relative=float((error[known] / np.abs(exact[known])).mean()) if known.any() else 0.0,
            sqnr_db=decibels(float(np.sum(exact**2)), float(np.sum(error**2))),
        )


@dataclass(frozen=True)
class ProductErrors:
    """Errors of a product's entries; `mean_relative` is the mean of |error| / |exact| where that is not 0."""

    max_error: float
    mean_error: float
    mean_relative: float
    sqnr_db: float


def multiply(a: QTensor, b: QTensor) -> Product:
    """`a @ b` of matrices `[m, k]` and `[k, n]` with a scale each, or one a row of `a` and a column of `b`.

    SchemeError for other schemes, for scales that change along `k`, and for sums that int32 does not hold.
    """
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        raise SchemeError(f"tensors of shapes {list(a.shape)} and {list(b.shape)} have no product as matrices")
    scale = _scales(a, keeps=0) * _scales(b, keeps=1)
    sums = _exact(_centred(a, keeps=0), _centred(b, keeps=1))
    if sums.max(initial=0) > ACCUMULATOR.max or sums.min(initial=0) < ACCUMULATOR.min:
        raise SchemeError(f"sums of the product reach {np.abs(sums).max():.3g}, beyond int32: choose fewer bits")
    accumulator = sums.astype(np.int32)
    values = (accumulator * scale.astype(np.float64)).astype(np.float32)
    original = 4 * (math.prod(a.shape) + math.prod(b.shape) + values.size)
    return Product(accumulator, scale, values, a.nbytes + b.nbytes + values.nbytes, original)


def _scales(q: QTensor, keeps: int) -> np.ndarray:
    """The scales of `q`, `[m, 1]`, `[1, n]` or `[1, 1]`: they may only change along the axis that the product keeps."""
    scheme = q.scheme
    grid = scheme.grid_of(q.params)
    if not isinstance(scheme, Affine) or grid.table is not None or grid.offset.any():
        raise SchemeError(f"{scheme.label} has no integer product; choose symmetric, or asymmetric with a zero point")
    if scheme.granularity == Granularity.GROUP or (scheme.granularity == Granularity.CHANNEL and scheme.axis != keeps):
        raise SchemeError(
            f"{scheme.label}: scales change along the axis that is summed over; choose granularity tensor, "
            f"or channel with axis {keeps}"
        )
    return _beside(q.params["scale"].astype(np.float32), keeps)


def _centred(q: QTensor, keeps: int) -> np.ndarray:
    """Codes less their zero point, int32: what the correction terms of a device's product come to."""
    codes = q.scheme.codes(q).astype(np.int32)
    zero = q.params.get("zero_point")
    return codes if zero is None else codes - _beside(zero.astype(np.int32), keeps)


def _beside(values: np.ndarray, keeps: int) -> np.ndarray:
    """One value a row (`keeps` 0) or column, or a single one, so that it lines up with a matrix."""
    return values.reshape(-1, 1) if keeps == 0 else values.reshape(1, -1)


def _exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The exact product of integer matrices, in the fastest type whose every partial sum is a whole number."""
    largest = a.shape[1] * int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0))
    dtype = np.float32 if largest <= 1 << 24 else np.float64 if largest <= 1 << 53 else np.int64
    product: np.ndarray = a.astype(dtype) @ b.astype(dtype)
    return product
