"""The choice of layers that a change of the scheme is for."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QWidget

from qinspect.errors import printable
from qinspect.gui.controller import Controller
from qinspect.gui.plain import tip
from qinspect.gui.scopes import Scope
from qinspect.recipe import kind_of

TIPS = {
    Scope.ALL: "Every layer gets the scheme; rules for some of them go.",
    Scope.LAYER: "A rule for this layer alone.",
    Scope.SELECTION: "Rules for the layers that are selected in the table.",
    Scope.KIND: "One rule for the layers whose names differ in numbers alone.",
    Scope.RULE: "The rule that decides on this layer changes, with all layers under it.",
}


class ScopeBox(QWidget):
    """Offers what differs for the layer at hand, and tells how many layers each choice reaches."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.choice = QComboBox(self)
        self.choice.setAccessibleName("Changes apply to")
        self.choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.choice.activated.connect(lambda at: controller.set_scope(Scope(self.choice.itemData(at))))
        label = QLabel("Applies to", self)
        label.setObjectName("muted")
        label.setBuddy(self.choice)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(label)
        row.addWidget(self.choice, 1)
        controller.place_changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        place = self._controller.place
        same = place.offered()
        offered = [scope for scope in Scope if same[scope] == scope]
        entries = [(place.title(scope), scope.value) for scope in offered or [Scope.ALL]]
        if entries != [(self.choice.itemText(at), self.choice.itemData(at)) for at in range(self.choice.count())]:
            self.choice.clear()
            for text, scope in entries:
                self.choice.addItem(text, scope)
        for at, (_, scope) in enumerate(entries):
            about = f"\n{printable(kind_of(place.info.name), 400)}" if scope == Scope.KIND and place.info else ""
            self.choice.setItemData(at, tip(TIPS[Scope(scope)] + about), Qt.ItemDataRole.ToolTipRole)
        self.choice.setCurrentIndex(max(0, self.choice.findData(same[self._controller.scope].value)))
        self.choice.setToolTip(self.choice.currentData(Qt.ItemDataRole.ToolTipRole))
