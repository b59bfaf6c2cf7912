"""Tables of tensors in two lines each: a name with a number, and under it what there is to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.gui.names import ending
from qinspect.gui.plain import tip
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.scheme import Scheme
from qinspect.targets.target import Plan, PlanRow, Report

NAME, VALUE = range(2)
HEIGHT = 40
"""Of a row."""
MARGIN, PAD = (6, 4), 3
"""Pixels left and right of the text of a row; above and below."""
DETAIL = Qt.ItemDataRole.UserRole
DETAIL_COLOUR = Qt.ItemDataRole.UserRole + 1
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
WRAPPED = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop) | int(Qt.TextFlag.TextWordWrap)
NOWHERE = QModelIndex()


@dataclass(frozen=True)
class Line:
    """A row as it is shown; `tone` and `detail_tone` are colours of the theme by role."""

    name: str
    detail: str
    value: str
    tip: str
    tone: str = "text"
    detail_tone: str = "muted"


NAMES = "Tensor"
TIPS = {
    NAMES: "Name of the tensor in the file, and what becomes of it.",
    "Size": "Bytes that the tensor takes, with everything that is stored.",
    "|difference|": "Largest difference between what was read back and what was to be written; 0 is exact.",
}


class LinesModel(QAbstractTableModel):
    """Rows of which a line is made when it is looked at, so that any number of them costs nothing to fill."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = DARK
        self.rows: Sequence[Any] = ()
        self._line: Callable[[Any], Line]
        self._title = ""

    def show_rows(self, rows: Sequence[Any], title: str, line: Callable[[Any], Line]) -> None:
        """Show rows; the number of each stands under `title`."""
        self.beginResetModel()
        self.rows, self._title, self._line = rows, title, line
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = NOWHERE) -> int:
        """One for each tensor."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = NOWHERE) -> int:
        """Names and numbers."""
        return 0 if parent.isValid() else 2

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Title of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return RIGHT if section == VALUE else LEFT
        if role == Qt.ItemDataRole.ToolTipRole:
            return TIPS.get(self._title if section == VALUE else NAMES)
        return (NAMES, self._title)[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Texts, tip and colours of a cell."""
        line, column = self._line(self.rows[index.row()]), index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return (line.name, line.value)[column]
            case Qt.ItemDataRole.ToolTipRole:
                return tip(line.tip)
            case Qt.ItemDataRole.TextAlignmentRole:
                return RIGHT if column == VALUE else LEFT
            case Qt.ItemDataRole.ForegroundRole:
                return QColor(getattr(self.theme, line.tone))
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{line.name}, {line.detail}" if column == NAME else line.value
        if role == DETAIL:
            return line.detail
        return QColor(getattr(self.theme, line.detail_tone)) if role == DETAIL_COLOUR else None


class TwoLines(QStyledItemDelegate):
    """Draws the name over the detail."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The last words of the name that there is room for, and the beginning of the detail."""
        rect: QRect = option.rect.adjusted(MARGIN[0], PAD, -MARGIN[1], -PAD)  # type: ignore[attr-defined]
        half = HEIGHT // 2 - PAD
        font: QFont = option.font  # type: ignore[attr-defined]
        painter.save()
        painter.setFont(font)
        painter.setPen(index.data(Qt.ItemDataRole.ForegroundRole))
        metrics = QFontMetrics(font)
        name = ending(str(index.data()), rect.width(), metrics.horizontalAdvance)
        name = metrics.elidedText(name, Qt.TextElideMode.ElideLeft, rect.width())
        painter.drawText(QRect(rect.x(), rect.y(), rect.width(), half), LEFT, name)
        small = _small(font)
        painter.setFont(small)
        painter.setPen(index.data(DETAIL_COLOUR))
        detail, room = str(index.data(DETAIL)), rect.adjusted(0, half, 0, 0)
        if rect.height() > HEIGHT - 2 * PAD:
            painter.drawText(room, WRAPPED, detail)
        else:
            detail = QFontMetrics(small).elidedText(detail, Qt.TextElideMode.ElideRight, rect.width())
            painter.drawText(room, LEFT, detail)
        painter.restore()


def whole_height(detail: str, width: int, font: QFont) -> int:
    """The height of a row `width` pixels wide that shows all of its detail."""
    room = QRect(0, 0, max(1, width - sum(MARGIN)), 1000)
    text = QFontMetrics(_small(font)).boundingRect(room, WRAPPED, detail).height()
    one = QFontMetrics(_small(font)).height()
    return HEIGHT if text <= one else HEIGHT + PAD + text - one


def _small(font: QFont) -> QFont:
    small = QFont(font)
    small.setPointSizeF(font.pointSizeF() - 1)
    return small


def plan_order(plan: Plan) -> list[PlanRow]:
    """Rows with something to say first, then what is packed, then the rest."""
    return sorted(plan.rows, key=lambda row: (not has_remark(row), row.scheme is None))


def plan_line(row: PlanRow, output_error: float | None = None) -> Line:
    """What will be written for a tensor, and what its outputs lose where that is known."""
    written = written_as(row)
    said = [written] if row.wanted is None else []
    said += [f"outputs off by {fmt.percent(output_error)}"] if output_error is not None else []
    said += [row.note] if has_remark(row) else []
    name = printable(row.name, 400)
    whole = f"{name}\n{written}, {row.nbytes:,} bytes" + (f"\n{row.note}" if row.note else "")
    warned = has_remark(row)
    return Line(
        printable(row.name), " · ".join(said), fmt.nbytes(row.nbytes), whole,
        "text" if row.scheme or warned else "muted", "warning" if warned else "muted",
    )  # fmt: skip


def proof_order(plan: Plan, report: Report) -> list[tuple[PlanRow, float]]:
    """The tensors that were read back, the largest difference first, then what is packed."""
    rows = {row.name: row for row in plan.rows}
    return sorted(
        ((rows[one.name], one.max_difference) for one in report.rows),
        key=lambda pair: (-pair[1], pair[0].scheme is None),
    )


def proof_line(pair: tuple[PlanRow, float]) -> Line:
    """How far a tensor was off when it was read back."""
    row, difference = pair
    same = "every value is as it was meant" if not difference else "of the decoded weights, from what was meant"
    return Line(
        printable(row.name), f"{written_as(row)} · {fmt.nbytes(row.nbytes)}", fmt.magnitude(difference),
        f"{printable(row.name, 400)}\nlargest difference {difference:.6g}: {same}",
        "text" if row.scheme else "muted",
    )  # fmt: skip


def written_as(row: PlanRow) -> str:
    """The scheme of a tensor and what holds it, or what else it is stored as."""
    if row.scheme is None or row.stored_as in ("left out", "float32"):
        return row.stored_as or "unchanged"
    plain = row.stored_as in ("", "matrix", "array")
    return _label(row.scheme) if plain else f"{_label(row.scheme)} in {row.stored_as}"


@lru_cache
def _label(scheme: Scheme) -> str:
    """Few schemes, many tensors: a label takes a third of a millisecond."""
    return scheme.label


def has_remark(row: PlanRow) -> bool:
    """Whether something is said about a tensor that was to be packed: that one is left alone needs no remark."""
    return bool(row.note) and (row.scheme is not None or row.wanted is not None)
