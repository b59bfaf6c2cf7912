"""Driving views in tests: layers in memory, and a real mouse, wheel and keys."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication

from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.quant.scheme import QTensor
from qinspect.session import Request, inspect


class OneTensor(Checkpoint):
    """A checkpoint in memory."""

    path = Path("memory")
    format = "memory"

    def __init__(self, tensor):
        self.metadata = {}
        self.tensor = tensor
        qtype = tensor.scheme.label if isinstance(tensor, QTensor) else None
        self.infos = (TensorInfo("layer", tuple(tensor.shape), "F32", tensor.nbytes, qtype),)

    def load(self, name, rows=None):
        return self.tensor


def inspection_of(tensor, scheme=None, *, preview=False):
    checkpoint = OneTensor(tensor)
    return inspect(Request(checkpoint, checkpoint.infos[0], scheme), preview=preview)


def send(plot, kind, at, button=Qt.MouseButton.NoButton, buttons=Qt.MouseButton.NoButton):
    at = QPointF(at)
    event = QMouseEvent(kind, at, plot.viewport().mapToGlobal(at), button, buttons, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(plot.viewport(), event)


def hover(plot, at):
    send(plot, QEvent.Type.MouseMove, at)


def wheel(plot, at, notches):
    at, none = QPointF(at), Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(
        at, plot.viewport().mapToGlobal(at), QPoint(), QPoint(0, 120 * notches), Qt.MouseButton.NoButton, none,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(plot.viewport(), event)


def drag(plot, start, stop):
    left = Qt.MouseButton.LeftButton
    hover(plot, start)
    send(plot, QEvent.Type.MouseButtonPress, start, left, left)
    for part in (0.5, 1.0):
        send(plot, QEvent.Type.MouseMove, QPointF(start) + part * QPointF(stop - start), buttons=left)
    send(plot, QEvent.Type.MouseButtonRelease, stop, left)


def press(view, qtbot, key):
    view.setFocus()
    qtbot.keyClick(view.window().focusWidget(), key)  # the plot, to which the view hands the focus


def pixel_of(plot, x, y):
    """The pixel over data coordinates, from the range in view alone."""
    area, ((x0, x1), (y0, y1)) = plot.area, plot.box.viewRange()
    down = (y - y0) / (y1 - y0) if plot.box.yInverted() else (y1 - y) / (y1 - y0)
    return QPointF(area.left() + (x - x0) / (x1 - x0) * area.width(), area.top() + down * area.height())


def numbers(text):
    """All numbers in a line, in order."""
    found = re.findall(r"[-−]?\d[\d,]*\.?\d*(?:e[-−]?\d+)?", text)
    return [float(part.replace(",", "").replace("−", "-")) for part in found]
