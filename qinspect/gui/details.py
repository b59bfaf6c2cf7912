"""What views want to know beyond an inspection: asked with it where that is possible, else in a job of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from qinspect import analysis
from qinspect.gui.jobs import Job, Lane
from qinspect.task import Token

if TYPE_CHECKING:
    from qinspect.session import Inspection, Request

Asker = Callable[[], Iterable[analysis.Question]]
"""What a view wants to know of whatever is shown; nothing while it cannot be seen."""


class Details(QObject):
    """Collects the questions of the views in sight, and answers those that come up later."""

    answered = Signal(object)  # Inspection, which knows more than before
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._lane = Lane("details", self)
        self._askers: list[Asker] = []
        self._about: Inspection | None = None
        self._open: dict[analysis.Question, None] = {}
        self._job: Job | None = None
        self._soon = QTimer(self)  # views that ask in the same turn share one pass
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._start)

    @property
    def busy(self) -> bool:
        """Whether anything runs or is about to."""
        return self._soon.isActive() or not self._lane.idle

    def join(self, asker: Asker) -> None:
        """From now on ask this view too."""
        self._askers.append(asker)

    def filled(self, request: Request, row: int | None) -> Request:
        """The request with all that the views in sight want to know; `row` is selected."""
        questions = dict.fromkeys(question for asker in self._askers for question in asker())
        return replace(request, questions=tuple(questions), row=row)

    def ask(
        self,
        inspection: Inspection,
        questions: Iterable[analysis.Question],
        instead_of: analysis.Question | None = None,
    ) -> None:
        """Find out more of an inspection; `answered` follows. What was asked of others is forgotten.

        `instead_of` is a question that is no longer of interest.
        """
        if inspection is not self._about:
            self.drop()
            self._about = inspection
        if instead_of is not None:
            self._open.pop(instead_of, None)
        self._open |= dict.fromkeys(inspection.unanswered(questions))
        if self._open and self._job is None:
            self._soon.start()

    def drop(self) -> None:
        """Forget all questions: what they are about is no longer shown, or soon will not be."""
        self._soon.stop()
        self._about, self._open = None, {}
        job, self._job = self._job, None
        if job is not None:
            self._lane.cancel(job)

    def _start(self) -> None:
        inspection, questions = self._about, tuple(self._open)
        if inspection is None or not questions:
            return

        def work(token: Token, _: Callable[[Any], None]) -> dict[analysis.Question, Any]:
            return analysis.answer(inspection.subject, questions, token)

        def done(found: dict[analysis.Question, Any]) -> None:
            inspection.answers.update(found)
            self._over(found)
            self.answered.emit(inspection)

        def failed(error: Exception) -> None:
            self._over(questions)
            self.failed.emit(error)

        self._job = self._lane.put(Job("Details", work, done, failed))

    def _over(self, questions: Iterable[analysis.Question]) -> None:
        self._job = None
        for question in questions:
            self._open.pop(question, None)
        if self._open:
            self._soon.start()

    def shutdown(self) -> None:
        """Stop all work."""
        self._soon.stop()
        self._lane.shutdown()
