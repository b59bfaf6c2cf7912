"""The budget: a limit that is dragged, and what every layer takes so that the model keeps it with the least error."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from PySide6.QtCore import QModelIndex, Qt, QTimer
from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from qinspect import figures as fmt
from qinspect.errors import BudgetError, QInspectError, printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.allocation_model import AllocationModel
from qinspect.gui.allocation_table import AllocationTable
from qinspect.gui.controller import Controller
from qinspect.gui.front_plot import FrontPlot
from qinspect.gui.jobs import Job
from qinspect.gui.limit_bar import LimitBar
from qinspect.gui.plain import PlainLabel
from qinspect.gui.size_box import SizeBox, Sized, prices_of, size_there
from qinspect.gui.theme import Theme
from qinspect.gui.views.swept_view import SweptView
from qinspect.gui.views.view import TAB
from qinspect.planning.budget import POOR_DB, Allocation, Budget, Limit
from qinspect.planning.compact import compact
from qinspect.planning.prices import Prices
from qinspect.planning.wishes import Wishes
from qinspect.quant.metrics import decibels
from qinspect.recipe import Recipe
from qinspect.session import stored_nbytes
from qinspect.tables import Column, Table
from qinspect.task import Token

MEASURING = "Measuring the layers under the schemes above…"
REBUILD_MS = 400
"""While points come in, the budget is made of them at most so often."""
REST_MS = 300
"""A limit that has not moved for so long rests."""
COLUMNS = (
    Column("layer", "Layer"), Column("scheme", "Takes"), Column("bpw", "Bits per weight", ".3f"),
    Column("sqnr_db", "SQNR, dB", ".2f"), Column("nbytes", "Bytes", "d"),
)  # fmt: skip


class BudgetView(SweptView):
    """The limit on top, what the model can be under it, what every layer takes below; a button makes it the recipe."""

    name: ClassVar[str] = "budget"
    title: ClassVar[str] = "Budget"
    order: ClassVar[int] = 60
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        super().__init__()
        self.wishes = Wishes()
        self.budget: Budget | None = None
        self.allocation: Allocation | None = None
        self.limit = LimitBar(self)
        self.plot = FrontPlot()
        self.model = AllocationModel(self)
        self.table = AllocationTable(self.model, self)
        self.fuse = QCheckBox("Tie fused layers", self)
        self.absolute = QCheckBox("Absolute errors", self)
        self.tie = QPushButton("Tie", self)
        self.untie = QPushButton("Untie", self)
        self.target = SizeBox(self)
        self.take = QPushButton("Make it the recipe", self)
        self.trouble = PlainLabel(self)
        self._later = QTimer(self)
        self._rest = QTimer(self)
        self._prices: Prices | None = None
        self._recipe_size: tuple[Recipe, int, float] | None = None
        self._fitted = True
        self._asked: Limit | None = None
        self._build()
        self.setFocusProxy(self.limit.slider)

    # Building.

    def _build(self) -> None:
        self._later.setSingleShot(True)
        self._later.setInterval(REBUILD_MS)
        self._later.timeout.connect(self._rebuild)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._settle)
        self.plot.setAccessibleName("What the model can be")
        self.plot.setMinimumHeight(140)
        self.fuse.setToolTip(
            "q, k and v of a block, and gate and up, take the same scheme: runtimes make one product of them"
        )
        self.absolute.setToolTip(
            "Squared errors count as they are, so that layers of large weights decide; otherwise each counts relative "
            "to the energy of its layer"
        )
        self.tie.setToolTip("Let the selected layers take the same scheme")
        self.untie.setToolTip("Let the selected layers go their own ways again")
        self.take.setToolTip("Give every layer what stands beside it; Ctrl+Z takes it back")
        self.take.setObjectName("primary")
        self.trouble.setObjectName("muted")
        self.trouble.setWordWrap(True)
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
        column.addLayout(_row(self.tie, self.untie, self.fuse, self.absolute, None, self.take))
        self._lay_out(content)

    def controls(self) -> list[QWidget]:
        """The target, then what all such views have."""
        return [self.target, *super().controls()]

    def attach(self, controller: Controller) -> None:
        """Follow what is open; a button changes the recipe."""
        super().attach(controller)
        controller.opened.connect(lambda _: self._on_opened())
        controller.recipe_changed.connect(lambda _: self._on_recipe())
        controller.analysed.connect(self._show)
        controller.selected.connect(self._on_selected)
        controller.sweeps.moved.connect(self._on_moved)
        self.limit.changed.connect(self._plan)
        self.limit.kind.activated.connect(lambda _: self._on_kind())
        self.plot.dragged.connect(self.limit.move_to)
        self.model.locked.connect(self._on_locked)
        self.model.weighed.connect(self._on_weighed)
        self.target.activated.connect(lambda _: self._on_target())
        self.fuse.toggled.connect(lambda on: self._fix(replace(self.wishes, fused=on)))
        self.absolute.toggled.connect(lambda on: self._fix(replace(self.wishes, absolute=on)))
        self.tie.clicked.connect(lambda: self._on_tie(together=True))
        self.untie.clicked.connect(lambda: self._on_tie(together=False))
        self.take.clicked.connect(self._on_take)
        self.table.selectionModel().currentRowChanged.connect(self._on_row)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        super().set_theme(theme)
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

    def hideEvent(self, event: QHideEvent) -> None:
        """What there is stays for the next time."""
        super().hideEvent(event)
        self._later.stop()
        self._rest.stop()

    def fit(self, target: str, limit: Limit) -> None:
        """Look for schemes with which an export to `target` keeps `limit`."""
        self.target.choose(target)
        self.limit.kind.setCurrentIndex(self.limit.kind.findData(limit.kind))
        self._asked = limit
        self._on_target()

    def _on_target(self) -> None:
        """Other sizes: the limit begins where the recipe is, or where it was asked for."""
        self.budget = self.allocation = None
        self._trouble = ""
        self._rebuild()
        self._show()

    def _on_recipe(self) -> None:
        if self.target.target and self.isVisible():
            self._later.start()  # its size there is to be found out
        self._show()

    def _on_opened(self) -> None:
        """Other layers: what was fixed was fixed for those before."""
        self.wishes = Wishes(fused=self.fuse.isChecked(), absolute=self.absolute.isChecked())
        self.budget = self.allocation = self._prices = self._asked = None
        self._infos = ()
        self._wish()

    def _wanted(self) -> tuple[TensorInfo, ...]:
        return tuple(self._usual())

    def _take_up(self, *, changed: bool) -> None:
        if changed:
            self.budget = self.allocation = None
            self.model.show_layers(self._infos)
            self._show_wishes()
        self._rebuild()
        self._show()

    def _on_grown(self, names: set[str]) -> None:
        if self.isVisible() and not self._later.isActive():
            self._later.start()

    def _on_moved(self) -> None:
        """With the last point the wait is over."""
        if self._later.isActive() and self._controller and self._controller.sweeps.progress(self.name) is None:
            self._later.stop()
            self._rebuild()

    # The budget.

    def _rebuild(self) -> None:
        """Make the budget of the points there are, aside; the newest wish counts."""
        controller = self._controller
        if controller is None or not self._infos:
            return
        points = controller.sweeps.known(self._infos)
        infos = [info for info in self._infos if info.name in points]
        recipe, grid, wishes = controller.recipe, self.bar.grid, self.wishes
        others = (info for info in controller.session.infos if info.name not in points)
        rest = sum(stored_nbytes(info, recipe.scheme_for(info)) for info in others)

        target, known, checkpoint = self.target.target, self._prices, controller.session.checkpoint

        def work(token: Token, _: object) -> Sized:
            prices = prices_of(target, checkpoint, known, token)
            budget = wishes.budget_under(grid, infos, points, rest, token, prices)
            return Sized(budget, prices, size_there(prices, recipe, infos))

        controller.sweeps.aside.put(Job("Budget", work, self._on_built, self._on_unbuilt))

    def _on_built(self, built: Sized) -> None:
        budget, first = built.budget, self.budget is None
        self.budget, self._prices, self._recipe_size = budget, built.prices, built.recipe_size
        if budget is None:
            self.allocation = None
            held = built.prices.target.title if built.prices else ""
            self._trouble = f"{held} holds no layer in any of the schemes that were tried so far." if held else ""
            self._show()
            return
        self._trouble = ""
        asked, self._asked = self._asked, None
        self.limit.show_front(budget.front, asked.value if asked else self._now_value() if first else None)
        self._draw_front(keep=not first)
        self._plan()

    def _on_unbuilt(self, error: Exception) -> None:
        if not isinstance(error, QInspectError):
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
        self._fitted = self._prices is None or self.allocation is None
        self._rest.start()
        self._show()

    def _fit(self) -> None:
        """Hold the plan against the whole export, off the window's thread."""
        controller, prices, budget, limit = self._controller, self._prices, self.budget, self.limit.limit
        if controller is None or prices is None or budget is None or limit is None:
            return

        def work(token: Token, _: object) -> Allocation | QInspectError:
            try:
                return prices.fitted(budget, limit)
            except QInspectError as error:
                return error

        def done(found: Allocation | QInspectError) -> None:
            if budget is not self.budget or limit != self.limit.limit:
                return
            self._fitted = True
            self.allocation = found if isinstance(found, Allocation) else None
            self._trouble = _sentence(found) if isinstance(found, QInspectError) else ""
            self._show()

        controller.sweeps.fitting.put(Job("Fit", work, done, self._on_unbuilt))

    def _settle(self) -> None:
        """What layers take once the limit rests is measured exactly; then the plan is made once more."""
        self._fit()
        if self._controller is not None and self.allocation is not None:
            points = self.allocation.points
            self._controller.sweeps.settle(self.name, {name: point.scheme for name, point in points.items()})

    # What is fixed.

    def _fix(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self._show_wishes()
        self._rebuild()

    def _show_wishes(self) -> None:
        self.model.show_wishes(self.wishes)
        self.table.choose_columns()

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
        names = tuple(self._infos[row].name for row in self.table.selected_rows())
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
        empty = self._why_not() or ("" if self.budget else self._why_none() or self._trouble or MEASURING)
        self._pages.setCurrentIndex(0 if empty else 1)
        self.message.setText(empty)
        self.trouble.setText(self._trouble)
        self.trouble.setVisible(bool(self._trouble))
        self.take.setEnabled(self.allocation is not None and self._fitted)
        recipe, limit, plan = self._controller.recipe, self.limit.limit, self.allocation
        now = {info.name: recipe.scheme_for(info) for info in self._infos}
        self.model.show_allocation(plan, now, self._controller.sweeps.errors, self._staying())
        if self.budget is not None:
            self.plot.show_limit(None if limit is None else limit.value, upright=self.limit.what != "sqnr")
            bits = self.plot.bits
            mark = None if plan is None else (plan.bpw if bits else float(plan.nbytes), plan.weighted_sqnr_db)
            self.plot.show_marks(mark, self._now(bits=bits))
        said = "" if empty or plan is None else self._sentence_of(plan)
        self._summarise(said, () if plan is None else plan.points.values())

    def _nothing(self) -> str:
        return "There is nothing to plan: no floating tensor of two dimensions or more."

    def _now(self, *, bits: bool) -> tuple[float, float] | None:
        """Where the recipe is in the plot."""
        controller = self._controller
        assert controller is not None
        now = self._present(controller.recipe.scheme_for, self.wishes.weight)
        if now is None or now.signal <= 0 or now.noise <= 0:
            return None
        nbytes, bpw = controller.session.total(controller.recipe).nbytes, now.bpw
        if self.target.target:
            if self._recipe_size is None or self._recipe_size[0] is not controller.recipe:
                return None
            _, nbytes, bpw = self._recipe_size
        return bpw if bits else float(nbytes), decibels(now.signal, now.noise)

    def _staying(self) -> set[str]:
        """Layers that the target holds under none of the schemes that were measured."""
        if self._prices is None or self.allocation is None or self._controller is None:
            return set()
        return set(self._controller.sweeps.known(self._infos)) - set(self.allocation.points)

    def _now_value(self) -> float | None:
        """The recipe's own value of what is limited: where a first limit stands."""
        now = self._now(bits=self.limit.what == "bpw")
        return None if now is None else now[1] if self.limit.what == "sqnr" else now[0]

    def _sentence_of(self, plan: Allocation) -> str:
        """What the plan comes to, and what the recipe could be at its own size."""
        controller = self._controller
        assert controller is not None
        planned = [info for info in self._infos if info.name in plan.points]
        changed = sum(plan.points[info.name].scheme != controller.recipe.scheme_for(info) for info in planned)
        said = (
            f"{fmt.decibels(plan.weighted_sqnr_db)} at {plan.bpw:.2f} bits a weight, {fmt.nbytes(plan.nbytes)} in all."
        )
        failed = sum(info.name in controller.sweeps.errors for info in self._infos)
        staying = len(self._staying())
        missing = len(self._infos) - len(plan.points) - failed - staying
        said += f" {fmt.counted(staying, 'layer')} cannot be held in these schemes there." if staying else ""
        gain = None if missing or failed else self._gain()
        if gain is not None and gain >= 0.1:
            said += f" At the recipe's own size {gain:.1f} dB more than now are possible."
        said += f" {fmt.counted(changed, 'layer')} differ{'s' * (changed == 1)} from the recipe."
        poor = plan.poor
        said += f" {fmt.counted(len(poor), 'layer')} under {POOR_DB:g} dB: {printable(poor[0], 60)}." if poor else ""
        said += f" {fmt.counted(failed, 'layer')} cannot be measured." if failed else ""
        return f"{said} {fmt.counted(missing, 'layer')} not measured yet." if missing else said

    def _gain(self) -> float | None:
        """What a plan of the recipe's size has more than the recipe, in dB."""
        now = self._now(bits=False)
        if now is None or self.budget is None:
            return None
        try:
            return self.budget.plan(Limit("bytes", now[0])).weighted_sqnr_db - now[1]
        except BudgetError:
            return None

    def _limit_words(self) -> str:
        return f"{self.limit.kind.currentText().lower()} {self.limit.number.text()}"

    # Other ways.

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


def _sentence(error: QInspectError) -> str:
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
