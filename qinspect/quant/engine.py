"""Runs a scheme over a tensor, block by block: the same few passes serve every scheme there is.

A block of rows stays in a core's cache while its ranges are found, parameters fitted, codes made and packed, so that
weights are read from memory once (twice where parameters are shared across rows).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant import kernels, metrics
from qinspect.quant.blocks import Matrix, map_blocks, scratch
from qinspect.quant.layout import Layout
from qinspect.quant.scheme import Grid, QTensor, Scheme
from qinspect.task import Token

T = TypeVar("T")


def quantize(scheme: Scheme, w: Any, token: Token | None = None) -> QTensor:
    """See `Scheme.quantize`."""
    matrix = Matrix(w)
    arrays = {name: np.empty(dims, dtype) for name, (dtype, dims) in scheme.stored(matrix.shape).items()}
    data = arrays.pop("data")
    fitted = _Fitted(scheme, matrix, arrays, token)

    def work(start: int, stop: int) -> None:
        codes = fitted.encode(start, stop)[1]
        scheme.packing.pack(codes, fitted.layout, data[start:stop])

    _over_weights(work, matrix, fitted.token)
    return QTensor(scheme, matrix.shape, data, arrays)


def measure(scheme: Scheme, w: Any, token: Token | None = None) -> metrics.Metrics:
    """See `Scheme.measure`."""
    matrix = Matrix(w)
    layout = scheme.layout(matrix.shape)
    arrays = {name: np.empty(layout.sets_shape, dtype) for name, dtype in scheme.param_dtypes().items()}
    fitted, counts = _Fitted(scheme, matrix, arrays, token), _Counts(scheme)

    def work(start: int, stop: int) -> np.ndarray:
        x, codes, grid = fitted.encode(start, stop)
        counts.add(codes)
        return _errors(scheme, x, codes, layout, layout.first_run(start), grid)

    sums = metrics.combine(_over_weights(work, matrix, fitted.token))
    return metrics.from_sums(sums, counts.total, math.prod(matrix.shape), scheme.nbytes(matrix.shape), arrays)


def compare(w: Any, q: QTensor, token: Token | None = None) -> metrics.Metrics:
    """See `Scheme.compare`."""
    matrix = Matrix(w)
    if matrix.shape != q.shape:
        raise SchemeError(f"the reference has shape {list(matrix.shape)}, the packed tensor {list(q.shape)}")
    stored, counts = _Stored(q), _Counts(q.scheme)

    def work(start: int, stop: int) -> np.ndarray:
        x, codes = matrix.block(start, stop), stored.codes(start, stop)
        if not np.isfinite(x).all():
            raise _NotFiniteError
        counts.add(codes)
        return _errors(q.scheme, x, codes, stored.layout, stored.layout.first_run(start), stored.grid(start, stop))

    sums = metrics.combine(_over_weights(work, matrix, token))
    return metrics.from_sums(sums, counts.total, math.prod(q.shape), q.nbytes, q.params)


def dequantize(q: QTensor, rows: slice | None, out: np.ndarray | None, token: Token | None = None) -> np.ndarray:
    """See `Scheme.dequantize`."""
    stored = _Stored(q)
    layout = stored.layout
    start, stop, shape = _rows_of(q.shape, layout, rows)
    values = np.empty(shape, np.float32) if out is None else _checked_out(out, shape)
    flat = values.reshape(stop - start, layout.cols)

    def work(a: int, b: int) -> None:
        low, high = start + a, start + b
        grid = stored.grid(low, high)
        _decode(q.scheme, stored.codes(low, high), layout, layout.first_run(low), grid, flat[a:b])

    map_blocks(work, stop - start, layout.cols, token)
    return values


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


def extremes(w: Any, token: Token | None = None) -> tuple[float, float]:
    """Smallest and largest weight (0, 0 of an empty tensor); raises SchemeError for NaN and infinities."""
    matrix = Matrix(w)
    layout = Layout(matrix.rows, matrix.cols, matrix.cols, matrix.cols, (1,))
    low, high = _set_ranges(matrix, layout, token)
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Block:
    """Some rows of a packed tensor: the reference weights if there are any, and what the codes decode to.

    `codes` and `decoded` are scratch memory, good until the visitor returns.
    """

    start: int
    stop: int
    weights: np.ndarray | None
    decoded: np.ndarray
    codes: np.ndarray
    layout: Layout
    first: int
    grid: Grid


def visit(q: QTensor, w: Any, work: Callable[[Block], T], token: Token | None = None, *, multiple: int = 1) -> list[T]:
    """`work(block)` for every block of rows of `q`, with the reference `w` (or None) beside it; results in order.

    `work` must not call functions of this module: they use the same pool and the same scratch memory.
    """
    stored = _Stored(q)
    layout = stored.layout
    matrix = None if w is None else Matrix(w)
    if matrix is not None and matrix.shape != q.shape:
        raise SchemeError(f"the reference has shape {list(matrix.shape)}, the packed tensor {list(q.shape)}")

    def one(start: int, stop: int) -> T:
        found, grid, first = stored.codes(start, stop), stored.grid(start, stop), layout.first_run(start)
        decoded = scratch("decoded", found.size, np.dtype(np.float32)).reshape(found.shape)
        _decode(q.scheme, found, layout, first, grid, decoded)
        weights = None if matrix is None else matrix.block(start, stop)
        return work(Block(start, stop, weights, decoded, found, layout, first, grid))

    return map_blocks(one, layout.rows, layout.cols, token, multiple=multiple)


class _Stored:
    """A packed tensor, read by blocks of rows."""

    def __init__(self, q: QTensor) -> None:
        self.q = q
        self.layout = q.scheme.layout(q.shape)

    def codes(self, start: int, stop: int) -> np.ndarray:
        """Stored codes of some rows, in this thread's scratch memory."""
        size = (stop - start) * self.layout.cols
        found = scratch("codes", size, self.q.scheme.code_dtype).reshape(stop - start, self.layout.cols)
        self.q.scheme.packing.unpack(self.q.data[start:stop], self.layout, found)
        return found

    def grid(self, start: int, stop: int) -> Grid:
        """What the codes of these rows mean."""
        sets = self.layout.sets_of(start, stop)
        return self.q.scheme.grid_of(self.q.params, sets)


