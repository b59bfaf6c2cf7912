"""The export pane: where to, what will be written, how large it gets, and the proof that it was written right."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QColor, QDesktopServices, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qinspect.assets import resource
from qinspect.errors import printable
from qinspect.gui import format as fmt
from qinspect.gui.controller import Controller
from qinspect.gui.theme import DARK, Theme
from qinspect.targets.target import Plan, Report, registry

PLAN_DELAY_MS = 200


class ExportPane(QWidget):
    """Plans, writes and shows the result. `reopen_requested` carries the path of what was written."""

    reopen_requested = Signal(str)

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._plan: Plan | None = None
        self._written: Path | None = None
        self.target = QComboBox(self)
        self.target.setAccessibleName("Export target")
        self.path = QLineEdit(self)
        self.path.setAccessibleName("File to write")
        self.path.setPlaceholderText("File to write")
        self.table = QTableWidget(0, 3, self)
        self.size_bar = SizeBar(self)
        self.summary = QLabel(self)
        self.progress = QProgressBar(self)
        self.go = QPushButton("Export", self)
        self.stop = QPushButton("Cancel", self)
        self.result = QLabel(self)
        self.reopen = QPushButton("Open it", self)
        self.folder = QPushButton("Show folder", self)
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
        self.table.setHorizontalHeaderLabels(["Tensor", "Written as", "Size"])
        self.table.setAccessibleName("What will be written")
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(1, 96)
        self.table.setColumnWidth(2, 62)
        self.go.setObjectName("primary")
        for label in (self.summary, self.result):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.summary.setObjectName("muted")
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addWidget(self.target)
        layout.addLayout(_row(self.path, browse))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.size_bar)
        layout.addWidget(self.summary)
        layout.addWidget(self.progress)
        layout.addLayout(_row(self.go, self.stop))
        layout.addWidget(self.result)
        layout.addLayout(_row(self.reopen, self.folder))

    def _connect(self) -> None:
        self.target.activated.connect(lambda _: self._on_target())
        self.go.clicked.connect(self.export)
        self.stop.clicked.connect(self._controller.cancel_export)
        self.reopen.clicked.connect(lambda: self.reopen_requested.emit(str(self._written)))
        self.folder.clicked.connect(self._on_folder)
        controller = self._controller
        controller.opened.connect(lambda _: self._on_opened())
        controller.chosen.connect(lambda _: self._changed())
        controller.planned.connect(self._on_planned)
        controller.plan_failed.connect(self._on_failed)
        controller.exported.connect(self._on_exported)
        controller.export_failed.connect(self._on_failed)
        controller.export_cancelled.connect(self._on_cancelled)
        controller.export_progressed.connect(lambda fraction: self.progress.setValue(round(1000 * fraction)))

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.size_bar.set_theme(theme)

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
        self._show_idle()
        self._suggest_path()
        self._changed()

    def _on_target(self) -> None:
        self._suggest_path()
        self._changed()

    def _changed(self) -> None:
        if self.isVisible() and self._controller.session.checkpoint is not None:
            self.go.setEnabled(False)
            self._replan.start()

    def plan(self) -> None:
        """Ask what would be written; the table follows."""
        self._replan.stop()
        self._controller.plan(self.target.currentData())

    def _suggest_path(self) -> None:
        checkpoint = self._controller.session.checkpoint
        if checkpoint is None:
            return
        stem = checkpoint.path.name.split(".")[0] or "model"
        what = "fp32" if self.target.currentData() == "fp32" else "packed"
        suffix = registry[self.target.currentData()].suffix
        shipped = resource("samples") in checkpoint.path.resolve().parents
        folder = Path.home() if shipped else checkpoint.path.parent
        self.path.setText(str(folder / f"{stem}.{what}{suffix}"))

    def _on_planned(self, plan: Plan) -> None:
        self._plan = plan
        self.table.setRowCount(len(plan.rows))
        for row, entry in enumerate(plan.rows):
            written = entry.scheme.label if entry.scheme else "unchanged"
            tip = entry.note or written
            for column, text in enumerate((printable(entry.name), written, fmt.nbytes(entry.nbytes))):
                item = QTableWidgetItem(text)
                item.setToolTip(tip if column else printable(entry.name))
                if column == 2:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        packed = sum(entry.scheme is not None for entry in plan.rows)
        notes = sum(bool(entry.note) and entry.scheme is not None for entry in plan.rows)
        bpw = f" at {plan.bpw:.2f} bits a weight" if plan.bpw is not None else ""
        noted = f" {notes} with a remark (see their tool tips)." if notes else ""
        self.summary.setText(
            f"{packed} tensors packed{bpw}, {len(plan.rows) - packed} written unchanged. "
            f"{fmt.nbytes(plan.nbytes)} instead of {fmt.nbytes(plan.fp32_nbytes)} in FP32.{noted}"
        )
        self.size_bar.show_sizes(plan.nbytes, plan.fp32_nbytes)
        self.go.setEnabled(True)
        self.result.setStyleSheet("")
        if self._written is None:
            self.result.setText("")

    # Writing.

    def export(self) -> None:
        """Write the planned file in the background."""
        if self._plan is None:
            return
        self._written = None
        self.go.setEnabled(False)
        self.stop.setEnabled(True)
        self.progress.setValue(0)
        self.progress.setVisible(True)
        self.reopen.setVisible(False)
        self.folder.setVisible(False)
        self.result.setText("Writing…")
        self._controller.export(self.target.currentData(), self._plan, Path(self.path.text()).expanduser())

    def _show_idle(self) -> None:
        self.progress.setVisible(False)
        self.stop.setEnabled(False)
        self.go.setEnabled(self._plan is not None)
        self.reopen.setVisible(self._written is not None)
        self.folder.setVisible(self._written is not None)

    def _on_exported(self, report: Report) -> None:
        self._written = report.path
        self._show_idle()
        worst = max((row.max_difference for row in report.rows), default=0.0)
        same = "no value differs" if worst == 0 else f"largest difference {worst:.3g}"
        self.result.setText(
            f"✓ {printable(report.path.name)}: {fmt.nbytes(report.nbytes)}, written and verified in "
            f"{report.seconds:.1f} s. Read back {len(report.rows)} tensors; {same} from what was shown."
        )

    def _on_failed(self, sentence: str) -> None:
        self._show_idle()
        self.result.setText(sentence)

    def _on_cancelled(self) -> None:
        self._show_idle()
        self.result.setText("Cancelled; nothing was written.")

    def _on_browse(self) -> None:
        suffix = registry[self.target.currentData()].suffix
        path, _ = QFileDialog.getSaveFileName(self, "Export to", self.path.text(), f"*{suffix}")
        if path:
            self.path.setText(path)

    def _on_folder(self) -> None:
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written.parent)))


class SizeBar(QWidget):
    """The size of the export drawn against the size in FP32."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._sizes = (0, 0)
        self.setFixedHeight(22)
        self.setAccessibleName("Size against FP32")

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(120, 22)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.update()

    def show_sizes(self, written: int, original: int) -> None:
        """Show bytes to be written against bytes in FP32."""
        self._sizes = written, original
        self.setToolTip(f"{written:,} of {original:,} bytes")
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:
        """Two bars, one upon the other, and the share in figures."""
        written, original = self._sizes
        if not original:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(0, 4, self.width(), self.height() - 8)
        painter.setBrush(QColor(self._theme.line))
        painter.drawRoundedRect(whole, 4, 4)
        share = min(1.0, written / original)
        painter.setBrush(QColor(self._theme.accent))
        painter.drawRoundedRect(QRectF(0, 4, max(6.0, whole.width() * share), whole.height()), 4, 4)
        painter.setPen(QColor(self._theme.text))
        painter.drawText(
            whole.adjusted(0, 0, -6, 0), int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
            f"{100 * written / original:.1f} % of FP32",
        )  # fmt: skip


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for at, widget in enumerate(widgets):
        row.addWidget(widget, 0 if at else 1)
    return row
