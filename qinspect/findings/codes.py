"""Rules on what codes are used, and on errors that no choice of range explains."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qinspect.analysis import CodeUsage
from qinspect.findings.rule import Case, Finding, rule


@rule
def no_better_than_zeros(case: Case) -> Iterator[Finding]:
    """The error is as large as the weights."""
    sqnr = case.metrics.sqnr_db
    if sqnr < 1.0 and case.metrics.noise > 0:
        shown = f"{sqnr:.1f} dB".replace("-", "−") if math.isfinite(sqnr) else "−∞ dB"
        yield Finding(
            "no-better-than-zeros", "error",
            f"At {shown} the decoded weights are no better than zeros: the error is as large as the weights.",
            "Choose another scheme, smaller groups or more bits for this layer.",
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


@rule
def unused_codes(case: Case) -> Iterator[Finding]:
    """Most codes never occur, though there are weights enough to use them."""
    usage = CodeUsage(case.scheme.code_range[0], case.metrics.counts)
    size = math.prod(case.shape)
    if size >= 16 * usage.counts.size and usage.used * 2 <= usage.counts.size and usage.used > 1:
        yield Finding(
            "unused-codes", "warning", f"{usage.sentence[0].upper()}{usage.sentence[1:]}.",
            f"{usage.bits_needed} bit{'s' * (usage.bits_needed > 1)} a code would do: spend the rest on smaller "
            "groups, or choose a scheme that uses its codes.",
        )  # fmt: skip


@rule
def constant(case: Case) -> Iterator[Finding]:
    """There is only one value."""
    if case.low == case.high and math.prod(case.shape) > 1:
        yield Finding(
            "constant", "info", f"Every weight is {case.low:.6g}.", "Nothing to choose: a constant needs no codes."
        )
