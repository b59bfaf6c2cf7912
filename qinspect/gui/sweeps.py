"""Sweeps in the background: the points that views wish for, from a sample of rows first, exact ones after that."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.jobs import Job, Lane
from qinspect.planning.points import CURVE_LEVELS, own_levels, points_of
from qinspect.quant.limits import gaussian_db
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import Skipped, SweepGrid, SweepPoint
from qinspect.session import Request
from qinspect.task import Token

if TYPE_CHECKING:
    from qinspect.gui.controller import Controller

SAMPLE = 1 << 17
"""Layers of twice as many weights are first looked at by a sample of so many, in whole rows."""
TELL_MS = 80
"""New points are told of at most so often."""
GAUSSIAN = ""
"""The name under which the curve stands that is no layer's."""
RESUME_MS = 250
"""Pause after the last preview until sweeping goes on: what a person looks at comes first."""


@dataclass
class Wish:
    """Layers and schemes that someone wants points of, and what of it is still to be done: layer, only a sample.

    If it is not `thorough`, what a sample has estimated stays so, save for the scheme that is `settled` of a layer.
    """

    infos: tuple[TensorInfo, ...]
    grid: SweepGrid
    thorough: bool = True
    settled: Mapping[str, Scheme] = field(default_factory=dict)
    tasks: deque[tuple[TensorInfo, bool]] = field(default_factory=deque)
    total: int = 0

    def __post_init__(self) -> None:
        large = [info for info in self.infos if info.size > 2 * SAMPLE]
        self.tasks.extend((info, info in large) for info in self.infos)
        self.tasks.extend((info, False) for info in large)
        self.total = len(self.tasks)

    def settle(self, chosen: Mapping[str, Scheme]) -> None:
        """Have these points measured exactly."""
        self.settled = chosen
        self.tasks.extend((info, False) for info in self.infos if info.name in chosen)
        self.total = len(self.tasks)


