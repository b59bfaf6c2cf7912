"""A bar of progress that is painted when all else is, not at once."""

from __future__ import annotations

from PySide6.QtWidgets import QProgressBar, QWidget

STEPS = 1000


class Progress(QProgressBar):
    """Shows a fraction, 0…1.

    Qt's own bar is painted the moment that its value is set, and with it whatever else of the window is due: plots
    would be painted in the middle of being drawn.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setRange(0, STEPS)
        self.setTextVisible(False)
        self.setAccessibleName(name)

    def show_fraction(self, fraction: float) -> None:
        """So much is done."""
        value = round(STEPS * fraction)
        if value != self.value():
            self.setUpdatesEnabled(False)
            self.setValue(value)
            self.setUpdatesEnabled(True)
