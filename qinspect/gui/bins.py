"""Histograms as they are shown: what is counted, in how many bins, and those of two sides on one axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qinspect import analysis
from qinspect.analysis import Histogram
from qinspect.gui.axes import number
from qinspect.session import Inspection
from qinspect.tables import Column, Table
from qinspect.versus import Versus

WEIGHT, CODE, ERROR, STEPS = range(4)
AXES = ("weight", "code units", "error", "error in steps")

MOST_LEVELS = 64
LEVEL_PIXELS = 4
"""More lines than this, or closer ones, are a grey wall."""

FAR = 1e-4
"""The share of all differences of counts that may lie out of view at first."""


@dataclass(frozen=True)
class Scope:
    """What is counted: all, or a row or some of its columns; and the set of levels, if there is only one."""

    rows: tuple[int, int] | None = None
    cols: tuple[int, int] | None = None
    levels: int | None = None
    title: str = ""


def rebinned(full: Histogram, low: float, high: float, most: float) -> Histogram:
    """Neighbouring bins together, powers of two of them, so that there are at most so many from `low` to `high`."""
    size = full.edges.size - 1
    in_view = size * (high - low) / (full.edges[-1] - full.edges[0])
    together = 1
    while together < size and in_view / together > most * 1.001:
        together *= 2
    starts = np.arange(0, size, together)
    counts = {name: np.add.reduceat(counts, starts) for name, counts in full.counts.items()}
    return replace(full, edges=full.edges[::together], counts=counts)


def joint_limits(versus: Versus, axis: int) -> tuple[float, float] | None:
    """An axis for both sides; None where it is the same for both anyway."""
    if axis == WEIGHT:
        spans = [side.subject.span for side in (versus.a, versus.b)]
        low, high = min(low for low, _ in spans), max(high for _, high in spans)
        spare = (high - low) / 2048
        return low - spare, high + spare
    if axis == CODE:
        ends = [side.scheme.code_range for side in (versus.a, versus.b)]
        return min(first for first, _ in ends) - 0.5, max(last for _, last in ends) + 0.5
    if axis == STEPS:
        return None
    most = max(1e-12, *(side.subject.largest_error * (1 + 1 / analysis.BINS) for side in (versus.a, versus.b)))
    return -most, most


def joined(a: Histogram, b: Histogram, *, subtract: bool) -> Histogram:
    """B's counts beside those of A, or A's less them, of what is decoded, or of errors; as if of as many weights."""
    name = "decoded" if "decoded" in a.counts else "error"
    share = a.total(name) / max(1, b.total(name))  # a sample of rows beside all of them
    theirs = b.counts[name] if share == 1 else np.rint(b.counts[name] * share).astype(np.int64)
    if subtract:
        return replace(a, counts={name: a.counts[name] - theirs}, outside={name: a.outside[name]})
    kept = {key: counts for key, counts in a.counts.items() if key != "error" or name == "error"}
    outside = {key: a.outside[key] for key in kept}
    return replace(a, counts=kept | {"b": theirs}, outside=outside | {"b": b.outside[name]})


def bulk(differences: np.ndarray) -> np.ndarray:
    """The first and last bin of those in which all but `FAR` of the differences lie, half of that at either end."""
    sums = np.cumsum(np.abs(differences))
    if not sums.size or not sums[-1]:
        return np.empty(0, np.int64)
    ends = np.searchsorted(sums, [sums[-1] * FAR / 2, sums[-1] * (1 - FAR / 2)], "right")
    return np.minimum(ends, sums.size - 1)


def only_original(found: Histogram) -> Histogram:
    """The weights as they were."""
    return replace(
        found, counts={"original": found.counts["original"]}, outside={"original": found.outside["original"]}
    )


def as_decoded(found: Histogram) -> Histogram:
    """The weights as they were in the place of what is decoded."""
    return replace(found, counts={"decoded": found.counts["original"]}, outside={"decoded": found.outside["original"]})


def apart(a: Histogram, b: Histogram) -> str:
    """How much of the weights would have to move to another bin to make one of the other."""
    name = "decoded" if "decoded" in a.counts else "error"
    shares = [one.counts[name] / max(1, one.total(name)) for one in (a, b)]
    moved = 50 * float(np.abs(shares[0] - shares[1]).sum())
    return f"{number(moved, 3)} % of the {'weights' if name == 'decoded' else 'errors'} lie in other bins than in B."


def codes_of(inspection: Inspection) -> np.ndarray:
    """All codes there are."""
    first, last = inspection.scheme.code_range
    return np.arange(first, last + 1)


def range_of(shown: Histogram) -> tuple[float, float]:
    """The ends of the axis; room around the value of weights that are all the same."""
    low, high = float(shown.edges[0]), float(shown.edges[-1])
    if high - low > max(1.01e-12, 1e-9 * abs(low)) and math.isfinite(high - low):
        return low, high
    room = abs(low) or 1.0
    return low - room, low + room


def table(shown: Histogram, low: float, high: float, names: Mapping[str, str], axis: str) -> Table:
    """The bins from `low` to `high`, with a column for each curve under its name."""
    first = max(0, int(np.searchsorted(shown.edges, low, "right")) - 1)
    last = min(shown.edges.size - 1, int(np.searchsorted(shown.edges, high, "left")))
    titles = [names[curve][:1].upper() + names[curve][1:] for curve in shown.counts]
    ends = Column("from", "From", ".6g"), Column("to", "To", ".6g")
    columns = (*ends, *(Column(curve, title, ",") for curve, title in zip(shown.counts, titles, strict=True)))
    edges = shown.edges[first : last + 1].tolist()
    counts = (values[first:last].tolist() for values in shown.counts.values())
    return Table(f"Histogram, {axis}", columns, tuple(zip(edges[:-1], edges[1:], *counts, strict=True)))


def beyond(whole: Histogram, in_view: tuple[float, float] | None) -> str:
    """What the axis leaves out, in words; of differences with `in_view`, how much of them is not to be seen."""
    if in_view is not None:
        centres = (whole.edges[1:] + whole.edges[:-1]) / 2
        out = (centres < in_view[0]) | (centres > in_view[1])
        far = int(np.abs(next(iter(whole.counts.values())))[out].sum())
        return f" Farther out counts differ by {far:,} in all." if far else ""
    words = [f"{sum(n):,} {name}" for name, n in whole.outside.items() if sum(n)]
    return f" Beyond the axis: {', '.join(words)}." if words else ""


def can_be_told_apart(levels: np.ndarray, low: float, high: float, pixels: float) -> bool:
    """Whether lines at these levels can be, on an axis from `low` to `high` so many pixels long."""
    if levels.size < 2:
        return True
    between = float(np.median(np.diff(levels))) / (high - low) * pixels
    return levels.size <= MOST_LEVELS and between >= LEVEL_PIXELS
