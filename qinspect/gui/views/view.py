"""The base of all views: a widget that draws one inspection, or says why there is nothing to draw."""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from qinspect.gui.theme import Theme
from qinspect.registry import Registry
from qinspect.session import Inspection


class View(QWidget):
    """Draws one layer. The window frames it: title, `summarised` sentence and `controls` in a header, the view below.

    A view never computes for longer than a frame: what is slow comes ready-made in the `Inspection`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int] = 100

    summarised = Signal(str)
    """One sentence for the header: what the picture says, in words."""

    def controls(self) -> list[QWidget]:
        """Small widgets for the header (a choice of what is shown, linear or logarithmic …)."""
        return []

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Draw a layer; None empties the view and shows `message`, which says what to do."""


registry: Registry[View] = Registry("qinspect.gui.views", View)
