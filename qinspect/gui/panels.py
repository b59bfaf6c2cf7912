"""Frames that hold the parts of the window."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget


def quantize(scope: QWidget, form: QWidget, figures: QWidget, readout: QWidget, findings: QWidget) -> QScrollArea:
    """The scheme and what it is for on top, what it does to the layer below, perhaps compared; then what is wrong."""
    inside = QWidget()
    column = QVBoxLayout(inside)
    column.setContentsMargins(12, 12, 12, 12)
    column.setSpacing(12)
    heading = QLabel("Findings")
    heading.setObjectName("title")
    for widget in (scope, form, _rule(), figures, readout, _rule(), heading):
        column.addWidget(widget)
    column.addWidget(findings, 1)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inside)
    return scroll


def card(widget: QWidget) -> QFrame:
    """A rounded frame around a widget."""
    frame = QFrame()
    frame.setObjectName("card")
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(1, 1, 1, 1)
    layout.addWidget(widget)
    return frame


def _rule() -> QFrame:
    line = QFrame()
    line.setFixedHeight(1)
    line.setObjectName("rule")
    return line