class Sweeps(QObject):
    """Keeps every point that was measured of the open file, and measures what is wished for, one layer at a time.

    Wishes are worked off in the order of their owners' last word. A preview interrupts the work, which then goes on
    where it was. `grown` tells of which layers there are new points, `moved` of progress, its beginning and its end.
    """

    grown = Signal(object)
    moved = Signal()

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self.lane = Lane("sweep", self)
        self.aside = Lane("budget", self, newest_only=True)
        """For what is made of points."""
        self.fitting = Lane("fit", self, newest_only=True)
        """For plans that are held against a target's own sizes."""
        self._wishes: dict[str, Wish] = {}
        self._points: dict[str, dict[Scheme, SweepPoint]] = {}
        self._curves: dict[str, dict[int, float]] = {}
        self.errors: dict[str, str] = {}
        """Why nothing can be made of a layer."""
        self._skipped: set[tuple[str, Scheme]] = set()
        self._fresh: set[str] = set()
        self._job: Job | None = None
        self._tell = _timer(self, TELL_MS, self._on_tell)
        self._resume = _timer(self, RESUME_MS, self._pump)
        controller.opened.connect(lambda _: self.forget())
        controller.attached.connect(lambda *_: self.forget())
        controller.weighed.connect(lambda _: self.forget())
        controller.preview.started.connect(lambda _: self._give_way())
        controller.preview.ended.connect(lambda _: self._go_on_later())

    # Asking.

    def want(self, owner: str, infos: Sequence[TensorInfo], grid: SweepGrid, *, thorough: bool = True) -> None:
        """Measure these layers under this grid, before what others want; the owner's last wish is void."""
        before = self._wishes.pop(owner, None)
        if before is None or (before.infos, before.grid, before.thorough) != (tuple(infos), grid, thorough):
            before = Wish(tuple(infos), grid, thorough)
        self._wishes = {owner: before, **self._wishes}
        self._stop_job()
        self._pump()

    def settle(self, owner: str, chosen: Mapping[str, Scheme]) -> None:
        """Have the points of these layers under these schemes measured exactly, for someone who wants the layers."""
        wish = self._wishes.get(owner)
        open_ = {name: scheme for name, scheme in chosen.items() if self._is_estimate(name, scheme)}
        if wish is not None and not wish.tasks and open_:
            wish.settle(open_)
            self._pump()

    def _is_estimate(self, name: str, scheme: Scheme) -> bool:
        point = self._points.get(name, {}).get(scheme)
        return point is not None and point.part < 1

    def drop(self, owner: str) -> None:
        """Nothing more for this owner; what there is stays."""
        if self._wishes.pop(owner, None) is not None:
            self._stop_job()
            self._pump()

    def points(self, info: TensorInfo, schemes: Iterable[Scheme]) -> list[SweepPoint]:
        """What is known so far of a layer under these schemes."""
        known = self._points.get(info.name, {})
        return [known[scheme] for scheme in schemes if scheme in known]

    def known(self, infos: Iterable[TensorInfo]) -> dict[str, dict[Scheme, SweepPoint]]:
        """All points of some layers so far, as a snapshot for a job."""
        return {info.name: self._points[info.name].copy() for info in infos if self._points.get(info.name)}

    def curve(self, name: str = GAUSSIAN) -> dict[int, float]:
        """SQNR of the best so many levels for a layer, or for Gaussian weights, by their number, once it is known."""
        return self._curves.get(name, {})

    @property
    def idle(self) -> bool:
        """Whether nothing is measured, or about to be."""
        lanes = self.lane, self.aside, self.fitting
        return all(lane.idle for lane in lanes) and not self._resume.isActive() and not self._tell.isActive()

    def progress(self, owner: str) -> float | None:
        """How much of a wish is done, 0…1; None where nothing is left to do."""
        wish = self._wishes.get(owner)
        return None if wish is None or not wish.tasks else 1 - len(wish.tasks) / wish.total

    def forget(self) -> None:
        """Other weights: nothing that is known holds any more, and nobody has asked for these yet."""
        self._wishes.clear()
        self._stop_job()
        gaussian = self.curve()
        for known in (self._points, self._curves, self.errors, self._skipped):
            known.clear()
        if gaussian:
            self._curves[GAUSSIAN] = gaussian
        self._fresh.clear()
        self.moved.emit()

    def shutdown(self) -> None:
        """Stop, wait, and call nobody back."""
        self._tell.stop()
        self._resume.stop()
        self.lane.shutdown()
        self.aside.shutdown()
        self.fitting.shutdown()

    # Working.

    def _give_way(self) -> None:
        self._stop_job()
        self._go_on_later()

    def _go_on_later(self) -> None:
        if any(wish.tasks for wish in self._wishes.values()):
            self._resume.start()

    def _stop_job(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            self.lane.cancel(job)

    def _pump(self) -> None:
        """Begin the next task, unless a preview is on its way."""
        if self._job is not None or not self._controller.preview.idle:
            return
        for wish in self._wishes.values():
            while wish.tasks:
                info, sample = wish.tasks[0]
                missing = self._missing(info, wish, sample)
                if missing:
                    self._start(wish, info, missing, sample)
                    return
                wish.tasks.popleft()
        self.moved.emit()

    def _missing(self, info: TensorInfo, wish: Wish, sample: bool) -> list[Scheme]:
        """What is to be measured: all that is not known yet, or not exactly."""
        if info.name in self.errors:
            return []
        open_ = [scheme for scheme in wish.grid.schemes_for(info.shape) if (info.name, scheme) not in self._skipped]
        points = self._points.get(info.name, {})
        known = {scheme: points.get(scheme) for scheme in open_}
        if sample:
            return [scheme for scheme, point in known.items() if point is None and scheme.layout(info.shape).local]
        settled = wish.settled.get(info.name)
        if settled is not None and self._is_estimate(info.name, settled):
            known.setdefault(settled, points[settled])  # kept from another grid
        return [
            scheme
            for scheme, point in known.items()
            if point is None or (point.part < 1 and (wish.thorough or scheme == settled))
        ]

    def _start(self, wish: Wish, info: TensorInfo, schemes: list[Scheme], sample: bool) -> None:
        request = self._controller.session.request(info, None)
        curves = [name for name in (GAUSSIAN, info.name) if name not in self._curves]

        def done(_: Any) -> None:
            self._job = None
            wish.tasks.popleft()
            self._pump()

        def failed(error: Exception) -> None:
            self.errors[info.name] = str(error)
            done(None)

        work = _measuring(request, schemes, sample, curves)
        self._job = self.lane.put(Job("Sweep", work, done, failed, part=self._take))
        self.moved.emit()

    def _take(self, found: Sequence[SweepPoint | Skipped | _Curve]) -> None:
        """Keep what came."""
        for one in found:
            self._fresh.add(one.layer)
            if isinstance(one, SweepPoint):
                self._points.setdefault(one.layer, {})[one.scheme] = one
            elif isinstance(one, _Curve):
                self._curves[one.layer] = one.decibels
            elif one.scheme is None:
                self.errors[one.layer] = one.reason
            else:
                self._skipped.add((one.layer, one.scheme))
        if not self._tell.isActive():
            self._tell.start()

    def _on_tell(self) -> None:
        fresh, self._fresh = self._fresh, set()
        self.grown.emit(fresh)
        self.moved.emit()


@dataclass(frozen=True)
class _Curve:
    layer: str
    decibels: dict[int, float]


def _measuring(request: Request, schemes: list[Scheme], sample: bool, curves: list[str]) -> Callable[..., None]:
    """The work of one task; points are handed over in batches, as there may be thousands a second."""

    def work(token: Token, part: Callable[[Any], None]) -> None:
        batch: list[Any] = []
        told = time.monotonic()
        good = False
        for one in points_of(request, schemes, sample=SAMPLE if sample else None, token=token):
            batch.append(one)
            good = good or isinstance(one, SweepPoint)
            if time.monotonic() - told > TELL_MS / 1000:
                part(batch)
                batch, told = [], time.monotonic()
        for name in curves if good else ():
            found = {n: gaussian_db(n) for n in CURVE_LEVELS} if name == GAUSSIAN else own_levels(request, token)
            batch.append(_Curve(name, found))
        part(batch)

    return work


def _timer(parent: QObject, delay_ms: int, slot: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(delay_ms)
    timer.timeout.connect(slot)
    return timer
