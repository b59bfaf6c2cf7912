"""How large a file gets, drawn."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from qinspect.gui.theme import DARK, Theme


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
