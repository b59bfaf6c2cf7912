"""A quantized tensor in the one form that simple decoders take: digits of 32-bit words, and what they mean.

The C runtime (`resources/c/qinspect.h`) and packed ONNX graphs decode it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from qinspect.formats.dtypes import dtype_name
from qinspect.quant.layout import Layout, matrix_shape
from qinspect.quant.packing import DigitPacking, digits_per_word
from qinspect.quant.scheme import Grid, QTensor, Scheme
from qinspect.quant.schemes.mxfp4 import MXFP4

DEVICE_NAMES = {"scale": "scale", "min_val": "offset", "minimum": "offset", "zero_point": "zero", "codebook": "table"}
"""Parameters of schemes, and what they are called here."""

SCALE_TYPES = ("F32", "F16", "BF16", "F8_E8M0")
ZERO_TYPES = ("U8", "U16")


@dataclass(frozen=True)
class Matrix:
    """`rows × cols` weights in groups of `group` along a row; each has `sets` parameter sets, 0 if one serves all.

    `arrays` holds type and shape of all that is stored: codes, scale, offset, zero, table.
    A code means `(code − zero)·scale + offset`, or `table[code]·scale + offset`; `unit` is the distance of even levels
    in scales. Where there is no array of zeros or offsets, all groups have the fixed ones. Base 0 is float32 weights.
    """

    rows: int
    cols: int
    group: int
    sets: int
    base: int
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    unit: float = 1.0
    fixed_zero: float = 0.0
    fixed_offset: float = 0.0
    even: bool = True

    @property
    def digits(self) -> int:
        """Codes in a word."""
        return digits_per_word(self.base) if self.base else 1

    @property
    def group_words(self) -> int:
        """Words of one group; the last of a row has no more than it needs."""
        return -(-self.group // self.digits)

    @property
    def row_words(self) -> int:
        """Words of one row."""
        last = self.cols - (self.groups - 1) * self.group
        return (self.groups - 1) * self.group_words + -(-last // self.digits)

    @property
    def groups(self) -> int:
        """Groups in a row."""
        return -(-self.cols // self.group) if self.group else 0

    @property
    def takes_int8(self) -> bool:
        """Whether sums of codes times 8-bit inputs make sense and cannot overflow 32 bits."""
        whole = self.even and self.fixed_zero.is_integer()
        return self.base > 0 and whole and self.group * (self.base - 1) * 127 < 1 << 31


def float_matrix(shape: tuple[int, ...]) -> Matrix:
    """A tensor of float32 weights."""
    rows, cols = matrix_shape(shape)
    return Matrix(rows, cols, cols, 0, 0, {"codes": ("F32", (rows, cols))}, even=False)


@lru_cache(maxsize=1024)
def matrix_of(scheme: Scheme, shape: tuple[int, ...]) -> Matrix | str:
    """How a tensor in `scheme` is stored, or why it cannot be in this form."""
    layout = scheme.layout(shape)
    if not layout.cols:
        return "it is empty"
    if not (layout.local or layout.sets == 1) or layout.line != layout.cols:
        return f"{scheme.label} shares parameters across rows"
    unknown = [name for name in scheme.param_names if name not in DEVICE_NAMES]
    meaning = None if unknown else _meaning(scheme)
    if meaning is None:
        return f"the decoder does not know {scheme.label}"
    base = _base(scheme.n_codes)
    found = replace(meaning, rows=layout.rows, cols=layout.cols, group=layout.run, base=base)
    found = replace(found, sets=layout.runs_per_row if layout.local and layout.sets > 1 else 0)
    arrays: dict[str, tuple[str, tuple[int, ...]]]
    arrays = {"codes": ("U32", (layout.rows, found.row_words))}
    arrays |= {name: (dtype, (layout.sets,)) for name, dtype in _param_types(scheme).items()}
    if not (meaning.even and meaning.unit == 1):
        arrays["table"] = ("F32", (scheme.n_codes,))
    return replace(found, arrays=arrays)


def _base(codes: int) -> int:
    """The number of codes, or the next power of two where as many of its digits fit a word: it needs no division."""
    power = 1 << (codes - 1).bit_length()
    return power if digits_per_word(power) == digits_per_word(codes) else codes


def _param_types(scheme: Scheme) -> dict[str, str]:
    """Name and type of each parameter that a set has."""
    found = {DEVICE_NAMES[name]: dtype_name(dtype) for name, dtype in scheme.param_dtypes().items()}
    if isinstance(scheme, MXFP4):
        found["scale"] = "F8_E8M0"
    return found


def _meaning(scheme: Scheme) -> Matrix | None:
    """What codes mean, found by asking the scheme with two sets of parameters; None if it is nothing of this form."""
    types = _param_types(scheme)
    if types.get("scale") not in SCALE_TYPES or types.get("offset", types["scale"]) != types["scale"]:
        return None
    if types.get("zero", "U8") not in ZERO_TYPES:
        return None
    grids = [_grid(scheme, value) for value in (1, 2)]
    low = scheme.code_range[0]
    zeros, offsets = ([float(getattr(grid, name)[0]) for grid in grids] for name in ("zero", "offset"))
    scales = [2.0 ** (value - 127) if types["scale"] == "F8_E8M0" else value for value in (1, 2)]
    as_stored = (
        [float(grid.scale[0]) for grid in grids] == scales
        and zeros == ([1, 2] if "zero" in types else [zeros[0]] * 2)
        and offsets == ([1, 2] if "offset" in types else [offsets[0]] * 2)
        and not (low and "zero" in types)
    )
    if not as_stored:
        return None
    table, even = grids[0].table, grids[0].even
    unit = 1 / (scheme.n_codes - 1) if table is not None and even else 1.0
    fixed_zero = 0.0 if "zero" in types else zeros[0] - low
    fixed_offset = 0.0 if "offset" in types else offsets[0]
    return Matrix(0, 0, 0, 0, 0, {}, unit, fixed_zero, fixed_offset, table is None or even)


def _grid(scheme: Scheme, value: int) -> Grid:
    params = {name: np.full(1, value, dtype) for name, dtype in scheme.param_dtypes().items()}
    shared = {name: np.zeros(shape, dtype) for name, (dtype, shape) in scheme.tensor_params().items()}
    return scheme.grid(params | shared)


def device_arrays(q: QTensor, matrix: Matrix) -> list[np.ndarray]:
    """The data of `matrix.arrays`, in that order."""
    held = params_of(q, matrix)
    held["codes"] = np.ascontiguousarray(words_of(q, matrix).reshape(matrix.rows, -1)[:, : matrix.row_words])
    return [held[name].reshape(shape) for name, (_, shape) in matrix.arrays.items()]


def params_of(q: QTensor, matrix: Matrix) -> dict[str, np.ndarray]:
    """Scale, offset, zero and table as far as there are any, one entry a set."""
    held = {DEVICE_NAMES[name]: np.asarray(array) for name, array in q.params.items()}
    if "table" in matrix.arrays and "table" not in held:
        table = q.scheme.grid_of(q.params, slice(0, 1)).table
        assert table is not None
        held["table"] = table
    return held


def words_of(q: QTensor, matrix: Matrix) -> np.ndarray:
    """The codes, counted from the lowest, as digits: uint32 `[rows, groups, words]`, every group of full width."""
    low = q.scheme.code_range[0]
    codes = q.scheme.codes(q).reshape(matrix.rows, matrix.cols)
    if matrix.base > 256:
        return _pairs((codes - low).astype("<u2"), matrix)
    unsigned = (codes - low if low else codes).astype(np.uint8, copy=False)
    packed = np.empty((matrix.rows, matrix.groups, 4 * matrix.group_words), np.uint8)
    DigitPacking(matrix.base).pack(np.ascontiguousarray(unsigned), _rows_of(matrix), packed)
    return packed.view("<u4")


def _rows_of(matrix: Matrix) -> Layout:
    return Layout(matrix.rows, matrix.cols, matrix.cols, matrix.group, (matrix.rows, matrix.groups))


def _pairs(codes: np.ndarray, matrix: Matrix) -> np.ndarray:
    """16-bit codes, two a word."""
    out = np.zeros((matrix.rows, matrix.groups, 2 * matrix.group_words), "<u2")
    for group in range(matrix.groups):
        part = codes[:, group * matrix.group : (group + 1) * matrix.group]
        out[:, group, : part.shape[1]] = part
    return out.view("<u4")
