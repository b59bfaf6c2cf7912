"""The selected layer: a sample of its rows is looked at as soon as anything changes, all of them after a pause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from qinspect.gui.details import Details
from qinspect.gui.jobs import Job, Lane
from qinspect.gui.linked import Linked
from qinspect.session import Inspection, Request, inspect
from qinspect.task import Token

REFINE_DELAY_MS = 150
"""Pause in the changes after which a preview is refined from a sample to all rows."""

Sample = tuple[np.ndarray, np.ndarray]


class Looking(QObject):
    """Keeps a lane of its own. `current` tells what is to be looked at, anew for each pass."""

    looked = Signal(object, object)  # Request, Inspection
    failed = Signal(object, object)  # Request, Exception

    def __init__(
        self, details: Details, linked: Linked, current: Callable[[], Request | None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self.lane = Lane("preview", self, newest_only=True)
        self._details, self._linked, self._current = details, linked, current
        self._asked_for: Request | None = None
        self._sampled: tuple[Request, Sample] | None = None
        self._refine = QTimer(self)
        self._refine.setSingleShot(True)
        self._refine.setInterval(REFINE_DELAY_MS)
        self._refine.timeout.connect(self._look_at_all)

    @property
    def busy(self) -> bool:
        """Whether anything runs or is about to."""
        return self._refine.isActive() or not self.lane.idle

    @property
    def up_to_date(self) -> bool:
        """Whether what was asked for last is what is to be looked at now."""
        now, before = self._current(), self._asked_for
        return now is not None and before is not None and (now.info, now.scheme) == (before.info, before.scheme)

    def look(self) -> None:
        """Look at what is selected now; `looked` or `failed` follows."""
        request = self._asked_for = self._current()
        self._refine.stop()
        if request is None:
            self.lane.cancel_all()
            return
        self._details.drop()
        self._put("Preview", replace(self._asked(request), sample=self._sample(request)), preview=True)

    def forget(self) -> None:
        """Another file: nothing of the one before is of interest."""
        self._refine.stop()
        self.lane.cancel_all()
        self._sampled = None

    def shutdown(self) -> None:
        """Stop, wait, and call nobody back."""
        self._refine.stop()
        self.lane.shutdown()

    def _look_at_all(self) -> None:
        request = self._current()
        if request is not None:
            self._put("All rows", self._asked(request), preview=False)

    def _asked(self, request: Request) -> Request:
        """With what the views in sight want to know."""
        return self._details.filled(request, self._linked.row)

    def _sample(self, request: Request) -> Sample | None:
        """The rows of the last preview, if they are of the same weights and have the row that is of interest."""
        if self._sampled is None:
            return None
        before, sample = self._sampled
        same = all(getattr(before, name) is getattr(request, name) for name in ("checkpoint", "info", "reference"))
        row = self._linked.row
        return sample if same and (row is None or row in sample[1]) else None

    def _put(self, title: str, request: Request, *, preview: bool) -> None:
        def work(token: Token, _: Callable[[Any], None]) -> Inspection:
            return inspect(request, preview=preview, token=token)

        done, failed = partial(self._on_looked, request), partial(self.failed.emit, request)
        self.lane.put(Job(title, work, done, failed, yields=not preview))

    def _on_looked(self, request: Request, inspection: Inspection) -> None:
        if inspection.sample is not None:
            self._sampled = request, inspection.sample
        self.looked.emit(request, inspection)
        if inspection.part < 1.0 and self.lane.idle and self.up_to_date:
            self._refine.start()
