"""What the window keeps between runs: theme, recent files, geometry, and what was looked at last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSettings
from PySide6.QtWidgets import QMainWindow, QSplitter

RECENT_LIMIT = 10
LAYOUT_VERSION = 1
"""Raised when the window is rebuilt, so that an old layout is not forced upon it."""


class Preferences:
    """Typed access to the settings file, whose values come back as strings."""

    def __init__(self, settings: QSettings) -> None:
        self._settings = settings

    @property
    def theme(self) -> str:
        """Name of the theme, or "system"."""
        return str(self._settings.value("theme", "system"))

    @theme.setter
    def theme(self, name: str) -> None:
        self._settings.setValue("theme", name)

    @property
    def restores(self) -> bool:
        """Whether the window begins where it was left."""
        return bool(self._settings.value("restore", True, type=bool))

    @restores.setter
    def restores(self, restores: bool) -> None:
        self._settings.setValue("restore", restores)

    @property
    def session(self) -> dict[str, Any]:
        """What was looked at last; empty if that is not known."""
        try:
            kept = json.loads(str(self._settings.value("session", "{}")))
        except ValueError:
            return {}
        return kept if isinstance(kept, dict) else {}

    @session.setter
    def session(self, kept: Mapping[str, Any]) -> None:
        self._settings.setValue("session", json.dumps(kept))

    def recent(self) -> list[str]:
        """Files that were open lately and still exist, the newest first."""
        kept = self._settings.value("recent", [])
        paths = kept if isinstance(kept, list) else [kept]  # a list of one comes back as a string
        return [path for path in paths if isinstance(path, str) and Path(path).exists()]

    def remember(self, path: Path) -> None:
        """Put a file on top of the recent ones."""
        known = str(path.resolve())
        self._settings.setValue("recent", [known, *(p for p in self.recent() if p != known)][:RECENT_LIMIT])

    def save_layout(self, window: QMainWindow, splitter: QSplitter) -> None:
        """Keep where the window is and how it is divided."""
        self._settings.setValue("layout", LAYOUT_VERSION)
        self._settings.setValue("geometry", window.saveGeometry())
        self._settings.setValue("splitter", splitter.saveState())

    def restore_layout(self, window: QMainWindow, splitter: QSplitter) -> bool:
        """Put the window where it was; False if that is not known."""
        geometry, divided = self._settings.value("geometry"), self._settings.value("splitter")
        known = self._settings.value("layout", 0, type=int) == LAYOUT_VERSION
        if not (known and isinstance(geometry, QByteArray) and isinstance(divided, QByteArray)):
            return False
        return bool(window.restoreGeometry(geometry) and splitter.restoreState(divided))
