"""What a finding is, what a rule may look at, and the registry of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qinspect.quant.lazy import Weights
from qinspect.quant.metrics import Metrics
from qinspect.quant.scheme import Scheme

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Place:
    """Where a finding can be seen: in the weights, the codes, the scales, the error, or in the scheme's parameters.

    `row` and `cols` (first and last, exclusive) are those of the layer as a matrix, where one set of weights is meant.
    """

    look: str
    row: int | None = None
    cols: tuple[int, int] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing to know of a layer. `gain_db` is what the remedy gains in SQNR, where that is known."""

    rule: str
    severity: str
    text: str
    remedy: str
    gain_db: float | None = None
    place: Place | None = None

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Case:
    """What a rule may look at: a layer of this shape, with weights in `low`…`high`, measured under a scheme.

    `weights` are some whole rows of it (of a vector, all), where they are known; `whole` is all of it, for reading a
    few rows.
    """

    shape: tuple[int, ...]
    scheme: Scheme
    metrics: Metrics
    low: float
    high: float
    weights: np.ndarray | None = None
    whole: Weights | None = None


Rule = Callable[[Case], Iterator[Finding]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register a rule; findings come in the order of the rules in this file."""
    RULES.append(function)
    return function


def find(case: Case) -> tuple[Finding, ...]:
    """All findings of a layer, the gravest first."""
    found = [finding for check in RULES for finding in check(case)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def place_of_set(case: Case, index: int, look: str = "scales") -> Place:
    """Where the weights of a parameter set are, if they are neighbours."""
    layout = case.scheme.layout(case.shape)
    if not layout.local or not layout.runs_per_row:
        return Place(look)
    row, run = divmod(index, layout.runs_per_row)
    line, run = divmod(run, layout.runs_per_line)
    start = line * layout.line
    return Place(look, row, (start + run * layout.run, start + min(layout.line, (run + 1) * layout.run)))
