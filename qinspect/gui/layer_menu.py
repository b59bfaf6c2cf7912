"""The context menu of the layer table: copy, and give schemes to layers."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu

from qinspect.gui.controller import Controller
from qinspect.gui.layer_table import LayerTable
from qinspect.gui.recipe_files import copied_scheme, copy_scheme
from qinspect.gui.scopes import Scope
from qinspect.recipe import ALL


def build(table: LayerTable, controller: Controller, value: str | None) -> QMenu:
    """The menu for the current row and the selection; `value` is the text of the cell that was clicked."""
    menu = QMenu(table)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    if value is not None and controller.info is not None:
        _schemes(menu, controller)
        menu.addSeparator()
        menu.addAction("Copy value", lambda: QGuiApplication.clipboard().setText(value))
        menu.addAction("Copy rows\tCtrl+C", table.copy_rows)
    menu.addAction("Copy table", table.copy_table)
    return menu


def _schemes(menu: QMenu, controller: Controller) -> None:
    place, scheme = controller.place, controller.scheme
    selection = list(controller.selection)
    label = "Leave alone" if scheme is None else scheme.label
    apply = menu.addMenu(f"Apply “{label}” to")
    for scope, same in place.offered().items():
        if scope == same:
            where = ALL if scope == Scope.ALL else place.reach(scope)
            apply.addAction(place.title(scope), partial(controller.apply, scheme, where))
    whom = place.title(Scope.SELECTION if len(selection) > 1 else Scope.LAYER)
    alone = menu.addAction(f"Leave {whom} alone", partial(controller.apply, None, selection))
    alone.setEnabled(any(controller.recipe.scheme_for(info) for info in place.infos if info.name in selection))
    menu.addAction("Copy scheme", partial(copy_scheme, scheme))
    copied = copied_scheme()
    paste = menu.addAction("Paste scheme" if copied is None or copied[0] is None else f"Paste “{copied[0].label}”")
    paste.setEnabled(copied is not None)
    if copied is not None:
        paste.triggered.connect(lambda: controller.apply(copied[0], selection))
