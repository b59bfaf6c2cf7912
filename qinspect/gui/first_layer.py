"""Which layer a file is shown with at first: the worst, as far as that is known when someone has waited long enough."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from qinspect.gui.controller import Controller
from qinspect.gui.layer_table import LayerTable

PATIENCE_MS = 800
"""How long an empty centre is shown at most before the worst layer known so far is."""


class FirstLayer(QObject):
    """Selects a layer where nobody chose one; once all are measured, another if that is worse and nobody minded."""

    def __init__(self, table: LayerTable, controller: Controller, parent: QObject) -> None:
        super().__init__(parent)
        self._table, self._controller = table, controller
        self._provisional = False
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._select)

    def wait(self) -> None:
        """A file has been opened, and its layers are being measured."""
        self._provisional = False
        self._patience.start()

    def settle(self) -> None:
        """No more figures will come."""
        self._patience.stop()
        self._select()
        self._provisional = False

    def keep(self) -> None:
        """A person has done something: what was chosen for them stays."""
        self._provisional = False

    def stop(self) -> None:
        """Choose nothing any more."""
        self._patience.stop()

    def _select(self) -> None:
        self._table.resort()
        if self._controller.info is None or self._provisional:
            self._table.select_first()
            self._provisional = True
        if QApplication.focusWidget() in (None, self._table.filter) and not self._table.filter.text():
            self._table.view.setFocus()
