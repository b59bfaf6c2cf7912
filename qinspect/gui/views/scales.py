"""The parameters of every group: where scales are large, and how much they differ."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtWidgets import QLabel, QWidget

from qinspect import figures as fmt
from qinspect.gui.axes import Axis, number, plain
from qinspect.gui.image import OVERVIEW, Crop, ImagePlot, crop, limits, pooled, sequential, spread
from qinspect.gui.plots import ZOOM_HINT, Plot
from qinspect.gui.views.plot_view import PlotView, choice, row_at, row_centre, row_number, row_spacing, toggle
from qinspect.session import Inspection

NAMES = ("scale", "minimum", "step")

SPREAD = 99.0
"""Colours leave out 1 % at either end: a single odd group would hide all differences."""


class ScalesView(PlotView):
    """A heat map of one parameter, a curve where there is one set a row, a number where there is one in all."""

    name: ClassVar[str] = "scales"
    title: ClassVar[str] = "Scales"
    order: ClassVar[int] = 30

    def __init__(self) -> None:
        self._map = ImagePlot("group along the row", "row")
        self._curve = Plot(Axis("bottom", "row", integer=True), Axis("left", "scale"), zooms=(True, False))
        super().__init__(self._map, self._curve)
        self._line = pg.PlotDataItem(autoDownsample=True, downsampleMethod="peak", clipToView=True)
        self._curve.addItem(self._line)
        self._single = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self.add(self._single)
        self._which = choice("Which parameter is shown", *NAMES)
        self._full = toggle("max", "Colours reach the very largest value, not only the middle 98 % of the groups")
        self._which.currentIndexChanged.connect(lambda _: self.redraw())
        self._full.toggled.connect(lambda _: self.redraw())
        self._map.cropped.connect(self._on_cropped)

    def controls(self) -> list[QWidget]:
        """The parameter and the range of colours."""
        return [self._which, self._full]

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """As a map, a curve or a number."""
        name = self._offer(inspection)
        values = inspection.scales.values[name]
        self._full.setEnabled(min(values.shape) > 1)
        if values.size == 1:
            self._draw_single(inspection)
        elif min(values.shape) == 1:
            self._draw_curve(inspection, name, values.reshape(-1), keep)
        else:
            self._draw_map(inspection, name, values, keep)
        return self._sentence(inspection, name, values)

    def _offer(self, inspection: Inspection) -> str:
        """The parameter shown: what was chosen, where this scheme has it (uneven levels have no one step)."""
        chosen, offered = self._which.currentText(), list(inspection.scales.values)
        if offered != [self._which.itemText(at) for at in range(self._which.count())]:
            self._which.blockSignals(True)
            self._which.clear()
            self._which.addItems(offered)
            self._which.setCurrentIndex(max(0, self._which.findText(chosen)))
            self._which.blockSignals(False)
        return self._which.currentText()

    def _draw_map(self, inspection: Inspection, name: str, values: np.ndarray, keep: bool) -> None:
        self.choose(self._map)
        self._map.quantity = name
        stretch = row_spacing(inspection)

        def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
            return crop(values, view, per_pixel, stretch=stretch)

        # As pooled as in a picture of the whole, which pooling makes brighter than single groups are.
        overview, _ = pooled(values, *(-(-size // OVERVIEW) for size in values.shape))
        levels = limits(values) if self._full.isChecked() else spread(overview, SPREAD)
        shape = round(values.shape[0] * stretch), values.shape[1]
        self._map.show_matrix(shape, source, levels, sequential(), keep=keep)
        self._say_pooling()

    def _say_pooling(self) -> None:
        found = self._map.crop
        if found is None or found.cell == (1, 1):
            self.hint = ZOOM_HINT
        else:
            self.hint = f"Each pixel: the largest of {fmt.shape(found.cell)} groups."

    def _on_cropped(self) -> None:
        self._say_pooling()
        self._map.follow()

    def _draw_curve(self, inspection: Inspection, name: str, values: np.ndarray, keep: bool) -> None:
        self.choose(self._curve)
        by_row = inspection.scales.values[name].shape[1] == 1
        self.hint = ZOOM_HINT
        self._curve.bottom.describe("row" if by_row else inspection.scales.across, plain, integer=True)
        self._curve.left.describe(name)
        spacing = row_spacing(inspection) if by_row else 1.0
        dots = values.size <= 64
        theme = self._curve.theme
        self._line.setData(
            (np.arange(values.size) + 0.5) * spacing - 0.5, values, pen=pg.mkPen(theme.accent),
            symbol="o" if dots else None, symbolSize=5, symbolBrush=theme.accent, symbolPen=None, antialias=True,
        )  # fmt: skip
        low, high = limits(values)
        low = 0.0 if 0 < low < 0.5 * high else low
        room = 0.06 * (high - low) or max(abs(low) * 0.1, 1e-12)
        content = QRectF(-0.5, low - room * (low != 0), values.size * spacing, 1)
        self._curve.set_content(content, least=(min(8.0, content.width()), 0), keep=keep)
        self._curve.set_heights(low - room * (low != 0), high + room)

    def _draw_single(self, inspection: Inspection) -> None:
        self.choose(self._single)
        self.hint = ""
        theme = self._map.theme
        values = {name: float(array.flat[0]) for name, array in inspection.scales.values.items()}
        name = self._which.currentText()
        rest = " &nbsp;·&nbsp; ".join(f"{other} {number(value, 4)}" for other, value in values.items() if other != name)
        self._single.setText(
            f"<p style='color:{theme.muted}; margin:0'>one {name} for the whole tensor</p>"
            f"<p style='font-size:30px; color:{theme.text}; margin:6px'>{number(values[name], 4)}</p>"
            f"<p style='color:{theme.muted}; margin:0'>{rest}</p>"
        )

    def _sentence(self, inspection: Inspection, name: str, values: np.ndarray) -> str:
        if values.size == 1:
            return f"One {name} for the whole tensor: {number(float(values.flat[0]), 4)}."
        low, high = limits(values)
        finite = values[np.isfinite(values)]
        middle = float(np.median(finite)) if finite.size else math.nan
        rows, across = values.shape
        if inspection.scales.down:
            rows = round(rows * row_spacing(inspection))
        sets = f"{fmt.shape((rows, across))} groups" if min(rows, across) > 1 else f"{rows * across:,} sets"
        return f"{name.capitalize()} {number(low)} … {number(high)}, median {number(middle)}; {sets}."

    def tell(self, inspection: Inspection, at: QPointF) -> str:
        """The group under the cursor and its parameters."""
        values = inspection.scales.values
        rows, groups = values["scale"].shape
        spacing = row_spacing(inspection)
        if min(rows, groups) > 1:
            row, group = row_at(at.y(), spacing, rows), row_at(at.x(), 1, groups)
            where = f"row {row_number(row, spacing)}, group {group}"
            self._map.mark(group, row_centre(row, spacing))
        elif groups == 1:
            row, group = row_at(at.x(), spacing, rows), 0
            where = f"row {row_number(row, spacing)}"
            self._curve.mark(row_centre(row, spacing))
        else:
            row, group = 0, row_at(at.x(), 1, groups)
            where = f"{inspection.scales.across.split()[0]} {group}"
            self._curve.mark(group)
        said = ", ".join(f"{name} {number(float(array[row, group]), 4)}" for name, array in values.items())
        return f"{where}:  {said}"
