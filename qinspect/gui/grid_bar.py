"""What to sweep: schemes from a menu, group sizes and bits as lists, and where ranges come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QMenu, QToolButton, QWidget

from qinspect import figures as fmt
from qinspect.errors import SchemeError
from qinspect.gui import marks
from qinspect.gui.theme import Theme
from qinspect.quant.scheme import registry
from qinspect.quant.sweep import BITS, SweepGrid

DEFAULT, EACH = "as usual", "each"
USUAL, MODERATE = (4096, 4096), 40
"""Schemes with more points on a layer of such a shape are left out until someone asks for them."""


class GridBar(QWidget):
    """One line of choices. `changed` carries the grid they make, `refused` why they make none."""

    changed = Signal(object)
    refused = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.schemes = QToolButton(self)
        self.schemes.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.schemes.setObjectName("field")
        self.schemes.setToolTip("Which schemes are tried")
        self.menu = _StayingMenu(self.schemes)
        self.schemes.setMenu(self.menu)
        self.sizes = _list("those that suit the row", "Group sizes, with commas between them")
        self.bits = _list(
            "2, 3, 4, 5, 6, 8", "Bits of a code, with commas between them; 2^bits levels of schemes by level"
        )
        self.calibration = QComboBox(self)
        self.calibration.setToolTip("Where ranges come from: one way for every scheme that has it, or each of them")
        self.calibration.setAccessibleName("Calibration")
        self.calibration.addItems([DEFAULT, *_calibrations(), EACH])
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.schemes)
        for text, widget, stretch in (
            ("groups", self.sizes, 3),
            ("bits", self.bits, 2),
            ("range", self.calibration, 0),
        ):
            label = QLabel(text, self)
            label.setObjectName("muted")
            label.setBuddy(widget)
            row.addWidget(label)
            row.addWidget(widget, stretch)
        for edit in (self.sizes, self.bits):
            edit.editingFinished.connect(self._on_change)
        self.calibration.activated.connect(lambda _: self._on_change())
        self._fill()
        self._grid = self._read()

    @property
    def grid(self) -> SweepGrid:
        """The last grid that could be made."""
        return self._grid

    def set_theme(self, theme: Theme) -> None:
        """The marks beside the schemes' names are those of the plot."""
        for action in self.menu.actions():
            if action.isCheckable():
                action.setIcon(marks.icon(action.data(), theme))

    def _fill(self) -> None:
        for cls in registry:
            action = QAction(cls.title, self.menu)
            action.setData(cls.name)
            action.setToolTip(cls.summary)
            action.setCheckable(True)
            action.setChecked(_is_moderate(cls.name))
            action.toggled.connect(lambda _: self._on_change())
            self.menu.addAction(action)
        self.menu.addSeparator()
        for text, on in (("All", True), ("None", False)):
            action = QAction(text, self.menu)
            action.triggered.connect(lambda _=False, on=on: self._check_all(on))
            self.menu.addAction(action)

    def _check_all(self, on: bool) -> None:
        for action in self.menu.actions():
            if action.isCheckable():
                action.blockSignals(True)
                action.setChecked(on)
                action.blockSignals(False)
        self._on_change()

    def chosen(self) -> list[str]:
        """The schemes that are checked."""
        return [action.data() for action in self.menu.actions() if action.isCheckable() and action.isChecked()]

    def _on_change(self) -> None:
        try:
            grid = self._read()
        except SchemeError as error:
            self.refused.emit(f"{error.message[0].upper()}{error.message[1:]}.")
            return
        if grid != self._grid:
            self._grid = grid
            self.changed.emit(grid)
        else:
            self.refused.emit("")

    def _read(self) -> SweepGrid:
        chosen = self.chosen()
        self.schemes.setText(f"{fmt.counted(len(chosen), 'scheme')} ▾")
        if not chosen:
            raise SchemeError("choose at least one scheme")
        values: dict[str, list[Any]] = {"group_size": _numbers(self.sizes.text())}
        words = self.bits.text().replace(" ", "").replace(";", ",").split(",")
        values["bits"] = _numbers(",".join(word for word in words if not word.startswith("N=")))
        values["levels"] = _numbers(",".join(word[2:] for word in words if word.startswith("N=")))
        calibration = self.calibration.currentText()
        if calibration != DEFAULT:
            values["calibration"] = _calibrations() if calibration == EACH else [calibration]
        return _grid(chosen, values)


@cache
def _is_moderate(scheme: str) -> bool:
    """Whether it has few enough points to be tried unasked."""
    return len(_grid([scheme], {}).schemes_for(USUAL)) <= MODERATE


def _grid(schemes: list[str], values: Mapping[str, list[Any]]) -> SweepGrid:
    """The grid of what these schemes have; the rest stays in its field for those that are chosen next."""
    fields = {p.name for name in schemes for p in registry[name].parameters()}
    fields |= {"bits"} if "levels" in fields else set()
    bits = {"bits": values.get("bits") or list(BITS)}  # else numbers of levels of all kinds are most of the points
    return SweepGrid.of(schemes, {name: some for name, some in {**values, **bits}.items() if some and name in fields})


class _StayingMenu(QMenu):
    """Stays open while entries are checked: several are wanted at a time."""

    def mouseReleaseEvent(self, event: object) -> None:
        """Toggle without closing."""
        action = self.activeAction()
        if action is not None and action.isCheckable():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)  # type: ignore[arg-type]


def _calibrations() -> list[str]:
    """Every way that any scheme knows."""
    fields = (p for cls in registry for p in cls.parameters() if p.name == "calibration")
    return list(dict.fromkeys(choice for p in fields for choice in p.choices or ()))


def _list(placeholder: str, tip: str) -> QLineEdit:
    edit = QLineEdit()
    edit.setPlaceholderText(placeholder)
    edit.setToolTip(tip)
    edit.setAccessibleName(tip)
    edit.setMinimumWidth(70)
    return edit


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.replace(";", ",").split(",")]
    wrong = [word for word in words if word and not word.isdecimal()]
    if wrong:
        raise SchemeError(f"write whole numbers with commas between them, not {wrong[0]!r}")
    return [int(word) for word in words if word]
