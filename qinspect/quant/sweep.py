"""Sweep: what many schemes make of the same weights, for choosing among them.

The schemes to try come from their own fields: a list of values for some of these makes a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant.group_sizes import grouped, resized, useful_sizes
from qinspect.quant.layout import matrix_shape
from qinspect.quant.metrics import Metrics, decibels
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import Scheme, registry
from qinspect.task import Token

BITS = (2, 3, 4, 5, 6, 8)
"""Widths that are tried where nobody says which."""
MOST_LEVELS = 84
"""Beyond so many, numbers of levels are not tried unless someone names them."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What one scheme makes of one layer. `signal` and `noise` are Σw² and Σe²; `nbytes` and `bpw` count all stored.

    `part` is the share of rows that errors were measured on; below 1 they are estimates, and `max_error` is a lower
    bound. `pareto` tells that no other point of the layer is as small and better, or as good and smaller.
    """

    layer: str
    scheme: Scheme
    bpw: float
    sqnr_db: float
    rmse: float
    max_error: float
    nbytes: int
    signal: float
    noise: float
    part: float = 1.0
    pareto: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `sweep --json` prints it; an SQNR that is infinite is null."""
        return {
            "layer": self.layer,
            "scheme": self.scheme.name,
            "params": asdict(self.scheme),
            "bpw": self.bpw,
            "sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None,
            "rmse": self.rmse,
            "max_error": self.max_error,
            "nbytes": self.nbytes,
            "pareto": self.pareto,
        }


@dataclass(frozen=True)
class Skipped:
    """A scheme that cannot or should not take a layer, and why; None stands for all schemes."""

    layer: str
    scheme: Scheme | None
    reason: str


@dataclass(frozen=True)
class SweepGrid:
    """Which schemes to try: all combinations of `values` of their fields; what is not named has useful values.

    Those are the group sizes that suit the row, half-precision parameters of groups, all granularities, `BITS`, and
    those numbers of levels that no larger one is as small as; else the default. Where only bits are named, a scheme
    that has levels instead takes 2^bits of them. A value that a scheme does not allow is left out for that scheme.
    """

    schemes: tuple[str, ...]
    values: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @classmethod
    def of(cls, schemes: Sequence[str] = (), values: Mapping[str, Sequence[Any]] | None = None) -> SweepGrid:
        """All schemes unless some are named; SchemeError for names and values that no scheme has."""
        names = tuple(schemes) or tuple(registry.names())
        for name in names:
            if name not in registry:
                raise SchemeError(f"there is no scheme {name!r}; choose some of {', '.join(registry.names())}")
        for field, listed in (values or {}).items():
            for value in listed:
                _some_scheme_takes(names, field, value)
        return cls(names, tuple((field, tuple(listed)) for field, listed in (values or {}).items()))

    def schemes_for(self, shape: tuple[int, ...]) -> tuple[Scheme, ...]:
        """What to try on a tensor of `shape`."""
        return _schemes_for(self, shape)


