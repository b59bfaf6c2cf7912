"""The sweep: what every scheme, group size and width makes of a layer, of some or of all; a click takes one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QWidget

from qinspect import figures as fmt
from qinspect.formats.checkpoint import FLOATING, TensorInfo
from qinspect.gui.axes import small_font
from qinspect.gui.controller import Controller
from qinspect.gui.controls import choice
from qinspect.gui.plain import PlainLabel
from qinspect.gui.scopes import Scope, shared_words
from qinspect.gui.sweep_plot import Picture, SweepPlot
from qinspect.gui.sweeps import GAUSSIAN
from qinspect.gui.theme import Theme
from qinspect.gui.views.swept_view import Present, SweptView
from qinspect.gui.views.view import TAB
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
SQNR, ERROR = "SQNR", "largest error"
SCOPES = {Scope.LAYER: "this layer", Scope.SELECTION: "the selected layers", Scope.ALL: "all layers"}


class SweepView(SweptView):
    """A plot of points over bits per weight, the choices of what to try above it, and words for the point meant."""

    name: ClassVar[str] = "sweep"
    title: ClassVar[str] = "Sweep"
    order: ClassVar[int] = 50
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self._together = Together()
        self.plot = SweepPlot()
        self.scope = choice("Layers", "Which layers are swept, and changed by a click", *SCOPES.values())
        self.quality = choice("Upwards", "What is shown upwards", SQNR, ERROR)
        self.readout = PlainLabel(self)
        self._build()
        self.setFocusProxy(self.plot)

    # Building.

    def _build(self) -> None:
        self.plot.setAccessibleName("Sweep plot")
        for at, scope in enumerate(SCOPES):
            self.scope.setItemData(at, scope)
        self.readout.setObjectName("muted")
        self.readout.setFont(small_font())
        self.readout.setWordWrap(True)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.readout.setFixedHeight(2 * QFontMetrics(small_font()).lineSpacing() + 2)
        self._lay_out(self.plot).addWidget(self.readout)

    def controls(self) -> list[QWidget]:
        """Progress and its end, for which layers, and what is shown."""
        return [self.scope, self.quality, *super().controls()]

    def attach(self, controller: Controller) -> None:
        """Follow the layer and the recipe; a click changes the recipe."""
        super().attach(controller)
        controller.selected.connect(lambda _: self._wish())
        controller.opened.connect(lambda _: self._wish())
        controller.place_changed.connect(self._on_place)
        controller.recipe_changed.connect(lambda _: self._show())
        controller.reported.connect(lambda report: self._show() if report.info in self._infos else None)
        self.scope.activated.connect(lambda _: self._wish())
        self.quality.activated.connect(lambda _: self._show(keep=False))
        self.plot.pointed.connect(self._tell)
        self.plot.picked.connect(self._on_picked)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        super().set_theme(theme)
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
        return tuple(info for info in self._usual() if names is None or info.name in names)

    def _take_up(self, *, changed: bool) -> None:
        self._together = Together(info.name for info in self._infos)
        self._gather([info.name for info in self._infos])
        self._show(keep=not changed)

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

    # Showing.

    def _show(self, *, keep: bool = True) -> None:
        if not self.isVisible() or self._controller is None:
            return
        empty = self._why_not() or self._trouble or self._why_none()
        if empty:
            self.message.setText(empty)
            self._pages.setCurrentWidget(self.message)
            self.readout.setText("")
            self._summarise("", ())
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
        self._summarise(self._verdict(points), points)
        if self.plot.at is None:
            self._tell(None)

    def _nothing(self) -> str:
        """What to do where there is no layer to sweep."""
        scope = self.scope.currentData()
        if scope == Scope.SELECTION:
            return "Select layers in the table, with Ctrl or Shift held down."
        if scope == Scope.ALL:
            return "There is nothing to sweep: no floating tensor of two dimensions or more."
        info = None if self._controller is None else self._controller.info
        if info is None:
            return "Select a layer in the table."
        why = "this tensor has no weights" if not info.size else f"{info.dtype} is not floating"
        return f"There is nothing to sweep: {why}."

    def _now(self) -> tuple[float, float] | None:
        """Where the recipe stands: bits per weight, and what is shown upwards."""
        now = self._figures()
        if now is None:
            return None
        if self.quality.currentText() == ERROR:
            return (now.bpw, math.log10(now.max_error)) if now.max_error > 0 else None
        sqnr_db = decibels(now.signal, now.noise)
        return (now.bpw, sqnr_db) if math.isfinite(sqnr_db) else None

    def _figures(self) -> Present | None:
        """What the layers come to as they are shown."""
        assert self._controller is not None
        return self._present(self._controller.effective_scheme)

    def _padding(self, scheme: Scheme) -> float:
        """Bits a weight that groups cost which fit the rows badly, over all layers."""
        size = sum(info.size for info in self._infos)
        fits = ((info.size, fit(scheme, matrix_shape(info.shape)[1])) for info in self._infos)
        return sum(weights * found.padding for weights, found in fits if found) / size

    def _verdict(self, points: Sequence[SweepPoint]) -> str:
        """What the picture says of the present choice."""
        now = self._figures()
        if not points:
            return "Measuring…"
        said = f"{fmt.counted(len(points), 'point')}, {sum(p.pareto for p in points)} on the front."
        if now is None:
            return said
        as_small = min((p for p in points if p.nbytes <= now.nbytes), key=lambda p: p.noise, default=None)
        gain = decibels(now.noise, as_small.noise) if as_small is not None and now.noise > 0 else 0.0
        if as_small is not None and gain >= 0.1:
            more = f"{gain:.1f} dB better" if math.isfinite(gain) else "exact"
            return f"{as_small.scheme.label} is {more} than the present choice, and no larger. {said}"
        as_good = min((p for p in points if p.noise <= now.noise), key=lambda p: p.nbytes, default=None)
        saved = 8 * (now.nbytes - as_good.nbytes) / now.size if as_good is not None else 0.0
        if as_good is not None and saved >= 0.01:
            return f"{as_good.scheme.label} saves {saved:.2f} bits a weight and is no worse than now. {said}"
        return f"Nothing tried here surpasses the present choice. {said}"

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
