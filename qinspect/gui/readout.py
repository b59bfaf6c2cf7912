"""What the numbers are for the layer at hand, and what is wrong with it, in words."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QGuiApplication, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QVBoxLayout, QWidget

from qinspect import figures as fmt
from qinspect.findings import Finding
from qinspect.gui.theme import DARK, Theme
from qinspect.quant.limits import Limits
from qinspect.session import Inspection, original_nbytes

ROWS = (
    ("SQNR in range", "sqnr_in_range", "Signal to noise against the weights clipped to what the codes can express."),
    (
        "Against the best levels",
        "gap",
        "From the measured SQNR to the best fixed levels for the whole layer, as many as the scheme has.",
    ),
    ("RMSE", "rmse", "Root mean square error of a weight."),
    (
        "RMSE / step",
        "rmse_per_step",
        "0.289 is plain rounding. More means clipping or a misfit; less, codes that fit well.",
    ),
    ("Max error", "max_error", "Largest error of any weight."),
    ("Cosine", "cosine", "Cosine of the angle between original and decoded weights."),
    ("Codes used", "codes", "How many of the codes occur at all."),
    ("Entropy", "entropy", "Bits a code would take with ideal coding."),
    (
        "Clipped",
        "clipped",
        "Share of the weights beyond the end codes. With minmax, what rounding the stored parameters leaves outside.",
    ),
    ("Size", "size", "Bytes of this layer, everything stored counted, and against the original."),
)


SPARE = ("sqnr_in_range", "gap", "rmse", "cosine", "entropy")
"""Rows that give way in a low window, so that the findings below them are seen."""


class Readout(QWidget):
    """The figures of one layer: SQNR and bits a weight large, the rest in rows that never change their width."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._shown: Inspection | None = None
        self.sqnr = self._large("Signal to quantization noise ratio: 6 dB more halve the error.")
        self.bpw = self._large("Bits per weight: codes, padding and parameters, everything stored.")
        self.titles: dict[str, QLabel] = {}
        self.values: dict[str, QLabel] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.sqnr, 0, 0)
        grid.addWidget(self.bpw, 0, 1, Qt.AlignmentFlag.AlignRight)
        sqnr, bpw = _muted("SQNR", self), _muted("bits per weight", self)
        for label, value in ((sqnr, self.sqnr), (bpw, self.bpw)):
            label.setToolTip(value.toolTip())
            value.setAccessibleName(label.text())
        grid.addWidget(sqnr, 1, 0)
        grid.addWidget(bpw, 1, 1, Qt.AlignmentFlag.AlignRight)
        grid.setRowMinimumHeight(2, 4)
        for row, (title, key, tip) in enumerate(ROWS, 3):
            label, value = _muted(title, self), QLabel(fmt.NONE, self)
            for widget in (label, value):
                widget.setToolTip(tip)
            value.setAccessibleName(title)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(label, row, 0)
            grid.addWidget(value, row, 1, Qt.AlignmentFlag.AlignRight)
            self.titles[key], self.values[key] = label, value
        grid.setColumnStretch(0, 1)

    def set_compact(self, compact: bool) -> None:
        """Leave out rows where there is little room."""
        for key in SPARE:
            self.titles[key].setVisible(not compact)
            self.values[key].setVisible(not compact)

    def _large(self, tip: str) -> QLabel:
        label = QLabel(fmt.NONE, self)
        font = label.font()
        font.setPointSizeF(20)
        label.setFont(font)
        label.setToolTip(tip)
        return label

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        if self._shown is not None:
            self.show_inspection(self._shown)

    def clear(self) -> None:
        """Show that there is nothing to read."""
        self._shown = None
        self.sqnr.setStyleSheet("")
        for label in (self.sqnr, self.bpw, *self.values.values()):
            label.setText(fmt.NONE)

    def show_inspection(self, inspection: Inspection) -> None:
        """Show one layer; ≈ marks what was computed from a sample of the rows."""
        self._shown = inspection
        m = inspection.metrics
        about = "≈ " if inspection.part < 1 else ""
        self.sqnr.setText(about + fmt.decibels(m.sqnr_db))
        theme = self._theme
        colour = theme.bad if m.sqnr_db < 6 else theme.warning if m.sqnr_db < 14 else theme.text
        self.sqnr.setStyleSheet(f"color: {colour};")
        exact_bpw = inspection.scheme.bpw(inspection.info.shape) if inspection.part < 1 else m.bpw
        nbytes = inspection.scheme.nbytes(inspection.info.shape) if inspection.part < 1 else m.nbytes
        self.bpw.setText(fmt.bits(exact_bpw))
        original = original_nbytes(inspection.info)
        texts = {
            "sqnr_in_range": about + fmt.decibels(m.sqnr_in_range_db),
            "gap": _gap(inspection.limits.gap_db, about),
            "rmse": about + fmt.magnitude(m.rmse),
            "rmse_per_step": fmt.NONE if math.isnan(m.rmse_per_step) else f"{about}{m.rmse_per_step:.3f}",
            "max_error": ("≥ " if about else "") + fmt.magnitude(m.max_error),
            "cosine": fmt.NONE if math.isnan(m.cosine) else f"{about}{m.cosine:.4f}",
            "codes": f"{'≥ ' if about else ''}{m.levels_used:,} of {m.levels:,}",
            "entropy": f"{about}{m.entropy_bits:.2f} bits",
            "clipped": about + fmt.percent(m.clipped),
            "size": f"{fmt.nbytes(nbytes)} of {fmt.nbytes(original)}",
        }
        for key, text in texts.items():
            self.values[key].setText(text)
        self.titles["gap"].setText(f"Against the best {inspection.limits.levels:,} levels")
        self.values["gap"].setToolTip(_limits_text(inspection.limits))


