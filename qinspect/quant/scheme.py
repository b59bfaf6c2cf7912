"""Scheme, the base of everything that turns weights into codes and back, and QTensor, what it makes.

A scheme is a frozen dataclass whose fields are its parameters. Each field carries its limits, choices, unit and help
(`parameter.param`), and from them come equality, cache key, JSON, command-line flags and the form in the window. A
subclass says how weights share parameters (`layout`), how parameters follow from ranges (`fit`), and what a code means
(`grid`); `engine` does everything else, block by block.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import numpy as np

from qinspect.errors import FormatError, SchemeError
from qinspect.quant.layout import Layout
from qinspect.quant.lazy import Weights
from qinspect.quant.metrics import Metrics
from qinspect.quant.packing import Packing
from qinspect.quant.parameter import Parameter
from qinspect.quant.rule import Rule
from qinspect.registry import Registry
from qinspect.task import Token


@dataclass(frozen=True, eq=False)
class QTensor:
    """A quantized tensor: packed bytes and the named parameter arrays they are decoded with; arrays are read-only.

    `shape` is that of the original tensor; `data` is uint8 as `scheme.packing` lays it out, or for a decode-only scheme
    whatever a file holds.
    """

    scheme: Scheme
    shape: tuple[int, ...]
    data: Weights
    params: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        self._check()
        for array in (self.data, *self.params.values()):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def _check(self) -> None:
        """Refuse arrays that the scheme would not store like this: kernels trust sizes, which may come from a file."""
        held = {"data": self.data, **self.params}
        for name, (dtype, dims) in self.scheme.stored(self.shape).items():
            array = held.pop(name, None)
            if array is None:
                raise FormatError(f"a {self.scheme.name} tensor needs {name}, which is missing")
            if array.dtype != dtype or array.shape != dims:
                raise FormatError(
                    f"{name} is {array.dtype} {list(array.shape)}, where {self.scheme.label} of shape "
                    f"{list(self.shape)} takes {dtype} {list(dims)}"
                )
        if held:
            raise FormatError(f"a {self.scheme.name} tensor has no {', '.join(held)}")
        if not self.scheme.decode_only and not self._possible():
            names = " or ".join(self.params)
            raise FormatError(f"{names} holds values that cannot be: the file is corrupt; copy or export it again")

    def _possible(self) -> bool:
        """Whether every code has a finite value; levels of finite half-precision numbers have, quickly seen."""
        if all(array.dtype == np.float16 for array in self.params.values()):
            return all(bool(np.isfinite(array).all()) for array in self.params.values())
        with np.errstate(over="ignore", invalid="ignore"):
            grid = self.scheme.grid_of(self.params)
        ascending = grid.table is None or bool((np.diff(grid.table) >= 0).all())
        return ascending and bool(np.isfinite(grid.low).all() and np.isfinite(grid.high).all())

    @property
    def nbytes(self) -> int:
        """Everything that is stored: codes with their padding, and parameters."""
        return self.scheme.nbytes(self.shape)

    @property
    def bpw(self) -> float:
        """Stored bits per original weight."""
        return 8 * self.nbytes / max(1, math.prod(self.shape))


@dataclass(frozen=True, eq=False)
class Grid:
    """What codes mean, one float32 entry a parameter set.

    A code stands for `(code − zero)·scale + offset`, or for `table[code]·scale + offset` where there is a table of
    ascending float32 levels; an `even` one goes from 0 to 1 in equal steps. `step` is the distance of neighbouring
    levels (NaN if uneven); `low` and `high` are the end levels.
    """

    scale: np.ndarray
    zero: np.ndarray
    offset: np.ndarray
    step: np.ndarray
    low: np.ndarray
    high: np.ndarray
    table: np.ndarray | None = None
    even: bool = True

    def of(self, sets: slice) -> Grid:
        """The grid of some of the sets."""
        return Grid(
            self.scale[sets], self.zero[sets], self.offset[sets],
            self.step[sets], self.low[sets], self.high[sets], self.table, self.even,
        )  # fmt: skip


@dataclass(frozen=True)
class Scheme(ABC):
    """A way to store weights in few bits. Instances are immutable, hashable and safe to share between threads."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    order: ClassVar[int] = 100
    centred: ClassVar[bool] = False
    """Whether parameters follow from the largest magnitude alone, and levels lie on both sides of zero."""
    decode_only: ClassVar[bool] = False
    """Whether nothing can be quantized with it (`decode_only.DecodeOnly`)."""

    def __post_init__(self) -> None:
        for parameter in self.parameters():
            parameter.check(getattr(self, parameter.name))

    # What a subclass says.

    @abstractmethod
    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Which weights of a tensor share parameters."""

    @property
    @abstractmethod
    def packing(self) -> Packing:
        """How codes become bytes."""

    @property
    @abstractmethod
    def code_range(self) -> tuple[int, int]:
        """Lowest and highest code."""

    @abstractmethod
    def param_dtypes(self) -> dict[str, np.dtype]:
        """The parameter arrays that are stored, in order, with their types; each has the layout's `sets_shape`."""

    @property
    def rule(self) -> Rule | None:
        """How parameters follow from ranges, if in one of the usual ways, which are fast; else there is `fit`."""
        return None

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters, as stored, for sets whose weights lie in `low`…`high` (float32, one entry a set)."""
        if self.rule is None:
            raise NotImplementedError(f"{type(self).__name__} has neither a rule nor a fit of its own")
        return self.rule.fit(low, high)

    @abstractmethod
    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """What codes mean under `params` (vectors, one entry a set, and the `tensor_params`)."""

    def tensor_params(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of the arrays that a tensor has once, whatever shares parameters: a learned codebook."""
        return {}

    def learn(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The `tensor_params`, from how much weight lies at each of `counts.size` places, −1 … 1 times the range."""
        return {}

    def leaves_alone(self, low: float, high: float) -> str | None:
        """Why a tensor with this range is better not quantized unless someone insists; None where it is fine."""
        return None

    # What follows.

    @classmethod
    @functools.cache  # looking type hints up costs as much as measuring a small layer
    def parameters(cls) -> tuple[Parameter, ...]:
        """The fields of the scheme with all that is known of each."""
        hints = get_type_hints(cls)
        return tuple(Parameter(f.name, hints[f.name], f.default, **f.metadata) for f in dataclasses.fields(cls))

    def active_parameters(self) -> tuple[Parameter, ...]:
        """Those parameters that matter for the values the others have."""
        return tuple(p for p in self.parameters() if p.needs is None or getattr(self, p.needs[0]) == p.needs[1])

    def to_json(self) -> dict[str, Any]:
        """`{"scheme": name, field: value…}`, as recipes and files hold it."""
        return {"scheme": self.name, **dataclasses.asdict(self)}

    @property
    def label(self) -> str:
        """A short name with the parameters that differ from the default or decide size: `symmetric 4-bit g64`."""
        words = [self.name]
        for p in self.active_parameters():
            value = getattr(self, p.name)
            if p.name == "bits":
                words.append(f"{value}-bit")
            elif p.name == "group_size":
                words.append(f"g{value}")
            elif p.name == "levels":
                words.append(f"N={value}")
            elif p.name == "percentile":
                words.append(f"{value:g}")
            elif value != p.default and not (p.name == "granularity" and value == "group"):
                words.append(str(value) if p.type is str else f"{p.name} {value}")
        return " ".join(words)

    @property
    def heeds_importance(self) -> bool:
        """Whether errors of some input channels may count more than others': calibration by least error."""
        return getattr(self, "calibration", "") in ("mse", "mse_ends")

    @property
    def n_codes(self) -> int:
        """Number of different codes."""
        low, high = self.code_range
        return high - low + 1

    @property
    def code_dtype(self) -> np.dtype:
        """The unsigned type in which stored codes (code − lowest code) are handled."""
        return np.dtype(np.uint8 if self.n_codes <= 256 else np.uint16)

    def grid_of(self, params: Mapping[str, np.ndarray], sets: slice = slice(None)) -> Grid:
        """What codes mean in some parameter sets, of `params` in the shapes in which they are stored."""
        shared = self.tensor_params()
        return self.grid({name: a if name in shared else a.reshape(-1)[sets] for name, a in params.items()})

    def stored(self, shape: tuple[int, ...]) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of all that a tensor of `shape` will be stored as: `data`, then the parameters."""
        layout = self.layout(shape)
        arrays = {"data": (np.dtype(np.uint8), self.packing.shape(layout))}
        arrays |= {name: (dtype, layout.sets_shape) for name, dtype in self.param_dtypes().items()}
        return arrays | self.tensor_params()

    @property
    def param_names(self) -> tuple[str, ...]:
        """Everything that `stored` names but `data`, in that order."""
        return (*self.param_dtypes(), *self.tensor_params())

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that a tensor of `shape` will take, without quantizing it."""
        return sum(dtype.itemsize * math.prod(dims) for dtype, dims in self.stored(shape).values())

    def bpw(self, shape: tuple[int, ...]) -> float:
        """Stored bits per weight of a tensor of `shape`."""
        return 8 * self.nbytes(shape) / max(1, math.prod(shape))

    def unpack(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """Codes, less the lowest code, of the matrix rows `start`…`stop` of `q` into `out` `[stop − start, cols]`."""
        self.packing.unpack(q.data[start:stop], self.layout(q.shape), out)

    def decode(self, codes: np.ndarray, layout: Layout, first: int, grid: Grid, out: np.ndarray) -> None:
        """What a block of such codes stands for: float32 into `out`, of the same shape; its first run is `first`."""
        from qinspect.quant import codec

        codec.decode(self, codes, layout, first, grid, out)

    def quantize(self, w: Any, *, importance: Any = None, token: Token | None = None) -> QTensor:
        """Codes and parameters of `w`, a float array or torch tensor of any shape.

        `importance` says for each input channel (axis 1) what its squared error counts, such as the mean energy of its
        activations; calibrations by least error heed it. Raises SchemeError for integer weights, NaN, infinities,
        parameters that overflow their type, and an importance that does not fit.
        """
        from qinspect.quant import engine

        return engine.quantize(self, w, token, importance)

    def dequantize(
        self, q: QTensor, *, rows: slice | None = None, out: np.ndarray | None = None, token: Token | None = None
    ) -> np.ndarray:
        """Decoded float32 weights of `q`'s shape; with `rows`, of that part of the first of two or more axes (step 1).

        `out`, float32 and C-contiguous of the result's shape, is reused: a fresh large array costs as much as decoding.
        """
        from qinspect.quant import engine

        return engine.dequantize(q, rows, out, token)

    def measure(self, w: Any, *, importance: Any = None, token: Token | None = None) -> Metrics:
        """The metrics of `quantize`, without keeping codes or decoded weights; every weight counts alike in them."""
        from qinspect.quant import engine

        return engine.measure(self, w, token, importance)

    def compare(self, w: Any, q: QTensor, *, token: Token | None = None) -> Metrics:
        """The metrics of an existing `q` against the reference `w` of the same shape."""
        from qinspect.quant import engine

        return engine.compare(w, q, token)

    def codes(self, q: QTensor, *, rows: slice | None = None) -> np.ndarray:
        """The codes of `q`, shaped like the weights: unsigned, or int32 where some are negative."""
        from qinspect.quant import engine

        return engine.codes(q, rows)

    def count(self, q: QTensor, *, token: Token | None = None) -> np.ndarray:
        """How often each code occurs in `q`: int64, from the lowest code up."""
        from qinspect.quant import engine

        return engine.count(q, token)

    def level_values(self, q: QTensor, index: int = 0) -> np.ndarray:
        """The values that the codes of parameter set `index` of `q` stand for, from the lowest code up."""
        grid = self.grid_of(q.params, slice(index, index + 1))
        low, high = self.code_range
        unit = np.arange(low, high + 1, dtype=np.float32) if grid.table is None else grid.table
        values: np.ndarray = (unit[:, None] - grid.zero) * grid.scale + grid.offset
        return values.reshape(-1)  # empty for a set that is not there


registry: Registry[Scheme] = Registry("qinspect.quant.schemes", Scheme)  # type: ignore[type-abstract]


def make_scheme(name: str, /, **parameters: Any) -> Scheme:
    """The scheme `name` with these parameters, the rest at their defaults; SchemeError names what does not fit."""
    if name not in registry:
        raise SchemeError(f"there is no scheme {name!r}; choose one of {', '.join(registry.names())}")
    cls = registry[name]
    allowed = [p.name for p in cls.parameters()]
    for unknown in set(parameters) - set(allowed):
        raise SchemeError(f"{name} has no parameter {unknown!r}; it has {', '.join(allowed) or 'none'}")
    return cls(**parameters)


def scheme_from_json(value: Mapping[str, Any]) -> Scheme:
    """The scheme that `Scheme.to_json` wrote."""
    parameters = dict(value) if isinstance(value, Mapping) else {}
    name = parameters.pop("scheme", None)
    if not isinstance(name, str):
        raise SchemeError('a scheme is written {"scheme": name, parameter: value …}')
    return make_scheme(name, **parameters)
