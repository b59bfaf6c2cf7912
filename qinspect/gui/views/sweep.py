"""The sweep: what every scheme, group size and width makes of a layer, of some or of all; a click takes one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QHideEvent, QShowEvent
from PySide6.QtWidgets import QLabel, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from qinspect import figures as fmt
from qinspect.formats.checkpoint import FLOATING, TensorInfo
from qinspect.gui.axes import small_font
from qinspect.gui.controller import Controller
from qinspect.gui.grid_bar import GridBar
from qinspect.gui.scopes import Scope, shared_words
from qinspect.gui.sweep_plot import Picture, SweepPlot
from qinspect.gui.sweeps import GAUSSIAN
from qinspect.gui.theme import Theme
from qinspect.gui.views.plot_view import choice
from qinspect.gui.views.view import TAB, View
from qinspect.quant.group_sizes import fit
from qinspect.quant.layout import matrix_shape
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepGrid, SweepPoint, Together, distinct, with_pareto
from qinspect.recipe import ALL
from qinspect.tables import Column, Table

COLUMNS = (
    Column("scheme", "Scheme"), Column("bpw", "Bits per weight", ".3f"), Column("sqnr_db", "SQNR, dB", ".2f"),
    Column("rmse", "RMSE", ".4g"), Column("max_error", "Largest error", ".4g"), Column("nbytes", "Bytes", "d"),
    Column("pareto", "On the front"),
)  # fmt: skip
OWNER = "sweep"
SQNR, ERROR = "SQNR", "largest error"
SCOPES = {Scope.LAYER: "this layer", Scope.SELECTION: "the selected layers", Scope.ALL: "all layers"}


class SweepView(View):
    """A plot of points over bits per weight, the choices of what to try above it, and words for the point meant."""

    name: ClassVar[str] = "sweep"
    title: ClassVar[str] = "Sweep"
    order: ClassVar[int] = 50
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._infos: tuple[TensorInfo, ...] = ()
        self._together = Together()
        self._trouble = ""
        self.plot = SweepPlot()
        self.bar = GridBar(self)
        self.scope = choice("Layers", "Which layers are swept, and changed by a click", *SCOPES.values())
        self.quality = choice("Upwards", "What is shown upwards", SQNR, ERROR)
        self.stop = QToolButton(self)
        self.progress = QLabel(self)
        self.readout = QLabel(self)
        self.message = QLabel(self)
        self._build()
        self.setFocusProxy(self.plot)
        self.setAccessibleName(self.title)

    # Building.

    def _build(self) -> None:
        self.plot.setAccessibleName("Sweep plot")
        for at, scope in enumerate(SCOPES):
            self.scope.setItemData(at, scope)
        self.progress.setObjectName("muted")
        self.progress.setMinimumWidth(self.fontMetrics().horizontalAdvance("measuring 100 %"))
        self.progress.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.readout.setObjectName("muted")
        self.readout.setFont(small_font())
        self.readout.setWordWrap(True)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.readout.setFixedHeight(2 * QFontMetrics(small_font()).lineSpacing() + 2)
        self.message.setObjectName("muted")
        self.message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message.setWordWrap(True)
        self._pages = QStackedLayout()
        self._pages.addWidget(self.message)
        self._pages.addWidget(self.plot)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 4)
        layout.setSpacing(4)
        layout.addWidget(self.bar)
        layout.addLayout(self._pages, 1)
        layout.addWidget(self.readout)

    def controls(self) -> list[QWidget]:
        """Progress and its end, for which layers, and what is shown."""
        return [self.scope, self.quality, self.progress, self.stop]

    def attach(self, controller: Controller) -> None:
        """Follow the layer and the recipe; a click changes the recipe."""
        self._controller = controller
        controller.selected.connect(lambda _: self._wish())
        controller.opened.connect(lambda _: self._wish())
        controller.attached.connect(lambda *_: self._wish())
        controller.place_changed.connect(self._on_place)
        controller.recipe_changed.connect(lambda _: self._show())
        controller.reported.connect(lambda report: self._show() if report.info in self._infos else None)
        controller.sweeps.grown.connect(self._on_grown)
        controller.sweeps.moved.connect(self._show_progress)
        self.bar.changed.connect(lambda _: self._wish())
        self.bar.refused.connect(self._on_refused)
        self.scope.activated.connect(lambda _: self._wish())
        self.quality.activated.connect(lambda _: self._show(keep=False))
        self.stop.clicked.connect(self._on_stop)
        self.plot.pointed.connect(self._tell)
        self.plot.picked.connect(self._on_picked)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.bar.set_theme(theme)
        self.plot.set_theme(theme)
        self._show()

    def subject(self) -> str:
        """The layers that are swept."""
        return shared_words([info.name for info in self._infos]) if self._infos and self.plot.points else ""

    def tables(self) -> tuple[Table, ...]:
        """The points, from the smallest up."""
        if not self.subject():
            return ()
        rows = sorted((point for point in self.plot.points), key=lambda point: (point.nbytes, point.noise))
        values = ((p.scheme.label, p.bpw, p.sqnr_db, p.rmse, p.max_error, p.nbytes, str(p.pareto)) for p in rows)
        return (Table(f"Sweep of {self.subject()}", COLUMNS, tuple(values)),)

    # Asking for points.

    @property
    def grid(self) -> SweepGrid:
        """What is tried."""
        return self.bar.grid

    def showEvent(self, event: QShowEvent) -> None:
        """Work is only done while someone can see it."""
        super().showEvent(event)
        self._wish()

    def hideEvent(self, event: QHideEvent) -> None:
        """What there is stays for the next time."""
        super().hideEvent(event)
        if self._controller is not None:
            self._controller.sweeps.drop(OWNER)

    def _on_place(self) -> None:
        if self.scope.currentData() != Scope.LAYER and self._wanted() != self._infos:
            self._wish()

    def _wanted(self) -> tuple[TensorInfo, ...]:
        """The layers that are chosen now; of the others only what can be quantized."""
        controller = self._controller
        if controller is None:
            return ()
        scope = self.scope.currentData()
        if scope == Scope.LAYER:
            info = controller.info
            return (info,) if info is not None and info.size and (info.dtype in FLOATING or info.qtype) else ()
        names = set(controller.selection) if scope == Scope.SELECTION else None
        usual = [info for info in controller.session.infos if info.quantizable or info.qtype]
        return tuple(info for info in usual if names is None or info.name in names)

    def _wish(self) -> None:
        controller = self._controller
        if controller is None or not self.isVisible():
            return
        changed = self._wanted() != self._infos
        self._infos = self._wanted()
        self._trouble = ""
        self._together = Together(info.name for info in self._infos)
        if self._infos:
            controller.sweeps.want(OWNER, self._infos, self.grid)
        else:
            controller.sweeps.drop(OWNER)
        self._gather([info.name for info in self._infos])
        self._show(keep=not changed)
        self._show_progress()

    def _on_grown(self, names: set[str]) -> None:
        if self.isVisible():
            self._gather(names)
            self._show()

    def _gather(self, names: Sequence[str] | set[str]) -> None:
        """Take in what is known of these layers; of several, those that are through at least once."""
        if self._controller is None:
            return
        for info in self._infos:
            if info.name in names:
                points = self._controller.sweeps.points(info, self.grid.schemes_for(info.shape))
                self._together.put(info.name, points)

    def _on_refused(self, sentence: str) -> None:
        self._trouble = sentence
        self._show()

    def _on_stop(self) -> None:
        controller = self._controller
        if controller is None:
            return
        if controller.sweeps.progress(OWNER) is None:
            self._wish()
        else:
            controller.sweeps.drop(OWNER)
            self._show_progress()

    # Showing.

    def _show(self, *, keep: bool = True) -> None:
        if not self.isVisible() or self._controller is None:
            return
        empty = self._why_empty()
        if empty:
            self.message.setText(empty)
            self._pages.setCurrentWidget(self.message)
            self.readout.setText("")
            self._summarise("")
            return
        self._pages.setCurrentWidget(self.plot)
        errors = self.quality.currentText() == ERROR
        points = with_pareto(
            distinct(self._together.points(), [info.shape for info in self._infos]),
            by=(lambda point: point.max_error) if errors else (lambda point: point.noise),
        )
        one = self._infos[0] if len(self._infos) == 1 else None
        sweeps = self._controller.sweeps
        picture = Picture(
            points,
            [self._padding(point.scheme) for point in points],
            self._now(),
            sweeps.curve(GAUSSIAN),
            sweeps.curve(one.name) if one else {},
            errors,
        )
        self.plot.show_picture(picture, keep=keep)
        self._summarise(self._verdict(points))
        if self.plot.at is None:
            self._tell(None)

    def _why_empty(self) -> str:
        """What to do where there is nothing to draw."""
        controller, scope = self._controller, self.scope.currentData()
        if controller is None or controller.session.checkpoint is None:
            return "Open a checkpoint."
        if self._trouble:
            return self._trouble
        if not self._infos:
            if scope == Scope.SELECTION:
                return "Select layers in the table, with Ctrl or Shift held down."
            if scope == Scope.ALL:
                return "There is nothing to sweep: no floating tensor of two dimensions or more."
            if controller.info is None:
                return "Select a layer in the table."
            return "There is nothing to sweep: " + (
                "this tensor has no weights."
                if not controller.info.size
                else f"{controller.info.dtype} is not floating."
            )
        errors = [controller.sweeps.errors.get(info.name) for info in self._infos]
        if all(errors):
            return f"{errors[0]}"
        return ""

    def _now(self) -> tuple[float, float] | None:
        """Where the recipe stands: bits per weight, and what is shown upwards."""
        figures = self._figures()
        if figures is None:
            return None
        nbytes, signal, noise, largest, size = figures
        bpw = 8 * nbytes / size
        if self.quality.currentText() == ERROR:
            return (bpw, math.log10(largest)) if largest > 0 else None
        sqnr_db = decibels(signal, noise)
        return (bpw, sqnr_db) if math.isfinite(sqnr_db) else None

    def _figures(self) -> tuple[float, float, float, float, int] | None:
        """Bytes, energy, noise, largest error and weights of the layers under the recipe, if all are measured."""
        controller = self._controller
        assert controller is not None
        found = []
        for info in self._infos:
            report = controller.session.reports.get((info.name, controller.effective_scheme(info)))
            if report is None or report.metrics is None or math.isnan(report.metrics.noise):
                return None
            found.append(report.metrics)
        sums = (sum(getattr(one, field) for one in found) for field in ("nbytes", "signal", "noise"))
        return *sums, max(one.max_error for one in found), sum(info.size for info in self._infos)

    def _padding(self, scheme: Scheme) -> float:
        """Bits a weight that groups cost which fit the rows badly, over all layers."""
        size = sum(info.size for info in self._infos)
        fits = ((info.size, fit(scheme, matrix_shape(info.shape)[1])) for info in self._infos)
        return sum(weights * found.padding for weights, found in fits if found) / size

    def _verdict(self, points: Sequence[SweepPoint]) -> str:
        """What the picture says of the present choice."""
        figures = self._figures()
        if not points:
            return "Measuring…"
        said = f"{fmt.counted(len(points), 'point')}, {sum(p.pareto for p in points)} on the front."
        if figures is None:
            return said
        nbytes, _, noise, _, size = figures
        as_small = min((p for p in points if p.nbytes <= nbytes), key=lambda p: p.noise, default=None)
        gain = decibels(noise, as_small.noise) if as_small is not None and noise > 0 else 0.0
        if as_small is not None and gain >= 0.1:
            more = f"{gain:.1f} dB better" if math.isfinite(gain) else "exact"
            return f"{as_small.scheme.label} is {more} than the present choice, and no larger. {said}"
        as_good = min((p for p in points if p.noise <= noise), key=lambda p: p.nbytes, default=None)
        saved = 8 * (nbytes - as_good.nbytes) / size if as_good is not None else 0.0
        if as_good is not None and saved >= 0.01:
            return f"{as_good.scheme.label} saves {saved:.2f} bits a weight and is no worse than now. {said}"
        return f"Nothing tried here surpasses the present choice. {said}"

    def _summarise(self, sentence: str) -> None:
        estimated = any(point.part < 1 for point in self.plot.points)
        sentence = f"≈ {sentence}" if estimated and sentence else sentence
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)

    def _show_progress(self) -> None:
        controller = self._controller
        done = None if controller is None else controller.sweeps.progress(OWNER)
        self.progress.setText("" if done is None else f"measuring {done:.0%}")
        self.stop.setText("✕" if done is not None else "↻")
        self.stop.setToolTip("Stop measuring" if done is not None else "Measure what is still missing")
        self.stop.setAccessibleName(self.stop.toolTip())

    # Pointing.

    def _tell(self, point: SweepPoint | None) -> None:
        if point is None:
            self.readout.setText(
                "Point at a mark to read it, click to take it. Wheel zooms, drag pans, double-click fits; "
                "Page keys step along the front, Return takes."
            )
            return
        approximate = "≈ " if point.part < 1 else ""
        words = [
            f"{point.scheme.label}:  {approximate}{fmt.decibels(point.sqnr_db)} at {point.bpw:.3f} bits a weight, "
            f"{fmt.nbytes(point.nbytes)}; largest error {'≥ ' if approximate else ''}{fmt.magnitude(point.max_error)}.",
            self._cost(point.scheme),
            f"A click gives it to {self._whom()}.",
        ]
        self.readout.setText("  ".join(word for word in words if word))

    def _cost(self, scheme: Scheme) -> str:
        """What groups cost that do not fit, in words."""
        found = fit(scheme, matrix_shape(self._infos[0].shape)[1])
        if len(self._infos) == 1:
            return found.sentence if found else ""
        padding = self._padding(scheme)
        return f"Padding costs {padding:.2f} bits a weight." if padding >= 0.005 else ""

    def _whom(self) -> str:
        scope = self.scope.currentData()
        return "this layer" if scope == Scope.LAYER else fmt.counted(len(self._infos), "layer")

    def _on_picked(self, point: SweepPoint) -> None:
        controller = self._controller
        if controller is None or not self._infos:
            return
        names = [info.name for info in self._infos]
        where = ALL if self.scope.currentData() == Scope.ALL else names
        whom = "all layers" if where == ALL else shared_words(names)
        controller.apply(point.scheme, where, f"{point.scheme.label} for {whom}")
