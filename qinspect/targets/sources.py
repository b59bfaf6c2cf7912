"""What an export takes over beside the tensors, and the files it reads, watched while it does."""

from __future__ import annotations

from pathlib import Path

from qinspect.errors import ExportError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.native import CRC_KEY, LAYERS_KEY, VERSION_KEY


class Sources:
    """The files of an open checkpoint as they were when the work began."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._states = {path: _state(path) for path in checkpoint.files}

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return list(self._states)

    def check(self) -> None:
        """Raise ExportError if one of them is no longer what it was."""
        for path, state in self._states.items():
            if _state(path) != state:
                raise ExportError("the file changed while it was being exported; open it and export again", path=path)


def kept_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """The source's metadata but for what describes its own arrays."""
    ours = (VERSION_KEY, LAYERS_KEY, CRC_KEY)
    return {key: text for key, text in checkpoint.metadata.items() if key not in ours}


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
