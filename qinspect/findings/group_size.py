"""The rule on what a group size costs on the rows at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qinspect.findings.rule import Case, Finding, rule
from qinspect.quant.scheme import Scheme


@rule
def group_size(case: Case) -> Iterator[Finding]:
    """The group size pays for weights that are not there: a ragged last group, or digits no weight uses."""
    layout = case.scheme.layout(case.shape)
    size = getattr(case.scheme, "group_size", None)
    if size is None or not layout.local or layout.cols <= size or not case.metrics.nbytes:
        return
    better = min(
        useful_group_sizes(case.scheme, layout.cols, size), key=lambda s: s.bpw(case.shape), default=case.scheme
    )
    parameters = 8 * sum(dtype.itemsize for dtype in case.scheme.param_dtypes().values()) / size
    wasted = case.scheme.bpw(case.shape) - math.log2(case.scheme.n_codes) - parameters
    # A larger group always saves some of the parameters; that is a choice, not waste.
    saved = min(wasted, case.scheme.bpw(case.shape) - better.bpw(case.shape))
    if saved > 0.1:
        what = f"a last group of {layout.ragged} weights" if layout.ragged else "packing digits that no weight uses"
        chosen = getattr(better, "group_size", size)
        yield Finding(
            "group-size", "warning" if saved > 0.25 else "info",
            f"Groups of {size} on rows of {layout.cols} leave {what} and take {case.scheme.bpw(case.shape):.2f} bits "
            "a weight.",
            f"Groups of {chosen} take {better.bpw(case.shape):.2f}.",
        )  # fmt: skip


def useful_group_sizes(scheme: Scheme, cols: int, near: int) -> list[Scheme]:
    """`scheme` with other group sizes within a quarter of `near` that suit rows of `cols`: divisors and whole words."""
    from dataclasses import replace

    digits = getattr(scheme.packing, "digits", 1)
    fits = [
        g for g in range(max(1, near * 3 // 4), near * 5 // 4 + 1) if cols % g == 0 or (digits > 1 and g % digits == 0)
    ]
    return [replace(scheme, group_size=g) for g in fits if g != near]  # type: ignore[call-arg]
