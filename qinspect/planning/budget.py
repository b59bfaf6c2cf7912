"""Budget: which point of its sweep each layer takes, so that the model keeps a limit with the least error.

Error is the sum over layers of weight · Σe². On the lower convex hull of a layer's points (bytes, error) each step buys
less error a byte than the one before, so steps of all layers, taken in the order of what they buy, give at every one
the least error that so many bytes can have (Shoham and Gersho, "Efficient bit allocation for an arbitrary set of
quantizers", 1988). Between two such sums, what is left of the limit goes to the next steps that fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qinspect.errors import BudgetError
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepPoint

POOR_DB = 9.0
"""A layer with less SQNR is a third of its weights' size off: whole networks are seldom worth running then."""


@dataclass(frozen=True)
class Limit:
    """What a model must keep to: at most so many `bytes` in all, at most a mean `bpw`, or at least an `sqnr` in dB.

    Bytes count everything, the mean only planned layers. The floor is of the weighted SQNR, the ratio of the weighted
    sums of Σw² and Σe².
    """

    kind: Literal["bytes", "bpw", "sqnr"]
    value: float


@dataclass(frozen=True, eq=False)
class Allocation:
    """A point for each layer, and the figures of them together; `nbytes` counts the rest of the model too."""

    points: Mapping[str, SweepPoint]
    nbytes: int
    bpw: float
    sqnr_db: float
    weighted_sqnr_db: float

    @property
    def choice(self) -> dict[str, Scheme | None]:
        """The scheme of each layer, as a recipe is made of it."""
        return {name: point.scheme for name, point in self.points.items()}

    @property
    def poor(self) -> list[str]:
        """The layers that are left with less than `POOR_DB`."""
        return [name for name, point in self.points.items() if is_poor(point)]


@dataclass(frozen=True, eq=False)
class Front:
    """Whole models that nothing of the same size surpasses, from the smallest up: bytes, mean bpw, weighted SQNR."""

    nbytes: np.ndarray
    bpw: np.ndarray
    sqnr_db: np.ndarray


@dataclass(frozen=True, eq=False)
class _Unit:
    """Layers that take the same scheme, and the hull of what they take together: bytes up, error down."""

    layers: tuple[str, ...]
    points: tuple[tuple[SweepPoint, ...], ...]
    nbytes: np.ndarray
    error: np.ndarray