class FindingsList(QWidget):
    """What is wrong with the layer, the gravest first, each with its remedy; `asked` for the place of one."""

    asked = Signal(object)  # Finding
    MARKS = {"error": "●", "warning": "▲", "info": "○"}  # noqa: RUF012 - never changed

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(8)
        self._layout.addStretch(1)
        self._found: tuple[Finding, ...] = ()
        self._note = ""

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.show_findings(self._found, self._note)

    def show_text(self, text: str) -> None:
        """Show one sentence instead of findings."""
        self.show_findings((), text)

    def show_findings(self, found: tuple[Finding, ...], note: str = "") -> None:
        """Show findings below a note, or that there are none."""
        self._found, self._note = found, note
        self._clear()
        if note or not found:
            first = self._wrapped(note or "Nothing unusual was found in this layer.", muted=True)
            self._layout.insertWidget(self._layout.count() - 1, first)
        for finding in found:
            self._layout.insertWidget(self._layout.count() - 1, self._entry(finding))

    def texts(self) -> list[str]:
        """What is shown."""
        return [finding.text for finding in self._found]

    def _entry(self, finding: Finding) -> QWidget:
        theme = self._theme
        colour = {"error": theme.bad, "warning": theme.warning}.get(finding.severity, theme.muted)
        entry = Entry(finding, self)
        entry.asked.connect(self.asked)
        grid = QGridLayout(entry)
        grid.setContentsMargins(4, 2, 4, 2)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(1)
        mark = QLabel(self.MARKS[finding.severity], entry)
        mark.setStyleSheet(f"color: {colour};")
        mark.setAccessibleName(finding.severity)
        grid.addWidget(mark, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self._wrapped(finding.text), 0, 1)
        gain = f" (about {finding.gain_db:.1f} dB)" if finding.gain_db is not None else ""
        grid.addWidget(self._wrapped(finding.remedy + gain, muted=True), 1, 1)
        grid.setColumnStretch(1, 1)
        return entry

    def _wrapped(self, text: str, *, muted: bool = False) -> QLabel:
        label = QLabel(text, self)
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.PlainText)
        if muted:
            label.setObjectName("muted")
        return label

    def _clear(self) -> None:
        while self._layout.count() > 1:
            if (item := self._layout.takeAt(0)) and (widget := item.widget()):
                widget.hide()
                widget.deleteLater()


class Entry(QFrame):
    """One finding. A click, or Return, asks for the place it speaks of; the context menu copies it."""

    asked = Signal(object)  # Finding

    def __init__(self, finding: Finding, parent: QWidget) -> None:
        super().__init__(parent)
        self._finding = finding
        self.setObjectName("entry")
        self.setAccessibleName(f"{finding.severity}: {finding.text}")
        self.setAccessibleDescription(finding.remedy)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        copy = QAction("Copy", self)
        copy.triggered.connect(self._copy)
        self.addAction(copy)
        if finding.place is not None:
            self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            self.setCursor(Qt.CursorShape.PointingHandCursor)
            self.setToolTip("Show where")

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(f"{self._finding.text} {self._finding.remedy}")

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ask, if the button was let go over the finding."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._ask()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return and Space ask."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._ask()
        else:
            super().keyPressEvent(event)

    def _ask(self) -> None:
        if self._finding.place is not None:
            self.asked.emit(self._finding)


def _gap(gap_db: float | None, about: str) -> str:
    """`0.9 dB under` where the levels are so much worse than the best, `0.4 dB above` where groups make them better."""
    if gap_db is None or not math.isfinite(gap_db):
        return fmt.NONE
    if abs(gap_db) < 0.05:
        return f"{about}as good"
    return f"{about}{abs(gap_db):.1f} dB {'under' if gap_db > 0 else 'above'}"


def _limits_text(limits: Limits) -> str:
    """All limits, for the tool tip."""
    lines = [
        limits.sentence,
        f"Best {limits.levels:,} levels on Gaussian weights: {fmt.decibels(limits.gaussian_db)}; "
        f"evenly spaced: {fmt.decibels(limits.uniform_db)}",
        f"6.02 dB a bit: {fmt.decibels(limits.bound_db)} for the codes, "
        f"{fmt.decibels(limits.entropy_bound_db)} for their entropy",
    ]
    if limits.own_db is not None:
        lines.insert(1, f"Best {limits.levels:,} levels on this layer's own weights: {fmt.decibels(limits.own_db)}")
    return "\n".join(lines)


def _muted(text: str, parent: QWidget) -> QLabel:
    label = QLabel(text, parent)
    label.setObjectName("muted")
    return label
