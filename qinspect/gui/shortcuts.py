"""All keys on one page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QDialog, QTextBrowser, QVBoxLayout

from qinspect.gui import palette

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow

PLOTS = (
    ("Arrows", "move"),
    ("+ and −", "zoom"),
    ("Home", "all in view"),
    ("Wheel, drag, double-click", "zoom, move, all in view"),
)


def show(window: MainWindow) -> QDialog:
    """Bring up the page beside the window."""
    dialog = QDialog(window)
    dialog.setWindowTitle("Keys")
    dialog.resize(560, 680)
    page = QTextBrowser(dialog)
    page.setAccessibleName("Keys")
    page.document().setDocumentMargin(20)
    page.document().setDefaultStyleSheet("td { padding: 2px 24px 2px 0px }")
    page.setHtml(_html(window))
    layout = QVBoxLayout(dialog)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(page)
    dialog.show()
    return dialog


def _html(window: MainWindow) -> str:
    keyed = [(entry.key, entry.text) for entry in palette.entries(window) if entry.key]
    return _table("Everywhere", keyed) + _table("In a plot", PLOTS)


def _table(title: str, rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    cells = "".join(f"<tr><td><b>{escape(key)}</b></td><td>{escape(text)}</td></tr>" for key, text in rows)
    return f"<h3>{title}</h3><table cellspacing='0'>{cells}</table>"
