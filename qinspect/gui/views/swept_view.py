"""What views of swept points share: what is tried, measuring while someone can see it, its progress and its end."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QLabel, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.controller import Controller
from qinspect.gui.grid_bar import GridBar
from qinspect.gui.plain import PlainLabel
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import View
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepPoint


@dataclass(frozen=True)
class Present:
    """What some layers come to: bytes and weights, energy, squared error and the largest error."""

    nbytes: int
    size: int
    signal: float
    noise: float
    max_error: float

    @property
    def bpw(self) -> float:
        """Bits per weight."""
        return 8 * self.nbytes / self.size


class SweptView(View):
    """A subclass says which layers it wants points of, takes them up, and draws what is known of them."""

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._infos: tuple[TensorInfo, ...] = ()
        self._trouble = ""
        self.bar = GridBar(self)
        self.stop = QToolButton(self)
        self.progress = QLabel(self)
        self.message = PlainLabel(self)
        self._pages = QStackedLayout()
        for label in (self.progress, self.message):
            label.setObjectName("muted")
        self.progress.setMinimumWidth(self.fontMetrics().horizontalAdvance("measuring 100 %"))
        self.progress.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message.setWordWrap(True)
        self.setAccessibleName(self.title)

    def _lay_out(self, content: QWidget) -> QVBoxLayout:
        """What is tried on top; below it the content, or a message."""
        self._pages.addWidget(self.message)
        self._pages.addWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 6)
        layout.setSpacing(6)
        layout.addWidget(self.bar)
        layout.addLayout(self._pages, 1)
        return layout

    def controls(self) -> list[QWidget]:
        """Progress, and its end."""
        return [self.progress, self.stop]

    def attach(self, controller: Controller) -> None:
        """Follow what is open."""
        self._controller = controller
        controller.attached.connect(lambda *_: self._wish())
        controller.weighed.connect(lambda _: self._wish())
        controller.sweeps.grown.connect(self._on_grown)
        controller.sweeps.moved.connect(self._show_progress)
        self.bar.changed.connect(lambda _: self._wish())
        self.bar.refused.connect(self._on_refused)
        self.stop.clicked.connect(self._on_stop)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.bar.set_theme(theme)

    # What a subclass does.

    @abstractmethod
    def _wanted(self) -> tuple[TensorInfo, ...]:
        """The layers whose points are wanted now."""

    def _is_thorough(self) -> bool:
        """Whether all points are to be exact in the end; of many layers that takes long, and few of them count."""
        return len(self._infos) == 1

    @abstractmethod
    def _take_up(self, *, changed: bool) -> None:
        """What is wanted stands in `_infos`, and may be other layers than before: show what is known of them."""

    @abstractmethod
    def _on_grown(self, names: set[str]) -> None:
        """There are new points of these layers."""

    @abstractmethod
    def _show(self) -> None:
        """Draw what there is, if anyone can see it."""

    @abstractmethod
    def _nothing(self) -> str:
        """Why no layers are wanted, and what to do."""

    # Asking for points.

    def showEvent(self, event: QShowEvent) -> None:
        """Work is only done while someone can see it."""
        super().showEvent(event)
        self._wish()

    def hideEvent(self, event: QHideEvent) -> None:
        """What there is stays for the next time."""
        super().hideEvent(event)
        if self._controller is not None:
            self._controller.sweeps.drop(self.name)

    def _usual(self) -> Iterable[TensorInfo]:
        """All layers that can be quantized."""
        infos = () if self._controller is None else self._controller.session.infos
        return (info for info in infos if info.quantizable or info.qtype)

    def _wish(self) -> None:
        controller = self._controller
        if controller is None or not self.isVisible():
            return
        before, self._infos = self._infos, self._wanted()
        self._trouble = ""
        if self._infos:
            controller.sweeps.want(self.name, self._infos, self.bar.grid, thorough=self._is_thorough())
        else:
            controller.sweeps.drop(self.name)
        self._take_up(changed=self._infos != before)
        self._show_progress()

    def _on_refused(self, sentence: str) -> None:
        self._trouble = sentence
        self._show()

    def _on_stop(self) -> None:
        controller = self._controller
        if controller is None:
            return
        if controller.sweeps.progress(self.name) is None:
            self._wish()
        else:
            controller.sweeps.drop(self.name)
            self._show_progress()

    # Showing.

    def _why_not(self) -> str:
        """Why there is nothing to measure, and what to do; empty where there is."""
        controller = self._controller
        if controller is None or controller.session.checkpoint is None:
            return "Open a checkpoint."
        return "" if self._infos else self._nothing()

    def _why_none(self) -> str:
        """Why no layer can be measured; empty where one can."""
        known = {} if self._controller is None else self._controller.sweeps.errors
        errors = [known.get(info.name) for info in self._infos]
        return f"{errors[0]}" if all(errors) else ""

    def _present(
        self,
        scheme_of: Callable[[TensorInfo], Scheme | None],
        weight: Callable[[str, float], float] = lambda name, signal: 1.0,
    ) -> Present | None:
        """What the layers come to now, if all of them are measured; `weight`: what the squares of one of them count."""
        assert self._controller is not None
        reports = self._controller.session.reports
        found, weights = [], []
        for info in self._infos:
            report = reports.get((info.name, scheme_of(info)))
            if report is None or report.metrics is None or math.isnan(report.metrics.noise):
                return None
            found.append(report.metrics)
            weights.append(weight(info.name, report.metrics.signal))
        return Present(
            sum(one.nbytes for one in found),
            sum(info.size for info in self._infos),
            sum(one.signal * counts for one, counts in zip(found, weights, strict=True)),
            sum(one.noise * counts for one, counts in zip(found, weights, strict=True)),
            max((one.max_error for one in found), default=0.0),
        )

    def _summarise(self, sentence: str, points: Iterable[SweepPoint]) -> None:
        """Say what the picture says; points from a sample make it an estimate."""
        estimated = bool(sentence) and any(point.part < 1 for point in points)
        sentence = f"≈ {sentence}" if estimated else sentence
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)

    def _show_progress(self) -> None:
        done = None if self._controller is None else self._controller.sweeps.progress(self.name)
        self.progress.setText("" if done is None else f"measuring {done:.0%}")
        self.stop.setText("✕" if done is not None else "↻")
        self.stop.setToolTip("Stop measuring" if done is not None else "Measure what is still missing")
        self.stop.setAccessibleName(self.stop.toolTip())
