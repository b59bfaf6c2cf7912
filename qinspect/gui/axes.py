"""Axes of plots: round numbers as ticks, as many as there is room for, and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter
from PySide6.QtWidgets import QApplication, QStyleOptionGraphicsItem, QWidget

LEFT, BOTTOM = 46, 20
"""Pixels for the numbers of an axis: the same whatever they are, so that nothing jumps."""

TICK, BESIDE = 3, 4
"""Pixels of a tick's line, and from there to its number."""

OVER = 12
"""Pixels that a number may stand out over the end of its axis."""


def number(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and a true minus sign: `−0.0431`, `1.20e−5`."""
    if value == 0:
        return "0"
    mantissa, e, exponent = f"{value:#.{digits}g}".partition("e")
    return (mantissa.rstrip(".") + (f"e{int(exponent)}" if e else "")).replace("-", "−")


def beside(value: float, width: float, digits: int = 3) -> str:
    """`value` rounded to the place where `width` has its last of so many digits: 0.0213 beside 0.47 is 0.02."""
    if not (width > 0 and math.isfinite(width)):
        return number(value)
    return plain(value, 10.0 ** (math.floor(math.log10(width)) - digits + 1))


def small_font() -> QFont:
    """The font inside plots: figures of one width, so that numbers do not jump as they change."""
    font = QFont(QApplication.font())
    font.setPixelSize(11)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def nice_step(span: float, parts: float) -> float:
    """The smallest of 1, 2, 5 × a power of ten that cuts `span` in no more than `parts`."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    least = span / max(1.0, parts)
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= least * (1 - 1e-9))


def room_for(length: float, *, upright: bool) -> float:
    """How many numbers fit along an axis so many pixels long, without crowding a long one."""
    return length / ((26 if upright else 56) + length / 16)


def steps_within(low: float, high: float, step: float) -> list[float]:
    """The multiples of `step` from `low` to `high`."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)] if last - first < 1000 else []


def plain(value: float, step: float) -> str:
    """A tick's number with as many decimals as the distance of ticks needs."""
    if abs(value) < step / 2:
        return "0"
    if step >= 1e6 or step < 1e-4:
        power = math.floor(math.log10(step) + 1e-9)
        exponent = math.floor(math.log10(abs(value)) + 1e-9)
        return f"{value / 10.0**exponent:.{max(0, exponent - power)}f}e{exponent}".replace("-", "−")
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{places}f}".replace("-", "−")


