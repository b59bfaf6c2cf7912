"""The table of the export pane: what will be written, and once that is done, the proof."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTabBar, QTableView, QVBoxLayout, QWidget

from qinspect.evaluation import Evaluation
from qinspect.gui.lines import (
    DETAIL,
    HEIGHT,
    NAME,
    VALUE,
    Line,
    LinesModel,
    TwoLines,
    has_remark,
    plan_line,
    plan_order,
    proof_line,
    proof_order,
    whole_height,
)
from qinspect.gui.theme import Theme
from qinspect.targets.target import Plan, PlanRow, Report

PLAN, PROOF = range(2)
"""The tabs, which are there once there is a proof."""

MOST_WHOLE = 200
"""So many remarks are shown whole: those on top."""


class PlanTable(QWidget):
    """`turned` tells whether it is the proof that is shown."""

    turned = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tabs = QTabBar(self)
        self.table = QTableView(self)
        self.plan = LinesModel(self)
        self.proof = LinesModel(self)
        self.tabs.addTab("Plan")
        self.tabs.addTab("Proof")
        self.tabs.setAccessibleName("What the table shows")
        self.tabs.setDrawBase(False)
        self.tabs.hide()
        self.tabs.currentChanged.connect(lambda _: self._show())
        self._build_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.tabs)
        layout.addWidget(self.table, 1)

    def _build_table(self) -> None:
        self.table.setModel(self.plan)
        self.table.setItemDelegateForColumn(NAME, TwoLines(self))
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(HEIGHT)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setMinimumHeight(2 * HEIGHT + 28)
        self._show()

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.plan.theme = self.proof.theme = theme
        self.table.viewport().update()

    def show_plan(self, plan: Plan | None, found: Evaluation | None) -> None:
        """The rows of a plan, with what is known of the layers' outputs."""
        errors = {} if found is None else {layer.name: layer.error for layer in found.layers if layer.samples}

        def line(row: PlanRow) -> Line:
            return plan_line(row, errors.get(row.name))

        self.plan.show_rows([] if plan is None else plan_order(plan), "Size", line)
        self._fit_rows()

    def show_proof(self, plan: Plan, report: Report) -> None:
        """What was read back of what was planned."""
        self.proof.show_rows(proof_order(plan, report), "|difference|", proof_line)
        self.tabs.show()
        self.tabs.setCurrentIndex(PROOF)

    def turn_back(self, *, forget: bool = False) -> None:
        """To the plan; the proof is of the past, or not of this file at all."""
        self.tabs.setCurrentIndex(PLAN)
        if forget:
            self.tabs.hide()

    def _show(self) -> None:
        proves = self.tabs.currentIndex() == PROOF
        self.table.setModel(self.proof if proves else self.plan)
        self.table.horizontalHeader().setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(VALUE, 84 if proves else 62)
        self._fit_rows()
        self.table.setAccessibleName("What was read back" if proves else "What will be written")
        self.turned.emit(proves)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Remarks wrap at another width."""
        super().resizeEvent(event)
        self._fit_rows()

    def _fit_rows(self) -> None:
        """Rows with a remark are as high as it takes to read it."""
        header, shown = self.table.verticalHeader(), self.table.model()
        width = self.table.viewport().width() - self.table.columnWidth(VALUE)
        for row in range(min(MOST_WHOLE, shown.rowCount())):
            warned = shown is self.plan and has_remark(self.plan.rows[row])
            detail = str(shown.index(row, NAME).data(DETAIL)) if warned else ""
            header.resizeSection(row, whole_height(detail, width, self.table.font()) if warned else HEIGHT)
