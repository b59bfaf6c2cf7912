"""The plot of a budget: what the whole model can be, where the limit puts it, and where the recipe is."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Signal

from qinspect import figures as fmt
from qinspect.gui.axes import Axis, plain
from qinspect.gui.plots import Plot
from qinspect.gui.theme import Theme
from qinspect.planning.budget import Front


def _bytes(value: float, _: float) -> str:
    return fmt.nbytes(value)


class FrontPlot(Plot):
    """SQNR of the model against its size. The line of the limit can be dragged: `dragged` tells where to."""

    dragged = Signal(float)

    def __init__(self) -> None:
        super().__init__(Axis("bottom", "bytes in all", _bytes), Axis("left", "SQNR, dB"))
        self._curve = pg.PlotCurveItem(antialias=True)
        self._now = pg.ScatterPlotItem(antialias=True, symbol="o", size=14)
        self._plan = pg.ScatterPlotItem(antialias=True, symbol="d", size=15)
        self.limits = {angle: pg.InfiniteLine(angle=angle, movable=True) for angle in (0, 90)}
        for item in (self._curve, *self.limits.values(), self._now, self._plan):
            self.addItem(item)
        for line in self.limits.values():
            line.hide()
            line.sigDragged.connect(lambda line: self.dragged.emit(float(line.value())))
        self.bits = False
        self.set_theme(self.theme)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        super().set_theme(theme)
        self._curve.setPen(pg.mkPen(theme.text, width=1.5))
        self._now.setPen(pg.mkPen(theme.text, width=2))
        self._now.setBrush(None)
        self._plan.setPen(pg.mkPen(theme.accent))
        self._plan.setBrush(pg.mkBrush(theme.accent))
        for line in self.limits.values():
            line.setPen(pg.mkPen(theme.warning, width=1.5))
            line.setHoverPen(pg.mkPen(theme.warning, width=3))
        self.legend = [
            ("what the model can be", theme.text, "line"),
            ("plan", theme.accent, "bar"),
            ("recipe", theme.text, "box"),
            ("limit: drag it", theme.warning, "line"),
        ]

    def show_front(self, front: Front | None, *, bits: bool, keep: bool) -> None:
        """Draw what the model can be, over bytes or over bits a weight."""
        self.bits = bits
        if bits:
            self.bottom.describe("bits per weight of the planned layers", plain)
        else:
            self.bottom.describe("bytes in all", _bytes)
        x = np.zeros(0) if front is None else front.bpw if bits else front.nbytes.astype(np.float64)
        y = np.zeros(0) if front is None else front.sqnr_db
        fine = np.isfinite(y)
        x, y = x[fine], y[fine]
        self._curve.setData(x, y)
        if len(x):
            dx, dy = max(float(np.ptp(x)), 1e-3 * float(x[-1]), 1e-9), max(float(np.ptp(y)), 1.0)
            home = QRectF(x[0] - 0.06 * dx, y[0] - 0.1 * dy, 1.12 * dx, 1.2 * dy)
            least = (0.01 * dx, 0.01 * dy)
            self.set_content(home.adjusted(-dx, -dy, dx, dy), home=home, least=least, keep=keep)

    def show_limit(self, value: float | None, *, upright: bool) -> None:
        """Put the line of the limit: upright for sizes, level for a floor."""
        for angle, line in self.limits.items():
            shown = value is not None and (angle == 90) == upright
            line.setVisible(shown)
            if shown and line.value() != value:
                line.setValue(value)

    def show_marks(self, plan: tuple[float, float] | None, now: tuple[float, float] | None) -> None:
        """Where the plan and the recipe are."""
        for item, place in ((self._plan, plan), (self._now, now)):
            item.setData(pos=[place] if place is not None and np.isfinite(place).all() else [])
