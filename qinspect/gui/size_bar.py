"""How much of a limit is used, drawn."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from qinspect.gui.theme import DARK, Theme


class SizeBar(QWidget):
    """A bar with words on it: a share of a whole, or more than that. Without words it is not shown."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._share = 0.0
        self.text = ""
        self.setFixedHeight(20)
        self.setAccessibleName(name)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(120, 20)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self._theme = theme
        self.update()

    @property
    def over(self) -> bool:
        """Whether it is more than the whole."""
        return self._share > 1

    def show_share(self, share: float, text: str, tip: str = "") -> None:
        """Show what is used of the whole, 1 being all."""
        self._share, self.text = share, text
        self.setToolTip(tip)
        self.setAccessibleDescription(text)
        self.setVisible(bool(text))
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:
        """Two bars, one upon the other; of more than the whole, a line where the whole ends."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(0, 1, self.width(), self.height() - 2)
        painter.setBrush(QColor(self._theme.line))
        painter.drawRoundedRect(whole, 4, 4)
        colour = QColor(self._theme.bad if self.over else self._theme.accent)
        colour.setAlpha(150)
        painter.setBrush(colour)
        painter.drawRoundedRect(QRectF(0, 1, max(6.0, whole.width() * min(1.0, self._share)), whole.height()), 4, 4)
        if self.over:
            painter.setBrush(QColor(self._theme.text))
            painter.drawRect(QRectF(whole.width() / self._share - 1, 1, 2, whole.height()))
        painter.setPen(QColor(self._theme.text))
        painter.drawText(whole.adjusted(8, 0, -8, 0), int(Qt.AlignmentFlag.AlignVCenter), self.text)
