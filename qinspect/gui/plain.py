"""Texts of others, shown as they are: Qt takes what looks like HTML for HTML, and & for the mark of a key.

`errors.printable` has made such a text printable before; here is what Qt would still make of it.
"""

from __future__ import annotations

from html import escape

from PySide6 import QtGui
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

_is_rich = QtGui.Qt.mightBeRichText  # type: ignore[attr-defined]  # the stubs know Qt from QtCore alone


class PlainLabel(QLabel):
    """A label that shows its text as it is."""

    def __init__(self, parent: QWidget | None = None, text: str = "") -> None:
        super().__init__(text, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)


def tip(text: str) -> str:
    """`text` for a tool tip, which has no switch to take it as it is."""
    return f'<span style="white-space: pre-wrap">{escape(text)}</span>' if _is_rich(text) else text


def caption(text: str) -> str:
    """`text` for a button or the entry of a menu."""
    return text.replace("&", "&&")
