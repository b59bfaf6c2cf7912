"""A bar above the window's content for what went wrong and needs more room than the status bar has."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from qinspect.errors import printable
from qinspect.gui.plain import PlainLabel

DETAILS_HEIGHT = 110


class TroubleBar(QFrame):
    """Wraps a sentence, can be copied, and unfolds details where there are any."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("trouble")
        self.text = PlainLabel(self)
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.unfold = QPushButton("Details", self)
        self.unfold.setCheckable(True)
        self.unfold.setToolTip("Where in the program it happened")
        self.copy = QPushButton("Copy", self)
        self.copy.setToolTip("Copy this message")
        self.dismiss = QPushButton("Dismiss", self)
        self.dismiss.setToolTip("Put this message away")
        self.details = QPlainTextEdit(self)
        self.details.setReadOnly(True)
        self.details.setFixedHeight(DETAILS_HEIGHT)
        self.details.setAccessibleName("Details")
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        for button in (self.unfold, self.copy, self.dismiss):
            row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 6, 8, 6)
        column.addLayout(row)
        column.addWidget(self.details)
        self.unfold.toggled.connect(self.details.setVisible)
        self.copy.clicked.connect(self._on_copy)
        self.dismiss.clicked.connect(self.hide)
        self.hide()

    def tell(self, sentence: str, details: str = "") -> None:
        """Say what went wrong; `details` are for whoever mends it."""
        if self.isVisible() and (sentence, details) == (self.text.text(), self.details.toPlainText()):
            return  # an error that comes again with every painting must not itself cause one
        self.text.setText(sentence)
        self.setAccessibleName(sentence)
        self.details.setPlainText(details)
        self.unfold.setVisible(bool(details))
        self.unfold.setChecked(False)
        self.details.hide()
        self.copy.setText("Copy details" if details else "Copy")
        self.copy.setToolTip("Copy all of this message, for a report" if details else "Copy this message")
        self.show()

    def clear(self) -> None:
        """Something else was done since; what was unexpected stays until it is put away."""
        if not self.details.toPlainText():
            self.hide()

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText("\n\n".join(filter(None, (self.text.text(), self.details.toPlainText()))))


def catch_unexpected(tell: Callable[[str, str], None]) -> None:
    """From now on errors that nobody foresaw are logged and told with their details, and the window goes on."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception):
            sys.__excepthook__(kind, error, trace)
            return
        logging.getLogger(__name__).error("unexpected error", exc_info=(kind, error, trace))
        what = printable(f"{kind.__name__}: {error}".rstrip(": "), 200)
        tell(
            f"Something unexpected happened ({what}); the window goes on, and “Copy details” makes a report of it.",
            "".join(traceback.format_exception(kind, error, trace)).rstrip(),
        )

    sys.excepthook = hook
