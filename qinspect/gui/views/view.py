"""The base of all views: a widget that draws one inspection, or says why there is nothing to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWidget

from qinspect.gui.theme import Theme
from qinspect.registry import Registry
from qinspect.session import Inspection
from qinspect.tables import Table

if TYPE_CHECKING:
    from qinspect.gui.controller import Controller

GRID, TAB = "grid", "tab"


class View(QWidget):
    """Draws one layer, or all. The window frames it: title, `summarised` sentence and `controls` in a header.

    A view never computes for longer than a frame: what is slow comes ready-made in the `Inspection`, or from a job on
    one of the controller's lanes.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int] = 100
    place: ClassVar[str] = GRID
    """Beside the others that share the centre (GRID), or on a tab of its own (TAB)."""

    summarised = Signal(str)
    """One sentence for the header: what the picture says, in words."""

    def attach(self, controller: Controller) -> None:
        """Called once, before anything is shown: whose signals to follow, and whom to ask for changes."""

    wanted = Signal()
    """Someone asks, from within another view, to see this one."""

    def controls(self) -> list[QWidget]:
        """Small widgets for the header, the most important first (what is shown, linear or logarithmic …).

        Each has an accessible name, under which it is also found in the view's menu.
        """
        return []

    def actions_offered(self) -> list[QAction]:
        """What else the menu of the view offers now."""
        return []

    def subject(self) -> str:
        """What is shown, for captions and names of files; nothing while there is nothing to see."""
        return ""

    def tables(self) -> tuple[Table, ...]:
        """The values behind the picture, as they are seen."""
        return ()

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Draw a layer; None empties the view and shows `message`, which says what to do.

        Called while the view can be seen; what it missed meanwhile comes when it is shown again.
        """


registry: Registry[View] = Registry("qinspect.gui.views", View)
