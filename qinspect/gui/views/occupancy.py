"""How often each code is used, and which never are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QWidget

from qinspect.gui.axes import Axis, number, plain, short
from qinspect.gui.plots import Plot, translucent
from qinspect.gui.views.plot_view import PlotView, toggle
from qinspect.session import Inspection

STRIP = 10
"""Height in pixels of the strip below zero where unused codes are marked."""

LEAST_HEIGHT = 2
"""Height in pixels of the bar of a code that occurs at all."""


@dataclass(frozen=True, eq=False)
class Bars:
    """Codes in view, `width` of them to a bar: left edges and shares in percent."""

    width: int
    left: np.ndarray
    share: np.ndarray


def bars(counts: np.ndarray, first: int, low: float, high: float, most: int) -> Bars:
    """Bars of the codes from `low` to `high`, no more than `most`: a power of two of codes to each where needed."""
    width = 1
    while (high - low) / width > max(1, most):
        width *= 2
    start = max(0, int(np.floor(low - first)) // width * width)
    stop = min(counts.size, int(np.ceil(high - first)) + 1)
    stop = min(counts.size, -(-stop // width) * width)
    starts = np.arange(start, max(stop, start + 1), width)
    share = np.add.reduceat(counts[: max(stop, start + 1)], starts) * (100 / max(1, int(counts.sum())))
    return Bars(width, starts + first - 0.5, share)


class OccupancyView(PlotView):
    """A bar for every code that occurs, a mark for every one that does not."""

    name: ClassVar[str] = "occupancy"
    title: ClassVar[str] = "Code occupancy"
    order: ClassVar[int] = 20

    def __init__(self) -> None:
        plot = Plot(Axis("bottom", "code", integer=True), Axis("left", "share, %"), zooms=(True, False))
        super().__init__(plot)
        self.plot = plot
        self._used = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._unused = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self._equal = pg.InfiniteLine(angle=0)
        for item in (self._used, self._unused, self._equal):
            plot.addItem(item)
        self._log = toggle("log", "Logarithmic share")
        self._log.toggled.connect(lambda _: self.redraw())
        self._bars: Bars | None = None
        self._codes = 0, 0
        plot.ranged.connect(self._on_ranged)

    def controls(self) -> list[QWidget]:
        """Linear or logarithmic."""
        return [self._log]

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The bars, and the share that each code would have if all were used alike."""
        counts = inspection.usage.counts
        first = inspection.usage.first
        content = QRectF(first - 0.5 - 0.01 * counts.size, 0, counts.size * 1.02, 1)
        self.plot.left.describe("share, %", short if self._log.isChecked() else plain, decades=self._log.isChecked())
        keep = keep and self._codes == (first, counts.size)
        self._codes = first, counts.size
        self.plot.set_content(content, least=(min(8, counts.size), 0), keep=keep)
        self._draw_bars(inspection)
        return inspection.usage.sentence + "."

    def _on_ranged(self) -> None:
        if self.inspection is not None:
            self._draw_bars(self.inspection)
            self.plot.follow()

    def _draw_bars(self, inspection: Inspection) -> None:
        usage, theme = inspection.usage, self.plot.theme
        low, high = self.plot.box.viewRange()[0]
        found = self._bars = bars(usage.counts, usage.first, low, high, int(self.plot.area.width()))
        equal = 100 * found.width / usage.counts.size
        floor, top = self._extent(found, equal)
        strip = (top - floor) * STRIP / max(1.0, self.plot.area.height() - STRIP)
        self.plot.set_heights(floor - strip, top)
        used = found.share > 0
        least = floor + LEAST_HEIGHT / STRIP * strip  # seen, however rare
        edges, values = steps(found, np.where(used, np.maximum(self._height(found.share), least), floor), floor)
        self._used.setData(edges, values, fillLevel=floor, brush=translucent(theme.decoded, 190), pen=None)
        edges, values = steps(found, np.where(used, floor - 0.9 * strip, floor - 0.3 * strip), floor - 0.9 * strip)
        self._unused.setData(edges, values, fillLevel=floor - 0.9 * strip, brush=pg.mkBrush(theme.unused), pen=None)
        self._equal.setPen(pg.mkPen(theme.level, style=Qt.PenStyle.DashLine))
        self._equal.setPos(float(self._height(np.array([equal]))[0]))
        self._describe(found)

    def _height(self, share: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(share, 1e-30)) if self._log.isChecked() else share

    def _extent(self, found: Bars, equal: float) -> tuple[float, float]:
        """Where bars stand on the axis, and its top."""
        largest = max(float(found.share.max(initial=0)), equal)
        if not self._log.isChecked():
            return 0.0, largest * 1.05
        least = float(found.share[found.share > 0].min(initial=equal)) / 2
        floor, top = float(np.log10(least)), float(np.log10(largest))
        return floor, top + 0.05 * (top - floor)

    def _describe(self, found: Bars) -> None:
        theme = self.plot.theme
        self.plot.legend = [
            ("used", theme.decoded, "bar"),
            *([("unused", theme.unused, "bar")] if (found.share == 0).any() else []),
            ("equal", theme.level, "dashes"),
        ]
        self.hint = f"Each bar holds {found.width} codes: zoom in to see each." if found.width > 1 else ""

    def tell(self, inspection: Inspection, at: QPointF) -> str:
        """The code under the cursor: what it stands for, its count and share."""
        usage, found = inspection.usage, self._bars
        if found is None:
            return ""
        last = usage.first + usage.counts.size - 1
        code = min(max(round(at.x()), usage.first), last)
        if found.width == 1:
            self.plot.mark(code)
            count = int(usage.counts[code - usage.first])
            return f"code {code_text(code)}{self._level(inspection, code)}:  {share(count, usage.counts)}"
        start = (code - usage.first) // found.width * found.width
        stop = min(start + found.width, usage.counts.size)
        self.plot.mark(usage.first + (start + stop - 1) / 2)
        count = int(usage.counts[start:stop].sum())
        codes = f"codes {code_text(usage.first + start)} … {code_text(usage.first + stop - 1)}"
        return f"{codes}:  {share(count, usage.counts)}"

    def _level(self, inspection: Inspection, code: int) -> str:
        """The value that a code stands for, where that is the same everywhere."""
        q = inspection.quantized
        if q.scheme.layout(q.shape).sets != 1:
            return ""
        return f" = {number(float(q.scheme.level_values(q)[code - inspection.usage.first]), 4)}"


def steps(found: Bars, values: np.ndarray, between: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and values of a step curve; few bars get gaps between them, in which the curve falls to `between`."""
    gap = 0.12 * found.width if found.left.size <= 64 else 0.0
    if not gap:
        return np.append(found.left, found.left[-1] + found.width), values
    edges = np.column_stack((found.left + gap, found.left + found.width - gap)).ravel()
    heights = np.column_stack((values, np.full_like(values, between))).ravel()[:-1]
    return edges, heights


def code_text(code: int) -> str:
    """A code, with a true minus sign."""
    return f"{code}".replace("-", "−")


def share(count: int, counts: np.ndarray) -> str:
    """A count and its share of all."""
    if not count:
        return "never used"
    return f"{count:,} weights, {number(100 * count / max(1, int(counts.sum())))} %"
