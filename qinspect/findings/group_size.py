"""The rule on what a group size costs on the rows at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from qinspect.findings.rule import Case, Finding, rule
from qinspect.quant.scheme import Scheme


@rule
def group_size(case: Case) -> Iterator[Finding]:
    """The group size pays for weights that are not there: a ragged last group, or digits no weight uses."""
    if case.metrics.nbytes:
        yield from _group_size(case.scheme, case.shape)


@lru_cache(1024)
def _group_size(scheme: Scheme, shape: tuple[int, ...]) -> tuple[Finding, ...]:
    """Many layers of a checkpoint have the same shape, and many sizes are tried for each."""
    layout, size, bpw = scheme.layout(shape), getattr(scheme, "group_size", None), scheme.bpw(shape)
    if size is None or not layout.local or layout.cols <= size:
        return ()
    smaller = [other for other in useful_group_sizes(scheme, layout.cols, size) if other.bpw(shape) < bpw]
    # A larger group always saves some of the parameters; that is a choice, not waste.
    better = min(smaller or [scheme], key=lambda other: _waste(other, shape))
    less = bpw - better.bpw(shape)
    saved = min(less, _waste(scheme, shape) - _waste(better, shape))
    if saved <= 0.05:
        return ()
    what = f"a last group of {layout.ragged} weights" if layout.ragged else "packing digits that no weight uses"
    chosen = getattr(better, "group_size", size)
    finding = Finding(
        "group-size", "warning" if saved > 0.25 else "info",
        f"Groups of {size} on rows of {layout.cols} leave {what} and take {bpw:.2f} bits a weight.",
        f"Groups of {chosen} instead of {size} save {less:.2f} bits a weight on this row.",
    )  # fmt: skip
    return (finding,)


def _waste(scheme: Scheme, shape: tuple[int, ...]) -> float:
    """Bits a weight beyond what whole groups of so many codes and their parameters need."""
    parameters = 8 * sum(dtype.itemsize for dtype in scheme.param_dtypes().values())
    size: int = scheme.group_size  # type: ignore[attr-defined]
    return scheme.bpw(shape) - math.log2(scheme.n_codes) - parameters / size


def useful_group_sizes(scheme: Scheme, cols: int, near: int) -> list[Scheme]:
    """`scheme` with other group sizes within a quarter of `near` that suit rows of `cols`: divisors and whole words."""
    from dataclasses import replace

    digits = getattr(scheme.packing, "digits", 1)
    fits = [
        g for g in range(max(1, near * 3 // 4), near * 5 // 4 + 1) if cols % g == 0 or (digits > 1 and g % digits == 0)
    ]
    return [replace(scheme, group_size=g) for g in fits if g != near]  # type: ignore[call-arg]
