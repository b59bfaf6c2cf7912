"""The frame around a view: title, what the picture says in words, its controls, and a way to fill the centre."""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from qinspect.gui.views.view import GRID, View
from qinspect.session import Inspection


class ElidedLabel(QLabel):
    """A label that shortens its text to the room it has; the tool tip holds the whole."""

    def __init__(self, parent: QWidget | None = None, *, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__(parent)
        self._mode = mode
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(20)

    def setText(self, text: str) -> None:
        """Show `text`, as much of it as fits."""
        super().setText(text)
        self.setToolTip(text)

    def sizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(20, super().sizeHint().height())

    def paintEvent(self, _: QPaintEvent) -> None:
        """Draw the shortened text."""
        painter = QPainter(self)
        shown = self.fontMetrics().elidedText(self.text(), self._mode, self.width())
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.rect(), int(self.alignment() | Qt.AlignmentFlag.AlignVCenter), shown)


class ViewFrame(QFrame):
    """A card with a view in it. `enlarge_requested` follows a double-click on the header or its button."""

    enlarge_requested = Signal()

    def __init__(self, view: View, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view = view
        self._missed: tuple[Inspection | None, str] | None = None
        self.setObjectName("card")
        title = QLabel(view.title, self)
        title.setObjectName("title")
        self.sentence = ElidedLabel(self)
        self.sentence.setObjectName("muted")
        view.summarised.connect(self.sentence.setText)
        self._enlarge = QToolButton(self)
        self._enlarge.setText("⤢")
        self._enlarge.setCheckable(True)
        self._enlarge.setToolTip("Fill the centre with this view (double-click on the title)")
        self._enlarge.setAccessibleName(f"Enlarge {view.title}")
        self._enlarge.clicked.connect(self.enlarge_requested)
        head = QHBoxLayout()
        head.setContentsMargins(10, 5, 6, 0)
        head.setSpacing(4)
        head.addWidget(title)
        head.addStretch(1)
        self._controls = view.controls()
        for control in self._controls:
            head.addWidget(control)
        head.addWidget(self._enlarge)
        self._enlarge.setVisible(view.place == GRID)
        said = QHBoxLayout()
        said.setContentsMargins(10, 0, 10, 0)
        said.addWidget(self.sentence)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addLayout(said)
        layout.addWidget(view, 1)
        for before, after in pairwise((*self._controls, self._enlarge)):
            self.setTabOrder(before, after)

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Let the view draw a layer: now, or once it can be seen."""
        self._missed = inspection, message
        if self.isVisible():
            self._catch_up()

    def _catch_up(self) -> None:
        missed, self._missed = self._missed, None
        if missed is not None:
            self.view.show_inspection(*missed)

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what came while nobody could see it."""
        super().showEvent(event)
        self._catch_up()

    def show_enlarged(self, enlarged: bool) -> None:
        """Tell by the button whether the view fills the centre."""
        self._enlarge.setChecked(enlarged)

    def set_compact(self, compact: bool) -> None:
        """Leave out the controls where there is no room for them; the title comes first."""
        for control in self._controls:
            control.setVisible(not compact)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Enlarge; double-clicks within the view belong to the view."""
        if self.view.place == GRID and not self.view.geometry().contains(event.position().toPoint()):
            self.enlarge_requested.emit()


class ViewGrid(QWidget):
    """The views, two by two; one of them may fill the whole."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.frames: list[ViewFrame] = []
        self.enlarged: ViewFrame | None = None
        self._compact = False
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(8)

    def add(self, view: View) -> ViewFrame:
        """Put one more view in the next free place; its frame."""
        frame = ViewFrame(view, self)
        frame.enlarge_requested.connect(lambda: self.toggle(frame))
        self.frames.append(frame)
        self._arrange()
        return frame

    def set_compact(self, compact: bool) -> None:
        """Whether the window is too narrow for all controls of views side by side."""
        if compact != self._compact:
            self._compact = compact
            self._arrange()

    def toggle(self, frame: ViewFrame) -> None:
        """Let `frame` fill the whole, or show all again; the room taken stays the same."""
        if self.enlarged is None:
            self.setMinimumWidth(self.minimumSizeHint().width())
        self.enlarged = None if self.enlarged is frame else frame
        self._arrange()

    def _arrange(self) -> None:
        shown = self.frames if self.enlarged is None else [self.enlarged]
        for frame in self.frames:
            self._layout.removeWidget(frame)
            frame.setVisible(frame in shown)
            frame.show_enlarged(frame is self.enlarged)
            frame.set_compact(self._compact and self.enlarged is None)
        for number in (0, 1):  # an empty row or column must not keep its room
            self._layout.setRowStretch(number, number <= (len(shown) - 1) // 2)
            self._layout.setColumnStretch(number, number < len(shown))
        for number, frame in enumerate(shown):
            self._layout.addWidget(frame, *divmod(number, 2))
        if self.enlarged is None:
            self.setMinimumWidth(0)
