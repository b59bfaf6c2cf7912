"""Where the weights lie and what they become: both distributions, and the levels between which they choose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtWidgets import QWidget

from qinspect.analysis import Histogram
from qinspect.gui.axes import Axis, beside, number, short
from qinspect.gui.plots import Plot, translucent
from qinspect.gui.theme import Theme
from qinspect.gui.views.plot_view import PlotView, choice, toggle
from qinspect.session import Inspection

MOST_LEVELS = 64
LEVEL_PIXELS = 4
"""More lines than this, or closer ones, are a grey wall."""

BAR_PIXELS = 1.5
"""A bin in view is at least so wide."""

LEAST_BINS = 16
"""Zooming ends where so few bins are in view."""

EMPTY = 0.6
"""Where a count of zero lies on a logarithmic axis."""


class HistogramView(PlotView):
    """Counts of original weights (filled) and of decoded ones (line) over the same bins."""

    name: ClassVar[str] = "histogram"
    title: ClassVar[str] = "Histogram"
    order: ClassVar[int] = 10

    def __init__(self) -> None:
        plot = Plot(Axis("bottom"), Axis("left", "count", short), zooms=(True, False))
        super().__init__(plot)
        self.plot = plot
        self._levels = pg.PlotCurveItem(connect="pairs")
        self._original = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._decoded = pg.PlotCurveItem([0, 1], [0], stepMode="center")
        for item in (self._levels, self._original, self._decoded):
            plot.addItem(item)
        self._units = choice(
            "Axis: the weights, or where they lie between the levels of their group", "weight", "code units"
        )
        self._log = toggle("log", "Logarithmic count", on=True)
        self._units.currentIndexChanged.connect(lambda _: self.redraw(keep=False))
        self._log.toggled.connect(lambda _: self.redraw())
        self._shown: Histogram | None = None
        self._codes = 0, 0
        plot.ranged.connect(self._on_ranged)

    def controls(self) -> list[QWidget]:
        """The axis, and linear or logarithmic."""
        return [self._units, self._log]

    @property
    def _in_code_units(self) -> bool:
        return self._units.currentIndex() == 1

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """Both curves, the levels, and what lies beyond the axis."""
        shown = self._histogram(inspection)
        low, high = _range(shown)
        self.plot.bottom.describe("code units" if self._in_code_units else "weight")
        self.plot.left.describe("count", short, integer=True, decades=self._log.isChecked())
        content = QRectF(low, 0, high - low, 1)
        keep = keep and not (self._in_code_units and self._codes != inspection.scheme.code_range)
        self._codes = inspection.scheme.code_range
        least = content.width() * LEAST_BINS / shown.decoded.size
        self.plot.set_content(content, home=self._occupied(shown, content), least=(least, 0), keep=keep)
        self._draw_range(inspection)
        return self._sentence(inspection, shown)

    def _histogram(self, inspection: Inspection) -> Histogram:
        return inspection.code_histogram if self._in_code_units else inspection.histogram

    def _on_ranged(self) -> None:
        if self.inspection is not None:
            self._draw_range(self.inspection)
            self.plot.follow()

    def _draw_range(self, inspection: Inspection) -> None:
        """All that depends on the range in view: the width of bins, the height of the axis, levels."""
        shown = self._shown = self._rebinned(self._histogram(inspection))
        floor, top = self._heights(shown)
        self.plot.set_heights(floor, top)
        self._draw_curves(shown, floor)
        self._draw_levels(inspection, floor, top)

    def _rebinned(self, full: Histogram) -> Histogram:
        """Neighbouring bins together, so that no bar in view is narrower than it can be seen."""
        low, high = self.plot.box.viewRange()[0]
        in_view = full.decoded.size * (high - low) / (full.edges[-1] - full.edges[0])
        together = 1
        while together < full.decoded.size and in_view / together > max(32.0, self.plot.area.width() / BAR_PIXELS):
            together *= 2

        def joined(counts: np.ndarray) -> np.ndarray:
            return np.add.reduceat(counts, np.arange(0, counts.size, together))

        weights = None if full.weights is None else joined(full.weights)
        return replace(full, edges=full.edges[::together], weights=weights, decoded=joined(full.decoded))

    def _height(self, counts: np.ndarray) -> np.ndarray:
        heights: np.ndarray = counts.astype(np.float64)
        return np.log10(np.maximum(heights, EMPTY)) if self._log.isChecked() else heights

    def _heights(self, shown: Histogram) -> tuple[float, float]:
        """Floor and top of the axis: where no weight, and where the fullest bin lies."""
        fullest = max(int(shown.decoded.max()), 0 if shown.weights is None else int(shown.weights.max()), 1)
        floor, top = self._height(np.array([0, fullest]))
        return float(floor), float(top + 0.04 * (top - floor))

    def _draw_curves(self, shown: Histogram, floor: float) -> None:
        theme: Theme = self.plot.theme
        self._original.setVisible(shown.weights is not None)
        if shown.weights is not None:
            self._original.setData(
                shown.edges, self._height(shown.weights), fillLevel=floor,
                brush=translucent(theme.weights), pen=pg.mkPen(theme.weights),
            )  # fmt: skip
        self._decoded.setData(shown.edges, self._height(shown.decoded), pen=pg.mkPen(theme.decoded))

    def _occupied(self, shown: Histogram, content: QRectF) -> QRectF:
        """The part of the axis where anything lies: few of the codes may be used."""
        counts = shown.decoded if shown.weights is None else shown.decoded + shown.weights
        used = np.flatnonzero(counts)
        home = QRectF(content)
        if used.size and self._in_code_units:
            room = shown.decoded.size // 80
            home.setLeft(shown.edges[max(0, used[0] - room)])
            home.setRight(shown.edges[min(counts.size, used[-1] + 1 + room)])
        return home

    # Levels.

    def _draw_levels(self, inspection: Inspection, floor: float, top: float) -> None:
        """Upright lines at the levels in view, or words that say why there are none."""
        positions, words = self._level_positions(inspection)
        self.hint = words + self._beyond(inspection)
        theme = self.plot.theme
        self._levels.setData(np.repeat(positions, 2), np.tile([floor, top], positions.size))
        self._levels.setPen(pg.mkPen(translucent(theme.level, 110)))
        self.plot.legend = [
            *([] if inspection.weights is None else [("original", theme.weights, "box")]),
            ("decoded", theme.decoded, "line"),
            *([("level", theme.level, "mark")] if positions.size else []),
        ]

    def _level_positions(self, inspection: Inspection) -> tuple[np.ndarray, str]:
        q, none = inspection.quantized, np.empty(0)
        if self._in_code_units:
            first, last = inspection.scheme.code_range
            levels, counts = np.arange(first, last + 1), inspection.usage.counts
        elif q.scheme.layout(q.shape).sets == 1:
            levels, counts = q.scheme.level_values(q), inspection.usage.counts
        else:
            return none, "Levels differ by group: choose “code units”."
        low, high = self.plot.box.viewRange()[0]
        low, high = low - 1e-6 * (high - low), high + 1e-6 * (high - low)
        inside = (levels >= low) & (levels <= high)
        used = inside & (counts > 0)
        if self._has_room_for(levels[inside]):
            return levels[inside], f"Levels in view: {np.count_nonzero(inside)}, in use: {np.count_nonzero(used)}."
        if self._has_room_for(levels[used]):
            return levels[used], f"Drawn are only the levels in use: {np.count_nonzero(used)}."
        return none, f"{np.count_nonzero(inside):,} levels in view: zoom in to see them."

    def _has_room_for(self, levels: np.ndarray) -> bool:
        """Whether lines at these levels can be told apart."""
        (low, high), _ = self.plot.box.viewRange()
        if levels.size < 2:
            return True
        pixels = float(np.median(np.diff(levels))) / (high - low) * self.plot.area.width()
        return levels.size <= MOST_LEVELS and pixels >= LEVEL_PIXELS

    # Words.

    def _sentence(self, inspection: Inspection, shown: Histogram) -> str:
        weights = inspection.histogram
        what = "Mean" if weights.weights is not None else "Decoded mean"
        parts = [f"{what} {beside(weights.mean, weights.std)} ± {number(weights.std)}"]
        if shown.weights is None:
            parts.append("this file holds codes only: attach the original to compare")
        return "; ".join(parts) + "."

    def _beyond(self, inspection: Inspection) -> str:
        """How many values the axis leaves out: they are never piled up at its ends."""
        shown, size = self._histogram(inspection), math.prod(inspection.quantized.shape)
        counts = {"original": shown.weights, "decoded": shown.decoded}
        left_out = [(size - int(c.sum()), name) for name, c in counts.items() if c is not None]
        words = [f"{n:,} {name}" for n, name in left_out if n]
        return f" Beyond the axis: {', '.join(words)}." if words else ""

    def tell(self, inspection: Inspection, at: QPointF) -> str:
        """The bin under the cursor and its counts."""
        shown = self._shown
        if shown is None:
            return ""
        bins = shown.decoded.size
        index = int((at.x() - shown.edges[0]) / (shown.edges[-1] - shown.edges[0]) * bins)
        index = min(max(index, 0), bins - 1)
        low, high = shown.edges[index : index + 2]
        self.plot.mark((low + high) / 2)
        text = f"{beside(low, high - low, 2)} … {beside(high, high - low, 2)}:  "
        if shown.weights is not None:
            text += f"{shown.weights[index]:,} original, "
        return text + f"{shown.decoded[index]:,} decoded"


def _range(shown: Histogram) -> tuple[float, float]:
    """The ends of the axis; room around the value of weights that are all the same."""
    low, high = float(shown.edges[0]), float(shown.edges[-1])
    if high - low > max(1.01e-12, 1e-9 * abs(low)):
        return low, high
    room = abs(low) or 1.0
    return low - room, low + room
