"""The parts of the window that F6 goes through, so that every one is reached without the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def cycle(window: MainWindow, by: int) -> None:
    """Give the focus to the next part (1) or the one before (−1)."""
    panes = window.panes()
    focus = QApplication.focusWidget()
    now = [at for at, (pane, _) in enumerate(panes) if focus is not None and pane.isAncestorOf(focus)]
    at = (now[0] + by) % len(panes) if now else 0
    pane, first = panes[at]
    enter(pane.focusWidget() or first)


def enter(widget: QWidget) -> None:
    """Focus a widget, or the first thing in it that takes keys."""
    inside = [widget.focusProxy() or widget, *widget.findChildren(QWidget)]
    for each in inside:
        if each.isVisible() and each.isEnabled() and each.focusPolicy() & Qt.FocusPolicy.TabFocus:
            each.setFocus(Qt.FocusReason.TabFocusReason)
            return
