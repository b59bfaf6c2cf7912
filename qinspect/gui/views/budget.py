"""The budget: a limit that is dragged, and what every layer takes so that the model keeps it with the least error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from PySide6.QtCore import QModelIndex, Qt, QTimer
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedLayout,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qinspect import figures as fmt
from qinspect.errors import BudgetError
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.allocation_model import BPW, LAYER, SCHEME, SIZE, SQNR, TIE, TITLES, WEIGHT, AllocationModel
from qinspect.gui.controller import Controller
from qinspect.gui.front_plot import FrontPlot
from qinspect.gui.grid_bar import GridBar
from qinspect.gui.jobs import Job
from qinspect.gui.limit_bar import LimitBar
from qinspect.gui.names import NameDelegate
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import TAB, View
from qinspect.planning.budget import Allocation, Budget, Limit
from qinspect.planning.compact import compact
from qinspect.planning.wishes import Wishes
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepGrid, SweepPoint
from qinspect.session import stored_nbytes
from qinspect.tables import Column, Table
from qinspect.task import Token

OWNER = "budget"
NARROW = 620
WIDTHS = {BPW: 48, SQNR: 66, SIZE: 66, WEIGHT: 56, TIE: 36}
REBUILD_MS = 400
"""While points come in, the budget is made of them at most so often."""
COLUMNS = (
    Column("layer", "Layer"), Column("scheme", "Takes"), Column("bpw", "Bits per weight", ".3f"),
    Column("sqnr_db", "SQNR, dB", ".2f"), Column("nbytes", "Bytes", "d"),
)  # fmt: skip


class BudgetView(View):
    """The limit on top, what the model can be under it, what every layer takes below; a button makes it the recipe."""

    name: ClassVar[str] = "budget"
    title: ClassVar[str] = "Budget"
    order: ClassVar[int] = 60
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._infos: tuple[TensorInfo, ...] = ()
        self.wishes = Wishes()
        self.budget: Budget | None = None
        self.allocation: Allocation | None = None
        self._trouble = ""
        self._measured = 0
        self.bar = GridBar(self)
        self.limit = LimitBar(self)
        self.plot = FrontPlot()
        self.model = AllocationModel(self)
        self.table = QTableView(self)
        self.fuse = QCheckBox("Tie fused layers", self)
        self.relative = QCheckBox("Relative errors", self)
        self.tie = QPushButton("Tie", self)
        self.untie = QPushButton("Untie", self)
        self.take = QPushButton("Make it the recipe", self)
        self.stop = QToolButton(self)
        self.progress = QLabel(self)
        self.message = QLabel(self)
        self.trouble = QLabel(self)
        self._later = QTimer(self)
        self._build()
        self.setFocusProxy(self.limit.slider)
        self.setAccessibleName(self.title)

    # Building.

    def _build(self) -> None:
        self._later.setSingleShot(True)
        self._later.setInterval(REBUILD_MS)
        self._later.timeout.connect(self._rebuild)
        self.plot.setAccessibleName("What the model can be")
        self.plot.setMinimumHeight(140)
        self.fuse.setToolTip(
            "q, k and v of a block, and gate and up, take the same scheme: runtimes make one product of them"
        )
        self.relative.setToolTip(
            "Errors count relative to the energy of their layer, so that small weights matter as much"
        )
        self.tie.setToolTip("Let the selected layers take the same scheme")
        self.untie.setToolTip("Let the selected layers go their own ways again")
        self.take.setToolTip("Give every layer what stands beside it; Ctrl+Z takes it back")
        self.take.setObjectName("primary")
        for label in (self.progress, self.message, self.trouble):
            label.setObjectName("muted")
        self.progress.setMinimumWidth(self.fontMetrics().horizontalAdvance("measuring 100 %"))
        self.progress.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message.setWordWrap(True)
        self.trouble.setWordWrap(True)
        self._build_table()
        parts = QSplitter(Qt.Orientation.Vertical, self)
        parts.setChildrenCollapsible(False)
        parts.addWidget(self.plot)
        parts.addWidget(self.table)
        parts.setSizes([300, 340])
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.limit)
        column.addWidget(self.trouble)
        column.addWidget(parts, 1)
        column.addLayout(_row(self.tie, self.untie, self.fuse, self.relative, None, self.take))
        self._pages = QStackedLayout()
        self._pages.addWidget(self.message)
        self._pages.addWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 2, 10, 8)
        layout.setSpacing(6)
        layout.addWidget(self.bar)
        layout.addLayout(self._pages, 1)

    def _build_table(self) -> None:
        table = self.table
        table.setModel(self.model)
        table.setAccessibleName("Layers of the budget")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        table.horizontalHeader().setHighlightSections(False)
        table.setItemDelegateForColumn(LAYER, NameDelegate(table))
        for column in range(len(TITLES)):
            stretches = column in (LAYER, SCHEME)
            how = QHeaderView.ResizeMode.Stretch if stretches else QHeaderView.ResizeMode.Fixed
            table.horizontalHeader().setSectionResizeMode(column, how)
            if not stretches:
                table.setColumnWidth(column, WIDTHS[column])

    def controls(self) -> list[QWidget]:
        """Progress, and its end."""
        return [self.progress, self.stop]

    def attach(self, controller: Controller) -> None:
        """Follow what is open; a button changes the recipe."""
        self._controller = controller
        controller.opened.connect(lambda _: self._on_opened())
        controller.attached.connect(lambda *_: self._wish())
        controller.recipe_changed.connect(lambda _: self._on_recipe())
        controller.analysed.connect(self._show)
        controller.selected.connect(self._on_selected)
        controller.sweeps.grown.connect(lambda _: self._on_grown())
        controller.sweeps.moved.connect(self._on_moved)
        self.bar.changed.connect(lambda _: self._wish())
        self.bar.refused.connect(self._on_refused)
        self.limit.changed.connect(self._plan)
        self.limit.kind.activated.connect(lambda _: self._on_kind())
        self.plot.dragged.connect(self.limit.move_to)
        self.model.locked.connect(self._on_locked)
        self.model.weighed.connect(self._on_weighed)
        self.fuse.toggled.connect(lambda on: self._fix(replace(self.wishes, fused=on)))
        self.relative.toggled.connect(lambda on: self._fix(replace(self.wishes, relative=on)))
        self.tie.clicked.connect(lambda: self._on_tie(together=True))
        self.untie.clicked.connect(lambda: self._on_tie(together=False))
        self.take.clicked.connect(self._on_take)
        self.stop.clicked.connect(self._on_stop)
        self.table.selectionModel().currentRowChanged.connect(self._on_row)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.bar.set_theme(theme)
        self.plot.set_theme(theme)
        self.model.theme = theme
        self.table.viewport().update()

    def subject(self) -> str:
        """The limit."""
        return self._limit_words() if self.allocation is not None else ""

    def tables(self) -> tuple[Table, ...]:
        """What every layer takes."""
        if self.allocation is None:
            return ()
        points = self.allocation.points.values()
        rows = ((p.layer, p.scheme.label, p.bpw, p.sqnr_db, p.nbytes) for p in points)
        return (Table(f"Budget: {self._limit_words()}", COLUMNS, tuple(rows)),)

    # Asking for points.

    def showEvent(self, event: QShowEvent) -> None:
        """Work is only done while someone can see it."""
        super().showEvent(event)
        self._wish()

    def hideEvent(self, event: QHideEvent) -> None:
        """What there is stays for the next time."""
        super().hideEvent(event)
        self._later.stop()
        if self._controller is not None:
            self._controller.sweeps.drop(OWNER)

    def _on_opened(self) -> None:
        """Other layers: what was fixed was fixed for those before."""
        self.wishes = Wishes(fused=self.fuse.isChecked(), relative=self.relative.isChecked())
        self.budget = self.allocation = None
        self._infos = ()
        self._wish()

    def _wish(self) -> None:
        controller = self._controller
        if controller is None or not self.isVisible():
            return
        infos = tuple(info for info in controller.session.infos if info.quantizable or info.qtype)
        if infos != self._infos:
            self._infos = infos
            self.budget = self.allocation = None
            self.model.show_layers(infos)
            self._show_wishes()
        self._trouble = ""
        if infos:
            controller.sweeps.want(OWNER, infos, self.bar.grid)
        else:
            controller.sweeps.drop(OWNER)
        self._rebuild()
        self._show()
        self._show_progress()

    def _on_grown(self) -> None:
        if self.isVisible() and not self._later.isActive():
            self._later.start()

    def _on_moved(self) -> None:
        """With the last point the wait is over."""
        self._show_progress()
        if self._later.isActive() and self._controller and self._controller.sweeps.progress(OWNER) is None:
            self._later.stop()
            self._rebuild()

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

    # The budget.

    def _rebuild(self) -> None:
        """Make the budget of the points there are, aside; the newest wish counts."""
        controller = self._controller
        if controller is None or not self._infos:
            return
        points = controller.sweeps.known(self._infos)
        infos = [info for info in self._infos if info.name in points]
        recipe = controller.recipe
        planned = {info.name for info in infos}
        rest = sum(
            stored_nbytes(info, recipe.scheme_for(info))
            for info in controller.session.infos
            if info.name not in planned
        )
        work = _making(infos, points, self.bar.grid, self.wishes, rest)
        controller.sweeps.aside.put(Job("Budget", work, self._on_built, self._on_unbuilt))

    def _on_built(self, budget: Budget | None) -> None:
        first = self.budget is None
        self.budget = budget
        if budget is None:
            self.allocation = None
            self._show()
            return
        self._trouble = ""
        self.limit.show_front(budget.front, self._now_value() if first else None)
        self._draw_front(keep=not first)
        self._plan()

    def _on_unbuilt(self, error: Exception) -> None:
        if not isinstance(error, BudgetError):
            raise error
        self.budget = self.allocation = None
        self._trouble = _sentence(error)
        self._show()

    def _on_kind(self) -> None:
        """The limit of another kind begins where the plan is."""
        if self.budget is None:
            return
        plan = self.allocation
        start = None
        if plan is not None:
            start = {"bytes": float(plan.nbytes), "bpw": plan.bpw, "sqnr": plan.weighted_sqnr_db}[self.limit.what]
        self.limit.show_front(self.budget.front, start if start is not None and math.isfinite(start) else None)
        self._draw_front(keep=False)
        self._plan()

    def _draw_front(self, *, keep: bool) -> None:
        assert self.budget is not None
        self.plot.show_front(self.budget.front, bits=self.limit.what == "bpw", keep=keep)

    def _plan(self) -> None:
        """Share out once more: this runs at every move of the slider."""
        limit = self.limit.limit
        if self.budget is None or limit is None:
            return
        try:
            self.allocation, self._trouble = self.budget.plan(limit), ""
        except BudgetError as error:
            self.allocation, self._trouble = None, _sentence(error)
        self._show()

    # What is fixed.

    def _fix(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self._show_wishes()
        self._rebuild()

    def _show_wishes(self) -> None:
        self.model.show_wishes(self.wishes)
        self._choose_columns()

    def _choose_columns(self) -> None:
        """What is the same everywhere gives way where there is little room."""
        narrow = self.width() < NARROW
        self.table.setColumnHidden(WEIGHT, narrow and not self.wishes.weights)
        self.table.setColumnHidden(TIE, narrow and not self.model.tied)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Columns give way."""
        super().resizeEvent(event)
        self._choose_columns()

    def _on_locked(self, name: str, on: bool) -> None:
        """Keep what the layer takes now, or no more; a tie is kept as one."""
        point = self.allocation.points.get(name) if self.allocation else None
        tie = next((tie for tie in self.wishes.groups(info.name for info in self._infos) if name in tie), (name,))
        kept = {other: scheme for other, scheme in self.wishes.kept.items() if other not in tie}
        if on and point is not None:
            kept |= dict.fromkeys(tie, point.scheme)
        self._fix(replace(self.wishes, kept=kept))

    def _on_weighed(self, name: str, weight: float) -> None:
        self._fix(replace(self.wishes, weights={**self.wishes.weights, name: weight}))

    def _on_tie(self, *, together: bool) -> None:
        rows = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        names = tuple(self._infos[row].name for row in rows)
        if not names or (together and len(names) < 2):
            self._on_refused("Select the layers in the table, with Ctrl or Shift held down.")
            return
        ties = tuple(tuple(other for other in tie if other not in names) for tie in self.wishes.ties)
        ties = tuple(tie for tie in ties if len(tie) > 1) + ((names,) if together else ())
        self._fix(replace(self.wishes, ties=ties))

    # Showing.

    def _show(self) -> None:
        if not self.isVisible() or self._controller is None:
            return
        empty = self._why_empty()
        self._pages.setCurrentIndex(0 if empty else 1)
        self.message.setText(empty)
        self.trouble.setText(self._trouble)
        self.trouble.setVisible(bool(self._trouble))
        self.take.setEnabled(self.allocation is not None)
        recipe, limit, plan = self._controller.recipe, self.limit.limit, self.allocation
        now = {info.name: recipe.scheme_for(info) for info in self._infos}
        self.model.show_allocation(plan, now, self._controller.sweeps.errors)
        if self.budget is not None:
            self.plot.show_limit(None if limit is None else limit.value, upright=self.limit.what != "sqnr")
            bits = self.plot.bits
            mark = None if plan is None else (plan.bpw if bits else float(plan.nbytes), plan.weighted_sqnr_db)
            self.plot.show_marks(mark, None if self.wishes.weights or self.wishes.relative else self._now(bits=bits))
        self._summarise("" if empty else self._sentence_of(plan))

    def _why_empty(self) -> str:
        """What to do where there is nothing to show."""
        controller = self._controller
        if controller is None or controller.session.checkpoint is None:
            return "Open a checkpoint."
        if not self._infos:
            return "There is nothing to plan: no floating tensor of two dimensions or more."
        if self.budget is not None:
            return ""
        errors = [controller.sweeps.errors.get(info.name) for info in self._infos]
        if all(errors):
            return f"{errors[0]}"
        return self._trouble or "Measuring the layers under the schemes above…"

    def _figures(self) -> tuple[int, int, float, float] | None:
        """Of the layers under the recipe: bytes, weights, energy and noise, where all are measured."""
        controller = self._controller
        assert controller is not None
        nbytes = size = 0
        signal = noise = 0.0
        for info in self._infos:
            scheme = controller.recipe.scheme_for(info)
            report = controller.session.reports.get((info.name, scheme))
            nbytes, size = nbytes + stored_nbytes(info, scheme), size + info.size
            if report is None or report.metrics is None or math.isnan(report.metrics.noise):
                return None
            signal, noise = signal + report.metrics.signal, noise + report.metrics.noise
        return nbytes, size, signal, noise

    def _now(self, *, bits: bool) -> tuple[float, float] | None:
        """Where the recipe is in the plot."""
        figures = self._figures()
        if figures is None or self._controller is None or figures[2] <= 0 or figures[3] <= 0:
            return None
        nbytes, size, signal, noise = figures
        whole = sum(
            stored_nbytes(info, self._controller.recipe.scheme_for(info)) for info in self._controller.session.infos
        )
        return 8 * nbytes / size if bits else float(whole), 10 * math.log10(signal / noise)

    def _now_value(self) -> float | None:
        """The recipe's own value of what is limited: where a first limit stands."""
        now = self._now(bits=self.limit.what == "bpw")
        return None if now is None else now[1] if self.limit.what == "sqnr" else now[0]

    def _sentence_of(self, plan: Allocation | None) -> str:
        """What the plan comes to, and what the recipe could be at its own size."""
        controller = self._controller
        if plan is None or self.budget is None or controller is None:
            return ""
        changed = sum(point.scheme != controller.recipe.scheme_for(info) for info, point in self._with_points(plan))
        said = f"{fmt.decibels(plan.sqnr_db)} at {plan.bpw:.2f} bits a weight, {fmt.nbytes(plan.nbytes)} in all."
        failed = sum(info.name in controller.sweeps.errors for info in self._infos)
        missing = len(self._infos) - len(plan.points) - failed
        gain = None if missing or failed else self._gain()
        if gain is not None and gain >= 0.1:
            said += f" At the recipe's own size {gain:.1f} dB more than now are possible."
        said += f" {fmt.counted(changed, 'layer')} differ{'s' * (changed == 1)} from the recipe."
        said += f" {fmt.counted(failed, 'layer')} cannot be measured." if failed else ""
        return f"{said} {fmt.counted(missing, 'layer')} not measured yet." if missing else said

    def _gain(self) -> float | None:
        """What a plan of the recipe's size has more than the recipe, in dB."""
        now = self._now(bits=False)
        if now is None or self.budget is None:
            return None
        try:
            return self.budget.plan(Limit("bytes", now[0])).sqnr_db - now[1]
        except BudgetError:
            return None

    def _with_points(self, plan: Allocation) -> list[tuple[TensorInfo, SweepPoint]]:
        return [(info, plan.points[info.name]) for info in self._infos if info.name in plan.points]

    def _summarise(self, sentence: str) -> None:
        estimated = self.allocation is not None and any(p.part < 1 for p in self.allocation.points.values())
        sentence = f"≈ {sentence}" if estimated and sentence else sentence
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)

    def _show_progress(self) -> None:
        done = None if self._controller is None else self._controller.sweeps.progress(OWNER)
        self.progress.setText("" if done is None else f"measuring {done:.0%}")
        self.stop.setText("✕" if done is not None else "↻")
        self.stop.setToolTip("Stop measuring" if done is not None else "Measure what is still missing")
        self.stop.setAccessibleName(self.stop.toolTip())

    def _limit_words(self) -> str:
        return f"{self.limit.kind.currentText().lower()} {self.limit.number.text()}"

    # Other ways.

    def _on_recipe(self) -> None:
        self._show()

    def _on_selected(self, info: TensorInfo | None) -> None:
        if info in self._infos:
            row = self._infos.index(info)
            if self.table.currentIndex().row() != row:
                self.table.selectRow(row)

    def _on_row(self, index: QModelIndex) -> None:
        if self._controller is not None and index.isValid() and self.table.hasFocus():
            self._controller.select(self._infos[index.row()].name)

    def _on_take(self) -> None:
        """The plan becomes the recipe; what was not planned keeps what it has."""
        controller, plan = self._controller, self.allocation
        if controller is None or plan is None:
            return
        infos = controller.session.infos
        choice = {info.name: controller.recipe.scheme_for(info) for info in infos} | plan.choice
        controller.set_recipe(compact(choice, infos), f"budget: {self._limit_words()}")


def _making(
    infos: Sequence[TensorInfo],
    points: Mapping[str, Mapping[Scheme, SweepPoint]],
    grid: SweepGrid,
    wishes: Wishes,
    rest: int,
) -> Callable[..., Budget | None]:
    """The work of making a budget; None where no layer has a point yet."""

    def work(token: Token, _: Callable[[Any], None]) -> Budget | None:
        offered: dict[str, list[SweepPoint]] = {}
        for info in infos:
            token.check()
            known = points[info.name]
            kept = (wishes.kept[info.name],) if info.name in wishes.kept else ()
            schemes = dict.fromkeys((*grid.schemes_for(info.shape), *kept))
            found = [known[scheme] for scheme in schemes if scheme in known]
            if found:
                offered[info.name] = found
        if not offered:
            return None
        return wishes.budget(offered, rest)

    return work


def _sentence(error: BudgetError) -> str:
    return f"{error.message[0].upper()}{error.message[1:]}."


def _row(*widgets: QWidget | None) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(8)
    for widget in widgets:
        if widget is None:
            row.addStretch(1)
        else:
            row.addWidget(widget)
    return row
