"""The status bar: what was said last, the model as a whole, its accuracy, and the running job with a way to stop it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QStatusBar, QToolButton, QWidget

from qinspect import figures as fmt
from qinspect.evaluation import Evaluation
from qinspect.gui.controller import Controller
from qinspect.gui.frame import ElidedLabel
from qinspect.gui.jobs import Job
from qinspect.gui.plain import PlainLabel
from qinspect.gui.progress import Progress
from qinspect.gui.theme import DARK, Theme
from qinspect.session import LayerReport, stored_nbytes, total


class StatusBar(QStatusBar):
    """Figures of the whole model on the right, words on the left."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._theme = DARK
        self._error = False
        self.setSizeGripEnabled(False)
        self.message = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self.message.setAccessibleName("Message")
        self.accuracy = QLabel(self)
        self.accuracy.setToolTip("Share of the test set beside the checkpoint that the network gets right.")
        self.model = QLabel(self)
        self.model.setToolTip(
            "The whole file under the recipe: bytes with everything that is stored or left alone, against the bytes "
            "in the file (FP32 for what is packed there); bits per weight of all of it; SQNR of the quantized weights "
            "as one."
        )
        self.other = QLabel(self)
        self.other.hide()
        self.job = PlainLabel(self)
        self.job.setObjectName("muted")
        self.progress = Progress("Progress of the running job", self)
        self.progress.setFixedWidth(120)
        self.stop = QToolButton(self)
        self.stop.setText("✕")
        self.stop.setToolTip("Stop this job")
        self.stop.setAccessibleName("Stop the running job")
        self.addWidget(self.message, 1)
        for widget in (self.accuracy, self.model, self.other, self.job, self.progress, self.stop):
            self.addPermanentWidget(widget)
        self._show_job(None)
        lane, kernels = controller.bulk, controller.kernels
        for each in (lane, kernels):
            each.started.connect(lambda _: self._show_job(lane.running or kernels.running))
            each.ended.connect(lambda _: self._show_job(lane.running or kernels.running))
        lane.progressed.connect(lambda _job, fraction: self.progress.show_fraction(fraction))
        self.stop.clicked.connect(self._on_stop)
        controller.opened.connect(lambda _: self.say(""))
        controller.recipe_changed.connect(lambda _: self._on_recipe())
        controller.analysed.connect(lambda: self._show_total())
        controller.interrupted.connect(lambda: self._show_total())
        controller.evaluated.connect(self._show_accuracy)
        comparing = controller.comparing
        self._sizes: dict[str, int] = {}
        self._reports: dict[str, LayerReport] = {}
        self._exact = False
        comparing.attached.connect(lambda _: self._on_compared({}, {}))
        comparing.compared.connect(self._on_compared)
        comparing.reported.connect(self._on_reported)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.say(self.message.text(), error=self._error)

    def say(self, text: str, *, error: bool = False, important: bool = False) -> None:
        """Show a sentence until the next one."""
        self._error = error
        colour = self._theme.bad if error else self._theme.warning if important else self._theme.muted
        self.message.setStyleSheet(f"color: {colour};")
        self.message.setText(text)

    def has_room_for(self, text: str) -> bool:
        """Whether a sentence can be read whole."""
        return self.message.fontMetrics().horizontalAdvance(text) <= self.message.width()

    def _show_total(self, *, measuring: bool = False) -> None:
        session, recipe = self._controller.session, self._controller.recipe
        if session.checkpoint is None:
            return
        whole, reports = session.total(recipe), session.reports_under(recipe)
        layers = len(session.decided(recipe).layers)
        measured = sum(report.metrics is not None for report in reports)
        quality = "" if whole.sqnr_db is None else fmt.decibels(whole.sqnr_db)
        if measuring and len(reports) < layers:
            quality = "measuring…"
        elif measured < layers:
            quality = f"{quality} ({measured} of {layers} layers)".strip()
        self.model.setText(
            f"All tensors: {fmt.nbytes(whole.nbytes)} of {fmt.nbytes(whole.original_nbytes)}   ·   "
            f"{whole.bpw:.2f} bits per weight" + (f"   ·   {quality}" if quality else "")
        )
        self._show_other()

    def _on_compared(self, sizes: dict[str, int], reports: dict[str, LayerReport], exact: bool = False) -> None:
        self._sizes, self._reports, self._exact = sizes, dict(reports), exact
        self._show_other()

    def _on_reported(self, name: str, report: LayerReport) -> None:
        self._reports[name] = report
        self._show_other()

    def _show_other(self) -> None:
        """The whole file with the layers of B in the place of A's, and how A differs from it."""
        session, recipe, sizes = self._controller.session, self._controller.recipe, self._sizes
        self.other.setVisible(bool(sizes))
        if session.checkpoint is None or not sizes:
            return
        whole, layers = session.total(recipe), session.decided(recipe).layers
        own = sum(stored_nbytes(info, scheme) for info, scheme in layers if info.name in sizes)
        nbytes = whole.nbytes - own + sum(sizes.values())
        bpw = whole.bpw * nbytes / max(1, whole.nbytes)
        sqnr = total(self._reports.values()).sqnr_db
        known = len(self._reports) >= len(sizes)
        quality = "exact" if self._exact else fmt.decibels(sqnr) if known else "measuring…"
        self.other.setText(f"·   B: {fmt.nbytes(nbytes)}   ·   {bpw:.2f} bits   ·   {quality}")
        change = f"A − B: {fmt.change(whole.nbytes - nbytes, fmt.nbytes)}, {fmt.change(whole.bpw - bpw, fmt.bits)} bits"
        if known and sqnr is not None and whole.sqnr_db is not None and not self._exact:
            change += f", {fmt.change(whole.sqnr_db - sqnr, fmt.decibels)}"
        self.other.setToolTip(f"The whole file with the layers of B in the place of A's. {change}.")

    def _on_recipe(self) -> None:
        """Sizes are known at once; figures of another recipe must not stand beside this one's."""
        self._show_total(measuring=True)
        if "→" in self.accuracy.text():
            self.accuracy.setText(f"{self.accuracy.text().split('→')[0]}→ …   ·")

    def clear_error(self) -> None:
        """Take back an error: something else was done since."""
        if self._error:
            self.say("")

    def _show_accuracy(self, found: Evaluation | None) -> None:
        if found is None or found.before is None or found.after is None:
            self.accuracy.setText("")
            return
        before, after = 100 * found.before, 100 * found.after
        self.accuracy.setText(f"Test accuracy {before:.1f} % → {after:.1f} %   ·")
        self.accuracy.setToolTip(
            f"Share of {found.samples} test samples that the network gets right: as it is, and as it decodes."
        )

    def _show_job(self, job: Job | None) -> None:
        self.job.setVisible(job is not None)
        for widget in (self.progress, self.stop):
            widget.setVisible(job is not None and job is self._controller.bulk.running)
        if job is not None:
            self.job.setText(job.title)
            self.progress.show_fraction(0)

    def _on_stop(self) -> None:
        if self._controller.bulk.running is not None:
            self._controller.bulk.cancel(self._controller.bulk.running)