class _Fitted:
    """Weights and the parameters fitted to them: block by block, or all first where rows share parameters."""

    def __init__(self, scheme: Scheme, matrix: Matrix, arrays: dict[str, np.ndarray], token: Token | None) -> None:
        self.scheme = scheme
        self.matrix = matrix
        self.layout = scheme.layout(matrix.shape)
        self.token = token or Token()
        """For what is left to do after fitting."""
        self._arrays = {name: array.reshape(-1) for name, array in arrays.items()}
        self._grid: Grid | None = None
        if not self.layout.local or not (matrix.rows and matrix.cols):
            self._grid = self._fit(*_set_ranges(matrix, self.layout, self.token.part(0, 0.5)), 0)
            self.token = self.token.part(0.5, 1)

    def encode(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, Grid]:
        """A block of rows: the weights, their codes (in scratch memory), and the grid of its sets."""
        x = self.matrix.block(start, stop)
        grid = self._grid or self._fit(*_run_ranges(x, self.layout), start * self.layout.runs_per_row)
        return x, _encode(self.scheme, x, self.layout, self.layout.first_run(start), grid), grid

    def _fit(self, low: np.ndarray, high: np.ndarray, first: int) -> Grid:
        """Fit the sets from `first` on, put their parameters in place, and tell what codes mean under them."""
        with np.errstate(over="ignore", invalid="ignore"):
            params = self.scheme.fit(low, high)
            grid = self.scheme.grid(params)
        for name, array in params.items():
            self._arrays[name][first : first + array.size] = array
        fine = np.isfinite(grid.low) & np.isfinite(grid.high)
        if not fine.all():
            bad = int(np.argmin(fine))
            where = f"{self._place(first + bad)}, where weights run from {low[bad]:.6g} to {high[bad]:.6g}"
            raise SchemeError(_overflow({name: array[bad] for name, array in params.items()}, where))
        return grid

    def _place(self, number: int) -> str:
        if len(self.layout.sets_shape) == 2:
            return "row {}, group {}".format(*divmod(number, self.layout.runs_per_row))
        return "the tensor" if self.layout.sets == 1 else f"channel {number}"


def _overflow(params: Mapping[str, Any], where: str) -> str:
    """What to say of parameters under which not every code has a finite value."""
    for name, value in params.items():
        if value.dtype != np.float32 and not np.isfinite(np.float32(value)):
            return f"{name} does not fit {value.dtype} in {where}; choose param_dtype=float32"
    return f"levels overflow float32 in {where}; scale this tensor down or leave it alone"


def _encode(scheme: Scheme, x: np.ndarray, layout: Layout, first: int, grid: Grid) -> np.ndarray:
    found = scratch("codes", x.size, scheme.code_dtype).reshape(x.shape)
    low, high = scheme.code_range
    line, run = layout.line, layout.run
    if grid.table is None:
        kernels.encode_affine(x, line, run, first, grid.scale, grid.zero, grid.offset, low, high, found)
    elif grid.even:
        kernels.encode_linear(x, line, run, first, grid.scale, grid.offset, high, found)
    else:
        kernels.encode_nearest(x, line, run, first, grid.scale, grid.offset, boundaries(grid.table), found)
    return found


