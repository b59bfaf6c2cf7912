"""What outputs lose under the recipe, in a line, and the button to choose inputs for it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QToolButton, QWidget

from qinspect.errors import printable
from qinspect.evaluation import Evaluation
from qinspect.gui.accuracy import in_short, in_words
from qinspect.gui.controller import Controller
from qinspect.gui.plain import PlainLabel, tip

INPUTS = "Inputs (*.npz *.npy *.pt *.safetensors)"
NOTHING = "Choose inputs to see what outputs lose."


class OutputsRow(QWidget):
    """`changed` tells that `found` is another."""

    changed = Signal()

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.found: Evaluation | None = None
        self.label = PlainLabel(self)
        self.label.setObjectName("muted")
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.button = QToolButton(self)
        self.button.setText("Inputs…")
        self.button.setObjectName("field")
        self.button.setToolTip("Choose a file with inputs x, and perhaps labels y, for the network or its layers")
        self.button.clicked.connect(self._on_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.setFocusProxy(self.button)
        controller.evaluated.connect(self._on_evaluated)
        controller.accuracy.changed.connect(self._show)
        controller.accuracy.failed.connect(self.label.setText)
        self._show()

    def _on_clicked(self) -> None:
        checkpoint = self._controller.session.checkpoint
        folder = "" if checkpoint is None else str(checkpoint.path.parent)
        path, _ = QFileDialog.getOpenFileName(self, "Inputs", folder, INPUTS)
        if path:
            self._controller.accuracy.choose(Path(path))

    def _on_evaluated(self, found: Evaluation | None) -> None:
        self.found = found
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        """What outputs lose, and with what inputs that was found."""
        path, found = self._controller.accuracy.path, self.found
        before = "" if path is None else f"{printable(path.name, 40)}: "
        waiting = NOTHING if path is None else "running…"
        self.label.setText(before + (waiting if found is None else in_short(found)))
        self.label.setToolTip("" if found is None else tip(in_words(found)))
