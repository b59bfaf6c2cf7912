"""What a person sees before a file is open: what this is, how to open one, and what was open lately."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from qinspect.errors import printable
from qinspect.gui.plain import caption, tip


class Welcome(QWidget):
    """Buttons for the first step and a list of recent files."""

    open_requested = Signal()
    sample_requested = Signal()
    recent_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        card = QFrame(self)
        card.setObjectName("card")
        card.setFixedWidth(560)
        title = QLabel("See what quantization does to every layer", card)
        font = title.font()
        font.setPointSizeF(18)
        title.setFont(font)
        said = QLabel(
            "Open a checkpoint, or drop it anywhere in this window: FP32 or packed, a file of safetensors, PyTorch, "
            "GGUF, ONNX, TFLite, numpy, or a folder of Hugging Face.\n"
            "Then drag bits and group size, and watch error and size move.",
            card,
        )
        said.setObjectName("muted")
        said.setWordWrap(True)
        opener = QPushButton("Open a checkpoint…", card)
        opener.setToolTip("Choose a file of weights, FP32 or packed (Ctrl+O)")
        opener.setObjectName("primary")
        opener.clicked.connect(self.open_requested)
        sample = QPushButton("Open the sample network", card)
        sample.setToolTip("A small network that reads digits, with a test set (Ctrl+Shift+O)")
        sample.clicked.connect(self.sample_requested)
        buttons = QHBoxLayout()
        buttons.addWidget(opener)
        buttons.addWidget(sample)
        buttons.addStretch(1)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(0)
        inside = QVBoxLayout(card)
        inside.setContentsMargins(28, 24, 28, 24)
        inside.setSpacing(14)
        inside.addWidget(title)
        inside.addWidget(said)
        inside.addLayout(buttons)
        inside.addLayout(self._recent)
        middle = QHBoxLayout()  # not an alignment, which would not ask the text how high it is at this width
        middle.addStretch(1)
        middle.addWidget(card)
        middle.addStretch(1)
        outside = QVBoxLayout(self)
        outside.addStretch(1)
        outside.addLayout(middle)
        outside.addStretch(2)

    def show_recent(self, paths: list[str]) -> None:
        """List files that were open lately."""
        while (item := self._recent.takeAt(0)) is not None:
            if widget := item.widget():
                widget.deleteLater()
        for path in paths[:6]:
            button = QPushButton(
                caption(f"{printable(Path(path).name)}   —   {printable(str(Path(path).parent), 60)}"), self
            )
            button.setFlat(True)
            button.setStyleSheet("text-align: left; border: 0; padding: 4px 0; background: transparent;")
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setToolTip(tip(printable(path, 400)))
            button.clicked.connect(lambda _=False, path=path: self.recent_requested.emit(path))
            self._recent.addWidget(button)
