"""What the open file is compared with, and both sides of the selected layer. No widgets."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from qinspect import analysis
from qinspect.errors import SchemeError, printable
from qinspect.formats.checkpoint import Checkpoint
from qinspect.gui.details import Asker, Details
from qinspect.gui.jobs import Job, Lane
from qinspect.gui.work import sentence
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.recipe import Recipe, is_recipe
from qinspect.session import Inspection, LayerReport, Request, stored_nbytes
from qinspect.task import Token
from qinspect.versus import (
    Other,
    OtherFile,
    OtherOriginals,
    OtherRecipe,
    Versus,
    difference,
    inspect_other,
    measure_other,
    open_other,
)

if TYPE_CHECKING:
    from qinspect.gui.controller import Controller

Emit = Callable[[object], None]


class Side(StrEnum):
    """What views show while something is attached."""

    A = "a"
    B = "b"
    DIFFERENCE = "difference"
    SWIPE = "swipe"


class Comparing(QObject):
    """Holds B, looks at its side of the selected layer once A's is known, and measures its layers after A's."""

    attached = Signal(object)  # Other | None
    sided = Signal(object)  # Side: another one is to be shown
    updated = Signal()  # more is known of the selected layer on both sides, or why it is not
    cleared = Signal()  # nothing is known: another layer is looked at
    swiped = Signal(float)  # share of the width that A has
    compared = Signal(object, object, bool)
    """B's bytes of all layers by their names in A, the LayerReports known of it, and whether all of it is exact."""
    reported = Signal(str, object)  # the layer's name in A, LayerReport of B
    failed = Signal(str)

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self._lane, self._gap_lane = (Lane(name, self, newest_only=True) for name in ("other", "difference"))
        self.details, self.gaps = Details(self), Details(self)
        self.other: Other | None = None
        self.side = Side.A
        self.split = 0.5
        self.versus: Versus | None = None
        self.gap: Inspection | None = None
        """A as it decodes against what B decodes to, as `versus.difference` has it; in a drag, of a moment ago."""
        self.message = ""
        self.reports: dict[tuple[str, Scheme | None], LayerReport] = {}
        self._of: Path | None = None
        self._kept: Mapping[str, object] = {}
        self._askers: list[tuple[Asker, Asker]] = []
        self._a: Inspection | None = None
        self._known: dict[bool, Inspection] = {}
        self._asked: Request | None = None
        self._looking: tuple[Request, bool] | None = None
        self._subtracting: QTensor | None = None
        self._opening: Job | None = None
        self._measuring: Job | None = None
        self._told: list[str] = []

    def follow(self) -> None:
        """From now on follow the controller, which is whole now."""
        controller = self._controller
        controller.opened.connect(self._on_opened, Qt.ConnectionType.QueuedConnection)  # once its layers are shown
        controller.selected.connect(lambda _: self._on_selected())
        controller.inspected.connect(self._on_inspected)
        controller.recipe_changed.connect(lambda _: self._stop_measuring())
        controller.analysed.connect(self._measure)
        controller.evaluated.connect(lambda _: self._measure())
        controller.attached.connect(lambda *_: self._start_over())
        for details in (self.details, self.gaps):
            details.failed.connect(lambda error: self.failed.emit(sentence(error)))

    @property
    def busy(self) -> bool:
        """Whether anything runs or is about to."""
        lanes = self._lane.idle and self._gap_lane.idle
        return not lanes or self.details.busy or self.gaps.busy

    def join(self, sides: Asker, gap: Asker) -> None:
        """From now on ask this view too what it wants to know of B, and of the difference."""
        self._askers.append((sides, gap))

    # Attaching.

    def pin(self) -> None:
        """Compare with what is chosen now, whatever is chosen from now on."""
        if self._controller.session.checkpoint is None:
            self.failed.emit("Open a checkpoint first: there is nothing to compare yet.")
        else:
            self.attach(OtherRecipe(self._controller.recipe, self._controller.trial))

    def open(self, path: str | Path) -> None:
        """Compare with another checkpoint, or with what a recipe makes; `attached` or `failed` follows."""
        controller = self._controller
        checkpoint = controller.session.checkpoint
        if checkpoint is None:
            self.failed.emit("Open a checkpoint first: there is nothing to compare yet.")
            return
        if self._opening is not None:
            controller.bulk.cancel(self._opening)

        path, trial = Path(path), controller.trial

        def work(_token: Token, _part: Emit) -> tuple[Other, Checkpoint | None]:
            return (OtherRecipe(Recipe.load(path), trial), None) if is_recipe(path) else open_other(path, checkpoint)

        done = partial(self._on_other, checkpoint)
        title = f"Opening {printable(path.name, 40)}"
        job = Job(title, work, done, lambda error: self.failed.emit(sentence(error)))
        self._opening = controller.bulk.put(job)

    def _on_other(self, of: Checkpoint, found: tuple[Other, Checkpoint | None]) -> None:
        self._opening = None
        other, file = found
        if of is not self._controller.session.checkpoint:
            if file is not None:
                file.close()
            return
        if isinstance(other, OtherOriginals) and file is not None:
            self._controller.take_originals(file)
        self.attach(other)

    def attach(self, other: Other) -> None:
        """Take over B; what was attached goes. The views stay at the side they show."""
        checkpoint = self._controller.session.checkpoint
        self._let_go()
        self.other = other
        self._of = None if checkpoint is None else checkpoint.path
        self.attached.emit(other)
        self._start_over()

    def detach(self) -> None:
        """Compare no more."""
        if self.other is not None:
            self._let_go()
            self.show(Side.A)
            self.attached.emit(None)
            self.updated.emit()

    def _let_go(self) -> None:
        self._stop_measuring()
        self._lane.cancel_all()
        self._gap_lane.cancel_all()
        other, self.other = self.other, None
        self.reports.clear()
        self._forget()
        if other is not None:
            other.close()

    def _start_over(self) -> None:
        """What is known of B was measured against something else."""
        self._stop_measuring()
        self.reports.clear()
        self._told = []
        self._forget()
        self._update()
        self._tell()
        self._measure()

    def _on_opened(self, checkpoint: Checkpoint) -> None:
        """The same file once more is compared with the same again, another one with nothing."""
        other, again, kept = self.other, checkpoint.path == self._of, self._kept
        self._kept = {}
        if kept:
            self._take_up(kept)
        elif isinstance(other, OtherFile | OtherOriginals) and again:
            path = other.checkpoint.path if isinstance(other, OtherFile) else other.path
            self._let_go()
            self.open(path)
        elif other is not None and not again:
            self.detach()
        elif other is not None:
            self._start_over()

    # The next start.

    def kept(self) -> dict[str, object]:
        """What there is to keep of B for the next start; empty where nothing is attached."""
        match self.other:
            case OtherFile(checkpoint=checkpoint):
                return {"file": str(checkpoint.path.resolve())}
            case OtherOriginals(path=path):
                return {"file": str(path.resolve())}
            case OtherRecipe(recipe=recipe):
                return {"recipe": recipe.to_json()}
        return {}

    def restore(self, kept: Mapping[str, object]) -> None:
        """Take up what was kept, with the file that is opened next."""
        self._kept = kept

    def _take_up(self, kept: Mapping[str, object]) -> None:
        self.detach()
        match kept:
            case {"file": str(path)} if Path(path).exists():
                self.open(path)
            case {"recipe": recipe}:
                with contextlib.suppress(SchemeError):  # of another version of the program
                    self.attach(OtherRecipe(Recipe.from_json(recipe), self._controller.trial))

    # The selected layer.

    def show(self, side: Side) -> None:
        """Let all views show one side, the difference or both."""
        if self.other is None:
            side = Side.A
        if side != self.side:
            self.side = side
            self.sided.emit(side)
            self.updated.emit()  # draws what is known already
            self._update()

    def swipe(self, split: float) -> None:
        """Move the line between A and B."""
        self.split = min(max(split, 0.0), 1.0)
        self.swiped.emit(self.split)

    def of(self, a: Inspection) -> Versus | None:
        """Both sides of what A shows, if B's is known."""
        return self.versus if self.versus is not None and self.versus.a is a else None

    def _forget(self) -> None:
        self.versus, self.gap, self._asked, self.message = None, None, None, ""
        self._looking = self._subtracting = None
        self._known.clear()
        self.details.drop()
        self.gaps.drop()

    def _on_selected(self) -> None:
        self._a = None
        self._forget()
        self.cleared.emit()

    def _on_inspected(self, a: Inspection) -> None:
        self._a = a
        self._update()

    def _update(self) -> None:
        """Find out what is missing of the selected layer."""
        a, other = self._a, self.other
        if a is None or other is None:
            return
        request = other.request(self._request_of(a))
        if isinstance(other, OtherOriginals) and (original := other.original(a)) is not None:
            self.versus, self.gap = original, a
            self.updated.emit()
            return
        if request is None:
            self.versus, self.message = None, f"Not compared: {other.reason(a.info)}."
            self.updated.emit()
            return
        if self._asked is None or (request.info, request.scheme) != (self._asked.info, self._asked.scheme):
            self._known.clear()
            self.gap, self._looking, self._subtracting, self.message = None, None, None, ""
            self._asked = request
        b = self._side_for(a)
        if b is None:
            self._look(self._asked, a)
            return
        self.versus = Versus(a, b)
        if self.side == Side.DIFFERENCE:
            self.subtract()
        self.updated.emit()

    def _request_of(self, a: Inspection) -> Request:
        scheme = self._controller.effective_scheme(a.info)
        return replace(self._controller.session.request(a.info, scheme), row=self._controller.linked.row)

    def _side_for(self, a: Inspection) -> Inspection | None:
        """B over the same rows as A, else over all of them."""
        sample, whole = self._known.get(True), self._known.get(False)
        if a.part < 1 and sample is not None and (sample.rows is None or Versus(a, sample).subtractable):
            return sample
        return whole

    def _look(self, request: Request, a: Inspection) -> None:
        """Inspect B's side: of a preview, a preview."""
        preview = a.part < 1 and True not in self._known
        if self._looking == (request, preview):
            return
        self._looking = request, preview
        asked = dict.fromkeys(question for sides, _ in self._askers for question in sides())
        filled = replace(request, row=self._controller.linked.row, questions=tuple(asked))
        self._lane.put(
            Job(
                "The other side",
                lambda token, _: inspect_other(filled, a.info, preview=preview, token=token),
                partial(self._on_side, request, preview),
                partial(self._on_failed, request),
            )
        )

    def _on_side(self, request: Request, preview: bool, b: Inspection) -> None:
        if self._asked is not request:
            return
        self._looking = None
        self._known[preview] = b
        if b.part == 1.0:
            self._known[False] = b
        self._update()

    def _on_failed(self, request: Request, error: Exception) -> None:
        if self._asked is request:
            self._looking = None
            self.versus, self.message = None, sentence(error)
            self.updated.emit()

    def subtract(self) -> None:
        """Find out `gap`, if a view wants to know of it and it is not that of the codes that A has now."""
        versus, about = self.versus, self._asked
        asked = tuple(dict.fromkeys(question for _, gap in self._askers for question in gap()))
        if versus is None or not versus.subtractable or not asked:
            return
        known, codes = None if self.gap is None else self.gap.quantized, versus.a.quantized
        if codes is known or codes is self._subtracting:
            return
        self._subtracting = codes

        def work(token: Token, _: Emit) -> Inspection:
            found = difference(versus, token)
            found.answers.update(analysis.answer(found.subject, asked, token))
            return found

        def done(found: Inspection) -> None:
            if self._asked is about:
                self.gap, self._subtracting = found, None
                self.updated.emit()

        def failed(error: Exception) -> None:
            self._subtracting = None
            self.failed.emit(sentence(error))

        self._gap_lane.put(Job("A − B", work, done, failed))

    # All layers.

    def requests(self) -> list[tuple[str, Request]]:
        """B's side of all layers that figures are shown of, by their names in A."""
        controller, other = self._controller, self.other
        if other is None:
            return []
        found = ((a.info.name, other.request(a)) for a in controller.session.layers(controller.recipe))
        return [(name, b) for name, b in found if b is not None]

    def _measure(self) -> None:
        """Measure those layers of B whose figures are not known yet."""
        controller, other = self._controller, self.other
        if other is None or controller.analysing or self._measuring is not None:
            return
        requests = self._tell()
        missing = [(name, request) for name, request in requests if (name, request.scheme) not in self.reports]
        if missing:
            self._put_measuring(missing)

    def _tell(self) -> list[tuple[str, Request]]:
        """Tell B's sizes, which are known at once, and its figures as far as they are, unless they were told before."""
        other, requests = self.other, self.requests()
        layers = self._controller.session.layers(self._controller.recipe)
        names = [a.info.name for a in layers]
        if other is not None and (other.follows or names != self._told):
            self._told = names
            if isinstance(other, OtherRecipe):
                own = self._controller.session.reports
                self.reports |= {(name, b.scheme): own[b.key] for name, b in requests if b.key in own}
            found = {name: self.reports.get((name, request.scheme)) for name, request in requests}
            sizes = {a.info.name: nbytes for a in layers if (nbytes := other.nbytes(a)) is not None}
            known = {name: report for name, report in found.items() if report is not None}
            self.compared.emit(sizes, known, isinstance(other, OtherOriginals))
        return requests

    def figures(self) -> dict[str, tuple[float, int]]:
        """SQNR in dB (NaN where it is not known) and bytes of every layer of B, by its name in A."""
        found = {}
        for name, request in self.requests():
            report = self.reports.get((name, request.scheme))
            metrics = None if report is None else report.metrics
            found[name] = math.nan if metrics is None else metrics.sqnr_db, stored_nbytes(request.info, request.scheme)
        return found

    def _put_measuring(self, missing: list[tuple[str, Request]]) -> None:
        session = self._controller.session
        infos = {info.name: info for info in session.infos}

        def work(token: Token, part: Emit) -> None:
            done, size = 0, max(1, sum(request.info.size for _, request in missing))
            for name, request in missing:
                share = token.part(done / size, (done + request.info.size) / size)
                part((name, request.scheme, measure_other(request, infos[name], share)))
                done += request.info.size
                token.check(done / size)

        def over(_: object = None) -> None:
            if self._measuring is job:
                self._measuring = None

        def failed(error: Exception) -> None:
            over()
            self.failed.emit(sentence(error))

        job = Job("Measuring B", work, over, failed, self._on_report, over)
        self._measuring = self._controller.bulk.put(job)

    def _on_report(self, part: tuple[str, Scheme | None, LayerReport]) -> None:
        name, scheme, report = part
        self.reports[name, scheme] = report
        self.reported.emit(name, report)

    def _stop_measuring(self) -> None:
        job, self._measuring = self._measuring, None
        if job is not None:
            self._controller.bulk.cancel(job)

    def shutdown(self) -> None:
        """Stop all work and let go of the file."""
        for part in (self.details, self.gaps, self._lane, self._gap_lane):
            part.shutdown()
        if self.other is not None:
            self.other.close()
        self.other = None
