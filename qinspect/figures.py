"""Numbers as people read them: with units and few digits, the same in the window and on a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

NONE = "–"


def decimal(value: float | None, decimals: int) -> str:
    """`−3.14`; `∞` where it is infinite."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.{decimals}f}" if math.isfinite(value) else "∞" if value > 0 else "-∞"
    return text.replace("-", "−")


def decibels(value: float | None) -> str:
    """`15.9 dB`; exact decoding has no error to measure."""
    if value == math.inf:
        return "exact"
    return NONE if value is None or math.isnan(value) else f"{decimal(value, 1)} dB"


def magnitude(value: float | None) -> str:
    """Three significant digits, as `0.0123` or `1.23e−5`."""
    if value is None or math.isnan(value):
        return NONE
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return decimal(value, 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value)))))
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def nbytes(value: float | None) -> str:
    """`2.25 MB`, in powers of 1000."""
    if value is None or math.isnan(value):
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


_SIZE = re.compile(r"([0-9]+(?:[.,][0-9]+)?)\s*([kmg]?)(i?)b?", re.IGNORECASE)


def read_nbytes(text: str) -> int | None:
    """The bytes that a person wrote: `1.5 MB` or `1.5M` in powers of 1000, `256 KiB` of 1024; None if it is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, unit, binary = found.groups()
    scale: int = (1024 if binary else 1000) ** " kmg".index(unit.lower() or " ")
    return round(float(number.replace(",", ".")) * scale)


def bits(value: float | None) -> str:
    """`4.00`, bits a weight."""
    return decimal(value, 2)


def percent(value: float | None) -> str:
    """`0.78 %`."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def shape(dims: Sequence[int]) -> str:
    """`1536 × 384`; a single number has no shape."""
    return " × ".join(map(str, dims)) or "scalar"


def change(value: float, write: Callable[[float], str]) -> str:
    """A difference with its sign, as `write` has it; without one where nothing of it is left in so few digits."""
    if not math.isfinite(value):
        return NONE
    text, nothing = write(value).replace("-", "−"), write(0.0)
    return nothing if text.lstrip("−") == nothing else f"{'+' if value > 0 else ''}{text}"


def counted(count: int, noun: str) -> str:
    """`1 tensor`, `2,000 tensors`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
