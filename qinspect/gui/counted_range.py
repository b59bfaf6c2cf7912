"""Two ends that are dragged over a histogram, and how many values lie between them."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg

from qinspect.analysis import Histogram
from qinspect.gui.axes import beside, number
from qinspect.gui.plots import translucent
from qinspect.gui.theme import Theme


class CountedRange(pg.LinearRegionItem):  # type: ignore[misc]
    """A band over the area of a plot; hidden at first."""

    def __init__(self) -> None:
        super().__init__(swapMode="sort")
        self.setZValue(20)
        self.hide()

    def place(self, low: float, high: float) -> None:
        """Take the middle half of what is in view."""
        self.blockSignals(True)
        self.setRegion((low + (high - low) / 4, high - (high - low) / 4))
        self.blockSignals(False)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.setBrush(translucent(theme.accent, 40))
        for line in self.lines:
            line.setPen(pg.mkPen(theme.accent, width=2))

    def words(self, whole: Histogram) -> str:
        """How many lie between the ends, exactly: the ends are taken at the edges of bins."""
        name = next(iter(whole.counts))
        counts, (below, above) = whole.counts[name], whole.outside[name]
        i, j = np.searchsorted(whole.edges, self.getRegion())
        i, j = min(int(i), counts.size), min(int(j), counts.size)
        low, high = float(whole.edges[i]), float(whole.edges[j])
        inside, total = int(counts[i:j].sum()), max(1, whole.total(name))
        below, above = below + int(counts[:i].sum()), above + int(counts[j:].sum())
        between = f"{beside(low, high - low)} … {beside(high, high - low)}"
        return f"{between}: {number(100 * inside / total, 4)} % of {total:,}; {below:,} below, {above:,} above."
