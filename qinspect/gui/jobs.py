"""Work in the background: a lane is one thread; what comes back comes back on the GUI thread."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtCore import QObject, Signal

from qinspect.task import Cancelled, Token

Work = Callable[[Token, Callable[[Any], None]], Any]
"""The work itself: it checks the token and may hand over parts of its result as they come."""

PROGRESS_INTERVAL_S = 0.1
POLL_S = 0.05

NICE = 5
"""How far work stands back behind the window, and behind what else runs on the machine: a third of its time."""


COMPILED = threading.Event()
"""Unset while kernels are compiled elsewhere: what computes waits for that, else it would compile them once more."""
COMPILED.set()


@dataclass(eq=False)
class Job:
    """One piece of work and where its results go; the callbacks run on the GUI thread and never after a cancel."""

    title: str
    work: Work
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    part: Callable[[Any], None] = lambda _: None
    cancelled: Callable[[], None] = lambda: None
    yields: bool = False
    """Whether a newer job on a newest-only lane may cancel this one while it runs."""
    computes: bool = True
    """Whether it needs kernels, and so waits for them on the lane's thread."""
    token: Token = field(default_factory=Token)


class Lane(QObject):
    """Runs jobs one after another on a thread of its own.

    A lane for the `newest_only` has a single waiting place, which a newer job takes over; the running job is finished,
    so that something is shown during a drag. Otherwise jobs queue. Signals belong to the lane, never to a job.
    """

    started = Signal(object)
    progressed = Signal(object, float)
    ended = Signal(object)
    _parted = Signal(object, object)
    _finished = Signal(object, object, object)

    def __init__(self, name: str, parent: QObject, *, newest_only: bool = False) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"qinspect-{name}", initializer=_stand_back)
        self._newest_only = newest_only
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._closed = False
        self._parted.connect(self._on_parted)
        self._finished.connect(self._on_finished)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._running is None and not self._waiting

    @property
    def running(self) -> Job | None:
        """The job that runs now."""
        return self._running

    def put(self, job: Job) -> Job:
        """Run `job` when its turn comes; after `shutdown`, never."""
        if self._closed:
            return job
        if self._newest_only:
            self._waiting.clear()
            if self._running is not None and self._running.yields:
                self._running.token.cancel()
        self._waiting.append(job)
        self._start_next()
        return job

    def cancel(self, job: Job) -> None:
        """Take `job` from the queue, or stop it at its next check; its `cancelled` callback follows."""
        job.token.cancel()
        if job in self._waiting:
            self._waiting.remove(job)
            job.cancelled()

    def cancel_all(self) -> None:
        """Stop everything."""
        for job in [*self._waiting, *([self._running] if self._running else [])]:
            self.cancel(job)

    def shutdown(self) -> None:
        """Stop everything and wait for the thread to end; nothing is called back afterwards."""
        self._waiting.clear()
        if self._running is not None:
            self._running.token.cancel()
        self._closed = True
        self._pool.shutdown(wait=True)
        self._running = None

    def _start_next(self) -> None:
        if self._running is None and self._waiting:
            self._running = job = self._waiting.popleft()
            job.token = _with_progress(job, self.progressed.emit)
            self._pool.submit(self._run, job)
            self.started.emit(job)

    def _run(self, job: Job) -> None:
        """On the lane's thread. Everything is caught: an error that nobody sees is the worst kind."""
        try:
            while job.computes and not COMPILED.wait(POLL_S):
                job.token.check()
            result, error = job.work(job.token, lambda part: self._parted.emit(job, part)), None
        except BaseException as caught:
            result, error = None, caught
        self._finished.emit(job, result, error)

    def _on_parted(self, job: Job, part: Any) -> None:
        if not job.token.cancelled and not self._closed:
            job.part(part)

    def _on_finished(self, job: Job, result: Any, error: BaseException | None) -> None:
        if self._closed:
            return
        self._running = None
        self._start_next()
        if job.token.cancelled or isinstance(error, Cancelled):
            job.cancelled()
        elif error is None:
            job.done(result)
        elif isinstance(error, Exception):
            job.failed(error)
        self.ended.emit(job)


def _stand_back() -> None:
    """Let the window go first, where a thread can have a priority of its own; threads begun by this one have it too."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _with_progress(job: Job, report: Callable[[object, float], None]) -> Token:
    """The job's token, which from now on reports progress at a rate that eyes can follow."""
    last = 0.0

    def on_progress(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > PROGRESS_INTERVAL_S:
            last = now
            report(job, fraction)

    token = Token(on_progress)
    if job.token.cancelled:
        token.cancel()
    return token
