"""What a recipe does to outputs: for inputs that a person chose, else for the test set beside the open file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.evaluation import Evaluation, InputSet, evaluate, has_test_set, load_inputs
from qinspect.gui.jobs import Job
from qinspect.gui.work import sentence
from qinspect.recipe import Recipe
from qinspect.task import Token

if TYPE_CHECKING:
    from qinspect.gui.controller import Controller


class Accuracy(QObject):
    """`changed` tells that other inputs are chosen, or none; what is found comes as `Controller.evaluated`."""

    changed = Signal()
    failed = Signal(str)

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self._inputs: InputSet | None = None
        self._found: dict[Recipe, Evaluation] = {}
        self.path: Path | None = None
        """Where the inputs come from that were chosen."""

    def reset(self) -> None:
        """Another file is open: its layers take other inputs."""
        self._inputs, self.path = None, None
        self._found.clear()
        self.changed.emit()
        self._controller.evaluated.emit(None)

    def choose(self, path: Path) -> None:
        """Read inputs from a file and run them."""

        def done(inputs: InputSet) -> None:
            self._inputs, self.path = inputs, path
            self._found.clear()
            self.changed.emit()
            if not self._controller.analysing:  # else it follows that
                self.measure()

        def work(token: Token, _: object) -> object:
            return load_inputs(path)

        self._controller.bulk.put(Job(f"Reading {path.name}", work, done, self._on_failed))

    def measure(self) -> None:
        """Run what there is under the recipe of now."""
        checkpoint, recipe, data = self._controller.session.checkpoint, self._controller.recipe, self._inputs
        if recipe in self._found:
            self._controller.evaluated.emit(self._found[recipe])
        elif checkpoint is not None and (data is not None or has_test_set(checkpoint)):

            def work(token: Token, _: object) -> object:
                return evaluate(checkpoint, recipe, data, token)

            def done(found: Evaluation) -> None:
                self._found[recipe] = found
                self._controller.evaluated.emit(found)

            title = "Running the test set" if data is None else "Running the inputs"
            self._controller.put_analysis(Job(title, work, done, self._on_failed))

    def _on_failed(self, error: Exception) -> None:
        text = sentence(error)
        self.failed.emit(text)
        self._controller.failed.emit(text)


def in_short(found: Evaluation) -> str:
    """What counts most of an evaluation, in a line or two."""
    said = _figures(found) or [found.remark or "no layer takes these inputs"]
    text = "; ".join([said[0], *(text for text in said[1:] if text.startswith("outputs"))])
    return f"{text[:1].upper()}{text[1:]}."


def in_words(found: Evaluation) -> str:
    """All that an evaluation found of the whole."""
    said = [*_figures(found), fmt.counted(found.samples, "input"), found.remark]
    return "\n".join(filter(None, said))


def _figures(found: Evaluation) -> list[str]:
    """Accuracy, agreement, outputs, the worst layer: as far as they are known."""
    said = []
    if found.before is not None and found.after is not None:
        said.append(f"Accuracy {100 * found.before:.1f} % → {100 * found.after:.1f} %")
    if found.agreement is not None:
        said.append(f"Same answer for {100 * found.agreement:.1f} %")
    if found.output_error is not None:
        said.append(f"outputs off by {fmt.percent(found.output_error)}")
    known = [layer for layer in found.layers if math.isfinite(layer.error)]
    if known:
        worst = max(known, key=lambda layer: layer.error)
        said.append(f"worst layer {printable(worst.name, 60)}, off by {fmt.percent(worst.error)}")
    return said
