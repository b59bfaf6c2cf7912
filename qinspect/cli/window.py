"""How verbs reach the window."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from qinspect.errors import UnsupportedError, printable


def has_display() -> bool:
    """Whether a window can be seen; Qt itself ends the process where none can even be made."""
    if platform := os.environ.get("QT_QPA_PLATFORM"):
        return platform != "offscreen"
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def window() -> ModuleType:
    """The window's code, imported only here: Qt takes its time, and a server may not have it."""
    try:
        from qinspect.gui import app
    except ImportError as error:
        raise UnsupportedError(f"the window lacks a system library, install it: {error.msg}") from error
    return app


def draw(file: str, out: Path, **choices: Any) -> None:
    """Draw the window with `file` into a picture; needs no display."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    window().screenshot(file, out, **choices)
    print(f"wrote {printable(str(out))}, a picture of the window")
