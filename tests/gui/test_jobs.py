"""Lanes: order, the newest-only slot, progress, errors, cancelling and shutting down."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import QObject, QThread

from qinspect.gui import jobs, work
from qinspect.gui.jobs import Job, Lane
from qinspect.task import Token


@pytest.fixture
def parent(qapp):
    root = QObject()
    yield root
    for lane in root.findChildren(Lane):
        lane.shutdown()


class Log:
    """What came back, in order, and on which thread."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, object]] = []
        self.threads: set[QThread] = set()

    def note(self, kind):
        def callback(value=None):
            self.entries.append((kind, value))
            self.threads.add(QThread.currentThread())

        return callback

    def job(self, work, **more):
        callbacks = (self.note(kind) for kind in ("done", "failed", "part", "cancelled"))
        return Job("job", work, *callbacks, **more)


def waiting_for(event: threading.Event, value):
    def work(token, _part):
        while not event.wait(0.002):
            token.check()
        return value

    return work


def test_results_come_back_in_order_on_the_gui_thread(parent, qtbot):
    lane, log = Lane("test", parent), Log()
    for number in range(3):
        lane.put(log.job(lambda _token, part, n=number: (part(n), n * n)[1]))
    qtbot.waitUntil(lambda: lane.idle)
    qtbot.waitUntil(lambda: len(log.entries) == 6)
    assert log.entries == [("part", 0), ("done", 0), ("part", 1), ("done", 1), ("part", 2), ("done", 4)]
    assert log.threads == {parent.thread()}


def test_an_exception_reaches_the_failed_callback(parent, qtbot):
    lane, log = Lane("test", parent), Log()

    def work(_token, _part):
        raise ValueError("broken")

    lane.put(log.job(work))
    qtbot.waitUntil(lambda: bool(log.entries))
    assert log.entries[0][0] == "failed"
    assert str(log.entries[0][1]) == "broken"
    lane.put(log.job(lambda _token, _part: "still alive"))
    qtbot.waitUntil(lambda: log.entries[-1] == ("done", "still alive"))


def test_a_newest_only_lane_finishes_the_running_job_and_skips_to_the_newest(parent, qtbot):
    lane, log, go = Lane("test", parent, newest_only=True), Log(), threading.Event()
    lane.put(log.job(waiting_for(go, "first")))
    for number in range(5):
        lane.put(log.job(lambda _token, _part, n=number: n))
    go.set()
    qtbot.waitUntil(lambda: lane.idle)
    assert log.entries == [("done", "first"), ("done", 4)]


def test_a_newer_job_cancels_a_running_one_that_yields(parent, qtbot):
    lane, log = Lane("test", parent, newest_only=True), Log()
    lane.put(log.job(waiting_for(threading.Event(), "never"), yields=True))
    lane.put(log.job(lambda _token, _part: "newer"))
    qtbot.waitUntil(lambda: lane.idle)
    assert log.entries == [("cancelled", None), ("done", "newer")]


def test_cancelling_a_waiting_and_a_running_job(parent, qtbot):
    lane, log = Lane("test", parent), Log()
    running = lane.put(log.job(waiting_for(threading.Event(), "never")))
    waiting = lane.put(log.job(lambda _token, _part: "not run"))
    lane.cancel(waiting)
    assert log.entries == [("cancelled", None)]
    lane.cancel(running)
    qtbot.waitUntil(lambda: lane.idle)
    assert log.entries == [("cancelled", None), ("cancelled", None)]


def test_progress_is_reported_with_its_job(parent, qtbot):
    lane, log, seen = Lane("test", parent), Log(), []
    lane.progressed.connect(lambda job, fraction: seen.append((job, fraction)))
    job = lane.put(log.job(lambda token, _part: token.part(0.5, 1.0).check(0.5)))
    qtbot.waitUntil(lambda: bool(seen))
    assert seen == [(job, 0.75)]


def test_nothing_is_called_back_after_shutdown(parent, qtbot):
    lane, log = Lane("test", parent), Log()
    lane.put(log.job(waiting_for(threading.Event(), "never")))
    lane.put(log.job(lambda _token, _part: "not run"))
    lane.shutdown()
    qtbot.wait(20)
    assert log.entries == []
    assert lane.idle


def test_what_computes_waits_for_kernels_and_nothing_else_does(parent, qtbot, monkeypatch):
    compiled = threading.Event()
    monkeypatch.setattr(jobs, "COMPILED", compiled)
    computing, opening, log = Lane("computing", parent), Lane("opening", parent), Log()
    computing.put(log.job(lambda _token, _part: "computed"))
    opening.put(log.job(lambda _token, _part: "opened", computes=False))
    qtbot.waitUntil(lambda: opening.idle)
    assert log.entries == [("done", "opened")]
    stopped = computing.put(log.job(lambda _token, _part: "never"))
    computing.cancel(stopped)
    compiled.set()
    qtbot.waitUntil(lambda: computing.idle)
    assert log.entries[1:] == [("cancelled", None), ("done", "computed")]


def test_kernels_are_compiled_apart_where_they_are_not_ready(monkeypatch):
    done = []
    monkeypatch.setattr("qinspect.warm_up.compile_apart", lambda token: done.append("apart"))
    monkeypatch.setattr("qinspect.warm_up.warm_up", lambda token: done.append("loaded"))
    for ready in (True, False):
        monkeypatch.setattr("qinspect.warm_up.ready", lambda ready=ready: ready)
        work.prepare_kernels(Token())
    assert done == ["loaded", "apart", "loaded"]
