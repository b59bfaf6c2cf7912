"""Notices when the open file changes on disk, also where it is written anew under another name and renamed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

QUIET_MS = 400
"""A file that is being written changes many times; it is looked at once it is left in peace for so long."""

State = tuple[int, int] | None


class FileWatch(QObject):
    """Watches some files and their folders; `changed` carries the first that is not what it was."""

    changed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._watcher = QFileSystemWatcher(self)
        self._before: dict[Path, State] = {}
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(QUIET_MS)
        self._pause.timeout.connect(self.look)
        for signal in (self._watcher.fileChanged, self._watcher.directoryChanged):
            signal.connect(lambda _: self._pause.start())

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these files from now on, and no others."""
        self._pause.stop()
        old = [*self._watcher.files(), *self._watcher.directories()]
        if old:
            self._watcher.removePaths(old)
        self._before = {path: _state(path) for path in paths}
        new = {str(path) for path in self._before} | {str(path.parent) for path in self._before}
        if new:
            self._watcher.addPaths(sorted(new))

    def look(self) -> None:
        """Compare with what was there."""
        for path, before in self._before.items():
            now = _state(path)
            if now != before:
                self._before[path] = now
                if now is not None:  # a file that is gone may be about to be replaced, and is still readable
                    self._watcher.addPath(str(path))
                    self.changed.emit(path)
                    return


def _state(path: Path) -> State:
    """What tells one version of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
