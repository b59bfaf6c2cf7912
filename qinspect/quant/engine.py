"""Runs a scheme over a tensor, block by block: the same few passes serve every scheme there is.

A block of rows stays in a core's cache while its ranges are found, parameters fitted, codes made and packed, so that
weights are read from memory once (twice where parameters are shared across rows).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant import error_kernels, metrics
from qinspect.quant.blocks import Matrix, map_blocks, scratch
from qinspect.quant.fitting import Fitted
from qinspect.quant.fused import Fused
from qinspect.quant.layout import Layout
from qinspect.quant.packing import DigitPacking
from qinspect.quant.sample import TensorSample, column_weights, over_weights, run_ranges
from qinspect.quant.scheme import Grid, QTensor, Scheme
from qinspect.task import Token

T = TypeVar("T")


def quantize(scheme: Scheme, w: Any, token: Token | None = None, importance: Any = None) -> QTensor:
    """See `Scheme.quantize`."""
    matrix = Matrix(w)
    arrays = {name: np.empty(dims, dtype) for name, (dtype, dims) in scheme.stored(matrix.shape).items()}
    data = arrays.pop("data")
    fitted = Fitted(scheme, matrix, arrays, token, column_weights(importance, matrix.shape))

    fused = Fused(scheme, fitted.layout, arrays) if Fused.takes(scheme, fitted.layout) else None

    def work(start: int, stop: int) -> None:
        x, out = matrix.block(start, stop), data[start:stop]
        if fused is None or not fused.quantize(x, start, out):
            scheme.packing.pack(fitted.encode(x, start)[0], fitted.layout, out)

    over_weights(work, matrix, fitted.token)
    return QTensor(scheme, matrix.shape, data, arrays)


def measure(scheme: Scheme, w: Any, token: Token | None = None, importance: Any = None) -> metrics.Metrics:
    """See `Scheme.measure`."""
    matrix = Matrix(w)
    layout = scheme.layout(matrix.shape)
    stored = scheme.stored(matrix.shape)
    arrays = {name: np.empty(stored[name][1], stored[name][0]) for name in scheme.param_names}
    fitted = Fitted(scheme, matrix, arrays, token, column_weights(importance, matrix.shape))
    fused = Fused(scheme, layout, arrays) if Fused.takes(scheme, layout) else None
    counts = _Counts(scheme)

    def work(start: int, stop: int) -> np.ndarray:
        x = matrix.block(start, stop)
        if fused is not None:
            found = counts.none()
            sums = fused.measure(x, start, found)
            if sums is not None:
                counts.take(found)
                return sums
        codes, grid = fitted.encode(x, start)
        counts.add(codes)
        return _errors(scheme, x, codes, layout, layout.first_run(start), grid)

    sums = metrics.combine(over_weights(work, matrix, fitted.token))
    return metrics.from_sums(sums, counts.total, math.prod(matrix.shape), scheme.nbytes(matrix.shape), arrays)


def compare(w: Any, q: QTensor, token: Token | None = None) -> metrics.Metrics:
    """See `Scheme.compare`."""
    matrix = Matrix(w)
    if matrix.shape != q.shape:
        raise SchemeError(f"the reference has shape {list(matrix.shape)}, the packed tensor {list(q.shape)}")
    stored, counts = _Stored(q), _Counts(q.scheme)

    def work(start: int, stop: int) -> np.ndarray:
        x, codes = matrix.block(start, stop), stored.codes(start, stop)
        counts.add(codes)
        return _errors(q.scheme, x, codes, stored.layout, stored.layout.first_run(start), stored.grid(start, stop))

    sums = metrics.combine(over_weights(work, matrix, token))
    return metrics.from_sums(sums, counts.total, math.prod(q.shape), q.nbytes, q.params)


def dequantize(q: QTensor, rows: slice | None, out: np.ndarray | None, token: Token | None = None) -> np.ndarray:
    """See `Scheme.dequantize`."""
    stored = _Stored(q)
    layout = stored.layout
    start, stop, shape = _rows_of(q.shape, layout, rows)
    values = np.empty(shape, np.float32) if out is None else _checked_out(out, shape)
    flat = values.reshape(stop - start, layout.cols)

    def work(a: int, b: int) -> None:
        stored.decode(start + a, start + b, flat[a:b])

    map_blocks(work, stop - start, layout.cols, token)
    return values


def multiply(q: QTensor, x: np.ndarray) -> np.ndarray:
    """`x` `[n, cols]`, C-contiguous float32 and few rows, times the transpose of `q`'s matrix: float32 `[n, rows]`.

    Each block of weights is decoded and used up while it is in cache, and never written to memory.
    """
    from qinspect.quant import product_kernels

    stored = _Stored(q)
    layout = stored.layout
    out = np.zeros((len(x), layout.rows), np.float32)

    def work(start: int, stop: int) -> None:
        weights = scratch("multiply", (stop - start) * layout.cols, np.dtype(np.float32))
        block = weights.reshape(stop - start, layout.cols)
        stored.decode(start, stop, block)
        product_kernels.dots(block, x, out[:, start:stop])

    map_blocks(work, layout.rows, layout.cols)
    return out


def codes(q: QTensor, rows: slice | None = None) -> np.ndarray:
    """See `Scheme.codes`."""
    stored = _Stored(q)
    start, stop, shape = _rows_of(q.shape, stored.layout, rows)
    found = np.empty((stop - start, stored.layout.cols), q.scheme.code_dtype)

    def work(a: int, b: int) -> None:
        found[a:b] = stored.codes(start + a, start + b)

    map_blocks(work, stop - start, stored.layout.cols)
    lowest = q.scheme.code_range[0]
    return found.reshape(shape) if lowest == 0 else found.astype(np.int32).reshape(shape) + np.int32(lowest)


def count(q: QTensor, token: Token | None = None) -> np.ndarray:
    """See `Scheme.count`."""
    stored = _Stored(q)
    counts = _Counts(q.scheme)
    map_blocks(lambda a, b: counts.add(stored.codes(a, b)), stored.layout.rows, stored.layout.cols, token)
    return counts.total


def stored_metrics(q: QTensor, token: Token | None = None) -> metrics.Metrics:
    """What can be said of `q` without a reference: size and the use of its codes; every error figure is NaN."""
    return metrics.without_reference(count(q, token), math.prod(q.shape), q.nbytes, q.params)


def level_span(q: QTensor, token: Token | None = None) -> tuple[float, float]:
    """The lowest and the highest value that any code of `q` stands for (0, 0 of an empty tensor)."""
    stored = _Stored(q)

    def work(start: int, stop: int) -> tuple[float, float]:
        grid = stored.grid(start, stop)
        return float(grid.low.min()), float(grid.high.max())

    ends = map_blocks(work, stored.layout.rows, stored.layout.cols, token)
    return min((low for low, _ in ends), default=0.0), max((high for _, high in ends), default=0.0)


def extremes(w: Any, token: Token | None = None) -> tuple[float, float]:
    """Smallest and largest weight (0, 0 of an empty tensor); raises SchemeError for NaN and infinities."""
    matrix = Matrix(w)
    layout = Layout(matrix.rows, matrix.cols, matrix.cols, matrix.cols, (1,))
    if not (matrix.rows and matrix.cols):
        return 0.0, 0.0
    low, high = TensorSample(matrix, layout, token or Token()).extremes()
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Block:
    """Some rows of a packed tensor: the reference weights if there are any, and what the codes decode to.

    `codes` and `decoded` are scratch memory, good until the visitor returns; visitors leave them as they are.
    """

    start: int
    stop: int
    weights: np.ndarray | None
    decoded: np.ndarray
    codes: np.ndarray
    layout: Layout
    first: int
    grid: Grid

    @cached_property
    def errors(self) -> np.ndarray:
        """Decoded less original, zero where there is no original; scratch memory as well."""
        out = scratch("errors", self.decoded.size, np.dtype(np.float32)).reshape(self.decoded.shape)
        if self.weights is None:
            out[...] = 0
        else:
            np.subtract(self.decoded, self.weights, out=out)
        return out


def visit(
    q: QTensor,
    w: Any,
    work: Callable[[Block], T],
    token: Token | None = None,
    *,
    multiple: int = 1,
    rows: tuple[int, int] | None = None,
) -> list[T]:
    """`work(block)` for every block of rows of `q`, with the reference `w` (or None) beside it; results in order.

    With `rows` (start, stop) of these alone. `work` must not call functions of this module: they use the same pool and
    the same scratch memory.
    """
    stored = _Stored(q)
    layout = stored.layout
    matrix = None if w is None else Matrix(w)
    if matrix is not None and matrix.shape != q.shape:
        raise SchemeError(f"the reference has shape {list(matrix.shape)}, the packed tensor {list(q.shape)}")

    begin, end = rows or (0, layout.rows)

    def one(start: int, stop: int) -> T:
        start, stop = begin + start, begin + stop
        # First the weights: those of another packed tensor are decoded in the same scratch memory as they are read.
        weights = None if matrix is None else matrix.block(start, stop)
        found, grid, first = stored.codes(start, stop), stored.grid(start, stop), layout.first_run(start)
        decoded = scratch("decoded", found.size, np.dtype(np.float32)).reshape(found.shape)
        q.scheme.decode(found, layout, first, grid, decoded)
        return work(Block(start, stop, weights, decoded, found, layout, first, grid))

    return map_blocks(one, end - begin, layout.cols, token, multiple=multiple)


class _Stored:
    """A packed tensor, read by blocks of rows."""

    def __init__(self, q: QTensor) -> None:
        self.q = q
        self.layout = q.scheme.layout(q.shape)

    def codes(self, start: int, stop: int) -> np.ndarray:
        """Stored codes of some rows, in this thread's scratch memory."""
        size = (stop - start) * self.layout.cols
        found = scratch("codes", size, self.q.scheme.code_dtype).reshape(stop - start, self.layout.cols)
        self.q.scheme.unpack(self.q, start, stop, found)
        return found

    def decode(self, start: int, stop: int, out: np.ndarray) -> None:
        """The weights of some rows into `out` `[stop − start, cols]`."""
        grid, first = self.grid(start, stop), self.layout.first_run(start)
        if not self.decode_digits(start, stop, first, grid, out):
            self.q.scheme.decode(self.codes(start, stop), self.layout, first, grid, out)

    def decode_digits(self, start: int, stop: int, first: int, grid: Grid, out: np.ndarray) -> bool:
        """Rows of base-N digits straight to weights, which is faster; False where nothing was done."""
        packing = None if self.q.scheme.decode_only else self.q.scheme.packing
        if not isinstance(packing, DigitPacking):
            return False
        return packing.decode(self.q.data[start:stop], self.layout, first, grid, out)

    def grid(self, start: int, stop: int) -> Grid:
        """What the codes of these rows mean."""
        sets = self.layout.sets_of(start, stop)
        return self.q.scheme.grid_of(self.q.params, sets)


