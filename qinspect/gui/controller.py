"""Between the window and the session: turns what a person does into jobs, and results into signals. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from qinspect.compare import match
from qinspect.errors import printable
from qinspect.formats.align import align
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.gui.accuracy import Accuracy
from qinspect.gui.comparing import Comparing
from qinspect.gui.details import Details
from qinspect.gui.history import History, change_words
from qinspect.gui.jobs import COMPILED, Job, Lane
from qinspect.gui.linked import Linked
from qinspect.gui.looking import Looking
from qinspect.gui.scopes import Place, Scope, shared_words
from qinspect.gui.sweeps import Sweeps
from qinspect.gui.work import prepare_kernels, sentence
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import ALL, Recipe, Rule, patterns_for
from qinspect.session import (
    Inspection,
    LayerReport,
    Request,
    Session,
    measure_all,
)
from qinspect.targets.target import Plan
from qinspect.targets.target import registry as targets
from qinspect.task import Token

ANALYSE_DELAY_MS = 250
"""Pause in the changes after which all layers are measured anew."""

Emit = Callable[[Any], None]


class Controller(QObject):
    """Owns the session and the two lanes. All slots run on the GUI thread; jobs get immutable requests."""

    opened = Signal(object)  # Checkpoint
    weighed = Signal(int)  # layers the errors of whose input channels count by importance
    attached = Signal(object, int, int)  # Checkpoint, packed layers that have their originals there, all packed layers
    closed = Signal()
    failed = Signal(str)
    selected = Signal(object)  # TensorInfo | None
    recipe_changed = Signal(object)  # Recipe
    chosen = Signal(object)  # Scheme | None: what the selected layer is shown under, None as it is stored
    place_changed = Signal()  # what a change of the scheme would be for
    inspected = Signal(object)  # Inspection
    uninspectable = Signal(str)
    reported = Signal(object)  # LayerReport
    analysed = Signal()
    interrupted = Signal()  # the analysis was stopped before its end
    evaluated = Signal(object)  # Evaluation | None
    planned = Signal(object)  # Plan
    plan_failed = Signal(str)
    plan_cancelled = Signal()
    exported = Signal(object)  # Report
    export_failed = Signal(str)
    export_cancelled = Signal()
    export_progressed = Signal(float)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = Session()
        self.bulk = Lane("bulk", self)
        self.kernels = Lane("kernels", self)
        self.history = History(self)
        self.linked = Linked(self)
        self.details = Details(self)
        self.looking = Looking(self.details, self.linked, self._request, self)
        self.preview = self.looking.lane
        self.sweeps = Sweeps(self)
        self.accuracy = Accuracy(self)
        self.info: TensorInfo | None = None
        self.scope = Scope.ALL
        self.selection: tuple[str, ...] = ()
        self.trial = make_scheme("base11")
        self._opening: Job | None = None
        self._analysis: Job | None = None
        self._planning: Job | None = None
        self._export: Job | None = None
        self._analyse = _timer(self, ANALYSE_DELAY_MS, self._start_analysis)
        self.bulk.progressed.connect(self._on_progress)
        self.preview.started.connect(lambda _: self._pause_analysis())
        self.looking.looked.connect(self._on_inspection)
        self.looking.failed.connect(self._on_uninspectable)
        self.history.changed.connect(self._on_recipe)
        self.details.failed.connect(self._on_error)
        self.comparing = Comparing(self)
        self.comparing.follow()
        self.comparing.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether anything runs or is about to."""
        waiting = self._analyse.isActive() or self.looking.busy or self.details.busy or self.comparing.busy
        return waiting or not (self.bulk.idle and self.sweeps.idle and self.kernels.idle)

    # Opening.

    def warm_up(self) -> None:
        """Have the kernels ready before anyone needs them; files are opened meanwhile, what computes waits."""
        COMPILED.clear()
        self.kernels.put(Job("Preparing kernels", prepare_kernels, lambda _: None, self._on_error, computes=False))

    def open(self, path: str | Path, *, recipe: Recipe | None = None, reference: str | Path | None = None) -> None:
        """Open a checkpoint in the background; `opened` or `failed` follows. An older one still on its way is not.

        It begins with `recipe`, and with the originals in `reference`, where they are given.
        """
        if self._opening is not None:
            self.bulk.cancel(self._opening)
        self._opening = self._put_opening(path, partial(self._on_opened, recipe, reference))

    def attach(self, path: str | Path) -> None:
        """Open the originals of a packed file, so that its errors are known; `attached` or `failed` follows."""
        if self.packed_infos:
            self._put_opening(path, self.take_originals, of=self.session.checkpoint)
        else:
            self.failed.emit("The open file holds no packed layers: there is nothing to attach originals to.")

    def _put_opening(
        self, path: str | Path, done: Callable[[Checkpoint], None], *, of: Checkpoint | None = None
    ) -> Job:
        """Open a checkpoint, or the originals `of` another one."""
        self._pause_analysis()
        title = f"Opening {printable(Path(path).name, 40)}"

        def work(_token: object, _part: object) -> Checkpoint:
            opened = open_checkpoint(Path(path))
            return opened if of is None else align(opened, of)

        return self.bulk.put(Job(title, work, done, self._on_error, computes=False))

    @property
    def packed_infos(self) -> list[TensorInfo]:
        """The layers of the open file that are packed in it."""
        checkpoint = self.session.checkpoint
        return [] if checkpoint is None else [info for info in checkpoint.infos if info.qtype]

    def _on_opened(self, recipe: Recipe | None, reference: str | Path | None, checkpoint: Checkpoint) -> None:
        self._stop_analysis()
        self.looking.forget()
        old, originals = self.session.checkpoint, self.session.reference
        again = old is not None and old.path == checkpoint.path
        if again and originals is not None:
            reference = originals.path
        self.session.open(checkpoint)
        self.info, self.selection = None, ()
        self.accuracy.reset()
        if recipe is not None or not again:
            self.history.reset(recipe or self._first_recipe())
        self.opened.emit(checkpoint)
        self.recipe_changed.emit(self.recipe)
        self.chosen.emit(self.scheme)
        self.place_changed.emit()
        self._start_analysis()
        if reference is not None:
            self.attach(reference)

    def take_originals(self, reference: Checkpoint) -> None:
        """Keep the originals if they are any layer's; elsewhere they would only be in the way."""
        packed, checkpoint = self.packed_infos, self.session.checkpoint
        matched = 0 if checkpoint is None else sum(bool(pair.a.qtype) for pair in match(checkpoint, reference).pairs)
        if not matched:
            reference.close()
            self.failed.emit(
                f"{printable(str(reference.path))}: no tensor here has the name and shape of one of the "
                f"{len(packed)} packed layers; attach the file that they were made from"
            )
            return
        self.session.attach(reference)
        self.attached.emit(reference, matched, len(packed))
        self._measure_anew()

    def weigh(self, importance: Mapping[str, np.ndarray]) -> None:
        """Let errors of input channels count by a vector a layer; of layers without one all count alike."""
        self.session.weigh(importance)
        self.drop_plan()
        self.weighed.emit(len(importance))
        self._measure_anew()

    def _measure_anew(self) -> None:
        self._stop_analysis()
        self.recipe_changed.emit(self.recipe)
        self.looking.look()
        self._analyse.start()

    # The recipe.

    @property
    def recipe(self) -> Recipe:
        """What every layer is seen under and exported with."""
        return self.history.recipe

    def _first_recipe(self) -> Recipe:
        """For a file just opened: a packed one as it is stored, another as before, as far as that says anything."""
        if self.packed_infos:
            return Recipe.of(None)
        recipe, infos = self.recipe, self.session.infos
        deciding = {recipe.position(info) for info in infos}
        kept = [rule for at, rule in enumerate(recipe.rules) if rule.match != ALL and at in deciding]
        return Recipe((*kept, Rule(ALL, recipe.base or self.trial)))

    def set_recipe(self, recipe: Recipe, text: str, gesture: int | None = None) -> None:
        """Let another recipe hold; `text` names the step for undo, changes of one `gesture` are one step."""
        self.history.push(recipe, text, gesture)

    def apply(
        self, scheme: Scheme | None, where: str | Iterable[str] = ALL, text: str = "", gesture: int | None = None
    ) -> None:
        """Give a scheme (None leaves alone) to a pattern, or to the layers of these names."""
        infos = self.session.infos
        names = [where] if isinstance(where, str) else list(where)
        matches = names if isinstance(where, str) else patterns_for(names, infos)
        whom = "all layers" if where == ALL else shared_words(names)
        words = text or f"{'leave alone' if scheme is None else scheme.label} for {whom}"
        self._note(scheme)
        self.set_recipe(self.recipe.put(matches, scheme, infos), words, gesture)

    def choose(self, scheme: Scheme | None, gesture: int | None = None) -> None:
        """Give a scheme to what the scope reaches; None leaves those layers as they are stored."""
        place = self.place
        scope = place.offered()[self.scope]
        text = f"{change_words(self.scheme, scheme)} for {place.title(scope)}"
        at = None if self.info is None else self.recipe.position(self.info)
        if scope == Scope.RULE and at is not None:
            self._note(scheme)
            self.set_recipe(self.recipe.replace(at, Rule(self.recipe.rules[at].match, scheme)), text, gesture)
        else:
            self.apply(scheme, ALL if scope == Scope.ALL else place.reach(scope), text, gesture)

    def _note(self, scheme: Scheme | None) -> None:
        """Remember what layers that the recipe leaves alone are shown under."""
        self.trial = scheme or self.trial

    def set_scope(self, scope: Scope) -> None:
        """What `choose` is for from now on."""
        self.scope = scope
        self.place_changed.emit()

    def set_selection(self, names: Iterable[str]) -> None:
        """The layers that a person has selected together."""
        self.selection = tuple(names)
        self.place_changed.emit()

    @property
    def place(self) -> Place:
        """What a change of the scheme may be for."""
        return Place(self.session.infos, self.info, self.selection, self.session.decided(self.recipe).positions)

    def _on_recipe(self, recipe: Recipe) -> None:
        self._stop_analysis()
        self.recipe_changed.emit(recipe)
        self.chosen.emit(self.scheme)
        self.place_changed.emit()
        if not self.looking.up_to_date:
            self.looking.look()
        if self.session.missing(recipe):
            self._analyse.start()
        elif self.session.checkpoint is not None:
            self._on_analysed(None)

    # Choosing a layer.

    def select(self, name: str | None) -> None:
        """Look at a layer."""
        checkpoint = self.session.checkpoint
        info = checkpoint.info(name) if checkpoint is not None and name is not None else None
        if info is self.info:
            return
        self.info = info
        self.linked.select(None)
        self.selected.emit(info)
        self.chosen.emit(self.scheme)
        self.place_changed.emit()
        self.looking.look()

    @property
    def scheme(self) -> Scheme | None:
        """What the recipe says of the selected layer, of all if none is; None stores it as it is."""
        if self.info is None:
            return self.recipe.base
        rule = self.recipe.rule_for(self.info)
        if rule is None and self.info.qtype is None:
            return self._shown_anyway
        return rule.scheme if rule else None

    @property
    def _shown_anyway(self) -> Scheme:
        """What a layer is shown under that an export leaves alone."""
        return self.recipe.base or self.trial

    def effective_scheme(self, info: TensorInfo) -> Scheme | None:
        """The scheme a layer is shown under: None only for a packed layer shown as stored."""
        scheme = self.recipe.scheme_for(info)
        return self._shown_anyway if scheme is None and info.qtype is None else scheme

    # The selected layer.

    def _request(self) -> Request | None:
        if self.info is None or self.session.checkpoint is None:
            return None
        return self.session.request(self.info, self.effective_scheme(self.info))

    def _on_inspection(self, request: Request, inspection: Inspection) -> None:
        if request.info is not self.info:
            return
        self.inspected.emit(inspection)
        if inspection.part == 1.0 and self.session.wants(request):
            self._on_report((request, inspection.report()))

    def _on_uninspectable(self, request: Request, error: Exception) -> None:
        if request.info is self.info:
            self.uninspectable.emit(sentence(error))

    # All layers.

    @property
    def analysing(self) -> bool:
        """Whether layers are being measured, or soon will be."""
        return self._analysis is not None or self._analyse.isActive()

    def _start_analysis(self) -> None:
        if self.session.checkpoint is None:
            return
        if self.looking.busy:
            self._analyse.start()  # what a person looks at comes first
            return
        requests = self.session.missing(self.recipe)

        def work(token: Token, part: Emit) -> object:
            for request, report in zip(requests, measure_all(requests, token), strict=True):
                part((request, report))
            return None

        title = "Measuring all layers"
        self.put_analysis(Job(title, work, self._on_analysed, self._on_error, part=self._on_report))

    def put_analysis(self, job: Job) -> None:
        """Run a part of the analysis: a change of the recipe stops it, and what someone waits for goes before it."""

        def cancelled() -> None:
            if self._analysis is job:  # by a person, not by a change
                self._analysis = None
                self.interrupted.emit()

        def over(tell: Callable[[Any], None]) -> Callable[[Any], None]:
            def done(result: Any) -> None:
                self._analysis = None
                tell(result)

            return done

        job.cancelled, job.done, job.failed = cancelled, over(job.done), over(job.failed)
        self._analysis = job
        self.bulk.put(job)

    def _stop_analysis(self) -> None:
        self._analyse.stop()
        job, self._analysis = self._analysis, None
        if job is not None:
            self.bulk.cancel(job)

    def _pause_analysis(self) -> None:
        """Let what someone waits for go first; the analysis goes on behind it with what is missing."""
        if self._analysis is not None:
            self._stop_analysis()
            self._analyse.start()

    def _on_report(self, part: tuple[Request, LayerReport]) -> None:
        request, report = part
        self.session.reports[request.key] = report
        self.reported.emit(report)

    @property
    def errors(self) -> dict[str, str]:
        """What kept layers from being measured, by name."""
        reports = self.session.reports_under(self.recipe)
        return {report.info.name: report.error for report in reports if report.error is not None}

    def _on_analysed(self, _: object) -> None:
        self.analysed.emit()
        self.accuracy.measure()

    # Exporting.

    def plan(self, target: str) -> None:
        """Ask what exporting to `target` would write; `planned` or `plan_failed` follows."""
        checkpoint = self.session.checkpoint
        if checkpoint is None:
            return
        self.drop_plan()
        self._pause_analysis()
        recipe, importance = self.recipe, self.session.importance
        job = Job(
            "Planning the export",
            lambda token, _: targets[target]().plan(checkpoint, recipe, token).weighed(importance),
            self.planned.emit,
            lambda error: self.plan_failed.emit(sentence(error)),
            cancelled=lambda: self.plan_cancelled.emit() if self._planning is job else None,
        )
        self._planning = self.bulk.put(job)

    def drop_plan(self) -> None:
        """Forget a plan that is being made: it would be of the past."""
        job, self._planning = self._planning, None
        if job is not None:
            self.bulk.cancel(job)

    def export(self, target: str, plan: Plan, out: Path) -> None:
        """Write what was planned; `exported`, `export_failed` or `export_cancelled` follows."""
        checkpoint = self.session.checkpoint
        if checkpoint is None:
            return
        self._pause_analysis()
        self._export = self.bulk.put(
            Job(
                f"Writing {out.name}",
                lambda token, _: targets[target]().write(checkpoint, plan, out, token),
                self._on_exported,
                lambda error: self._on_export_over(lambda: self.export_failed.emit(sentence(error))),
                cancelled=lambda: self._on_export_over(self.export_cancelled.emit),
            )
        )

    @property
    def exporting(self) -> bool:
        """Whether a file is being written, or is about to."""
        return self._export is not None

    def cancel_export(self) -> None:
        """Stop writing; nothing is left behind."""
        if self._export is not None:
            self.bulk.cancel(self._export)

    def _on_exported(self, report: object) -> None:
        self._on_export_over(lambda: self.exported.emit(report))

    def _on_export_over(self, tell: Callable[[], None]) -> None:
        self._export = None
        tell()

    def _on_progress(self, job: Job, fraction: float) -> None:
        if job is self._export:
            self.export_progressed.emit(fraction)

    # Ending.

    def _on_error(self, error: Exception) -> None:
        self.failed.emit(sentence(error))

    def shutdown(self) -> None:
        """Stop all work and let go of the files; nothing is signalled afterwards."""
        self._analyse.stop()
        self.comparing.shutdown()
        self.details.shutdown()
        self.looking.shutdown()
        self.kernels.shutdown()
        COMPILED.set()  # for whatever other window there is
        self.bulk.shutdown()
        self.sweeps.shutdown()
        self.session.close()


def _timer(parent: QObject, delay_ms: int, slot: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(delay_ms)
    timer.timeout.connect(slot)
    return timer
