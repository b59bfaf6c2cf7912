"""Decode-only schemes: how somebody else packed a tensor, so that all that works on our own packed tensors works on it.

A subclass says what lies in the file (`arrays`), which weights share parameters (`layout`), and how codes (`read`) and
their meaning (`grid_rows`) follow for any rows. Arrays are always those of the whole tensor, in memory or in the
file (`lazy.LazyArray`, where rows of the array are rows of the tensor): a tensor of some rows has the same arrays and
another `span`, so that rows which share bytes need no care. Nothing here can be chosen to quantize with.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

import numpy as np

from qinspect.errors import FormatError, SchemeError, UnsupportedError
from qinspect.quant.layout import Layout, matrix_shape, per_group, per_tensor
from qinspect.quant.packing import Packing, read_bits
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import Grid, QTensor, Scheme

Arrays = dict[str, tuple[np.dtype, tuple[int, ...]]]
"""Type and shape of stored arrays by name."""


@dataclass(frozen=True, kw_only=True)
class DecodeOnly(Scheme):
    """Base of them. `kind` is the label, `whole` the shape of the tensor in the file, which takes `stored_bytes`.

    `span` is the first and the last row (exclusive) of the whole matrix that a tensor of this scheme has; None is all.
    """

    name: ClassVar[str] = "stored"
    title: ClassVar[str] = "As stored"
    summary: ClassVar[str] = "As the file holds it."
    decode_only: ClassVar[bool] = True

    kind: str
    whole: tuple[int, ...]
    stored_bytes: int
    span: tuple[int, int] | None = None

    # What a subclass says.

    @abstractmethod
    def arrays(self) -> Arrays:
        """What the whole tensor is stored as: `data`, then all else that decoding needs."""

    @abstractmethod
    def read(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """Codes, less the lowest code, of rows `start`…`stop` of the whole matrix into `out` `[stop − start, cols]`.

        None may exceed `n_codes`: kernels look them up in tables.
        """

    @abstractmethod
    def grid_rows(self, params: Mapping[str, np.ndarray], start: int, stop: int) -> Grid:
        """What codes mean in rows `start`…`stop` of the whole matrix; in all rows where these share parameters.

        `params` are all arrays, `data` among them: blocks may hold codes and scales together.
        """

    # What follows.

    def tensor(self, arrays: Mapping[str, Any], rows: slice | None = None) -> QTensor:
        """The tensor, or some rows of it (first of two or more axes, step 1), from its arrays in the file.

        `data` may be a `LazyArray`, if `read` takes it in slices.
        """
        data, params = arrays["data"], dict(arrays)
        if rows is None:
            return QTensor(self, self.whole, data, params)
        if len(self.whole) < 2 or rows.step not in (None, 1):
            raise UnsupportedError("rows are taken one after another, from a packed tensor of two dimensions or more")
        start, stop, _ = rows.indices(self.whole[0])
        stop = max(start, stop)
        return QTensor(replace(self, span=(start, stop)), (stop - start, *self.whole[1:]), data, params)

    @property
    def rows(self) -> tuple[int, int]:
        """`span`, or all rows of the matrix."""
        return self.span or (0, matrix_shape(self.whole)[0])

    @classmethod
    @functools.cache
    def parameters(cls) -> tuple[Parameter, ...]:
        """There is nothing to choose."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """Its label; nothing can be made from it."""
        return {"scheme": self.kind}

    @property
    def label(self) -> str:
        """`kind`."""
        return self.kind

    def stored(self, shape: tuple[int, ...]) -> Arrays:
        """The arrays of the whole tensor, whatever part of it `shape` is."""
        return self.arrays()

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Everything that belongs to the tensor in the file; for some rows their share."""
        return self.stored_bytes * math.prod(shape) // max(1, math.prod(self.whole))

    def unpack(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """See `Scheme.unpack`."""
        first = self.rows[0]
        self.read(q, first + start, first + stop, out)

    def grid_of(self, params: Mapping[str, np.ndarray], sets: slice = slice(None)) -> Grid:
        """See `Scheme.grid_of`; FormatError where codes would stand for NaN or infinities."""
        first, stop = self.rows
        layout = self.layout((stop - first, *matrix_shape(self.whole)[1:]))
        a, b, _ = sets.indices(layout.sets)
        if layout.local and layout.sets:
            start = a // layout.runs_per_row
            last = -(-b // layout.runs_per_row)
            a, b = a - start * layout.runs_per_row, b - start * layout.runs_per_row
            first, stop = first + start, first + max(start, last)
        with np.errstate(over="ignore", invalid="ignore"):
            grid = self.grid_rows(params, first, stop).of(slice(a, b))
        if not (np.isfinite(grid.low).all() and np.isfinite(grid.high).all()):
            names = " or ".join(name for name in params if name != "data") or "a scale"
            raise FormatError(f"{names} holds values that cannot be: the file is corrupt; copy it again")
        return grid

    def quantize(self, w: Any, **_: Any) -> NoReturn:
        """Nothing is quantized so."""
        raise self._refused()

    def measure(self, w: Any, **_: Any) -> NoReturn:
        """Nothing is quantized so."""
        raise self._refused()

    @property
    def packing(self) -> Packing:
        """There is none that can write."""
        raise self._refused()

    def param_dtypes(self) -> dict[str, np.dtype]:
        """Nothing that is fitted."""
        return {}

    def fit(self, low: np.ndarray, high: np.ndarray) -> NoReturn:
        """Nothing is fitted."""
        raise self._refused()

    def grid(self, params: Mapping[str, np.ndarray]) -> NoReturn:
        """Only `grid_of` knows which rows are meant."""
        raise self._refused()

    def _refused(self) -> SchemeError:
        return SchemeError(f"{self.kind} can be read and not made; choose a scheme to quantize with")


def even(scale: np.ndarray, zero: np.ndarray, offset: np.ndarray, codes: tuple[int, int]) -> Grid:
    """The grid of `(code − zero)·scale + offset`, float32; a scale may be negative, or 0."""
    ends = [(np.float32(code) - zero) * scale + offset for code in codes]
    step = np.where(scale == 0, np.float32(1), np.abs(scale))
    return Grid(scale, zero, offset, step, np.minimum(*ends), np.maximum(*ends))


def uneven(scale: np.ndarray, table: np.ndarray) -> Grid:
    """The grid of `table[code]·scale`, float32; a scale may be negative, or 0. `table` is ascending."""
    none = np.zeros_like(scale)
    ends = table[0] * scale, table[-1] * scale
    return Grid(scale, none, none, np.full_like(scale, np.nan), np.minimum(*ends), np.maximum(*ends), table, even=False)


@dataclass(frozen=True, kw_only=True)
class Blocked(DecodeOnly):
    """The usual case: a stream of codes in row order, and parameters that each serve a block of rows and columns.

    A block may be the whole tensor, a row, a column, a group along a row or down a column, a tile. A code stands for
    `(code − zero_point)·scale + minimum`, or for `table[code]·scale`. `held` are the stored arrays: `data`, of any type
    and shape, low bits first; `scale`, and `zero_point` and `minimum` where there are any, one entry a block.
    """

    bits: int
    block: tuple[int, int]
    """Rows and columns of the matrix that share parameters; the last of either may be fewer."""
    held: tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
    signed: bool = False
    """Whether codes are integers in two's complement."""
    lowest: int = 0
    """Of codes that are stored less the lowest one, which that is."""
    patterns: tuple[int, ...] | None = None
    """The code of each stored pattern; −1 for one that stands for no number."""
    table: tuple[float, ...] | None = None
    """Ascending levels, one a code."""
    row_bits: int | None = None
    """From the beginning of a row of codes to that of the next; None where they follow without padding."""

    def __post_init__(self) -> None:
        rows, cols = matrix_shape(self.whole)
        row_bits = self._row_bits
        needed = (rows - 1) * row_bits + cols * self.bits if rows and cols else 0
        if min(self.block) < 1 or self.table == ():
            raise FormatError(f"blocks of {self.block[0]} × {self.block[1]} weights, or no levels, cannot be")
        padded = row_bits != cols * self.bits
        sets = self.sets
        for name, dtype, dims in self.held:
            size = math.prod(dims)
            if name == "data" and (8 * dtype.itemsize * size < needed or (padded and row_bits % 8)):
                raise FormatError(f"{dtype} {list(dims)} cannot hold {self.bits}-bit codes of shape {list(self.whole)}")
            if name in ("scale", "zero_point", "minimum") and size != sets:
                raise FormatError(f"{name} has {size} entries; there are {sets} blocks")

    @property
    def _row_bits(self) -> int:
        return matrix_shape(self.whole)[1] * self.bits if self.row_bits is None else self.row_bits

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks down and across the matrix."""
        rows, cols = matrix_shape(self.whole)
        return -(-rows // self.block[0]), -(-cols // self.block[1])

    @property
    def sets(self) -> int:
        """Parameter sets that are stored."""
        return math.prod(self.blocks)

    def arrays(self) -> Arrays:
        """`held`."""
        return {name: (dtype, dims) for name, dtype, dims in self.held}

    @property
    def code_range(self) -> tuple[int, int]:
        """From the table, or as many as the bits allow."""
        if self.table is not None:
            return 0, len(self.table) - 1
        lowest = -(1 << self.bits - 1) if self.signed else self.lowest
        return lowest, lowest + (1 << self.bits) - 1

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Groups along each row, or along all rows together where every row is in the same block."""
        if self.blocks == (1, 1):
            return per_tensor(shape)
        grouped = per_group(shape, self.block[1])
        return replace(grouped, sets_shape=(self.blocks[1],)) if self._shared else grouped

    @property
    def _shared(self) -> bool:
        return self.blocks[0] <= 1 < matrix_shape(self.whole)[0]

    def read(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """See `DecodeOnly.read`; FormatError for patterns that stand for no number."""
        read_bits(q.data.reshape(-1).view(np.uint8), self.bits, self._row_bits, start, out)
        if self.signed:
            np.bitwise_xor(out, out.dtype.type(1 << self.bits - 1), out=out)
        if self.patterns is not None:
            codes = np.array(self.patterns)
            out[...] = codes.astype(out.dtype)[out]
            if codes.min() < 0 and (bad := int(np.count_nonzero(out >= self.n_codes))):
                raise FormatError(f"{bad} of its codes stand for no number (NaN): the file is corrupt, or the model is")

    def values(self, params: Mapping[str, np.ndarray], name: str, first: int, stop: int) -> np.ndarray | None:
        """The parameter `name` of the block rows `first`…`stop`, float32 `[block rows, column blocks]`, if there is."""
        if name not in params:
            return None
        return params[name].reshape(self.blocks)[first:stop].astype(np.float32)

    def grid_rows(self, params: Mapping[str, np.ndarray], start: int, stop: int) -> Grid:
        """See `DecodeOnly.grid_rows`."""
        down = self.block[0]
        first, last = start // down, -(-stop // down)
        row = slice(0, 1) if self._shared else np.arange(start, stop) // down - first
        scale, zero, minimum = (
            None if found is None else found[row].reshape(-1)
            for found in (self.values(params, name, first, last) for name in ("scale", "zero_point", "minimum"))
        )
        assert scale is not None
        if self.table is not None:
            return uneven(scale, np.array(self.table, np.float32))
        none = np.zeros_like(scale)
        return even(scale, none if zero is None else zero, none if minimum is None else minimum, self.code_range)


@dataclass(frozen=True, kw_only=True)
class Ordered(Blocked):
    """As `Blocked` with groups along a row, but `order` (integers, one a column) says which group a column is of."""

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Neighbouring columns need not share anything."""
        return per_group(shape, 1)

    def values(self, params: Mapping[str, np.ndarray], name: str, first: int, stop: int) -> np.ndarray | None:
        """One a column."""
        found = super().values(params, name, first, stop)
        return None if found is None else found[:, params["order"]]
