"""Colours of images: tables that people tell apart who see colours differently, and how values spread over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor

from qinspect.gui.theme import Theme

COLOURS = 255
"""Entries of a table that stand for values; one more is for what is not a number."""

SAMPLE = 1 << 16
"""Values looked at to find the range of colours."""


class Kind(StrEnum):
    """What zero is to the values: the middle of the colours, their low end, or nothing special."""

    SIGNED = "signed"
    MAGNITUDE = "magnitude"
    ANY = "any"


# Blue to orange over a dark centre: lightness grows evenly to both ends, and both are told apart without red or green.
_DIVERGING_DARK = {
    0.0: "#a6d8ff", 0.2: "#5ca6f0", 0.36: "#2f639f", 0.5: "#14171c", 0.64: "#9a5410", 0.8: "#ee9a3c", 1.0: "#ffd592",
}  # fmt: skip

# The CET tables are by Peter Kovesi (arXiv 1509.03700); those for colour blindness have CB in their name.
_SIGNED = {"neutral": "", "blue–yellow": "CET-CBD1", "blue–red": "CET-D9"}
_OTHERS = {
    "viridis": "viridis", "cividis": "cividis", "inferno": "inferno", "magma": "magma", "blues": "CET-CBL2",
    "grey": "CET-L1",
}  # fmt: skip


def tables_for(kind: Kind) -> list[str]:
    """The names of the tables that suit values of a kind."""
    return [*_SIGNED, "grey"] if kind == Kind.SIGNED else list(_OTHERS)


def table_of(name: str, theme: Theme) -> np.ndarray:
    """Colours from low to high: uint8 `[256, 3]`, the last for what is not a number.

    "neutral" has the plot's own ground in its middle.
    """
    found = {**_SIGNED, **_OTHERS}[name]
    return _table(found or ("dark" if theme.name == "dark" else "CET-CBD1"), theme.unused)


@cache
def _table(name: str, unknown: str) -> np.ndarray:
    if name == "dark":
        places = list(_DIVERGING_DARK)
        channels = np.array([QColor(colour).getRgb() for colour in _DIVERGING_DARK.values()], np.float64)
        at = np.linspace(0, 1, COLOURS)
        table = np.column_stack([np.interp(at, places, channels[:, k]) for k in range(3)]).round().astype(np.uint8)
    else:
        table = pg.colormap.get(name).getLookupTable(nPts=COLOURS, alpha=False)
    last: tuple[int, ...] = QColor(unknown).getRgb()[:3]  # type: ignore[index]
    table = np.vstack([table, last]).astype(np.uint8)
    table.flags.writeable = False
    return table


class Rule(StrEnum):
    """Where the ends of the colours come from."""

    PERCENTILE = "percentile"
    EXTREMES = "min–max"
    SIGMA = "3σ"
    FIXED = "fixed"


class Norm(StrEnum):
    """How values spread between the ends."""

    LINEAR = "linear"
    SQRT = "square root"
    ARCSINH = "arcsinh"
    LOG = "log"


LINEAR_PART = 0.02
"""Up to this part of the largest magnitude arcsinh is nearly linear."""


@dataclass(frozen=True)
class Look:
    """What a person has chosen for the colours of an image. `ends` are for FIXED, `percent` for PERCENTILE."""

    table: str
    kind: Kind = Kind.ANY
    rule: Rule = Rule.PERCENTILE
    percent: float = 99.9
    ends: tuple[float, float] = (0.0, 1.0)
    norm: Norm = Norm.LINEAR

    @property
    def norms(self) -> list[Norm]:
        """Those that make sense: there is no logarithm of signed values."""
        return [norm for norm in Norm if norm != Norm.LOG or self.kind != Kind.SIGNED]

    def fixed(self, low: float, high: float) -> Look:
        """The same with these ends."""
        return replace(self, rule=Rule.FIXED, ends=(min(low, high), max(low, high)))

    def range_of(self, values: np.ndarray) -> tuple[float, float]:
        """The ends for `values`, as the rule finds them: symmetric about 0 for signed ones, from 0 for magnitudes."""
        if self.rule == Rule.FIXED:
            return self.ends
        if self.rule == Rule.PERCENTILE:
            low, high = spread(values, self.percent)
        else:
            low, high = limits(values)
            if self.rule == Rule.SIGMA:
                finite = sampled(values)
                middle, width = (float(finite.mean()), 3 * float(finite.std())) if finite.size else (0.0, 0.0)
                low, high = max(low, middle - width), min(high, middle + width)
        if self.kind == Kind.ANY or self.norm == Norm.LOG:
            return low, high
        most = max(-low, high)
        return (-most if self.kind == Kind.SIGNED else 0.0), most


@dataclass(frozen=True)
class Spread:
    """Places values between 0 and 1 for the colours; low < high."""

    low: float
    high: float
    norm: Norm = Norm.LINEAR

    @staticmethod
    def over(low: float, high: float, norm: Norm) -> Spread:
        """Between these ends, which may be the same; a logarithm begins where values do."""
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = 0.0, 1.0
        if norm == Norm.LOG:
            high = high if high > 0 else 1.0
            low = low if low > 0 else high * 1e-4
        if not high > low:
            room = max(abs(low) * 1e-6, 1e-12)
            low, high = low - room * (norm != Norm.LOG), high + room
        return Spread(low, high, norm)

    @property
    def _curve(self) -> Callable[[np.ndarray], np.ndarray]:
        most = max(abs(self.low), abs(self.high))
        if self.norm == Norm.SQRT:
            floor = self.low if self.low > 0 else 0.0
            return lambda x: np.sign(x - floor) * np.sqrt(np.abs(x - floor))
        if self.norm == Norm.ARCSINH:
            unit = np.float32(1 / (LINEAR_PART * most))
            return lambda x: np.arcsinh(x * unit)
        if self.norm == Norm.LOG:
            least = np.float32(self.low)
            return lambda x: np.log(np.maximum(x, least))
        return lambda x: x

    def places(self, values: np.ndarray) -> np.ndarray:
        """Where values lie: 0 at the low end, 1 at the high one; NaN stays NaN."""
        curve = self._curve
        first, last = curve(np.array([self.low, self.high], np.float64))
        with np.errstate(invalid="ignore"):
            found: np.ndarray = (curve(values) - values.dtype.type(first)) * values.dtype.type(1 / (last - first))
        return found

    def indices(self, values: np.ndarray) -> np.ndarray:
        """The entries of a table for `values`, uint8."""
        places = self.places(values.astype(np.float32, copy=False))
        unknown = np.isnan(places)
        some = bool(unknown.any())
        if some:
            places[unknown] = 0
        found: np.ndarray = (np.clip(places, 0, 1) * np.float32(COLOURS - 1) + np.float32(0.5)).astype(np.uint8)
        if some:
            found[unknown] = COLOURS
        return found


def sampled(values: np.ndarray) -> np.ndarray:
    """Some of the values, evenly taken; only what is finite."""
    flat = values.reshape(-1)
    some = flat[:: max(1, flat.size // SAMPLE)]
    found: np.ndarray = some[np.isfinite(some)]
    return found


def spread(values: np.ndarray, percent: float = 99.9) -> tuple[float, float]:
    """From the (100 − percent)th to the percent-th percentile of the finite values, of a sample of them."""
    sample = sampled(values)
    if not sample.size:
        return 0.0, 0.0
    low, high = np.percentile(sample, (100 - percent, percent))
    return float(low), float(high)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