class Budget:
    """The points of all layers, ready to be shared out under any limit.

    `points`: what each layer may take, by name. `weights`: what the error of a layer counts, 1 where nothing is said.
    `locked`: layers with a point that they keep. `ties`: layers that take the same scheme; a lock of one holds for all.
    `rest`: bytes of everything that is not planned. Raises BudgetError for layers without points, and for ties without
    a scheme in common.
    """

    def __init__(
        self,
        points: Mapping[str, Sequence[SweepPoint]],
        *,
        weights: Mapping[str, float] | None = None,
        locked: Mapping[str, SweepPoint] | None = None,
        ties: Iterable[Sequence[str]] = (),
        rest: int = 0,
    ) -> None:
        self._rest = rest
        self._weights = weights or {}
        self._locked = locked or {}
        self._units = [self._unit(names, points) for names in _groups(points, ties)]
        every = [point for unit in self._units for point in unit.points[0]]
        self._signal = sum(point.signal for point in every)
        self._weighted_signal = sum(self._weight(point.layer) * point.signal for point in every)
        self._size = sum(_size(point) for point in every)
        self._steps()

    def _weight(self, name: str) -> float:
        return self._weights.get(name, 1.0)

    def _unit(self, names: tuple[str, ...], points: Mapping[str, Sequence[SweepPoint]]) -> _Unit:
        """The hull of one layer, or of a tie, whose layers share each scheme."""
        rows = self._rows(names, points)
        if not rows:
            which = "has no point to take" if len(names) == 1 else "have no scheme in common"
            raise BudgetError(f"{', '.join(names)} {which}: sweep more schemes, or unlock or untie layers")
        nbytes = np.array([sum(p.nbytes for p in row) for row in rows], np.int64)
        error = np.array([sum(self._weight(p.layer) * p.noise for p in row) for row in rows])
        keep = hull(nbytes, error)
        return _Unit(names, tuple(rows[at] for at in keep), nbytes[keep], error[keep])

    def _rows(self, names: tuple[str, ...], points: Mapping[str, Sequence[SweepPoint]]) -> list[tuple[SweepPoint, ...]]:
        """A point of each of the layers, for every scheme that all of them have."""
        first, *others = (self._offered(name, names, points[name]) for name in names)
        by_scheme = [{point.scheme: point for point in offered} for offered in others]
        return [
            (point, *(own[point.scheme] for own in by_scheme))
            for point in first
            if all(point.scheme in own for own in by_scheme)
        ]

    def _offered(self, name: str, tie: tuple[str, ...], points: Sequence[SweepPoint]) -> Sequence[SweepPoint]:
        """What a layer may take, given what is locked in its tie."""
        if name in self._locked:
            return [self._locked[name]]
        schemes = {self._locked[other].scheme for other in tie if other in self._locked}
        return [point for point in points if point.scheme in schemes] if schemes else points

    def _steps(self) -> None:
        """All steps of all hulls in the order of what they buy, and the sums after each."""
        units = self._units
        unit_of = _joined((np.full(unit.nbytes.size - 1, at) for at, unit in enumerate(units)), np.int64)
        more = _joined((np.diff(unit.nbytes) for unit in units), np.int64)
        less = _joined((-np.diff(unit.error) for unit in units), np.float64)
        # Rounding must not put a later step of a layer before an earlier one.
        bought = (np.minimum.accumulate(-np.diff(unit.error) / np.diff(unit.nbytes)) for unit in units)
        order = np.argsort(-_joined(bought, np.float64), kind="stable")
        self._unit_of, self._more, self._less = unit_of[order], more[order], less[order]
        smallest = sum(int(unit.nbytes[0]) for unit in units)
        worst, best = (sum(float(unit.error[at]) for unit in units) for at in (0, -1))
        self._nbytes = self._rest + smallest + np.append(0, np.cumsum(self._more))
        self._error = np.maximum(worst - np.append(0.0, np.cumsum(self._less)), 0.0)
        self._error[-1] = best  # an exact 0 is not to drown in rounding

    @property
    def front(self) -> Front:
        """For drawing: what the model can be, step by step."""
        sqnr = np.array([decibels(self._weighted_signal, float(error)) for error in self._error])
        return Front(self._nbytes, 8 * (self._nbytes - self._rest) / max(1, self._size), sqnr)

    def plan(self, limit: Limit) -> Allocation:
        """The choice that keeps `limit`; BudgetError says the nearest that can be kept where it cannot."""
        if limit.kind == "sqnr":
            taken = self._down_to(self._weighted_signal / 10 ** (limit.value / 10), limit)
        else:
            most = limit.value if limit.kind == "bytes" else limit.value * self._size / 8 + self._rest
            taken = self._within(most * (1 + 1e-12), limit)
        return self._allocation(taken)

    def _within(self, most: float, limit: Limit) -> np.ndarray:
        """How many steps each unit takes so that all together stay within `most` bytes."""
        count = int(np.searchsorted(self._nbytes, most, side="right")) - 1
        if count < 0:
            raise self._infeasible(limit, float(self._nbytes[0]))
        taken = np.bincount(self._unit_of[:count], minlength=len(self._units))
        room = most - float(self._nbytes[count])
        full = np.zeros(len(self._units), bool)
        for unit, more in zip(self._unit_of[count:].tolist(), self._more[count:].tolist(), strict=True):
            if not full[unit] and more <= room:
                room -= more
                taken[unit] += 1
            else:
                full[unit] = True
        return taken

    def _down_to(self, error: float, limit: Limit) -> np.ndarray:
        """How many steps each unit takes so that no more than `error` is left; what is not needed is given back."""
        error *= 1 + 1e-9
        enough = np.flatnonzero(self._error <= error)
        if not enough.size:
            raise self._infeasible(limit, float(self._error[-1]))
        count = int(enough[0])
        taken = np.bincount(self._unit_of[:count], minlength=len(self._units))
        room = error - float(self._error[count])
        kept = np.zeros(len(self._units), bool)
        for unit, less in zip(self._unit_of[:count][::-1].tolist(), self._less[:count][::-1].tolist(), strict=True):
            if not kept[unit] and less <= room:
                room -= less
                taken[unit] -= 1
            else:
                kept[unit] = True
        return taken

    def _infeasible(self, limit: Limit, nearest: float) -> BudgetError:
        if limit.kind == "sqnr":
            best = decibels(self._weighted_signal, nearest)
            return BudgetError(
                f"no choice of points reaches {limit.value:.2f} dB: the best there is reaches {best:.2f} dB; ask for "
                "less, sweep more bits, or unlock layers"
            )
        least = nearest if limit.kind == "bytes" else 8 * (nearest - self._rest) / max(1, self._size)
        asked, found = (
            (f"{limit.value:,.0f} bytes", f"{least:,.0f} bytes")
            if limit.kind == "bytes"
            else (f"{limit.value:g} bits a weight", f"{math.ceil(least * 1000) / 1000:g} bits a weight")
        )
        return BudgetError(
            f"no choice of points stays within {asked}: the smallest takes {found}; allow that much, sweep fewer bits, "
            "or unlock layers"
        )

    def _allocation(self, taken: np.ndarray) -> Allocation:
        chosen = [point for unit, at in zip(self._units, taken.tolist(), strict=True) for point in unit.points[at]]
        nbytes = sum(point.nbytes for point in chosen)
        return Allocation(
            {point.layer: point for point in chosen},
            nbytes + self._rest,
            8 * nbytes / max(1, self._size),
            decibels(self._signal, sum(point.noise for point in chosen)),
            decibels(self._weighted_signal, sum(self._weight(point.layer) * point.noise for point in chosen)),
        )


def _joined(parts: Iterable[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts])


def is_poor(point: SweepPoint) -> bool:
    """Whether a layer has less than `POOR_DB` there."""
    return bool(point.noise > 0 and point.sqnr_db < POOR_DB)


def hull(nbytes: np.ndarray, error: np.ndarray) -> list[int]:
    """Which points lie on the lower convex hull, by bytes ascending, from the smallest to the least error."""
    found: list[int] = []
    least, x, y = math.inf, nbytes.tolist(), error.tolist()
    for at in np.lexsort((error, nbytes)).tolist():
        if not y[at] < least:
            continue
        least = y[at]
        # Out go points above the line from the one before them to this one; one on it is a step of its own.
        while len(found) > 1:
            a, b = found[-2:]
            if (y[b] - y[a]) * (x[at] - x[a]) <= (y[at] - y[a]) * (x[b] - x[a]):
                break
            found.pop()
        found.append(at)
    return found


def _groups(points: Mapping[str, object], ties: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """The ties among the layers there are, then each other layer alone."""
    tied = [tuple(name for name in dict.fromkeys(names) if name in points) for names in ties]
    seen = [name for names in tied for name in names]
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice is not None:
        raise BudgetError(f"{twice} is in two ties; put their layers into one")
    return [names for names in tied if names] + [(name,) for name in points if name not in set(seen)]


def _size(point: SweepPoint) -> int:
    return round(8 * point.nbytes / point.bpw) if point.bpw else 0
