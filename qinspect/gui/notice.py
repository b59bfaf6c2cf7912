"""A bar above the window's content that says what has happened and offers what can be done about it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from qinspect.gui.plain import PlainLabel


class NoticeBar(QFrame):
    """Hidden until there is something to say; gone once something was done or it was put away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self.text = PlainLabel(self)
        self.text.setWordWrap(True)
        self.action = QPushButton(self)
        self.action.setAccessibleName("What can be done")
        self.action.setToolTip("Do this, and put the message away")
        self.dismiss = QPushButton("Dismiss", self)
        self.dismiss.setToolTip("Put this message away")
        self._run: Callable[[], object] = lambda: None
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 8, 6)
        row.addWidget(self.text, 1)
        row.addWidget(self.action)
        row.addWidget(self.dismiss)
        self.action.clicked.connect(self._on_action)
        self.dismiss.clicked.connect(self.hide)
        self.hide()

    def show_notice(self, text: str, action: str, run: Callable[[], object]) -> None:
        """Say something, and offer one thing to do."""
        self.text.setText(text)
        self.setAccessibleName(text)
        self.action.setText(action)
        self.action.setAccessibleName(action)
        self._run = run
        self.show()

    def _on_action(self) -> None:
        self.hide()
        self._run()
