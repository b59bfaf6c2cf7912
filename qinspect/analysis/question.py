"""Questions to a layer, and how one pass over its weights answers any number of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor
from qinspect.task import Token

if TYPE_CHECKING:
    from qinspect.quant.engine import Block


@dataclass(frozen=True, eq=False)
class Subject:
    """What is asked about: a quantized layer, its original weights or None, and what is known of it already.

    `span` holds the smallest and the largest weight (of the levels, where the weights are not known); `largest_error`
    is NaN without weights.
    """

    quantized: QTensor
    weights: Weights | None
    span: tuple[float, float]
    largest_error: float = math.nan


@dataclass(frozen=True, eq=False)
class Pass:
    """What is done with every block of rows, on any thread, and what becomes of the results, in their order.

    Blocks start at multiples of `multiple` rows, a power of two.
    """

    visit: Callable[[Block], Any]
    finish: Callable[[list[Any]], Any]
    multiple: int = 1


class Question(ABC):
    """Something to find out about a layer. Frozen and hashable: answers are kept under their questions."""

    rows: ClassVar[tuple[int, int] | None] = None
    """First and last row (exclusive) to look at, where it is not all. (A field of those that have a choice.)"""

    @abstractmethod
    def begin(self, subject: Subject) -> Pass:
        """Prepare for the pass over this layer."""


def answer(subject: Subject, questions: Iterable[Question], token: Token | None = None) -> dict[Question, Any]:
    """The answers to all `questions`; blocks are decoded once for all that look at the same rows."""
    from qinspect.quant import engine

    by_rows: dict[tuple[int, int] | None, list[Question]] = {}
    for question in dict.fromkeys(questions):
        by_rows.setdefault(question.rows, []).append(question)
    found: dict[Question, Any] = {}
    token = token or Token()
    for done, (rows, asked) in enumerate(by_rows.items()):
        passes = [question.begin(subject) for question in asked]

        def visit(block: Block, passes: list[Pass] = passes) -> list[Any]:
            return [each.visit(block) for each in passes]

        parts = engine.visit(
            subject.quantized, subject.weights, visit, token.part(done / len(by_rows), (done + 1) / len(by_rows)),
            multiple=max(each.multiple for each in passes), rows=rows,
        )  # fmt: skip
        for number, (question, each) in enumerate(zip(asked, passes, strict=True)):
            found[question] = each.finish([part[number] for part in parts])
    return found


def read_only(*arrays: np.ndarray) -> None:
    """Answers are shared by all who asked."""
    for array in arrays:
        array.flags.writeable = False
