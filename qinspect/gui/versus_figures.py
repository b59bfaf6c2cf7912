"""The figures of A and B side by side, and the change from B to A."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from qinspect import figures as fmt
from qinspect.gui.comparing import Comparing
from qinspect.gui.theme import DARK, Theme
from qinspect.versus import Other

ROWS: tuple[tuple[str, str, Callable[[float], str], bool], ...] = (
    ("sqnr_db", "SQNR", fmt.decibels, True),
    ("bpw", "Bits per weight", fmt.bits, False),
    ("nbytes", "Size", fmt.nbytes, False),
    ("rmse", "RMSE", fmt.magnitude, False),
    ("max_error", "Max error", fmt.magnitude, False),
)
"""Figure, title, how it is written, and whether more is better."""

COLUMN = 58
"""Pixels of a column at least, so that nothing jumps when values come."""

SPARE = ("rmse", "max_error")
"""Rows that give way in a low window."""


class VersusFigures(QWidget):
    """A small table, there only while something is attached; what A does better is green, what worse red."""

    def __init__(self, comparing: Comparing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparing = comparing
        self._theme = DARK
        self.values: dict[str, tuple[QLabel, QLabel, QLabel]] = {}
        self._titles: dict[str, QLabel] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(0, 1)
        for column in (1, 2, 3):
            grid.setColumnMinimumWidth(column, COLUMN)
        for column, title in enumerate(("A", "B", "A − B"), 1):
            grid.addWidget(self._label(title, muted=True), 0, column, Qt.AlignmentFlag.AlignRight)
        for row, (name, title, _, _) in enumerate(ROWS, 1):
            self._titles[name] = self._label(title, muted=True)
            grid.addWidget(self._titles[name], row, 0)
            labels = self._label(fmt.NONE), self._label(fmt.NONE), self._label(fmt.NONE)
            for column, (label, side) in enumerate(zip(labels, ("A", "B", "A − B"), strict=True), 1):
                label.setAccessibleName(f"{title}, {side}")
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                grid.addWidget(label, row, column, Qt.AlignmentFlag.AlignRight)
            self.values[name] = labels
        self.hide()
        comparing.attached.connect(self._on_attached)
        comparing.updated.connect(self._show)
        comparing.cleared.connect(self._show)

    def _label(self, text: str, *, muted: bool = False) -> QLabel:
        label = QLabel(text, self)
        if muted:
            label.setObjectName("muted")
        return label

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self._show()

    def set_compact(self, compact: bool) -> None:
        """Leave out rows where there is little room."""
        for name in SPARE:
            for label in (self._titles[name], *self.values[name]):
                label.setVisible(not compact)

    def _on_attached(self, other: Other | None) -> None:
        self.setVisible(other is not None)
        self._show()

    def _show(self) -> None:
        versus = self._comparing.versus
        if versus is None:
            for labels in self.values.values():
                for label in labels:
                    label.setText(fmt.NONE)
            return
        about = [f"{'≈ ' * (side.part < 1)}" for side in (versus.a, versus.b)]
        found = {name: (a, b) for name, a, b in versus.figures()}
        for name, _, write, more in ROWS:
            a, b = found[name]
            sized = name in ("bpw", "nbytes")
            for label, value, mark in zip(self.values[name], (a, b), about, strict=False):
                label.setText(write(value) if sized else mark + write(value))
            self._show_change(self.values[name][2], a, b, write, more=more)

    def _show_change(self, label: QLabel, a: float, b: float, write: Callable[[float], str], *, more: bool) -> None:
        text = fmt.change(a - b if a != b else 0.0, write)  # of what is infinite on both sides, nothing
        label.setText(text)
        better = a > b if more else a < b
        same = text in (fmt.NONE, write(0.0))
        colour = self._theme.text if same else self._theme.good if better else self._theme.bad
        label.setStyleSheet(f"color: {colour};")
