"""Several plots drawn anew are painted in one pass."""

from __future__ import annotations

from types import TracebackType

from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt
from PySide6.QtWidgets import QWidget


class OnePass(QObject):
    """While it is entered, the window of a widget is not painted; what has become due is painted after it, once.

    A scene, as it finds out which of its items have changed, has the whole window painted at once. With four of them
    the window would be painted four times.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__()
        self._window = widget.window()
        self._held = False

    def __enter__(self) -> None:
        self._window.installEventFilter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.removeEventFilter(self)
        if self._held:
            request = QEvent(QEvent.Type.UpdateRequest)
            QCoreApplication.postEvent(self._window, request, Qt.EventPriority.LowEventPriority.value)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hold back what would paint."""
        held = event.type() == QEvent.Type.UpdateRequest
        self._held = self._held or held
        return held
