"""Every control has a name that is read aloud, and every number and control a sentence that explains it."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QHeaderView,
    QLineEdit,
    QListView,
    QMenu,
    QMenuBar,
    QScrollBar,
    QTabBar,
    QTableView,
    QTreeView,
)

from qinspect.assets import resource

CONTROLS = (QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)
PARTS_OF = (QAbstractItemView, QAbstractSpinBox, QComboBox, QDockWidget, QLineEdit, QMenuBar, QTabBar)


@pytest.fixture
def open_window(window, settle):
    window.open(resource("samples/digits.safetensors"))
    settle(window)
    return window


def controls(window):
    """All that a person can reach, also on tabs that are not in front; not the parts that Qt makes controls of."""
    for widget in (each for kind in CONTROLS for each in window.findChildren(kind)):
        around = widget.parentWidget()
        in_menu = any(isinstance(each, QMenu) for each in ancestors(widget))
        if not (in_menu or isinstance(around, PARTS_OF) or isinstance(widget, (QScrollBar, QHeaderView, QListView))):
            yield widget


def ancestors(widget):
    while (widget := widget.parentWidget()) is not None:
        yield widget


def described(widget):
    return f"{type(widget).__name__} {widget.objectName()!r} in {type(widget.parent()).__name__}"


def test_every_control_has_a_name(open_window):
    unnamed = [
        described(widget)
        for widget in controls(open_window)
        if not (widget.accessibleName() or (isinstance(widget, QAbstractButton) and len(widget.text()) > 2))
    ]
    assert not unnamed, "\n".join(unnamed)


def test_every_control_is_explained(open_window):
    plain = [
        f"{described(widget)} {widget.accessibleName() or getattr(widget, 'text', str)()!r}"
        for widget in controls(open_window)
        if not isinstance(widget, QAbstractItemView) and not widget.toolTip()
    ]
    assert not plain, "\n".join(plain)


def test_every_column_is_explained(open_window):
    for table in [*open_window.findChildren(QTableView), *open_window.findChildren(QTreeView)]:
        model = table.model()
        for column in range(model.columnCount() if model is not None else 0):
            title = model.headerData(column, Qt.Orientation.Horizontal)
            tip = model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
            assert tip or not title, f"{described(table)}: {title}"


def test_every_figure_is_explained(open_window):
    labels = [label for label in open_window.readout.findChildren(type(open_window.readout.sqnr)) if label.text()]
    assert len(labels) > 10
    assert not [label.text() for label in labels if not label.toolTip()]