def _some_scheme_takes(names: Sequence[str], field: str, value: Any) -> None:
    errors = []
    for parameter in (p for name in names for p in registry[name].parameters() if p.name == field):
        try:
            parameter.check(value)
        except SchemeError as error:
            errors.append(error)
        else:
            return
    if errors:
        raise errors[0]
    if not (field == "bits" and any(p.name == "levels" for name in names for p in registry[name].parameters())):
        raise SchemeError(f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'} no parameter {field!r}")


@lru_cache(1 << 10)
def _schemes_for(grid: SweepGrid, shape: tuple[int, ...]) -> tuple[Scheme, ...]:
    found: dict[Scheme, None] = {}
    cols = matrix_shape(shape)[1]
    for name in grid.schemes:
        for scheme in _combinations(registry[name], dict(grid.values), cols):
            try:
                layout = scheme.layout(shape)
            except SchemeError:
                continue  # an axis that this tensor does not have
            if layout.run != 1:  # a scale for each weight would be no quantization at all
                found[scheme] = None
    return tuple(found)


def _combinations(cls: type[Scheme], values: dict[str, tuple[Any, ...]], cols: int) -> Iterator[Scheme]:
    """The product of the values of all fields; those of `group_size` come last, as they depend on the others."""
    fields = [p for p in cls.parameters() if p.name != "group_size"]
    for chosen in product(*(_values(cls, p, values) for p in fields)):
        scheme = cls(**{p.name: value for p, value in zip(fields, chosen, strict=True)})
        if not grouped(scheme):
            yield scheme
            continue
        if "param_dtype" not in values:
            scheme = _with_half_precision(scheme)
        for size in values.get("group_size") or useful_sizes(scheme, cols):
            yield resized(scheme, size)


def _values(cls: type[Scheme], p: Parameter, values: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    if p.name in values:
        return tuple(value for value in values[p.name] if _allows(p, value))
    if p.name == "levels":
        if "bits" in values:
            return tuple(1 << b for b in values["bits"] if _allows(p, 1 << b))
        return tuple(n for n in useful_levels(cls) if n <= MOST_LEVELS)
    if p.name == "bits":
        return tuple(value for value in BITS if _allows(p, value))
    if p.name == "granularity":
        return ("group",) if "group_size" in values else p.choices or ()
    return (p.default,)


def _allows(p: Parameter, value: Any) -> bool:
    try:
        p.check(value)
    except SchemeError:
        return False
    return True


def _with_half_precision(scheme: Scheme) -> Scheme:
    """With float16 parameters where that is a choice: groups of 32 with float32 scales are a bit larger than 4."""
    choices = next((p.choices for p in scheme.parameters() if p.name == "param_dtype"), None)
    return replace(scheme, param_dtype="float16") if choices and "float16" in choices else scheme  # type: ignore[call-arg]


@lru_cache(1 << 6)
def useful_levels(cls: type[Scheme]) -> tuple[int, ...]:
    """Of a scheme that has `levels`: those than which no larger number takes fewer bits, on a long row."""
    p = next(p for p in cls.parameters() if p.name == "levels")
    found: list[int] = []
    least = math.inf
    for n in reversed(range(int(p.low or 2), int(p.high or 2) + 1)):
        size = cls(levels=n).bpw((64, 4096))  # type: ignore[call-arg]
        if size < least - 0.01:
            found, least = [n, *found], size
    return tuple(found)


def effect(scheme: Scheme, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """What tells schemes apart on a tensor of `shape`: parameters that matter, and no groups beyond the row."""
    values = {p.name: getattr(scheme, p.name) for p in scheme.active_parameters()}
    if "group_size" in values:
        values["group_size"] = min(values["group_size"], matrix_shape(shape)[1])
    return type(scheme), *values.items()


def sweep(
    layer: str,
    weights: Any,
    schemes: Iterable[Scheme],
    *,
    shape: tuple[int, ...] | None = None,
    importance: Any = None,
    token: Token | None = None,
) -> Iterator[SweepPoint | Skipped]:
    """Measure `weights` under each of `schemes`, as they come; those that do the same to them are measured once.

    `shape` is that of the layer where `weights` are only some of its rows; schemes whose parameters are shared across
    rows are then left for later. With `importance`, calibration heeds it where a scheme can, and signal, noise and SQNR
    count each input channel by it, in parts of its mean. Raises SchemeError for weights that nothing could take, such
    as NaN.
    """
    from qinspect.quant import engine

    schemes, token = list(schemes), token or Token()
    here = tuple(weights.shape)
    shape = here if shape is None else shape
    part = math.prod(here) / max(1, math.prod(shape))
    low, high = engine.extremes(weights, token.part(0, 0.05))
    done: dict[Any, SweepPoint | Skipped] = {}
    for number, scheme in enumerate(schemes):
        start, stop = (0.05 + 0.95 * n / len(schemes) for n in (number, number + 1))
        if part < 1 and not scheme.layout(here).local:
            continue
        kind = effect(scheme, shape)
        if kind in done:
            yield replace(done[kind], scheme=scheme)
            continue
        reason = scheme.leaves_alone(low, high)
        try:
            if reason is None:
                step = token.part(start, stop)
                measured = scheme.measure(weights, importance=importance, token=step)
                energies = _energies(scheme, weights, measured, importance, step)
                done[kind] = _point(layer, scheme, measured, energies, shape, part)
            else:
                done[kind] = Skipped(layer, scheme, reason)
        except SchemeError as error:
            done[kind] = Skipped(layer, scheme, error.message)
        yield done[kind]


def _energies(scheme: Scheme, weights: Any, measured: Metrics, importance: Any, token: Token) -> tuple[float, float]:
    """Signal and noise, in which input channels count by their importance if there is one."""
    if importance is None:
        return measured.signal, measured.noise
    from qinspect.quant.weighted import weighted_energies

    relative = np.asarray(importance, np.float32) / np.float32(np.mean(importance))
    return weighted_energies(weights, scheme.quantize(weights, importance=importance, token=token), relative, token)


def _point(
    layer: str, scheme: Scheme, measured: Metrics, energies: tuple[float, float], shape: tuple[int, ...], part: float
) -> SweepPoint:
    """Sums of some rows are scaled to all; sizes are exact."""
    signal, noise = energies
    return SweepPoint(
        layer, scheme, scheme.bpw(shape), decibels(signal, noise), measured.rmse, measured.max_error,
        scheme.nbytes(shape), signal / (part or 1), noise / (part or 1), part,
    )  # fmt: skip


def with_pareto(
    points: Iterable[SweepPoint], by: Callable[[SweepPoint], float] = lambda point: point.noise
) -> list[SweepPoint]:
    """The points of each layer with `pareto` set, in the order in which they came; of equal ones the first is it.

    Better is what has less of `by`.
    """
    points = list(points)
    best: set[int] = set()
    least: dict[str, float] = {}
    for at in sorted(range(len(points)), key=lambda at: (points[at].nbytes, by(points[at]))):
        point = points[at]
        if by(point) < least.get(point.layer, math.inf):
            least[point.layer] = by(point)
            best.add(at)
    return [replace(point, pareto=at in best) for at, point in enumerate(points)]


def distinct(points: Iterable[SweepPoint], shapes: Sequence[tuple[int, ...]]) -> list[SweepPoint]:
    """The points but for those whose scheme does the same to tensors of these shapes as an earlier one's."""
    found: dict[Any, SweepPoint] = {}
    for point in points:
        found.setdefault((point.layer, *(effect(point.scheme, shape) for shape in set(shapes))), point)
    return list(found.values())


class Together:
    """What layers take and lose together when all have the same scheme; their points may come one by one, and anew."""

    FIELDS = ("nbytes", "signal", "noise", "max_error", "part")

    def __init__(self, layers: Iterable[str] = ()) -> None:
        self._rows = {layer: at for at, layer in enumerate(layers)}
        self._columns: dict[Scheme, int] = {}
        self._values = np.full((len(self._rows), 64, len(self.FIELDS)), np.nan)
        self._sizes = np.zeros(len(self._rows))

    def put(self, layer: str, points: Iterable[SweepPoint]) -> None:
        """Take in points of one layer."""
        row = self._rows[layer]
        for point in points:
            column = self._columns.setdefault(point.scheme, len(self._columns))
            if column >= self._values.shape[1]:
                self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)], axis=1)
            self._values[row, column] = [getattr(point, field) for field in self.FIELDS]
            self._sizes[row] = 8 * point.nbytes / point.bpw if point.bpw else 0

    @property
    def layers(self) -> int:
        """How many layers have points so far."""
        return int(np.count_nonzero(self._sizes))

    def points(self, name: str = "all") -> list[SweepPoint]:
        """One point for each scheme that all layers have which have any."""
        known = self._values[self._sizes > 0]
        size = float(self._sizes.sum())
        found = []
        for scheme, column in self._columns.items():
            values = known[:, column]
            if not len(values) or np.isnan(values).any():
                continue
            nbytes, signal, noise = (float(total) for total in values[:, :3].sum(axis=0))
            found.append(
                SweepPoint(
                    name, scheme, 8 * nbytes / size, decibels(signal, noise), math.sqrt(noise / size),
                    float(values[:, 3].max()), round(nbytes), signal, noise, float(values[:, 4].min()),
                )
            )  # fmt: skip
        return found


def summed(points: Iterable[SweepPoint], name: str = "all") -> list[SweepPoint]:
    """`Together.points` of all these."""
    by_layer: dict[str, list[SweepPoint]] = {}
    for point in points:
        by_layer.setdefault(point.layer, []).append(point)
    together = Together(by_layer)
    for layer, own in by_layer.items():
        together.put(layer, own)
    return together.points(name)
