"""All that long work knows of the program around it: it may be watched and it may be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self


class Cancelled(Exception):  # noqa: N818 - it is no error: someone asked for it
    """Raised by `Token.check` after someone asked the work to stop."""


class Token:
    """Handed to long work, which calls `check(fraction)` about every ten milliseconds.

    `on_progress` receives fractions of the whole (0…1) on the thread that works.
    """

    def __init__(self, on_progress: Callable[[float], None] | None = None) -> None:
        self._on_progress = on_progress
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check; may be called from any thread."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether someone asked the work to stop."""
        return self._stop.is_set()

    def check(self, fraction: float | None = None) -> None:
        """Report how much is done and raise `Cancelled` if the work is to stop."""
        if self._stop.is_set():
            raise Cancelled
        if self._on_progress is not None and fraction is not None:
            self._on_progress(fraction)

    def part(self, start: float, stop: float) -> Self:
        """A token for a part of this work: its 0…1 is reported here as `start`…`stop`, and it stops with this one."""
        child = type(self)(lambda fraction: self.check(start + fraction * (stop - start)))
        child._stop = self._stop
        return child
