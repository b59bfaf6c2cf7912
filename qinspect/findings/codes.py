"""Rules on what codes are used, and on errors that no choice of range explains."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from qinspect.analysis import CodeUsage
from qinspect.errors import ParameterOverflowError
from qinspect.findings.rule import Case, Finding, Place, rule


@rule
def no_better_than_zeros(case: Case) -> Iterator[Finding]:
    """The error is as large as the weights."""
    sqnr = case.metrics.sqnr_db
    if sqnr < 1.0 and case.metrics.noise > 0:
        rounded = round(sqnr, 1) + 0.0  # no minus before a zero
        shown = f"{rounded:.1f} dB".replace("-", "−") if math.isfinite(sqnr) else "−∞ dB"
        yield Finding(
            "no-better-than-zeros", "error",
            f"At {shown} the decoded weights are no better than zeros: the error is as large as the weights.",
            "Choose another scheme, smaller groups or more bits for this layer.", place=Place("error"),
        )  # fmt: skip


@rule
def left_alone(case: Case) -> Iterator[Finding]:
    """The scheme cannot represent weights of this size."""
    reason = case.scheme.leaves_alone(case.low, case.high)
    if reason is not None:
        yield Finding(
            "saturated",
            "error",
            f"{reason[0].upper()}{reason[1:]}.",
            "Leave this tensor alone: exports do so by default.",
        )


def overflow(error: ParameterOverflowError) -> Finding:
    """Nothing can be measured of a layer whose parameters do not fit their type."""
    text, remedy = (f"{said[0].upper()}{said[1:]}." for said in (error.text, error.remedy))
    return Finding("parameter-overflow", "error", text, remedy, place=Place("scheme"))


@rule
def unused_codes(case: Case) -> Iterator[Finding]:
    """Most codes never occur, though there are weights enough to use them."""
    usage = CodeUsage(case.scheme.code_range[0], case.metrics.counts)
    size = math.prod(case.shape)
    if size >= 16 * usage.counts.size and usage.used * 4 <= usage.counts.size and usage.used > 1:
        yield Finding(
            "unused-codes", "warning", f"{usage.sentence[0].upper()}{usage.sentence[1:]}.",
            f"{usage.bits_needed} bit{'s' * (usage.bits_needed > 1)} a code would do: spend the rest on smaller "
            "groups, or choose a scheme that uses its codes.", place=Place("codes"),
        )  # fmt: skip


@rule
def constant(case: Case) -> Iterator[Finding]:
    """There is only one value."""
    if case.low == case.high and math.prod(case.shape) > 1:
        yield Finding(
            "constant", "info", f"Every weight is {case.low:.6g}.", "Nothing to choose: a constant needs no codes."
        )


@rule
def end_codes(case: Case) -> Iterator[Finding]:
    """Weights were cut off before they were packed; where the originals are known, the cost itself is told."""
    m = case.metrics
    used = np.flatnonzero(m.counts)
    if not math.isnan(m.sqnr_db) or used.size < 8:
        return
    counts, total = m.counts[used[0] : used[-1] + 1], int(m.counts.sum())
    # Every set may have a smallest and a largest weight of its own at the ends; weights that gather at one end only
    # are dead channels beside a few others, not weights that were cut off.
    low, high = (int(count) - case.scheme.layout(case.shape).sets for count in (counts[0], counts[-1]))
    ends, beside = low + high, int(counts[1] + counts[-2])
    cut = low > 2 * int(counts[1]) and high > 2 * int(counts[-2])
    if ends > total / 100 and cut and counts[1:-1].sum() * 2 > total:
        yield Finding(
            "end-codes", "warning",
            f"{(ends + 0.0) / total:.1%} of the codes are the two end codes, those beside them {beside / total:.1%}: "
            "weights beyond the range were cut off.",
            "Quantize the original weights anew with a wider range, or with smaller groups.", place=Place("codes"),
        )  # fmt: skip


PLAIN_ROUNDING = 1 / math.sqrt(12)
"""RMSE of a step, where weights lie anywhere between two levels."""


@rule
def rounding(case: Case) -> Iterator[Finding]:
    """The error is not that of plain rounding."""
    m = case.metrics
    ratio, size = m.rmse_per_step, math.prod(case.shape)
    # A step that exceeds the weights is told of by others; clipped weights are as well.
    small = ratio * 10 ** (m.sqnr_db / 20) < 0.5 if math.isfinite(m.sqnr_db) else True
    if size < 1024 or small or case.scheme.n_codes < 3 or m.sqnr_in_range_db - m.sqnr_db > 0.5:
        return
    if ratio > 1.2 * PLAIN_ROUNDING:
        yield Finding(
            "rounding", "warning",
            f"The RMSE is {ratio:.3f} steps, where plain rounding gives 0.289: weights gather between two levels.",
            "Choose a scheme that has a level where they gather: symmetric, or a zero point, for zeros.",
            20 * math.log10(ratio / PLAIN_ROUNDING), Place("weights"),
        )  # fmt: skip
    elif ratio < 0.7 * PLAIN_ROUNDING:
        yield Finding(
            "rounding", "info",
            f"The RMSE is {ratio:.3f} steps, where plain rounding gives 0.289: many weights lie on levels.",
            "Nothing to mend; so it is with zeros, and with weights that have been quantized before.",
            place=Place("weights"),
        )  # fmt: skip