def short(value: float, step: float) -> str:
    """A tick's count: `500`, `20k`, `1.5M`."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * (1 - 1e-9):
            return f"{value / unit:.4g}{name}"
    return plain(value, step)


def signed_log(counts: np.ndarray) -> np.ndarray:
    """Whole numbers of either sign on a logarithmic axis: 0 at 0, 1 at 1, 10 at 2; as far down for those below 0."""
    sizes = np.abs(counts).astype(np.float64)
    heights: np.ndarray = np.sign(counts) * np.where(sizes < 1, sizes, 1 + np.log10(np.maximum(sizes, 1)))
    return heights


def _signed_label(height: float, label: Callable[[float, float], str]) -> str:
    """The number that `signed_log` puts at a whole height."""
    size = 10.0 ** (abs(height) - 1)
    return "0" if abs(height) < 0.5 else ("−" if height < 0 else "") + label(size, size)


class Axis(pg.AxisItem):  # type: ignore[misc]
    """Ticks at round numbers, as many as there is room for. `label(value, step)` writes them.

    With `decades` the axis holds log10 of its values; with `signed` as well, what `signed_log` makes of them.
    """

    def __init__(
        self, side: str, name: str = "", label: Callable[[float, float], str] = plain, *, integer: bool = False
    ) -> None:
        super().__init__(side)
        self.name, self.label_of, self.integer, self.decades, self.signed = name, label, integer, False, False
        self._font = small_font()
        self._drawn_for: tuple[float, ...] = ()
        self._drawn: tuple[list[QLineF], list[tuple[QRectF, str]]] = ([], [])
        self.enableAutoSIPrefix(False)
        if side == "left":
            self.setWidth(LEFT)
        else:
            self.setHeight(BOTTOM)

    def describe(
        self,
        name: str,
        label: Callable[[float, float], str] = plain,
        *,
        integer: bool = False,
        decades: bool = False,
        signed: bool = False,
    ) -> None:
        """Change what the axis shows."""
        shown = self.name, self.label_of, self.integer, self.decades, self.signed
        self.name, self.label_of, self.integer, self.decades, self.signed = name, label, integer, decades, signed
        if shown != (name, label, integer, decades, signed):
            self._drawn_for = ()
            self.update()

    def step(self, low: float, high: float, size: float) -> float:
        """The distance of ticks on an axis `size` pixels long."""
        step = nice_step(high - low, room_for(size, upright=self.orientation == "left"))
        if self.decades:
            return max(1.0, math.ceil(step))
        return max(1.0, step) if self.integer else step

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N803
        """One level of ticks, as pyqtgraph asks for them."""
        low, high = sorted((minVal, maxVal))
        step = self.step(low, high, size)
        values = steps_within(low, high, step)
        if self.decades and not self.signed and len(values) < 2:  # less than a decade: 1, 2 and 5 times its power
            decades = range(math.floor(low), math.ceil(high) + 1)
            values = [d + math.log10(m) for d in decades for m in (1, 2, 5) if low <= d + math.log10(m) <= high]
        return [(step, values)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The numbers at the ticks."""
        if self.signed:
            return [_signed_label(v, self.label_of) for v in values]
        if self.decades:
            return [self.label_of(10.0**v, 10.0 ** math.floor(v + 1e-9)) for v in values]
        return [self.label_of(v, spacing) for v in values]

    # Painting: a fifth of what pyqtgraph's own, which is made for more, takes.

    def boundingRect(self) -> QRectF:
        """A little more than its place, for the numbers at the ends."""
        size = self.size()
        return QRectF(-OVER, -OVER, size.width() + 2 * OVER, size.height() + 2 * OVER)

    def places(self) -> list[float]:
        """Where the ticks are, in pixels from the top or the left."""
        return [line.y1() if self.orientation == "left" else line.x1() for line in self._marks()[0]]

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """The line, ticks and numbers."""
        size = self.size()
        lines, numbers = self._marks()
        upright = self.orientation == "left"
        painter.setPen(self.pen())
        painter.drawLine(
            QLineF(size.width(), 0, size.width(), size.height()) if upright else QLineF(0, 0, size.width(), 0)
        )
        painter.drawLines(lines)
        painter.setPen(self.textPen())
        painter.setFont(self._font)
        aligned = Qt.AlignmentFlag.AlignVCenter
        aligned |= Qt.AlignmentFlag.AlignRight if upright else Qt.AlignmentFlag.AlignHCenter
        for rect, text in numbers:
            painter.drawText(rect, aligned | Qt.TextFlag.TextDontClip, text)

    def _marks(self) -> tuple[list[QLineF], list[tuple[QRectF, str]]]:
        """Lines of ticks and places of numbers, for the range and size as they are now."""
        size, (first, last) = self.size(), self.range
        key = first, last, size.width(), size.height()
        if key != self._drawn_for:
            self._drawn_for, self._drawn = key, self._laid_out(first, last, size.width(), size.height())
        return self._drawn

    def _laid_out(
        self, first: float, last: float, width: float, height: float
    ) -> tuple[list[QLineF], list[tuple[QRectF, str]]]:
        upright = self.orientation == "left"
        length = height if upright else width
        if first == last or length < 1:
            return [], []
        ((spacing, values),) = self.tickValues(first, last, length)
        metrics = QFontMetricsF(self._font)
        lines, numbers, taken = [], [], -math.inf
        for value, text in sorted(
            zip(values, self.tickStrings(values, 1.0, spacing), strict=True), reverse=first > last
        ):
            along = (value - first) / (last - first) * length
            if upright:
                y = height - along
                lines.append(QLineF(width - TICK, y, width, y))
                numbers.append((QRectF(0, y - 8, width - TICK - BESIDE, 16), text))
                continue
            lines.append(QLineF(along, 0, along, TICK))
            half = metrics.horizontalAdvance(text) / 2
            if along - half < taken or along - half < -OVER - LEFT or along + half > width + OVER:
                continue
            taken = along + half + 6
            numbers.append((QRectF(along - half, TICK + BESIDE, 2 * half, height - TICK - BESIDE), text))
        return lines, numbers
