"""The bytes of a group as a device reads them: numbers, their digits or bit fields, and whose codes they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor, QFontMetrics, QMouseEvent, QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from qinspect.gui.axes import number, small_font
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.places import Held, Stored
from qinspect.tables import Column, Table

OFFSET, BYTES, NUMBER, DIGITS, WEIGHTS = range(5)
TITLES = ("Offset", "Bytes", "Number", "Digits in order, or bits", "Weights")
TIPS = (
    "Where the bytes begin in their array, counted from the group's first.",
    "The bytes as they are stored, in hexadecimal digits.",
    "The number that a device reads from these bytes.",
    "The codes in the number, the first weight's on the left; of a parameter its bits.",
    "The weights whose codes these are, or the name of the parameter.",
)
DISPLAY, FONT, ALIGN, TIP = (
    int(role)
    for role in (
        Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.FontRole, Qt.ItemDataRole.TextAlignmentRole,
        Qt.ItemDataRole.ToolTipRole,
    )
)  # fmt: skip
GAP = 8
"""Pixels between digits."""


@dataclass(frozen=True, eq=False)
class Bytes:
    """What is stored of a group: parameters, and places with the columns `start`…`stop` that are the group's own.

    `origin` is the offset of the row within the layer's data.
    """

    parameters: tuple[Stored, ...]
    places: tuple[Held, ...]
    start: int
    stop: int
    origin: int


NOTHING = Bytes((), (), 0, 0, 0)


def digit_texts(held: Held) -> list[str]:
    """The digits of a number as they are written: bits where the base is a power of two."""
    base = held.place.base
    bits = base.bit_length() - 1
    if base != 1 << bits:
        width = len(str(base - 1))
        return [f"{digit:>{width}}" for digit in held.digits]
    return [f"{digit:0{bits}b}" for digit in held.digits]


def hexadecimal(raw: bytes) -> str:
    """`9d 03 1f 8a`."""
    return raw.hex(" ")


class ByteModel(QAbstractTableModel):
    """Parameters first, then number after number."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.bytes = NOTHING
        self._font = small_font()

    def show_bytes(self, shown: Bytes) -> None:
        """Show another group."""
        self.beginResetModel()
        self.bytes = shown
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """All that is stored."""
        if parent is not None and parent.isValid():
            return 0
        return len(self.bytes.parameters) + len(self.bytes.places)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """The same for every scheme."""
        return 0 if parent is not None and parent.isValid() else len(TITLES)

    def held(self, row: int) -> Held | None:
        """The place of a row; None for parameters."""
        at = row - len(self.bytes.parameters)
        return self.bytes.places[at] if 0 <= at < len(self.bytes.places) else None

    def row_of(self, col: int) -> int | None:
        """The row in which a column of the layer is stored."""
        places = self.bytes.places
        if not places or not places[0].place.first <= col:
            return None
        low, high = 0, len(places) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if places[middle].place.first <= col else (low, middle - 1)
        place = places[low].place
        return low + len(self.bytes.parameters) if col < place.first + place.count else None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = DISPLAY) -> Any:
        """The texts."""
        if role == FONT:
            return self._font
        if role == ALIGN:
            side = Qt.AlignmentFlag.AlignRight if index.column() in (OFFSET, NUMBER) else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        if role not in (DISPLAY, TIP):
            return None
        held = self.held(index.row())
        texts = self._parameter(self.bytes.parameters[index.row()]) if held is None else self._place(held)
        return texts[index.column()]

    def _parameter(self, stored: Stored) -> tuple[str, ...]:
        bits = " ".join(f"{byte:08b}" for byte in reversed(stored.raw))
        return f"{stored.offset:,}", hexadecimal(stored.raw), number(stored.value, 6), bits, stored.name

    def _place(self, held: Held) -> tuple[str, ...]:
        place = held.place
        last = place.first + place.count - 1
        columns = f"{place.first} … {last}" if place.count > 1 else f"{place.first}"
        offset = self.bytes.origin + place.offset
        return f"{offset:,}", hexadecimal(held.raw), f"{held.number:,}", " ".join(digit_texts(held)), columns

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY) -> Any:
        """Titles above."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        return TITLES[section] if role == DISPLAY else TIPS[section] if role == TIP else None

    def table(self) -> Table:
        """All of it, for a file."""
        columns = (
            Column("offset", "Offset", ","), Column("bytes", "Bytes"), Column("number", "Number"),
            Column("digits", "Digits"), Column("weights", "Weights"),
        )  # fmt: skip
        rows = [
            (each.offset, hexadecimal(each.raw), number(each.value, 6), "", each.name) for each in self.bytes.parameters
        ]
        for held in self.bytes.places:
            _, raw, value, digits, cols = self._place(held)
            rows.append((self.bytes.origin + held.place.offset, raw, value.replace(",", ""), digits, cols))
        return Table("Stored bytes", columns, tuple(rows))


class ByteTable(QTableView):
    """The table; `pointed` carries the column of the layer under the cursor (first, last exclusive), None for none."""

    pointed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.bytes = ByteModel(self)
        self.theme = DARK
        self.marked: tuple[int, int] | None = None
        self.setModel(self.bytes)
        self.setAccessibleName("Stored bytes of the group")
        self.setMouseTracking(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setMinimumSectionSize(40)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._digits = DigitDelegate(self)
        self.setItemDelegateForColumn(DIGITS, self._digits)
        for column, width in ((OFFSET, 56), (BYTES, 76), (NUMBER, 86), (DIGITS, 200), (WEIGHTS, 40)):
            self.setColumnWidth(column, width)
        self.selectionModel().currentRowChanged.connect(lambda index, _: self._point(index, None))

    def show_bytes(self, shown: Bytes) -> None:
        """Show another group."""
        self.marked = None
        self.bytes.show_bytes(shown)
        widest = max((self._digits.width(held) for held in shown.places[:1]), default=0)
        self.setColumnWidth(DIGITS, max(150, widest + 14))

    def mark(self, cols: tuple[int, int] | None) -> None:
        """Show where some columns of the layer are stored."""
        if cols == self.marked:
            return
        self.marked = cols
        self.viewport().update()
        row = None if cols is None or cols[1] - cols[0] > 1 else self.bytes.row_of(cols[0])
        if row is not None and not self.underMouse():
            self.scrollTo(self.bytes.index(row, OFFSET))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Tell what is under the cursor."""
        super().mouseMoveEvent(event)
        at = event.position().toPoint()
        index = self.indexAt(at)
        self._point(index, at.x() - self.visualRect(index).left() if index.column() == DIGITS else None)

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is."""
        super().leaveEvent(event)
        self.pointed.emit(None)

    def _point(self, index: QModelIndex, x: int | None) -> None:
        held = self.bytes.held(index.row()) if index.isValid() else None
        if held is None:
            self.pointed.emit(None)
            return
        first, stop = held.place.first, held.place.first + held.place.count
        digit = None if x is None else self._digits.digit_at(held, x)
        self.pointed.emit((first, stop) if digit is None else (first + digit, first + digit + 1))


class DigitDelegate(QStyledItemDelegate):
    """Digits side by side: those of the marked weights stand out, those of other groups stand back."""

    def __init__(self, table: ByteTable) -> None:
        super().__init__(table)
        self._table = table

    def _boxes(self, held: Held) -> list[tuple[int, int, str]]:
        """Left edge, width and text of each digit."""
        metrics = QFontMetrics(small_font())
        boxes, left = [], 6
        for text in digit_texts(held):
            width = metrics.horizontalAdvance(text)
            boxes.append((left, width, text))
            left += width + GAP
        return boxes

    def width(self, held: Held) -> int:
        """Pixels for all digits."""
        left, width, _ = self._boxes(held)[-1]
        return left + width

    def digit_at(self, held: Held, x: int) -> int | None:
        """The number of the digit at `x`."""
        boxes = self._boxes(held)
        found = (at for at, (left, width, _) in enumerate(boxes) if left - GAP / 2 <= x < left + width + GAP / 2)
        return next(found, None)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The background as usual, then digit after digit."""
        held = self._table.bytes.held(index.row())
        if held is None:
            super().paint(painter, option, index)
            return
        theme: Theme = self._table.theme
        rect, shown, marked = option.rect, self._table.bytes.bytes, self._table.marked  # type: ignore[attr-defined]
        painter.save()
        painter.setFont(small_font())
        for at, (left, width, text) in enumerate(self._boxes(held)):
            col = held.place.first + at
            own = shown.start <= col < shown.stop
            lit = marked is not None and marked[0] <= col < marked[1]
            if lit:
                painter.fillRect(rect.left() + left - 3, rect.top() + 2, width + 6, rect.height() - 4, theme.accent)
            colour = theme.on_accent if lit else theme.text if own else theme.unused
            painter.setPen(QColor(colour))
            painter.drawText(
                rect.left() + left, rect.top(), width + 2, rect.height(), Qt.AlignmentFlag.AlignVCenter, text
            )
        painter.restore()