def boundaries(table: np.ndarray) -> np.ndarray:
    """The midpoints of neighbouring levels, rounded down to float32: a float32 above one is nearer to the upper level.

    Filled up with infinity to a multiple of four. Of equal levels only the lowest is ever taken.
    """
    exact = (table[:-1].astype(np.float64) + table[1:]) / 2
    middle = exact.astype(np.float32)
    middle = np.where(middle > exact, np.nextafter(middle, np.float32(-np.inf)), middle)
    middle[table[:-1] == table[1:]] = np.inf
    middle = np.minimum.accumulate(middle[::-1])[::-1]
    return np.append(middle, np.full(-middle.size % 4, np.inf, np.float32))


def _decode(scheme: Scheme, found: np.ndarray, layout: Layout, first: int, grid: Grid, out: np.ndarray) -> None:
    line, run = layout.line, layout.run
    if grid.table is None:
        low = scheme.code_range[0]
        kernels.decode_affine(found, line, run, first, grid.scale, grid.zero, grid.offset, low, out)
    else:
        kernels.decode_table(found, line, run, first, grid.scale, grid.offset, grid.table, out)


def _errors(scheme: Scheme, x: np.ndarray, found: np.ndarray, layout: Layout, first: int, grid: Grid) -> np.ndarray:
    """`metrics.SUMS` of one block."""
    decoded = scratch("decoded", x.size, np.dtype(np.float32)).reshape(x.shape)
    _decode(scheme, found, layout, first, grid, decoded)
    sums = np.zeros(len(metrics.SUMS))
    kernels.error_sums(x, decoded, layout.line, layout.run, first, grid.step, grid.low, grid.high, sums)
    sums[-1] = np.int32(kernels.largest_magnitude(decoded.view(np.int32))).view(np.float32)
    return sums


class _Counts:
    """How often each code occurs, added up as blocks come: with 16 bits one block's counts outweigh its weights."""

    def __init__(self, scheme: Scheme) -> None:
        self.total = np.zeros(scheme.n_codes, np.int64)
        self._lock = threading.Lock()

    def add(self, found: np.ndarray) -> None:
        """Count the codes of one block, on any thread."""
        counts = np.zeros_like(self.total)
        kernels.count_codes(found, counts)
        with self._lock:
            self.total += counts


class _NotFiniteError(Exception):
    """A block holds NaN or infinities; how many there are in all is counted once, by whoever catches this."""


def _over_weights(work: Callable[[int, int], T], matrix: Matrix, token: Token | None) -> list[T]:
    """`map_blocks` over all rows; weights that are not finite end in one SchemeError that says how many."""
    try:
        return map_blocks(work, matrix.rows, matrix.cols, token)
    except _NotFiniteError:
        pass

    def odd(start: int, stop: int) -> np.ndarray:
        x = matrix.block(start, stop)
        return np.array([np.count_nonzero(np.isnan(x)), np.count_nonzero(np.isinf(x))])

    nan, inf = np.sum(map_blocks(odd, matrix.rows, matrix.cols, token), axis=0)
    found = " and ".join(f"{n} {what}" for n, what in ((nan, "NaN"), (inf, "infinite")) if n)
    raise SchemeError(
        f"{found} of {matrix.rows * matrix.cols} weights: repair the checkpoint or leave this tensor alone"
    )


def _run_ranges(x: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest weight of every run of a block."""
    keys = np.empty((2, len(x) * layout.runs_per_row), np.int32)
    kernels.ranges(x.view(np.int32), layout.line, layout.run, keys[0], keys[1])
    values = (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(np.float32)
    if not np.isfinite(values).all():
        raise _NotFiniteError
    values += np.float32(0)  # −0 becomes 0
    return values[0], values[1]


def _set_ranges(matrix: Matrix, layout: Layout, token: Token | None) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest weight of every parameter set, from one pass over all weights; zeros if there are none."""
    if not (matrix.rows and matrix.cols):
        return np.zeros(layout.sets, np.float32), np.zeros(layout.sets, np.float32)
    low, high = np.full(layout.sets, np.inf, np.float32), np.full(layout.sets, -np.inf, np.float32)
    lock = threading.Lock()

    def work(start: int, stop: int) -> None:
        # A row's runs are as many as the sets, or a multiple: axis 2 of [a, b, c, d] has its c sets b times in a row.
        lows, highs = (v.reshape(-1, layout.sets) for v in _run_ranges(matrix.block(start, stop), layout))
        with lock:
            np.minimum(low, lows.min(axis=0), out=low)
            np.maximum(high, highs.max(axis=0), out=high)

    _over_weights(work, matrix, token)
    return low, high


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
