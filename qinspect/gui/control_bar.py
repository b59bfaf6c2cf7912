"""The small widgets in a view's header: as many as there is room for, and all of them in a menu."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtGui import QAction, QActionGroup, QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QComboBox, QMenu, QSizePolicy, QWidget

SPACING = 4
ARROW = 42
"""Pixels of a choice beside its text."""


class ControlBar(QWidget):
    """Widgets side by side at the right, the most important first; those that find no room are left out."""

    def __init__(self, controls: list[QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.controls = controls
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for control in controls:
            control.setParent(self)

    def sizeHint(self) -> QSize:
        """All of them."""
        hints = [_hint(control) for control in self.controls]
        height = max((hint.height() for hint in hints), default=0)
        return QSize(sum(hint.width() + SPACING for hint in hints), height)

    def minimumSizeHint(self) -> QSize:
        """At least the first is seen."""
        first = _hint(self.controls[0]).width() + SPACING if self.controls else 0
        return QSize(first, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show what fits."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        fitting: list[QWidget] = []
        spare = self.width()
        for control in self.controls:
            spare -= _hint(control).width() + SPACING
            if spare < 0:
                spare += _hint(control).width() + SPACING
                break
            fitting.append(control)
        widths = {}
        for control in fitting:  # choices shorten their entries where there is no room for them
            least = _hint(control).width()
            widths[control] = min(least + spare, max(least, _full_width(control)))
            spare -= widths[control] - least
        for control in self.controls:
            control.setVisible(control in fitting)
            if control in fitting:
                height = _hint(control).height()
                control.setGeometry(spare, (self.height() - height) // 2, widths[control], height)
                spare += widths[control] + SPACING

    def fill(self, menu: QMenu) -> None:
        """Offer everything that the widgets do in a menu as well."""
        for control in self.controls:
            if isinstance(control, QComboBox):
                _offer_choice(menu, control)
            elif isinstance(control, QAbstractButton):
                _offer_button(menu, control)


def _hint(control: QWidget) -> QSize:
    """What a widget wants, within what it may have."""
    return control.sizeHint().expandedTo(control.minimumSize()).boundedTo(control.maximumSize())


def _title(control: QComboBox | QAbstractButton) -> str:
    """What a control is called."""
    text = control.text() if isinstance(control, QAbstractButton) else ""
    return control.accessibleName() or text


def _full_width(control: QWidget) -> int:
    """The width in which no entry of a choice is shortened."""
    if not isinstance(control, QComboBox):
        return 0
    metrics = control.fontMetrics()
    longest = max((metrics.horizontalAdvance(control.itemText(at)) for at in range(control.count())), default=0)
    return longest + ARROW


def _offer_choice(menu: QMenu, box: QComboBox) -> None:
    inside = menu.addMenu(_title(box))
    inside.setEnabled(box.isEnabled())
    group = QActionGroup(inside)
    for index in range(box.count()):
        action = QAction(box.itemText(index).replace("&", "&&"), inside)
        action.setCheckable(True)
        action.setChecked(index == box.currentIndex())
        action.triggered.connect(lambda _=False, index=index: box.setCurrentIndex(index))
        group.addAction(action)
        inside.addAction(action)


def _offer_button(menu: QMenu, button: QAbstractButton) -> None:
    action = QAction(_title(button), menu)
    action.setToolTip(button.toolTip())
    action.setCheckable(button.isCheckable())
    action.setChecked(button.isChecked())
    action.setEnabled(button.isEnabled())
    action.triggered.connect(lambda _=False: button.click())
    menu.addAction(action)
