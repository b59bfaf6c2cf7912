"""Between the window and the session: turns what a person does into jobs, and results into signals. No widgets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.gui.jobs import Job, Lane
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe
from qinspect.session import (
    Inspection,
    LayerReport,
    Request,
    Session,
    evaluate,
    has_test_set,
    inspect,
    measure_all,
)
from qinspect.targets.target import Plan
from qinspect.targets.target import registry as targets
from qinspect.task import Token

REFINE_DELAY_MS = 150
"""Pause in the changes after which a preview is refined from a sample to all rows."""

ANALYSE_DELAY_MS = 250
"""Pause in the changes after which all layers are measured anew."""

Emit = Callable[[Any], None]


class Controller(QObject):
    """Owns the session and the two lanes. All slots run on the GUI thread; jobs get immutable requests."""

    opened = Signal(object)  # Checkpoint
    closed = Signal()
    failed = Signal(str)
    selected = Signal(object)  # TensorInfo | None
    chosen = Signal(object)  # Scheme | None
    inspected = Signal(object)  # Inspection
    uninspectable = Signal(str)
    reported = Signal(object)  # LayerReport
    analysed = Signal()
    evaluated = Signal(object)  # Accuracy | None
    planned = Signal(object)  # Plan
    plan_failed = Signal(str)
    exported = Signal(object)  # Report
    export_failed = Signal(str)
    export_cancelled = Signal()
    export_progressed = Signal(float)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = Session()
        self.preview = Lane("preview", self, newest_only=True)
        self.bulk = Lane("bulk", self)
        self.scheme: Scheme | None = make_scheme("base11")
        self.info: TensorInfo | None = None
        self._analysis: Job | None = None
        self._planning: Job | None = None
        self._export: Job | None = None
        self._refine = _timer(self, REFINE_DELAY_MS, self._request_exact)
        self._analyse = _timer(self, ANALYSE_DELAY_MS, self._start_analysis)
        self.bulk.progressed.connect(self._on_progress)

    @property
    def busy(self) -> bool:
        """Whether anything runs or is about to."""
        timers = self._refine.isActive() or self._analyse.isActive()
        return timers or not (self.preview.idle and self.bulk.idle)

    # Opening.

    def warm_up(self) -> None:
        """Load and compile the kernels before anyone needs them."""
        self.bulk.put(Job("Preparing kernels", lambda token, _: _warm_up(token), lambda _: None, self._on_error))

    def open(self, path: str | Path) -> None:
        """Open a checkpoint in the background; `opened` or `failed` follows."""
        title = f"Opening {Path(path).name}"
        self.bulk.put(Job(title, lambda _token, _part: open_checkpoint(Path(path)), self._on_opened, self._on_error))

    def attach(self, path: str | Path) -> None:
        """Open the originals of a packed file, so that its errors are known."""
        title = f"Opening {Path(path).name}"
        self.bulk.put(Job(title, lambda _token, _part: open_checkpoint(Path(path)), self._on_attached, self._on_error))

    def reload(self) -> None:
        """Open the same file once more."""
        if self.session.checkpoint is not None:
            self.open(self.session.checkpoint.path)

    def _on_opened(self, checkpoint: Checkpoint) -> None:
        self._stop_analysis()
        self.preview.cancel_all()
        self.session.open(checkpoint)
        self.info = None
        self.evaluated.emit(None)
        packed = any(info.qtype for info in checkpoint.infos)
        if packed:
            self.scheme = None
        elif self.scheme is None:
            self.scheme = make_scheme("base11")
        self.opened.emit(checkpoint)
        self.chosen.emit(self.scheme)
        self._start_analysis()

    def _on_attached(self, reference: Checkpoint) -> None:
        self.session.attach(reference)
        self._changed()

    # Choosing.

    def select(self, name: str | None) -> None:
        """Look at a layer."""
        checkpoint = self.session.checkpoint
        info = checkpoint.info(name) if checkpoint is not None and name is not None else None
        if info is self.info:
            return
        self.info = info
        self.selected.emit(info)
        self._request_preview()

    def choose(self, scheme: Scheme | None) -> None:
        """Look through another scheme; None shows packed layers as they are stored."""
        if scheme == self.scheme:
            return
        self.scheme = scheme
        self.chosen.emit(scheme)
        self._changed()

    def _changed(self) -> None:
        self._stop_analysis()
        self._request_preview()
        self._analyse.start()

    def effective_scheme(self, info: TensorInfo) -> Scheme | None:
        """The scheme a layer is shown under: None only for a packed layer shown as stored."""
        if self.scheme is None and info.qtype is None:
            return make_scheme("base11")
        return self.scheme

    # The selected layer.

    def _request(self) -> Request | None:
        if self.info is None or self.session.checkpoint is None:
            return None
        return self.session.request(self.info, self.effective_scheme(self.info))

    def _request_preview(self) -> None:
        request = self._request()
        self._refine.stop()
        if request is None:
            self.preview.cancel_all()
            return
        work = _inspecting(request, preview=True)
        self.preview.put(Job("Preview", work, self._on_inspection, self._on_uninspectable))

    def _request_exact(self) -> None:
        request = self._request()
        if request is not None:
            work = _inspecting(request, preview=False)
            self.preview.put(Job("All rows", work, self._on_inspection, self._on_uninspectable, yields=True))

    def _on_inspection(self, inspection: Inspection) -> None:
        if inspection.info is not self.info:
            return
        self.inspected.emit(inspection)
        if inspection.part < 1.0 and self.preview.idle:
            self._refine.start()

    def _on_uninspectable(self, error: Exception) -> None:
        self.uninspectable.emit(_sentence(error))

    # All layers.

    def _start_analysis(self) -> None:
        if self.session.checkpoint is None:
            return
        requests = self.session.missing(self.scheme)

        def work(token: Token, part: Emit) -> object:
            for report in measure_all(requests, token):
                part(report)
            return None

        self._analysis = self.bulk.put(
            Job("Measuring all layers", work, self._on_analysed, self._on_error, part=self._on_report)
        )

    def _stop_analysis(self) -> None:
        self._analyse.stop()
        if self._analysis is not None:
            self.bulk.cancel(self._analysis)
            self._analysis = None

    def _on_report(self, report: LayerReport) -> None:
        asked = None if self.scheme is None and report.info.qtype else report.scheme
        self.session.reports[report.info.name, asked] = report
        self.reported.emit(report)

    def _on_analysed(self, _: object) -> None:
        self._analysis = None
        self.analysed.emit()
        self._evaluate()

    def _evaluate(self) -> None:
        """Run the network on its test set, where the checkpoint has both."""
        checkpoint, scheme = self.session.checkpoint, self.scheme
        if checkpoint is not None and has_test_set(checkpoint):
            self._analysis = self.bulk.put(
                Job(
                    "Running the test set",
                    lambda token, _: evaluate(checkpoint, scheme, token),
                    self.evaluated.emit,
                    self._on_error,
                )
            )

    # Exporting.

    def plan(self, target: str) -> None:
        """Ask what exporting to `target` would write; `planned` or `plan_failed` follows."""
        checkpoint = self.session.checkpoint
        if checkpoint is None:
            return
        if self._planning is not None:
            self.bulk.cancel(self._planning)
        recipe = Recipe(()) if self.scheme is None else Recipe.of(self.scheme)
        self._planning = self.bulk.put(
            Job(
                "Planning the export",
                lambda token, _: targets[target]().plan(checkpoint, recipe, token),
                self.planned.emit,
                lambda error: self.plan_failed.emit(_sentence(error)),
            )
        )

    def export(self, target: str, plan: Plan, out: Path) -> None:
        """Write what was planned; `exported`, `export_failed` or `export_cancelled` follows."""
        checkpoint = self.session.checkpoint
        if checkpoint is None:
            return
        self._stop_analysis()  # it would be in the way; it goes on afterwards
        self._export = self.bulk.put(
            Job(
                f"Writing {out.name}",
                lambda token, _: targets[target]().write(checkpoint, plan, out, token),
                self._on_exported,
                lambda error: self._on_export_over(lambda: self.export_failed.emit(_sentence(error))),
                cancelled=lambda: self._on_export_over(self.export_cancelled.emit),
            )
        )

    def cancel_export(self) -> None:
        """Stop writing; nothing is left behind."""
        if self._export is not None:
            self.bulk.cancel(self._export)

    def _on_exported(self, report: object) -> None:
        self._on_export_over(lambda: self.exported.emit(report))

    def _on_export_over(self, tell: Callable[[], None]) -> None:
        self._export = None
        tell()
        self._analyse.start()

    def _on_progress(self, job: Job, fraction: float) -> None:
        if job is self._export:
            self.export_progressed.emit(fraction)

    # Ending.

    def _on_error(self, error: Exception) -> None:
        self.failed.emit(_sentence(error))

    def shutdown(self) -> None:
        """Stop all work and let go of the files; nothing is signalled afterwards."""
        self._refine.stop()
        self._analyse.stop()
        self.preview.shutdown()
        self.bulk.shutdown()
        self.session.close()


def _inspecting(request: Request, *, preview: bool) -> Callable[[Token, Emit], Inspection]:
    return lambda token, _: inspect(request, preview=preview, token=token)


def _timer(parent: QObject, delay_ms: int, slot: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(delay_ms)
    timer.timeout.connect(slot)
    return timer


def _sentence(error: Exception) -> str:
    """What to tell a person; what is not our own error is also logged whole, for whoever mends it."""
    if isinstance(error, QInspectError):
        return str(error)
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def _warm_up(token: Token) -> None:
    """Run every kernel once on a tiny tensor: they are compiled at the first install, loaded from the cache later."""
    import numpy as np

    from qinspect import analysis
    from qinspect.quant.scheme import registry

    w = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    for cls in registry:
        token.check()
        scheme = cls()
        scheme.measure(w)
        q = scheme.quantize(w)
        scheme.dequantize(q)
        analysis.histogram(q, w, (-1.0, 1.0), code_units=True)
        analysis.error_pyramid(q, w)
