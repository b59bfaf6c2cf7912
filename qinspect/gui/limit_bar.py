"""The limit of a budget: what it is of, a slider to drag, and its number."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

from qinspect.planning.budget import Front, Limit

KINDS = {"bytes": "Size at most", "bpw": "Bits per weight at most", "sqnr": "SQNR at least"}
STEPS = 1000
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


class LimitBar(QWidget):
    """`changed` tells of every move; `limit` is what it stands at. The range is that of what a model can be."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._range = (0.0, 1.0)
        self._value: float | None = None
        self.kind = QComboBox(self)
        for name, text in KINDS.items():
            self.kind.addItem(text, name)
        self.kind.setToolTip("What is limited")
        self.kind.setAccessibleName("What is limited")
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, STEPS)
        self.slider.setPageStep(STEPS // 20)
        self.slider.setAccessibleName("Limit")
        self.slider.setToolTip("Drag the limit: every layer takes what keeps it with the least error")
        self.number = QDoubleSpinBox(self)
        self.number.setAccessibleName("Limit as a number")
        self.number.setToolTip("The limit as a number")
        self.number.setKeyboardTracking(False)
        self.number.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.number.setFixedWidth(110)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self.kind)
        row.addWidget(self.slider, 1)
        row.addWidget(self.number)
        self.slider.valueChanged.connect(self._on_slider)
        self.number.valueChanged.connect(self._on_number)

    @property
    def what(self) -> str:
        """The kind of the limit."""
        kind: str = self.kind.currentData()
        return kind

    @property
    def limit(self) -> Limit | None:
        """Where it stands; None before there is a range."""
        return None if self._value is None else Limit(self.what, self._value)  # type: ignore[arg-type]

    def show_front(self, front: Front, start: float | None = None) -> None:
        """Take over what can be; the limit stays, or is put to `start`, as far as the range allows."""
        values = {"bytes": front.nbytes, "bpw": front.bpw, "sqnr": front.sqnr_db}[self.what]
        finite = values[abs(values) < float("inf")]
        self._range = (float(finite[0]), float(finite[-1])) if finite.size else (0.0, 0.0)
        unit, name = self._unit
        with QSignalBlocker(self.number):
            self.number.setDecimals(2 if unit > 1 or self.what != "bytes" else 0)
            self.number.setSuffix(f" {name}")
            self.number.setSingleStep({"bytes": (self._range[1] / unit) / 100, "bpw": 0.05, "sqnr": 0.5}[self.what])
            self.number.setRange(0, 10 * max(1.0, self._range[1] / unit))
        wanted = self._value if start is None else start
        self._show(self._range[0] if wanted is None else wanted)

    @property
    def _unit(self) -> tuple[float, str]:
        if self.what != "bytes":
            return 1.0, {"bpw": "bits", "sqnr": "dB"}[self.what]
        return next(unit for unit in UNITS if self._range[1] >= unit[0] or unit[0] == 1)

    def move_to(self, value: float) -> None:
        """Put the limit there and tell of it."""
        self._show(value)
        self.changed.emit()

    def _show(self, value: float) -> None:
        low, high = self._range
        self._value = value
        part = (value - low) / (high - low) if high > low else 1.0
        with QSignalBlocker(self.slider), QSignalBlocker(self.number):
            self.slider.setValue(round(STEPS * min(max(part, 0.0), 1.0)))
            self.number.setValue(value / self._unit[0])

    def _on_slider(self, at: int) -> None:
        low, high = self._range
        self.move_to(low + (high - low) * at / STEPS)

    def _on_number(self, number: float) -> None:
        self.move_to(number * self._unit[0])
