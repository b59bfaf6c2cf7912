"""Numbers as people read them: fixed width, with units, the same everywhere in the window."""

from __future__ import annotations

import math

NONE = "–"


def decibels(value: float | None) -> str:
    """`15.9 dB`; exact decoding has no error to measure."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "exact" if value > 0 else "−∞ dB"
    return f"{value:.1f} dB".replace("-", "−")


def magnitude(value: float | None) -> str:
    """Three significant digits, as `0.0123` or `1.23e−5`."""
    if value is None or math.isnan(value):
        return NONE
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{decimals}f}".replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def nbytes(value: float | None) -> str:
    """`2.25 MB`, in powers of 1000."""
    if value is None or math.isnan(value):
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return NONE


def count(value: int) -> str:
    """`22.7 M`."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}" if unit != " k" else f"{value / 1e3:.3g} k"
    return f"{value:,}"


def bits(value: float | None) -> str:
    """`4.00`, bits a weight."""
    return NONE if value is None or math.isnan(value) else f"{value:.2f}"


def percent(value: float | None) -> str:
    """`0.78 %`."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def shape(dims: tuple[int, ...]) -> str:
    """`1536 × 384`."""
    return " × ".join(map(str, dims)) or "scalar"
