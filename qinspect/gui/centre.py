"""The centre of the window: the name of the selected layer, its views two by two, and those on tabs of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHBoxLayout, QLabel, QTabWidget, QVBoxLayout, QWidget

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.compare_bar import CompareBar
from qinspect.gui.controller import Controller
from qinspect.gui.frame import ElidedLabel, ViewFrame, ViewGrid
from qinspect.gui.one_pass import OnePass
from qinspect.gui.theme import Theme
from qinspect.session import Inspection


class Centre(QWidget):
    """Holds the frames of all views: `frames` in their order, those of `grid` first; the others on `tabs`."""

    def __init__(self, bar: CompareBar, parent: QWidget | None = None) -> None:
        """`bar` stands above the views, the button that brings it up beside the layer's name."""
        super().__init__(parent)
        self.frames: list[ViewFrame] = []
        self.grid = ViewGrid(self)
        self.tabs = QTabWidget(self)
        self._name = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self._facts = QLabel(self)
        self.tabs.setDocumentMode(True)
        self.tabs.setTabBarAutoHide(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.tabBar().setAccessibleName("Views")
        self.tabs.addTab(self.grid, "Layer")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(self._header(bar.start))
        column.addWidget(bar)
        column.addWidget(self.tabs, 1)

    def _header(self, start: QWidget) -> QHBoxLayout:
        font = self._name.font()
        font.setPointSizeF(13)
        font.setWeight(QFont.Weight.DemiBold)
        self._name.setFont(font)
        self._name.setMinimumHeight(26)
        self._facts.setObjectName("muted")
        row = QHBoxLayout()
        row.setContentsMargins(4, 2, 4, 0)
        row.setSpacing(12)
        row.addWidget(self._name, 1)
        row.addWidget(self._facts)
        row.addWidget(start)
        return row

    def build(self, controller: Controller, theme: Theme) -> None:
        """Import the plotting library and make the views."""
        from qinspect.gui.views.view import GRID, registry

        for cls in registry:
            view = cls()
            view.attach(controller)
            view.set_theme(theme)
            view.show_inspection(None, "Select a layer in the table.")
            if view.place == GRID:
                self.frames.append(self.grid.add(view))
            else:
                self.frames.append(ViewFrame(view, self))
                self.tabs.addTab(self.frames[-1], view.title)
                view.wanted.connect(partial(self.tabs.setCurrentWidget, self.frames[-1]))

    def set_theme(self, theme: Theme) -> None:
        """Recolour all views."""
        for frame in self.frames:
            frame.view.set_theme(theme)

    # The layer.

    def show_layer(self, info: TensorInfo | None) -> None:
        """Name the layer that is looked at."""
        self._name.setText("" if info is None else printable(info.name))
        facts = () if info is None else (fmt.shape(info.shape), info.qtype or info.dtype, fmt.nbytes(info.nbytes))
        self._facts.setText("   ·   ".join(facts))

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Let all views draw a layer, or show `message`."""
        with OnePass(self):
            for frame in self.frames:
                frame.show_inspection(inspection, message)

    # What is in front.

    def frame(self, name: str) -> ViewFrame | None:
        """The frame of the view of this name."""
        return next((frame for frame in self.frames if frame.view.name == name), None)

    def enlarge(self, frame: ViewFrame | None) -> None:
        """Let one view fill the centre; None shows all."""
        self.tabs.setCurrentIndex(0)
        changed = frame or self.grid.enlarged
        if changed is not None and self.grid.enlarged is not frame:
            self.grid.toggle(changed)
        if frame is not None:
            frame.view.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def bring_up(self, name: str) -> ViewFrame | None:
        """Let the view of this name be seen, beside the others if it is one of several; its frame, if there is one."""
        frame = self.frame(name)
        if frame in self.grid.frames:
            self.tabs.setCurrentIndex(0)
            if self.grid.enlarged not in (None, frame):
                self.enlarge(frame)
        elif frame is not None:
            self.tabs.setCurrentWidget(frame)
        return frame

    def shown(self) -> dict[str, Any]:
        """What is in front, for the next start."""
        large = self.grid.enlarged
        return {
            "tab": self.tabs.tabText(self.tabs.currentIndex()),
            "enlarged": None if large is None else large.view.name,
        }

    def show_again(self, before: Mapping[str, Any]) -> None:
        """Bring to the front what `shown` told, as far as it is still there."""
        titles = [self.tabs.tabText(at) for at in range(self.tabs.count())]
        large = next((frame for frame in self.grid.frames if frame.view.name == before.get("enlarged")), None)
        self.enlarge(large)
        if before.get("tab") in titles:
            self.tabs.setCurrentIndex(titles.index(before["tab"]))
