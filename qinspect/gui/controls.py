"""The small widgets of which the headers of views are made."""

from __future__ import annotations

from PySide6.QtWidgets import QComboBox, QToolButton


def choice(title: str, tip: str, *entries: str) -> QComboBox:
    """A small choice for a view's header."""
    box = QComboBox()
    box.addItems(entries)
    box.setToolTip(tip)
    box.setAccessibleName(title)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(min(7, max(map(len, entries))))
    view = box.view()
    view.setMinimumWidth(view.sizeHintForColumn(0) + 24)
    return box


def toggle(text: str, title: str, tip: str, *, on: bool = False) -> QToolButton:
    """A small button for a view's header that stays down."""
    button = QToolButton()
    button.setText(text)
    button.setCheckable(True)
    button.setChecked(on)
    button.setToolTip(tip)
    button.setAccessibleName(title)
    return button
