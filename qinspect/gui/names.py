"""Long names of layers in narrow columns: leading words shrink to a letter, so that numbers and what it is stay."""

from __future__ import annotations

import re
from collections.abc import Callable

from PySide6.QtCore import QModelIndex, QPersistentModelIndex
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

PADDING = 14
"""Pixels of a cell that text cannot use."""

CHECK = 22
"""Pixels of a check box before the text."""


class NameDelegate(QStyledItemDelegate):
    """Draws names as long as there is room for."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """The cell as usual, its text shortened."""
        super().initStyleOption(option, index)
        room = option.rect.width() - PADDING  # type: ignore[attr-defined]
        if option.features & QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator:  # type: ignore[attr-defined]
            room -= CHECK
        metrics = option.fontMetrics  # type: ignore[attr-defined]
        option.text = shortened(str(index.data()), room, metrics.horizontalAdvance)  # type: ignore[attr-defined]


def shortened(name: str, room: int, width: Callable[[str], int]) -> str:
    """`encoder.layer.1.output.weight` as `e.l.1.output.w`, or as far as is needed to be at most `room` wide.

    The word before the last tells most, and stays. Where there is no room for all of that, other words are left out
    before numbers are: `1…output`.
    """
    words = name.split(".")
    for at in (*range(len(words) - 2), *([-1] if len(words) > 1 else ())):
        if width(name) <= room:
            break
        if not words[at].isdecimal():
            words[at] = words[at][:1]
            name = ".".join(words)
    return next((shown for shown in _shorter(words) if width(shown) <= room), _shorter(words)[-1])


def _shorter(words: list[str]) -> list[str]:
    """Ever less of a name whose words are short already."""
    if len(words) < 2:
        return [".".join(words)]
    before = words[:-1]
    numbers = [at for at, word in enumerate(before) if word.isdecimal()]
    first = numbers[0] if numbers else len(before) - 1
    least = (
        f"{'.'.join(before[at] for at in numbers)}…{before[-1]}" if numbers and numbers[-1] < len(before) - 1 else ""
    )
    return [".".join(words), ".".join(before), ".".join(before[first:]), *filter(None, [least])]


def ending(name: str, room: int, width: Callable[[str], int]) -> str:
    """`…1.output.dense.weight` or `1…dense.weight`: as many last words as have `room`, and the block's number.

    The whole name where these would be no more than half of that, to be cut within a word.
    """
    if width(name) <= room:
        return name
    words = name.split(".")
    for first in range(1, len(words)):
        number = next((word for word in words[first - 1 :: -1] if word.isdecimal()), "")
        shown = f"{number}…{'.'.join(words[first:])}"
        if width(shown) <= room:
            return shown if width(shown) > room / 2 else name
    return name


def clauses(text: str, fits: Callable[[str], bool]) -> str:
    """As many of the leading clauses of a sentence as fit; all of it if not even the first does."""
    ends = [found.start() for found in re.finditer(r"[;,.:](?= )", text)]
    return next((text[:end] for end in (len(text), *reversed(ends)) if fits(text[:end])), text)
