"""What a remedy would gain, measured on a few rows of the layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qinspect.errors import SchemeError
from qinspect.findings.rule import Case
from qinspect.quant.layout import matrix_shape
from qinspect.quant.scheme import Scheme

TRIAL = 1 << 15
"""Weights that remedies are tried on."""
WORTH_DB = 0.5
"""A remedy that gains less is not spoken of."""


def rows_of(case: Case) -> np.ndarray | None:
    """About `TRIAL` weights as evenly spread rows, float32; None where the weights are not known."""
    w = case.weights
    if w is None or not w.size:
        return None
    if w.ndim > 1:
        w = w[:: max(1, w.size // TRIAL)]
    return np.ascontiguousarray(w if w.ndim > 1 else w[:TRIAL], dtype=np.float32)


def gain_db(case: Case, other: Scheme) -> float:
    """How much less noise `other` makes than the scheme of the case; NaN where that cannot be measured."""
    x = rows_of(case)
    if x is None:
        return math.nan
    try:
        # Parameters of a row's own are the same in the sample; others follow from weights that may not be in it.
        now = case.scheme.measure(x).mse if case.scheme.layout(case.shape).local else case.metrics.mse
        then = other.measure(x).mse
    except SchemeError:
        return math.nan
    then += _unseen(case, other, float(np.abs(x).max()))
    return 10 * math.log10(now / then) if now > 0 and then > 0 else math.nan


def _unseen(case: Case, other: Scheme, seen: float) -> float:
    """What the largest weight of all adds to the mean square error under `other`, if it is not in the sample."""
    largest, size, layout = max(-case.low, case.high), math.prod(case.shape), other.layout(case.shape)
    if largest <= seen:
        return 0.0
    if layout.sets == 1:  # fitted to the sample: the weight is clipped
        return (largest - seen) ** 2 / size
    ends = (np.array([end], np.float32) for end in (case.low, case.high))
    grid = other.grid(other.fit(*ends))
    step = float(grid.high[0] - grid.low[0]) / (other.n_codes - 1)
    # It spoils its own set; with a step beyond their size the others there become zero.
    return min(step * step / 12, case.metrics.signal / size) / layout.sets


def advice(case: Case, otherwise: str) -> tuple[str, float | None]:
    """Finer parameters and clipping, with what each gains; the largest gain. `otherwise` where none is worth it."""
    tried = [(gain_db(case, scheme), words, scheme) for words, scheme in remedies(case.scheme, case.shape)]
    worth = sorted((entry for entry in tried if entry[0] >= WORTH_DB), key=lambda entry: -entry[0])
    if not worth:
        return otherwise, None
    bpw = case.scheme.bpw(case.shape)
    told = []
    for gain, words, scheme in worth:
        more = scheme.bpw(case.shape) - bpw
        told.append(f"{words} {gain:.1f} dB" + (f" for {more:.2f} bits a weight more" if more >= 0.005 else ""))
    text = "; ".join(told)
    return f"Measured gains: {text}.", worth[0][0]


def remedies(chosen: Scheme, shape: tuple[int, ...]) -> Iterator[tuple[str, Scheme]]:
    """Finer parameters and clipping, each in words, for a tensor of `shape`."""
    scheme: Any = chosen  # with fields that not every scheme has
    rows, cols = matrix_shape(shape)
    names = {parameter.name: parameter for parameter in scheme.parameters()}
    size = finer_size(scheme, cols)
    if "granularity" in names:
        if scheme.granularity == "tensor" and rows > 1:
            yield "a scale per channel", replace(scheme, granularity="channel", axis=0)
        if size:
            yield f"groups of {size}", replace(scheme, granularity="group", group_size=size)
    elif size:
        yield f"groups of {size}", replace(scheme, group_size=size)
    choices = names["calibration"].choices or () if "calibration" in names else ()
    clips = next((choice for choice in ("mse", "percentile") if choice in choices), None)
    if clips is not None and scheme.calibration == "minmax":
        yield f"clipping (calibration={clips})", replace(scheme, calibration=clips)


def finer_size(scheme: Any, cols: int) -> int | None:
    """A quarter of the groups there are, or 128 weights where there are none; None if nothing finer makes sense."""
    if not hasattr(scheme, "group_size"):
        return None
    grouped = getattr(scheme, "granularity", "group") == "group"
    size = min(scheme.group_size, cols) // 4 if grouped else 128
    return size if 8 <= size < cols else None
