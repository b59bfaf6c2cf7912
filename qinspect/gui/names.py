"""Long names of layers in narrow columns: leading words shrink to a letter, so that numbers and endings stay."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QModelIndex, QPersistentModelIndex
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

PADDING = 14
"""Pixels of a cell that text cannot use."""


class NameDelegate(QStyledItemDelegate):
    """Draws names as long as there is room for."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """The cell as usual, its text shortened."""
        super().initStyleOption(option, index)
        room = option.rect.width() - PADDING  # type: ignore[attr-defined]
        metrics = option.fontMetrics  # type: ignore[attr-defined]
        option.text = shortened(str(index.data()), room, metrics.horizontalAdvance)  # type: ignore[attr-defined]


def shortened(name: str, room: int, width: Callable[[str], int]) -> str:
    """`encoder.layer.1.output` as `e.l.1.output`, or as far as is needed to be at most `room` wide."""
    words = name.split(".")
    for at, word in enumerate(words[:-1]):
        if width(name) <= room:
            break
        if not word.isdecimal():
            words[at] = word[:1]
            name = ".".join(words)
    return name
