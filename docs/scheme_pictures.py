"""Draw what each scheme does to Gaussian weights: `make screenshots` writes docs/images/schemes/<name>.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter, QPen, QPolygonF

from qinspect.gui.theme import FAMILY, LIGHT
from qinspect.quant.scheme import QTensor, Scheme, registry
from qinspect.scheme_flags import scheme_of_text

SCALE = 2  # pixels a point, so that lines stay sharp on good displays
SIZE = (760, 300)
STAIRCASE, CODES = QRectF(52, 62, 300, 190), QRectF(432, 62, 310, 190)
SHOWN = {
    "symmetric": "symmetric,bits=4,group_size=64,param_dtype=float16",
    "symmetric_n": "symmetric_n,levels=11,group_size=128,param_dtype=float16",
    "asymmetric": "asymmetric,bits=4,group_size=64,param_dtype=float16,offset=minimum",
    "base_n": "base_n,levels=7,group_size=64",
    "learned": "learned,levels=11,group_size=128,param_dtype=float16",
}
"""Settings that tell more than the defaults: with 256 levels a staircase looks like a line."""


def draw_all(folder: Path) -> None:
    """A picture of every scheme in the registry."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).standard_normal((512, 4096)).astype(np.float32)
    for name in registry.names():
        image = picture(scheme_of_text(SHOWN.get(name, name)), weights)
        plain = Qt.ImageConversionFlag.ThresholdDither | Qt.ImageConversionFlag.AvoidDither
        few = image.convertToFormat(QImage.Format.Format_Indexed8, plain)
        if not few.save(str(folder / f"{name}.png")):
            raise SystemExit(f"{folder / name}.png cannot be written")


def picture(scheme: Scheme, weights: np.ndarray) -> QImage:
    """The staircase of one parameter set beside how often each code occurs in all of `weights`."""
    image = QImage(SIZE[0] * SCALE, SIZE[1] * SCALE, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(SCALE)
    image.fill(QColor(LIGHT.plot))
    q, m = scheme.quantize(weights), scheme.measure(weights)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    _text(painter, QRectF(16, 10, 728, 20), scheme.label, Qt.AlignmentFlag.AlignLeft, 11, LIGHT.text)
    figures = f"{m.bpw:.3f} bits a weight · {m.sqnr_db:.2f} dB on Gaussian weights"
    _text(painter, QRectF(16, 10, 728, 20), figures, Qt.AlignmentFlag.AlignRight, 10, LIGHT.text)
    _staircase(painter, q, weights)
    _codes(
        painter, scheme, m.counts, f"{m.levels_used:,} of {m.levels:,} codes used, entropy {m.entropy_bits:.2f} bits"
    )
    painter.end()
    return image


def _staircase(painter: QPainter, q: QTensor, weights: np.ndarray) -> None:
    """Which value each weight of the first parameter set decodes to, over where the weights of that set lie."""
    run = q.scheme.layout(q.shape).run if q.scheme.layout(q.shape).local else weights.size
    own = weights.reshape(-1)[:run]
    reach = 1.15 * float(np.abs(own).max())
    area, levels = STAIRCASE, q.scheme.level_values(q, 0).astype(np.float64)

    def at(x: float, y: float) -> QPointF:
        across, up = (x + reach) / (2 * reach), (y + reach) / (2 * reach)
        return QPointF(area.left() + across * area.width(), area.bottom() - up * area.height())

    _frame(painter, area, "weight", "decoded", "one group" if run < weights.size else "the whole tensor")
    counts, edges = np.histogram(own, bins=min(60, max(16, run // 6)), range=(-reach, reach))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_faint(LIGHT.weights))
    for n, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        height = 0.6 * area.height() * n / counts.max()
        box = QRectF(at(left, -reach) - QPointF(0, height), at(right, -reach))
        painter.drawRect(box)
    painter.setPen(QPen(QColor(LIGHT.level), 1, Qt.PenStyle.DashLine))
    painter.drawLine(at(-reach, -reach), at(reach, reach))
    bounds = np.concatenate([[-reach], np.clip((levels[1:] + levels[:-1]) / 2, -reach, reach), [reach]])
    corners = [at(x, y) for y, x0, x1 in zip(levels, bounds[:-1], bounds[1:], strict=True) if x0 < x1 for x in (x0, x1)]
    painter.setClipRect(area)
    painter.setPen(QPen(QColor(LIGHT.decoded), 1.6))
    painter.drawPolyline(QPolygonF(corners))
    painter.setClipping(False)
    for value in (-reach, 0.0, reach):
        label = f"{value:.2g}".replace("-", "−")
        _text(painter, QRectF(at(value, -reach) + QPointF(-30, 4), at(value, -reach) + QPointF(30, 18)), label)
        right = Qt.AlignmentFlag.AlignRight
        _text(painter, QRectF(at(-reach, value) + QPointF(-46, -7), at(-reach, value) + QPointF(-6, 7)), label, right)


def _codes(painter: QPainter, scheme: Scheme, counts: np.ndarray, told: str) -> None:
    """The share of each code."""
    area, share = CODES, 100 * counts / counts.sum()
    top = 1.08 * float(share.max())
    _frame(painter, area, "code", "share, %", told)
    slot = area.width() / counts.size
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(LIGHT.decoded))
    for number, value in enumerate(share):
        gap = min(0.12 * slot, 2)
        height = area.height() * value / top
        painter.drawRect(QRectF(area.left() + number * slot + gap, area.bottom() - height, slot - 2 * gap, height))
    low = scheme.code_range[0]
    every = 1 if counts.size <= 16 else counts.size // 8
    for number in range(0, counts.size, every):
        x = area.left() + (number + 0.5) * slot
        _text(painter, QRectF(x - 20, area.bottom() + 4, 40, 14), f"{number + low}".replace("-", "−"))
    for value in _ticks(top):
        y = area.bottom() - area.height() * value / top
        _text(painter, QRectF(area.left() - 46, y - 7, 40, 14), f"{value:g}", Qt.AlignmentFlag.AlignRight)


def _ticks(top: float) -> list[float]:
    """0 and two or three round numbers below `top`."""
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20, 25, 50) if top / step < 4)
    return [step * n for n in range(int(top / step) + 1)]


def _frame(painter: QPainter, area: QRectF, bottom: str, left: str, told: str) -> None:
    painter.setPen(QPen(QColor(LIGHT.line), 1))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(area)
    above = QRectF(area.left(), area.top() - 20, area.width(), 16)
    _text(painter, above, left, Qt.AlignmentFlag.AlignLeft)
    _text(painter, above, told, Qt.AlignmentFlag.AlignRight, 9, LIGHT.text)
    _text(painter, QRectF(area.left(), area.bottom() + 20, area.width(), 16), bottom)


def _faint(colour: str) -> QColor:
    faint = QColor(colour)
    faint.setAlphaF(0.3)
    return faint


def _text(
    painter: QPainter,
    where: QRectF,
    text: str,
    align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignHCenter,
    size: float = 9,
    colour: str = LIGHT.muted,
) -> None:
    font = QFont(FAMILY)
    font.setPointSizeF(size)
    painter.setFont(font)
    painter.setPen(QColor(colour))
    painter.drawText(where, align | Qt.AlignmentFlag.AlignVCenter, text)
