"""What views made of plots share: a plot, a line of text below it, and a message where there is nothing to draw."""

from __future__ import annotations

import math
from abc import abstractmethod

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from qinspect.gui.axes import small_font
from qinspect.gui.frame import ElidedLabel
from qinspect.gui.plots import Plot
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import View
from qinspect.quant.layout import matrix_shape
from qinspect.session import Inspection

NO_REFERENCE = "This file holds codes only; attach the original to see errors."


class PlotView(View):
    """A view of one or several plots, of which one is seen. A subclass draws, and tells what is under the cursor."""

    def __init__(self, *plots: Plot) -> None:
        super().__init__()
        self.inspection: Inspection | None = None
        self.plots = plots
        self.hint = ""
        self.readout = ElidedLabel()
        self.readout.setObjectName("muted")
        self.readout.setFont(small_font())
        self.readout.setFixedHeight(18)
        self.message = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self.message.setObjectName("muted")
        self.message.setWordWrap(True)
        self.message.setMargin(16)
        self._plots = QStackedLayout()
        drawing = QWidget()
        column = QVBoxLayout(drawing)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self._plots, 1)
        row = QHBoxLayout()
        row.setContentsMargins(6, 0, 6, 0)
        row.addWidget(self.readout)
        column.addLayout(row)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(self.message)
        self._pages.addWidget(drawing)
        for plot in plots:
            self.add(plot)
            plot.hovered.connect(self._on_hovered)
            plot.setAccessibleName(f"{self.title} plot")
            plot.set_theme(plot.theme)
        self.setAccessibleName(self.title)
        self.choose(plots[0])

    @abstractmethod
    def draw(self, inspection: Inspection, keep: bool) -> str:
        """Draw a layer that has weights; the sentence that says what is seen. With `keep` the range in view stays."""

    @abstractmethod
    def tell(self, inspection: Inspection, at: QPointF) -> str:
        """What lies under the cursor, in one short line."""

    def sizeHint(self) -> QSize:
        """The same for every view, whatever it holds."""
        return QSize(380, 260)

    def minimumSizeHint(self) -> QSize:
        """Small: four views share a window."""
        return QSize(140, 120)

    def add(self, widget: QWidget) -> None:
        """One more thing that can be seen in the plot's place."""
        self._plots.addWidget(widget)

    def choose(self, widget: QWidget) -> None:
        """Bring a plot, or another widget added, to the front."""
        self._plots.setCurrentWidget(widget)
        self.setFocusProxy(widget)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours, also in what is drawn."""
        for plot in self.plots:
            plot.set_theme(theme)
        self.redraw()

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Draw a layer; None empties the view and shows `message` in it, with no sentence beside."""
        if inspection is not None and not math.prod(inspection.quantized.shape):
            inspection, message = None, "This tensor has no weights."
        before, self.inspection = self.inspection, inspection
        if inspection is None:
            self.message.setText(message)
            self._pages.setCurrentIndex(0)
            self.setAccessibleDescription(message)
            self.summarised.emit("")
        else:
            self._draw(inspection, keep=before is not None and before.info == inspection.info)

    def redraw(self, *, keep: bool = True) -> None:
        """Draw the same layer anew, after a choice has changed."""
        if self.inspection is not None:
            self._draw(self.inspection, keep)

    def _draw(self, inspection: Inspection, keep: bool) -> None:
        self._pages.setCurrentIndex(1)
        self.summarise(inspection, self.draw(inspection, keep))
        self.readout.setText(self.hint)
        for plot in self.plots:
            plot.settle()
            plot.follow()

    def summarise(self, inspection: Inspection, sentence: str) -> None:
        """Emit the sentence, marked while it comes from a sample of rows."""
        sentence = f"≈ {sentence}" if inspection.part < 1 else sentence
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)

    def _on_hovered(self, at: QPointF | None) -> None:
        if self.inspection is not None and self._plots.currentWidget() is self.sender():
            self.readout.setText(self.hint if at is None else self.tell(self.inspection, at))


def choice(tip: str, *entries: str) -> QComboBox:
    """A small choice for a view's header."""
    box = QComboBox()
    box.addItems(entries)
    box.setToolTip(tip)
    box.setAccessibleName(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
    return box


def toggle(text: str, tip: str, *, on: bool = False) -> QToolButton:
    """A small button for a view's header that stays down."""
    button = QToolButton()
    button.setText(text)
    button.setCheckable(True)
    button.setChecked(on)
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    return button


def row_spacing(inspection: Inspection) -> float:
    """How many rows of the layer each row of the inspection stands for: more than 1 in a preview of a sample."""
    rows = matrix_shape(inspection.quantized.shape)[0]
    return matrix_shape(inspection.info.shape)[0] / max(1, rows) if inspection.part < 1 else 1.0


def row_at(y: float, spacing: float, rows: int) -> int:
    """The row of the inspection drawn at `y`."""
    return min(max(math.floor((y + 0.5) / spacing), 0), rows - 1)


def row_number(row: int, spacing: float) -> int:
    """The number in the layer of a row of the inspection (`analysis.sample_rows` takes evenly spread ones)."""
    return row * max(1, int(spacing))


def row_centre(row: int, spacing: float) -> float:
    """Where a row of the inspection is drawn."""
    return (row + 0.5) * spacing - 0.5