def _errors(scheme: Scheme, x: np.ndarray, found: np.ndarray, layout: Layout, first: int, grid: Grid) -> np.ndarray:
    """`metrics.SUMS` of one block."""
    decoded = scratch("decoded", x.size, np.dtype(np.float32))
    scheme.decode(found, layout, first, grid, decoded.reshape(x.shape))
    sums = np.zeros(len(metrics.SUMS))
    weights = x.reshape(-1), decoded, 0, x.size, layout.strip, layout.line, layout.run, first
    error_kernels.error_sums(*weights, grid.step, grid.low, grid.high, *run_ranges(x, layout), sums)
    return sums


class _Counts:
    """How often each code occurs, added up as blocks come: with 16 bits one block's counts outweigh its weights."""

    def __init__(self, scheme: Scheme) -> None:
        self.total = np.zeros(scheme.n_codes, np.int64)
        self._lock = threading.Lock()

    def add(self, found: np.ndarray) -> None:
        """Count the codes of one block, on any thread."""
        counts = self.none()
        tables = scratch("tables", error_kernels.TABLES, np.uint32)
        error_kernels.count_codes(found.reshape(-1), found.size, counts, tables)
        self.take(counts)

    def none(self) -> np.ndarray:
        """Where the codes of a block can be counted."""
        return np.zeros_like(self.total)

    def take(self, counts: np.ndarray) -> None:
        """Add the counts of a block, on any thread."""
        with self._lock:
            self.total += counts


def _rows_of(shape: tuple[int, ...], layout: Layout, rows: slice | None) -> tuple[int, int, tuple[int, ...]]:
    """First and last matrix row of `rows`, and the shape of that part of the tensor."""
    if rows is None:
        return 0, layout.rows, shape
    if len(shape) < 2:
        raise SchemeError(f"a tensor of shape {list(shape)} has no rows to choose from; take all of it")
    start, stop, step = rows.indices(layout.rows)
    if step != 1:
        raise SchemeError("rows are taken with step 1")
    stop = max(start, stop)
    return start, stop, (stop - start, *shape[1:])


def _checked_out(out: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if out.shape != shape or out.dtype != np.float32 or not (out.flags.c_contiguous and out.flags.writeable):
        raise SchemeError(f"out must be a writeable C-contiguous float32 array of shape {list(shape)}")
    return out
