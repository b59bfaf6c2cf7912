"""Axes of plots: round numbers as ticks, as many as there is room for, and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QApplication

LEFT, BOTTOM = 46, 20
"""Pixels for the numbers of an axis: the same whatever they are, so that nothing jumps."""


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


class Axis(pg.AxisItem):  # type: ignore[misc]
    """Ticks at round numbers, as many as there is room for. `label(value, step)` writes them.

    With `decades` the axis holds log10 of its values.
    """

    def __init__(
        self, side: str, name: str = "", label: Callable[[float, float], str] = plain, *, integer: bool = False
    ) -> None:
        super().__init__(side, maxTickLength=3)
        self.name, self.label_of, self.integer, self.decades = name, label, integer, False
        self.enableAutoSIPrefix(False)
        self.setStyle(tickFont=small_font(), tickTextOffset=4, hideOverlappingLabels=12, tickAlpha=255)
        if side == "left":
            self.setWidth(LEFT)
        else:
            self.setHeight(BOTTOM)

    def describe(
        self, name: str, label: Callable[[float, float], str] = plain, *, integer: bool = False, decades: bool = False
    ) -> None:
        """Change what the axis shows."""
        shown = self.name, self.label_of, self.integer, self.decades
        self.name, self.label_of, self.integer, self.decades = name, label, integer, decades
        if shown != (name, label, integer, decades):
            self.picture = None
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
        if self.decades and len(values) < 2:  # less than a decade: 1, 2 and 5 times its power
            decades = range(math.floor(low), math.ceil(high) + 1)
            values = [d + math.log10(m) for d in decades for m in (1, 2, 5) if low <= d + math.log10(m) <= high]
        return [(step, values)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The numbers at the ticks."""
        if self.decades:
            return [self.label_of(10.0**v, 10.0 ** math.floor(v + 1e-9)) for v in values]
        return [self.label_of(v, spacing) for v in values]
