"""The rule on what a group size costs on the rows at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from qinspect.findings.rule import Case, Finding, Place, rule
from qinspect.findings.trial import gain_db
from qinspect.quant.group_sizes import fit, padding, resized, suiting_sizes
from qinspect.quant.group_sizes import group_size as group_size_of
from qinspect.quant.scheme import Scheme


@rule
def group_size(case: Case) -> Iterator[Finding]:
    """The group size pays for weights that are not there: a ragged last group, or digits no weight uses."""
    if case.metrics.nbytes:
        for finding, other in _group_size(case.scheme, case.shape):
            yield replace(finding, remedy=f"{finding.remedy}{_price(gain_db(case, other))}")


def _price(gain: float) -> str:
    """What other groups do to the error of a sample of rows."""
    if not math.isfinite(gain):
        return "."
    if abs(gain) < 0.05:
        return "; the error stays as it is."
    return f" and {'gain' if gain > 0 else 'cost'} {abs(gain):.1f} dB."


@lru_cache(1024)
def _group_size(scheme: Scheme, shape: tuple[int, ...]) -> tuple[tuple[Finding, Scheme], ...]:
    """The finding, and the scheme of its remedy.

    Many layers of a checkpoint have the same shape, and many sizes are tried for each.
    """
    layout, bpw = scheme.layout(shape), scheme.bpw(shape)
    now = fit(scheme, layout.cols)
    if now is None or layout.cols <= group_size_of(scheme):
        return ()
    size = now.size
    near = suiting_sizes(scheme, layout.cols, size * 3 // 4, size * 5 // 4)
    # A larger group always saves some of the parameters; that is a choice, not waste.
    smaller = [other for other in near if resized(scheme, other).bpw(shape) < bpw]
    better = min(smaller or [size], key=lambda other: padding(scheme, other, layout.cols))
    less = bpw - resized(scheme, better).bpw(shape)
    saved = min(less, now.padding - padding(scheme, better, layout.cols))
    if saved <= 0.05:
        return ()
    what = f"a last group of {now.ragged} weights" if now.ragged else "packing digits that no weight uses"
    finding = Finding(
        "group-size", "warning" if saved > 0.25 else "info",
        f"Groups of {size} on rows of {layout.cols} leave {what} and take {bpw:.2f} bits a weight.",
        f"Groups of {better} instead of {size} save {less:.2f} bits a weight of a packed file",
        place=Place("scheme"),
    )  # fmt: skip
    return ((finding, resized(scheme, better)),)
