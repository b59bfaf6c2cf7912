"""The frame around a view: title, what the picture says in words, its controls, and a way to fill the centre."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from PySide6.QtCore import QKeyCombination, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QMouseEvent, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qinspect.errors import QInspectError
from qinspect.gui.control_bar import ControlBar
from qinspect.gui.export import Picture, copy_picture, copy_tables, save_tables
from qinspect.gui.names import clauses
from qinspect.gui.plain import tip
from qinspect.gui.table_window import TableWindow
from qinspect.gui.theme import DARK
from qinspect.gui.views.view import GRID, View
from qinspect.session import Inspection

BUTTON_WIDTH = 26
WRAP = int(Qt.TextFlag.TextWordWrap)

COPY_VALUES = QKeyCombination(Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier, Qt.Key.Key_C)


class ElidedLabel(QLabel):
    """A label that shortens its text to the room it has; the tool tip holds the whole.

    At the right whole clauses are left out, as far as there are any, so that what is read is never half a number.
    """

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        lines: int = 1,
    ) -> None:
        super().__init__(parent)
        self._mode, self._text, self._lines = mode, "", lines
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(20)

    def setText(self, text: str) -> None:
        """Show `text`, as much of it as fits. The label's own way would have the plots around painted anew."""
        if text != self._text:
            self._text = text
            self.setToolTip(tip(text))
            self.setAccessibleName(text)
            self.update()

    def text(self) -> str:
        """The whole of it."""
        return self._text

    def sizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(20, self._lines * self.fontMetrics().lineSpacing() + 2)

    def paintEvent(self, _: QPaintEvent) -> None:
        """Draw the shortened text."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        how = int(self.alignment() | Qt.AlignmentFlag.AlignVCenter)
        painter.drawText(self.rect(), how | WRAP if self._lines > 1 else how, self.shown())

    def shown(self) -> str:
        """What there is room for."""
        text, metrics = self._text, self.fontMetrics()
        if self._fits(text):
            return text
        if self._mode == Qt.TextElideMode.ElideRight:
            text = clauses(text, self._fits)
        return metrics.elidedText(text, self._mode, self._lines * self.width()) if not self._fits(text) else text

    def _fits(self, text: str) -> bool:
        metrics, size = self.fontMetrics(), self.size()
        if self._lines == 1:
            return metrics.horizontalAdvance(text) <= size.width()
        return metrics.boundingRect(0, 0, size.width(), 1 << 16, WRAP, text).height() <= size.height()


class ViewFrame(QFrame):
    """A card with a view in it. `enlarge_requested` follows a double-click on the header or its button."""

    enlarge_requested = Signal()
    told = Signal(str)
    """Something has been done: one sentence."""
    failed = Signal(str)
    """Something could not be done: why."""

    def __init__(self, view: View, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view = view
        self._missed: tuple[Inspection | None, str] | None = None
        self.setObjectName("card")
        title = QLabel(view.title, self)
        title.setObjectName("title")
        self.sentence = ElidedLabel(self, lines=1 if view.place == GRID else 2)
        self.sentence.setObjectName("muted")
        view.summarised.connect(self.sentence.setText)
        self.bar = ControlBar(view.controls(), self)
        self.menu = QMenu(self)
        self.menu.aboutToShow.connect(self._fill_menu)
        self._more = self._button("⋯", "What else can be done with this view", f"Menu of {view.title}")
        self._more.clicked.connect(self._open_menu)
        self._enlarge = self._button(
            "⤢", "Fill the centre with this view (double-click on the title)", f"Enlarge {view.title}"
        )
        self._enlarge.setCheckable(True)
        self._enlarge.clicked.connect(self.enlarge_requested)
        self._enlarge.setVisible(view.place == GRID)
        head = QHBoxLayout()
        head.setContentsMargins(10, 5, 6, 0)
        head.setSpacing(4)
        head.addWidget(title)
        head.addWidget(self.bar, 1)
        head.addWidget(self._more)
        head.addWidget(self._enlarge)
        said = QHBoxLayout()
        said.setContentsMargins(10, 0, 10, 0)
        said.addWidget(self.sentence)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addLayout(said)
        layout.addWidget(view, 1)
        for before, after in pairwise((*self.bar.controls, self._more, self._enlarge)):
            self.setTabOrder(before, after)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(lambda at: self.menu.popup(view.mapToGlobal(at)))

    def _button(self, text: str, tip: str, name: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setToolTip(tip)
        button.setAccessibleName(name)
        button.setFixedWidth(BUTTON_WIDTH)
        return button

    # Showing.

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

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Enlarge; double-clicks within the view belong to the view."""
        if self.view.place == GRID and not self.view.geometry().contains(event.position().toPoint()):
            self.enlarge_requested.emit()

    # The menu.

    def _open_menu(self) -> None:
        self.menu.popup(self._more.mapToGlobal(QPoint(0, self._more.height() + 2)))

    def _fill_menu(self) -> None:
        menu, known = self.menu, bool(self.view.subject())
        menu.clear()
        self.bar.fill(menu)
        for action in self.view.actions_offered():
            menu.addAction(action)
        menu.addSeparator()
        for title, slot, possible in (
            ("Save &picture…", self.save_picture, True),
            ("Save &values as CSV…", self.save_values, known),
            ("Show values as a &table", self.show_table, known),
            ("&Copy picture\tCtrl+C", self.copy_picture, True),
            ("Copy &values\tCtrl+Alt+C", self.copy_values, known),
        ):
            action = menu.addAction(title, slot)
            action.setEnabled(possible)

    @property
    def _caption(self) -> str:
        return " · ".join(filter(None, (self.view.title, self.view.subject())))

    def _picture(self) -> Picture:
        window = self.window()
        return Picture(self.view, self._caption, self.sentence.text(), getattr(window, "theme", DARK))

    def save_picture(self) -> None:
        """Ask where to, and save what is seen as PNG or SVG."""
        path = self._ask_path("Save the picture", ".png", "Pictures (*.png);;Vector graphics (*.svg)")
        if path is not None:
            self._try(lambda: self._picture().save(path), f"Saved {path.name}.")

    def save_values(self) -> None:
        """Ask where to, and save the values that are seen."""
        path = self._ask_path("Save the values", ".csv", "Comma-separated values (*.csv)")
        if path is not None:
            self._try(lambda: save_tables(self.view.tables(), path), f"Saved {path.name}.")

    def _ask_path(self, title: str, suffix: str, kinds: str) -> Path | None:
        words = filter(None, (self.view.name, self.view.subject()))
        name = re.sub(r"[^\w.-]+", "-", "-".join(words))[:120].strip("-.")
        text, kind = QFileDialog.getSaveFileName(self, title, name + suffix, kinds)
        if not text:
            return None
        path = Path(text)
        chosen = ".svg" if "svg" in kind else suffix
        return path if path.suffix.lower() in (".png", ".svg", ".csv") else path.with_name(path.name + chosen)

    def show_table(self) -> None:
        """Open the values in a window of their own."""
        shown = TableWindow(self.view.tables(), self._caption, self)
        shown.save_requested.connect(self.save_values)
        shown.show()

    def copy_picture(self) -> None:
        """To the clipboard."""
        copy_picture(self._picture())
        self.told.emit(f"Copied the picture of {self.view.title}.")

    def copy_values(self) -> None:
        """To the clipboard."""
        copy_tables(self.view.tables())
        self.told.emit(f"Copied the values of {self.view.title}.")

    def _try(self, work: Callable[[], None], done: str) -> None:
        try:
            work()
        except QInspectError as error:
            self.failed.emit(str(error))
        else:
            self.told.emit(done)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+C copies the picture, with Alt the values; the menu key opens the menu."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_picture()
        elif event.keyCombination() == COPY_VALUES and self.view.subject():
            self.copy_values()
        elif event.key() == Qt.Key.Key_Menu:
            self._open_menu()
        else:
            super().keyPressEvent(event)


class ViewGrid(QWidget):
    """The views, two by two; one of them may fill the whole."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.frames: list[ViewFrame] = []
        self.enlarged: ViewFrame | None = None
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
        for number in (0, 1):  # an empty row or column must not keep its room
            self._layout.setRowStretch(number, number <= (len(shown) - 1) // 2)
            self._layout.setColumnStretch(number, number < len(shown))
        for number, frame in enumerate(shown):
            self._layout.addWidget(frame, *divmod(number, 2))
        if self.enlarged is None:
            self.setMinimumWidth(0)
