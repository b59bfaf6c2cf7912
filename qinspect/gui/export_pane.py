"""The export pane: where to, what will be written, how large it gets, and the proof that it was written right."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.gui.command_line import export_command
from qinspect.gui.controller import Controller
from qinspect.gui.destination import hindrance, remark, suggested
from qinspect.gui.device_budget import BudgetFields, uses
from qinspect.gui.lines import has_remark
from qinspect.gui.outputs_row import OutputsRow
from qinspect.gui.plain import PlainLabel
from qinspect.gui.plan_table import PlanTable
from qinspect.gui.progress import Progress
from qinspect.gui.size_bar import SizeBar
from qinspect.gui.theme import DARK, Theme
from qinspect.planning.budget import Limit
from qinspect.targets.target import Plan, Report, registry

PLAN_DELAY_MS = 200
COPIED_MS = 1500
"""How long a button says that it has copied."""


class ExportPane(QWidget):
    """Plans, writes and shows the result. `reopen_requested` carries the path of what was written."""

    reopen_requested = Signal(str)
    fit_requested = Signal(str, object)
    """Of a target and the limit that its export is to keep."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._theme = DARK
        self._plan: Plan | None = None
        self._written: Path | None = None
        self._suggested = ""
        self._failed = False
        self.target = QComboBox(self)
        self.target.setAccessibleName("Export target")
        self.target.setToolTip("What is written: a file, or a folder with everything a device needs")
        self.path = QLineEdit(self)
        self.path.setAccessibleName("File to write")
        self.path.setToolTip("Where it is written; an existing file is replaced only once the new one is whole")
        self.path.setPlaceholderText("File to write")
        self.remark = PlainLabel(self)
        self.budget = BudgetFields(self)
        self.outputs = OutputsRow(controller, self)
        self.table = PlanTable(self)
        self.bars = tuple(SizeBar(name, self) for name in ("Flash", "RAM", "Bits a weight"))
        self.summary = PlainLabel(self)
        self.progress = Progress("Progress of the export", self)
        self.go = QPushButton("Export", self)
        self.stop = QPushButton("Cancel", self)
        self.result = PlainLabel(self)
        self.copy = QPushButton("Copy command", self)
        self.reopen = QPushButton("Open it", self)
        self.folder = QPushButton("Show folder", self)
        self.fit = QPushButton("Find schemes that fit", self)
        self._replan = QTimer(self)
        self._replan.setSingleShot(True)
        self._replan.setInterval(PLAN_DELAY_MS)
        self._replan.timeout.connect(self.plan)
        self._build()
        self._connect()
        self._show_idle()

    def _build(self) -> None:
        for cls in registry:
            self.target.addItem(cls.title, cls.name)
            self.target.setItemData(self.target.count() - 1, cls.summary, Qt.ItemDataRole.ToolTipRole)
        browse = QToolButton(self)
        browse.setText("…")
        browse.setToolTip("Choose the file to write")
        browse.setAccessibleName("Choose the file to write")
        browse.clicked.connect(self._on_browse)
        self.go.setObjectName("primary")
        for label in (self.remark, self.summary, self.result):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.summary.setObjectName("muted")
        self.copy.setToolTip("Copy the command that writes the same from a terminal")
        self.go.setToolTip("Write it, read it back and compare, in the background")
        self.stop.setToolTip("Stop writing; nothing half-written stays")
        self.reopen.setToolTip("Open what was written, as it is stored")
        self.fit.setToolTip("Let the tab Budget share out this limit among the layers, in the sizes of this target")
        self.fit.hide()
        self.folder.setToolTip("Show where it was written")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addWidget(self.target)
        layout.addLayout(_row(self.path, browse))
        layout.addWidget(self.remark)
        layout.addWidget(self.budget)
        layout.addWidget(self.outputs)
        layout.addWidget(self.table, 1)
        for bar in self.bars:
            layout.addWidget(bar)
        layout.addWidget(self.summary)
        layout.addWidget(self.progress)
        layout.addLayout(_row(self.go, self.stop))
        layout.addWidget(self.result)
        layout.addWidget(self.fit)
        layout.addLayout(_row(self.copy, self.reopen, self.folder))
        limits = (self.budget.flash, self.budget.ram, self.budget.bpw)
        above = (self.target, self.path, browse, *limits, self.outputs.button, self.table.tabs)
        for before, after in pairwise((*above, self.go, self.stop, self.fit, self.copy, self.reopen, self.folder)):
            self.setTabOrder(before, after)

    def _connect(self) -> None:
        self.target.activated.connect(lambda _: self._on_target())
        self.path.textChanged.connect(lambda _: self._on_path())
        self.budget.changed.connect(self._show_budget)
        self.outputs.changed.connect(lambda: self.table.show_plan(self._plan, self.outputs.found))
        self.table.turned.connect(lambda proves: self.summary.setVisible(not proves))  # the proof needs the room
        self.go.clicked.connect(self.export)
        self.copy.clicked.connect(self._on_copy)
        self.stop.clicked.connect(self._on_stop)
        self.reopen.clicked.connect(lambda: self.reopen_requested.emit(str(self._written)))
        self.folder.clicked.connect(self._on_folder)
        self.fit.clicked.connect(self._on_fit)
        controller = self._controller
        controller.opened.connect(lambda _: self._on_opened())
        controller.recipe_changed.connect(lambda _: self._changed())
        controller.planned.connect(self._on_planned)
        controller.plan_failed.connect(self._on_plan_failed)
        controller.plan_cancelled.connect(lambda: self._on_plan_failed("Stopped; choose the target again for a plan."))
        controller.analysed.connect(self._warn)
        controller.exported.connect(self._on_exported)
        controller.export_failed.connect(self._on_failed)
        controller.export_cancelled.connect(self._on_cancelled)
        controller.export_progressed.connect(lambda fraction: self.progress.show_fraction(fraction))

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.table.set_theme(theme)
        for bar in self.bars:
            bar.set_theme(theme)
        self._show_remark()
        self._tell(self.result.text(), failed=self._failed)

    # Planning.

    @property
    def planning(self) -> bool:
        """Whether a plan is about to be asked for."""
        return self._replan.isActive()

    def showEvent(self, event: object) -> None:
        """A plan is made when someone looks."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._changed()

    def _on_opened(self) -> None:
        self._written = None
        self.table.turn_back(forget=True)
        self._tell("")
        self._suggested = self.path.text()
        self._suggest_path()
        self._changed()

    def _on_target(self) -> None:
        self._suggest_path()
        self._changed()

    def _changed(self) -> None:
        """What was planned is no longer what would be written."""
        self._controller.drop_plan()
        self._plan = None
        self._show_idle()
        self.table.turn_back()
        if self.isVisible() and self._controller.session.checkpoint is not None:
            self.summary.setText("Planning…")
            self._replan.start()

    def plan(self) -> None:
        """Ask what would be written; the table follows."""
        self._replan.stop()
        self._controller.plan(self.target.currentData())

    def _suggest_path(self) -> None:
        checkpoint = self._controller.session.checkpoint
        if checkpoint is None:
            return
        cls = registry[self.target.currentData()]
        chosen = Path(self.path.text())
        if self.path.text() == self._suggested or not chosen.name:
            self._suggested = str(suggested(checkpoint.path, cls))
            self.path.setText(self._suggested)
        else:  # where a person wants it stays, only what it is changes
            self.path.setText(str(chosen.with_suffix(cls.suffix)))

    def _on_path(self) -> None:
        """What was said of a try elsewhere is of the past; what is said of the plan stays."""
        self._show_remark()
        if self._failed and self._plan is not None and not self._controller.exporting:
            self._judge()

    def _show_remark(self) -> None:
        checkpoint = self._controller.session.checkpoint
        said = "" if checkpoint is None else remark(self.path.text(), checkpoint.path)
        hindered = checkpoint is not None and hindrance(self.path.text(), checkpoint.path)
        self.remark.setText(said)
        just_written = self._written is not None and str(self._written) == self.path.text()
        self.remark.setVisible(bool(said) and not just_written)
        self.remark.setStyleSheet(f"color: {self._theme.warning};")
        self.go.setText("Replace the file" if said.startswith("Replaces") else "Export")
        self.go.setEnabled(self._plan is not None and not hindered and not self._controller.exporting)

    def _on_planned(self, plan: Plan) -> None:
        self._plan = plan
        self.table.show_plan(self._plan, self.outputs.found)
        self._summarise(plan)
        self._show_idle()
        self._judge()

    def _broken(self) -> list[str]:
        """Tensors of the plan that the measuring has found no scheme can take."""
        rows = () if self._plan is None else self._plan.rows
        return [row.name for row in rows if row.scheme is not None and row.name in self._controller.errors]

    def _summarise(self, plan: Plan) -> None:
        broken, packed = len(self._broken()), sum(entry.scheme is not None for entry in plan.rows)
        if broken:
            self.summary.setText(f"{broken} of {packed} tensors to pack cannot be packed.")
            return
        notes = sum(map(has_remark, plan.rows))
        bpw = f" at {plan.bpw:.2f} bits per weight" if plan.bpw is not None else ""
        noted = f" {notes} with a remark, on top." if notes else ""
        self.summary.setText(
            f"{packed} tensors packed{bpw}, {len(plan.rows) - packed} others.{_on_device(plan)}{noted} "
            f"{_sentence(plan.remark)}".rstrip()
        )

    def _judge(self) -> None:
        """Say what is wrong with the plan, if anything."""
        self._show_budget()
        planned = () if self._plan is None else self._plan.rows
        if any(map(has_remark, planned)) and all(row.scheme is None for row in planned):
            self._tell(
                f"Nothing is packed. This target carries: {registry[self.target.currentData()].carries}", failed=True
            )
        self._warn()

    def _show_budget(self) -> None:
        """How much of the device's room is used, and what is too much."""
        self.fit.hide()
        if self._plan is None:
            for bar in self.bars:
                bar.show_share(0, "")
            return
        found = uses(self._plan, self.budget.budget)
        for bar, use in zip(self.bars, found, strict=True):
            bar.show_share(use.share, use.text, use.over)
        over = [use.over for use in found if use.over]
        if self.budget.problem:
            self._tell(self.budget.problem, failed=True)
        elif over:
            self._tell(_sentence("; ".join(over)), failed=True)
            flash, _, bits = found
            self.fit.setVisible(bool(flash.over or bits.over))
        elif self._written is None and not self._controller.exporting:
            self._tell("")

    def _on_fit(self) -> None:
        """Of flash where that is too small, else of bits."""
        budget = self.budget.budget
        if self._plan is not None and budget.flash is not None and self._plan.budgeted_nbytes > budget.flash:
            limit = Limit("bytes", budget.flash)
        elif budget.bpw is not None:
            limit = Limit("bpw", budget.bpw)
        else:
            return
        self.fit_requested.emit(self.target.currentData(), limit)

    def _warn(self) -> None:
        """Say what the measuring has found that an export will stop at."""
        broken = self._broken()
        if broken and self._plan is not None and not self._controller.exporting and self._written is None:
            self._summarise(self._plan)
            self._tell(f"The export will stop. {self._controller.errors[broken[0]]}", failed=True)

    def _on_plan_failed(self, sentence: str) -> None:
        self._plan = None
        self.table.show_plan(self._plan, self.outputs.found)
        self._show_budget()
        self.summary.setText("Nothing can be written like this.")
        self._show_idle()
        self._tell(sentence, failed=True)

    # Writing.

    def export(self) -> None:
        """Write the planned file in the background."""
        if self._plan is None or self._controller.exporting:
            return
        self._written = None
        self.table.turn_back(forget=True)
        self.progress.show_fraction(0)
        self._tell("Writing…")
        self._controller.export(self.target.currentData(), self._plan, Path(self.path.text().strip()).expanduser())
        self._show_idle()

    def _show_idle(self) -> None:
        """What can be done now."""
        exporting = self._controller.exporting
        self.progress.setVisible(exporting)
        self.stop.setEnabled(exporting)
        self.reopen.setVisible(self._written is not None and not self._written.is_dir())
        self.folder.setVisible(self._written is not None)
        self.copy.setVisible(self._plan is not None)
        self._show_remark()

    def _tell(self, text: str, *, failed: bool = False) -> None:
        self._failed = failed
        self.result.setStyleSheet(f"color: {self._theme.bad};" if failed else "")
        self.result.setText(text)
        self.result.setVisible(bool(text))

    def _on_exported(self, report: Report) -> None:
        self._written = report.path
        self._show_idle()
        if self._plan is not None:
            self.table.show_proof(self._plan, report)
        worst = max((row.max_difference for row in report.rows), default=0.0)
        same = "no value differs" if worst == 0 else f"largest difference {worst:.3g}"
        self._tell(
            f"✓ {printable(report.path.name)}: {fmt.nbytes(report.nbytes)}, written and verified in "
            f"{report.seconds:.1f} s. {_sentence(report.proof)} {len(report.rows)} tensors; {same} from what was shown."
        )

    def _on_failed(self, sentence: str) -> None:
        self._show_idle()
        self._tell(sentence, failed=True)

    def _on_cancelled(self) -> None:
        self._show_idle()
        self._tell("Cancelled; nothing was written.")

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self._tell("Stopping…")
        self._controller.cancel_export()

    def _on_browse(self) -> None:
        cls = registry[self.target.currentData()]
        path, _ = QFileDialog.getSaveFileName(self, "Export to", self.path.text(), f"*{cls.suffix}")
        if path:
            self.path.setText(path)

    def _on_folder(self) -> None:
        if self._written is not None:
            folder = self._written if self._written.is_dir() else self._written.parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _on_copy(self) -> None:
        checkpoint = self._controller.session.checkpoint
        if checkpoint is not None:
            out = Path(self.path.text().strip()).expanduser()
            command = export_command(checkpoint.path, self.target.currentData(), self._controller.recipe, out)
            QGuiApplication.clipboard().setText(command)
            self.copy.setText("Copied")
            QTimer.singleShot(COPIED_MS, self, partial(self.copy.setText, "Copy command"))


def _on_device(plan: Plan) -> str:
    needs = plan.needs
    return "" if needs is None else f" {fmt.nbytes(needs.flash)} of flash and {fmt.nbytes(needs.ram)} of RAM."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for at, widget in enumerate(widgets):
        row.addWidget(widget, 0 if at else 1)
    return row
