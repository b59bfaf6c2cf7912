"""The tool behind every colour bar: colours, their ends, how values spread between them, how cells are pooled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QDoubleValidator
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from qinspect.analysis import Pooling
from qinspect.gui.axes import Axis, number, short
from qinspect.gui.colours import Norm, Rule, limits, sampled, tables_for
from qinspect.gui.plots import Plot, translucent
from qinspect.gui.theme import Theme

if TYPE_CHECKING:
    from qinspect.gui.image import ImagePlot

BINS = 160
EMPTY = 0.6
"""Where a count of zero lies on the logarithmic axis."""

POOLINGS = {
    Pooling.LARGEST: "largest: no outlier vanishes",
    Pooling.RMS: "root mean square",
    Pooling.MEAN: "mean",
}


class LevelTool(QFrame):
    """A popover for one image. What is changed shows at once; Escape or a click elsewhere closes it."""

    def __init__(self, image: ImagePlot) -> None:
        super().__init__(image, Qt.WindowType.Popup)
        self.setObjectName("popover")
        self.setAccessibleName("Colours and levels")
        self._image = image
        self.colours = _choice("Colours")
        self.norm = _choice("How values spread between the ends")
        self.pooling = _choice("What a pixel shows of the cells under it")
        self.plot = _ValuePlot()
        self.low, self.high = _number("Value at the low end"), _number("Value at the high end")
        self.percent = QDoubleSpinBox()
        self.percent.lineEdit().setTextMargins(4, 0, 0, 0)
        self.extremes, self.sigma, self.by_percentile, self.reset = (
            QPushButton(text) for text in ("min–max", "3σ", "percentile", "Reset")
        )
        self._build()
        self._connect()
        self.set_theme(image.theme)
        self.show_state()

    def _build(self) -> None:
        self.percent.setRange(50, 100)
        self.percent.setDecimals(2)
        self.percent.setSingleStep(0.1)
        self.percent.setSuffix(" %")
        self.percent.setAccessibleName("Percentile at the ends")
        for button, tip in (
            (self.extremes, "From the smallest to the largest value"),
            (self.sigma, "Three standard deviations about the mean"),
            (self.by_percentile, "Leave out the outermost values on either side"),
            (self.reset, "Colours and ends as they were at first"),
        ):
            button.setToolTip(tip)
            button.setAccessibleName(tip)
            button.setAutoDefault(False)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        for row, (text, box) in enumerate((("Colours", self.colours), ("Spread", self.norm), ("Pixels", self.pooling))):
            label = QLabel(text)
            label.setObjectName("muted")
            label.setBuddy(box)
            grid.addWidget(label, row, 0)
            grid.addWidget(box, row, 1)
        grid.setColumnStretch(1, 1)
        ends = QHBoxLayout()
        ends.addWidget(self.low)
        ends.addStretch(1)
        ends.addWidget(self.high)
        rules = QHBoxLayout()
        rules.setSpacing(6)
        for widget in (self.extremes, self.sigma, self.by_percentile, self.percent):
            rules.addWidget(widget)
        last = QHBoxLayout()
        last.addStretch(1)
        last.addWidget(self.reset)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 10, 10, 10)
        column.setSpacing(6)
        column.addLayout(grid)
        column.addWidget(self.plot, 1)
        for layout in (ends, rules, last):
            column.addLayout(layout)
        self.setFixedSize(340, 380)

    def _connect(self) -> None:
        self.colours.activated.connect(lambda _: self._change(table=self.colours.currentText()))
        self.norm.activated.connect(lambda _: self._change(norm=Norm(self.norm.currentText())))
        self.pooling.activated.connect(lambda _: self._image.set_pooling(self.pooling.currentData()))
        self.extremes.clicked.connect(lambda: self._change(rule=Rule.EXTREMES))
        self.sigma.clicked.connect(lambda: self._change(rule=Rule.SIGMA))
        self.by_percentile.clicked.connect(self._take_percentile)
        self.percent.valueChanged.connect(lambda _: self._take_percentile())
        self.reset.clicked.connect(lambda: self._image.set_look(self._image.standard))
        self.low.editingFinished.connect(self._take_numbers)
        self.high.editingFinished.connect(self._take_numbers)
        self.plot.moved_ends.connect(lambda low, high: self._image.set_look(self._image.look.fixed(low, high)))
        self._image.looked.connect(self.show_state)

    def _change(self, **what: object) -> None:
        self._image.set_look(replace(self._image.look, **what))  # type: ignore[arg-type]

    def _take_percentile(self) -> None:
        self._change(rule=Rule.PERCENTILE, percent=self.percent.value())

    def _take_numbers(self) -> None:
        low, high = (_value(edit) for edit in (self.low, self.high))
        spread = self._image.spread
        if low is None or high is None or low >= high:
            self.show_state()
        elif (number(low, 4), number(high, 4)) != (number(spread.low, 4), number(spread.high, 4)):
            self._image.set_look(self._image.look.fixed(low, high))

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.plot.set_theme(theme)

    def show_state(self) -> None:
        """What the image shows now."""
        image = self._image
        look, spread = image.look, image.spread
        _fill(self.colours, tables_for(look.kind), look.table)
        _fill(self.norm, [str(norm) for norm in look.norms], str(look.norm))
        self.pooling.clear()
        for pooling in image.poolings:
            self.pooling.addItem(POOLINGS.get(pooling, str(pooling)), pooling)
        self.pooling.setCurrentIndex(max(0, self.pooling.findData(image.pooling)))
        self.pooling.setEnabled(self.pooling.count() > 1)
        self.low.setText(number(spread.low, 4))
        self.high.setText(number(spread.high, 4))
        self.percent.blockSignals(True)
        self.percent.setValue(look.percent)
        self.percent.blockSignals(False)
        for button, rule in (
            (self.extremes, Rule.EXTREMES), (self.sigma, Rule.SIGMA), (self.by_percentile, Rule.PERCENTILE),
        ):  # fmt: skip
            button.setProperty("chosen", look.rule == rule)
            button.style().unpolish(button)
            button.style().polish(button)
        self.reset.setEnabled(look != image.standard)
        self.plot.show_values(image.values, (spread.low, spread.high), image.quantity)

    def popup_at(self, corner: QPoint) -> None:
        """Open with the upper right corner there, within the screen."""
        screen = self._image.screen().availableGeometry()
        left = min(max(screen.left(), corner.x() - self.width()), screen.right() - self.width())
        top = min(max(screen.top(), corner.y()), screen.bottom() - self.height())
        self.move(left, top)
        self.show()
        self.colours.setFocus()


class _ValuePlot(Plot):
    """How often values occur, and the two ends of the colours, which can be dragged."""

    moved_ends = Signal(float, float)

    def __init__(self) -> None:
        super().__init__(Axis("bottom"), Axis("left", "values shown", short), zooms=(True, False))
        self.left.describe("values shown", short, decades=True)
        self.setMinimumSize(120, 90)
        self.setAccessibleName("Histogram of the values shown, with the ends of the colours")
        self._curve = pg.PlotCurveItem([0, 1], [0], stepMode="center", fillLevel=0)
        self.box.addItem(self._curve)
        self.ends = [pg.InfiniteLine(angle=90, movable=True) for _ in range(2)]
        for line in self.ends:
            line.setZValue(60)
            line.setCursor(Qt.CursorShape.SizeHorCursor)
            self.box.addItem(line, ignoreBounds=True)
            line.sigDragged.connect(self._on_dragged)

    def show_values(self, values: np.ndarray, ends: tuple[float, float], name: str) -> None:
        """Values, and where the ends are."""
        low, high = limits(values)
        low, high = min(low, ends[0]), max(high, ends[1])
        room = 0.02 * (high - low) or 1e-12
        counts, edges = np.histogram(sampled(values), BINS, (low - room / 2, high + room / 2))
        heights = np.log10(np.maximum(counts, EMPTY))
        floor, top = float(np.log10(EMPTY)), max(1.0, float(heights.max())) * 1.05
        theme = self.theme
        self._curve.setData(
            edges, heights, fillLevel=floor, brush=translucent(theme.weights), pen=pg.mkPen(theme.weights)
        )
        self.bottom.describe(name)
        content = QRectF(low - room, floor, high - low + 2 * room, top - floor)
        self.set_content(content, least=(content.width() / 50, 0), keep=True)
        self.set_heights(floor, top)
        for line, at, bounds in zip(self.ends, ends, ((None, ends[1]), (ends[0], None)), strict=True):
            line.setBounds(bounds)
            line.setPen(pg.mkPen(theme.accent, width=2))
            line.setHoverPen(pg.mkPen(theme.text, width=2))
            if not line.moving:
                line.setPos(at)

    def _on_dragged(self) -> None:
        low, high = (float(line.value()) for line in self.ends)
        if high > low:
            self.moved_ends.emit(low, high)


def _choice(name: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    box.setToolTip(name)
    return box


def _fill(box: QComboBox, names: list[str], chosen: str) -> None:
    box.clear()
    box.addItems(names)
    box.setCurrentText(chosen)


def _number(name: str) -> QLineEdit:
    edit = QLineEdit()
    edit.setAccessibleName(name)
    edit.setToolTip(f"{name}: type a number")
    edit.setFixedWidth(110)
    edit.setValidator(QDoubleValidator(edit))
    return edit


def _value(edit: QLineEdit) -> float | None:
    try:
        return float(edit.text().replace("−", "-").replace(",", "."))
    except ValueError:
        return None


def open_levels(image: ImagePlot, widget: QWidget | None = None) -> LevelTool:
    """Open the tool below a widget, else beside the colour bar."""
    tool = LevelTool(image)
    tool.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    if widget is None:
        corner = image.mapToGlobal(QPoint(image.width() - 60, 30))
    else:
        corner = widget.mapToGlobal(QPoint(widget.width(), widget.height() + 2))
    tool.popup_at(corner)
    return tool
