"""The form of a scheme, made from the scheme's own fields: choices, sliders with exact values beside them."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from qinspect.quant.layout import matrix_shape
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import Scheme, registry
from qinspect.quant.sweep import useful_levels

STORED = "As stored in the file"
ALONE = "Left alone"
PAUSE_S = 0.8
"""Changes of one parameter that follow each other sooner are one step for undo, as a whole drag is."""
GROUP_SIZES = (16, 32, 64, 128, 256, 512, 1024)


class SchemeForm(QWidget):
    """A choice of schemes and a row for each parameter. `changed` carries the new scheme, None for "as stored"."""

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scheme: Scheme | None = None
        self._shape: tuple[int, ...] = ()
        self._editors: dict[str, Editor] = {}
        self._labels: dict[str, QLabel] = {}
        self.gesture = 0
        """Counts what a person does: changes of one gesture are one step for undo."""
        self._dragging = False
        self._last: tuple[str, float] = ("", 0.0)
        self.choice = QComboBox(self)
        self.choice.setAccessibleName("Quantization scheme")
        self.choice.setToolTip("How weights are turned into codes")
        self.choice.addItem(ALONE, None)
        for cls in registry:
            self.choice.addItem(cls.title, cls.name)
            self.choice.setItemData(self.choice.count() - 1, cls.summary, Qt.ItemDataRole.ToolTipRole)
        self.choice.activated.connect(self._on_choice)
        self._summary = QLabel(self)
        self._summary.setObjectName("muted")
        self._summary.setWordWrap(True)
        self._rows = QWidget(self)
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 4, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(8)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.choice)
        layout.addWidget(self._summary)
        layout.addWidget(self._rows)

    def name_none(self, stored: bool) -> None:
        """What it is called that no scheme is put upon a layer: it may be packed already."""
        self.choice.setItemText(0, STORED if stored else ALONE)
        if self._scheme is None:
            self._show_summary()

    def set_shape(self, shape: tuple[int, ...]) -> None:
        """The tensor that sizes are offered for: group sizes that divide its rows are on the slider."""
        self._shape = shape
        for editor in self._editors.values():
            editor.set_values(self._values(editor.parameter))

    def show_scheme(self, scheme: Scheme | None) -> None:
        """Show `scheme` without signalling a change."""
        rebuild = type(scheme) is not type(self._scheme)
        self._scheme = scheme
        self.choice.setCurrentIndex(0 if scheme is None else self.choice.findData(scheme.name))
        self._show_summary()
        if rebuild:
            self._build()
        self._refresh()

    def _show_summary(self) -> None:
        stored = self.choice.itemText(0) == STORED
        alone = "Packed layers exactly as the file holds them." if stored else "Written as it is, not quantized."
        self._summary.setText(alone if self._scheme is None else self._scheme.summary)

    def set_compact(self, compact: bool) -> None:
        """Leave out the words about the scheme where there is little room."""
        self._summary.setVisible(not compact)

    def editor(self, name: str) -> Editor:
        """The row of a parameter."""
        return self._editors[name]

    def choose(self, name: str) -> None:
        """Take another scheme, as by its choice."""
        self._on_choice(self.choice.findData(name))

    def nudge(self, names: tuple[str, ...], by: int) -> None:
        """Move the first of these parameters that the scheme has by one of its useful values, as a shortcut does."""
        shown = [self._editors[name] for name in names if name in self._editors and not self._editors[name].isHidden()]
        if shown:
            shown[0].nudge(by)

    def _build(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self._editors, self._labels = {}, {}
        parameters = () if self._scheme is None else self._scheme.parameters()
        for row, parameter in enumerate(parameters):
            editor = Editor(parameter, self._values(parameter), self._rows)
            editor.edited.connect(self._on_edit)
            editor.dragged.connect(self._on_drag)
            label = QLabel(_words(parameter.name), self._rows)
            label.setToolTip(parameter.help)
            label.setBuddy(editor.focus_widget)
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(editor, row, 1)
            self._editors[parameter.name] = editor
            self._labels[parameter.name] = label

    def _values(self, parameter: Parameter) -> list[int]:
        """The useful values of a whole number, for its slider."""
        if parameter.choices is not None:
            return [choice for choice in parameter.choices if isinstance(choice, int)]
        low, high = int(parameter.low or 0), int(parameter.high or 0)
        if parameter.name == "axis" and self._shape:
            high = len(self._shape) - 1
        if parameter.name == "levels" and self._scheme is not None:
            return list(useful_levels(type(self._scheme)))
        if parameter.name != "group_size":
            return list(range(low, high + 1))
        cols = matrix_shape(self._shape)[1] if self._shape else 4096
        digits = getattr(getattr(self._scheme, "packing", None), "digits", 1)
        sizes = {g for g in GROUP_SIZES if g <= max(cols, 16)} | {cols}
        sizes |= {cols // n for n in range(2, 65) if cols % n == 0 and cols // n >= 16}
        if digits > 1:
            sizes |= {g // digits * digits for g in GROUP_SIZES if g < cols}
        return sorted(g for g in sizes if low < g <= high)

    def _refresh(self) -> None:
        scheme = self._scheme
        if scheme is None:
            return
        active = {parameter.name for parameter in scheme.active_parameters()}
        for name, editor in self._editors.items():
            editor.set_value(getattr(scheme, name))
            for widget in (editor, self._labels[name]):
                widget.setVisible(name in active)

    def _on_drag(self, begins: bool) -> None:
        self._dragging = begins
        self.gesture += begins

    def _on_choice(self, at: int) -> None:
        self.gesture += 1
        name = self.choice.itemData(at)
        if name is None:
            self._emit(None)
        elif self._scheme is None or name != self._scheme.name:
            self._emit(_carried_over(self._scheme, registry[name]))

    def _on_edit(self, name: str, value: Any) -> None:
        if self._scheme is not None:
            now = time.monotonic()
            if not self._dragging and (name != self._last[0] or now - self._last[1] > PAUSE_S):
                self.gesture += 1
            self._last = name, now
            kept = {f.name: getattr(self._scheme, f.name) for f in fields(self._scheme)}
            self._emit(type(self._scheme)(**{**kept, name: value}))

    def _emit(self, scheme: Scheme | None) -> None:
        self.show_scheme(scheme)
        self.changed.emit(scheme)


class Editor(QWidget):
    """One parameter: a choice, a number with decimals, or a slider over useful whole numbers with the exact one."""

    edited = Signal(str, object)
    dragged = Signal(bool)
    """A drag of the slider begins (True) or ends."""

    def __init__(self, parameter: Parameter, values: list[int], parent: QWidget) -> None:
        super().__init__(parent)
        self.parameter = parameter
        self.combo: QComboBox | None = None
        self.slider: QSlider | None = None
        self.spin: QSpinBox | None = None
        self.decimal: QDoubleSpinBox | None = None
        self._values: list[int] = []
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        if parameter.type is int:
            self._build_number(layout)
            self.set_values(values)
        elif parameter.type is float:
            self._build_decimal(layout)
        else:
            self.combo = QComboBox(self)
            self.combo.addItems([str(choice) for choice in parameter.choices or ()])
            self.combo.textActivated.connect(lambda text: self.edited.emit(parameter.name, text))
            layout.addWidget(self.combo)
        for widget in (self.combo, self.slider, self.spin, self.decimal):
            if widget is not None:
                widget.setAccessibleName(_words(parameter.name))
                widget.setToolTip(parameter.help)

    @property
    def focus_widget(self) -> QWidget:
        """What a label leads to."""
        return self.combo or self.slider or self.decimal or self

    def _build_number(self, layout: QGridLayout) -> None:
        parameter = self.parameter
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setPageStep(1)
        self.slider.valueChanged.connect(self._on_slide)
        self.slider.sliderPressed.connect(lambda: self.dragged.emit(True))
        self.slider.sliderReleased.connect(lambda: self.dragged.emit(False))
        self.spin = QSpinBox(self)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.setKeyboardTracking(False)
        self.spin.setFixedWidth(62)
        low = parameter.low if parameter.choices is None else min(parameter.choices)
        high = parameter.high if parameter.choices is None else max(parameter.choices)
        self.spin.setRange(int(low or 0), int(high or 0))
        self.spin.valueChanged.connect(self._on_number)
        layout.addWidget(self.slider, 0, 0)
        layout.addWidget(self.spin, 0, 1)

    def _build_decimal(self, layout: QGridLayout) -> None:
        parameter = self.parameter
        self.decimal = QDoubleSpinBox(self)
        self.decimal.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.decimal.setKeyboardTracking(False)
        self.decimal.setDecimals(3)
        self.decimal.setSingleStep(0.1)
        self.decimal.setRange(parameter.low or 0.0, parameter.high or 0.0)
        self.decimal.setSuffix(f" {parameter.unit}" if parameter.unit else "")
        self.decimal.valueChanged.connect(lambda value: self.edited.emit(parameter.name, value))
        layout.addWidget(self.decimal)

    def set_values(self, values: list[int]) -> None:
        """The values the slider stops at."""
        if self.slider is None or values == self._values:
            return
        self._values = values
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(0, len(values) - 1))
        self.slider.blockSignals(False)
        if self.spin is not None:
            self._place(self.spin.value())

    def set_value(self, value: Any) -> None:
        """Show a value without signalling."""
        if self.combo is not None:
            self.combo.setCurrentText(str(value))
        if self.spin is not None:
            self.spin.blockSignals(True)
            self.spin.setValue(value)
            self.spin.blockSignals(False)
            self._place(value)
        if self.decimal is not None:
            self.decimal.blockSignals(True)
            self.decimal.setValue(value)
            self.decimal.blockSignals(False)

    def nudge(self, by: int) -> None:
        """To the next useful value."""
        if self.slider is not None:
            self.slider.setValue(self.slider.value() + by)

    def _place(self, value: int) -> None:
        """Move the slider to the value, or to the nearest it stops at."""
        if self.slider is not None and self._values:
            nearest = min(range(len(self._values)), key=lambda i: abs(self._values[i] - value))
            self.slider.blockSignals(True)
            self.slider.setValue(nearest)
            self.slider.blockSignals(False)

    def _on_slide(self, at: int) -> None:
        self.edited.emit(self.parameter.name, self._values[at])

    def _on_number(self, value: int) -> None:
        choices = self.parameter.choices
        if choices is not None and value not in choices:
            value = min(choices, key=lambda choice: abs(choice - value))
        self.edited.emit(self.parameter.name, value)


def _carried_over(old: Scheme | None, cls: type[Scheme]) -> Scheme:
    """A scheme of another kind with what was changed in the old one, as far as it has that and allows it."""
    changed = {p.name: getattr(old, p.name) for p in old.parameters()} if old is not None else {}
    defaults = {p.name: p.default for p in old.parameters()} if old is not None else {}
    kept: dict[str, Any] = {}
    for parameter in cls.parameters():
        value = changed.get(parameter.name)
        allowed = parameter.choices is None or value in parameter.choices
        if value != defaults.get(parameter.name) and allowed and isinstance(value, parameter.type):
            kept[parameter.name] = value
    return cls(**kept)


def _words(name: str) -> str:
    return {"param_dtype": "Parameters"}.get(name, name.replace("_", " ").capitalize())
