"""Rules on the weights themselves, whatever the scheme: they look at some rows of the layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from qinspect.findings.rule import Case, Finding, Place, rule

TINY = 1024
"""A layer of fewer weights is not worth quantizing."""
ROW = 16
"""Shorter rows may be equal by chance."""


@rule
def left_better(case: Case) -> Iterator[Finding]:
    """Norms, biases and tiny tensors hold few bytes and matter much."""
    size = math.prod(case.shape)
    vector = sum(side > 1 for side in case.shape) <= 1
    if size < 2 or case.low == case.high or case.scheme.decode_only or not (vector or size < TINY):
        return
    saved = 4 * size - case.metrics.nbytes
    what = "A vector, as biases and norms are" if vector else f"A tensor of {size:,} weights"
    yield Finding(
        "better-left-alone", "info", f"{what}: quantizing it saves {max(0, saved):,} bytes.", "Leave it in float32."
    )


@rule
def equal_rows(case: Case) -> Iterator[Finding]:
    """Rows that repeat another, and rows of one value."""
    w = case.weights
    if w is None or w.ndim < 2 or len(w) < 2 or w.size < ROW * len(w) or case.low == case.high:
        return
    rows = w.reshape(len(w), -1)
    flat = np.flatnonzero(rows[:, 0] == rows[:, -1])
    flat = flat[[bool((rows[i] == rows[i, 0]).all()) for i in flat]]
    if flat.size:
        zeros = np.count_nonzero(rows[flat, 0] == 0)
        kind = "zero" if zeros == flat.size else f"constant ({zeros:,} of them zero)" if zeros else "constant"
        yield Finding(
            "constant-rows", "info", f"{flat.size:,} of {len(w):,} rows looked at are {kind}.",
            "Dead channels may be removed from the network instead of being stored.",
            place=Place("scales", int(flat[0]) * max(1, case.shape[0] // len(w))),
        )  # fmt: skip
    repeated = _repeated(np.delete(rows, flat, axis=0) if flat.size else rows)
    if repeated:
        yield Finding(
            "duplicate-rows", "info", f"{repeated:,} of {len(w):,} rows looked at repeat another one.",
            "If that was not meant, check how the checkpoint was made; equal channels may be merged.",
        )  # fmt: skip


def _repeated(rows: np.ndarray) -> int:
    """How many rows equal an earlier one; most are told apart by a few of their values."""
    at = np.linspace(0, rows.shape[1] - 1, 8).astype(np.int64)
    some = rows[:, at].astype(np.float64) * np.sqrt(np.arange(2.0, 10.0))
    _, which, times = np.unique(some.sum(axis=1), return_inverse=True, return_counts=True)
    alike = Counter((int(which[i]), rows[i].tobytes()) for i in np.flatnonzero(times[which] > 1))
    return sum(n - 1 for n in alike.values())


@rule
def quantized_before(case: Case) -> Iterator[Finding]:
    """Few different values: the weights come from a quantized model."""
    if case.weights is None or case.metrics.exact or case.low == case.high:
        return
    for looked, values in _looks(case.weights):
        different = [np.unique(part[part != 0]).size for part in values]
        if np.median(different) > 1 and all(
            n <= 256 and 4 * n <= np.count_nonzero(part) for n, part in zip(different, values, strict=True)
        ):
            yield Finding(
                "quantized-before", "warning",
                f"There are only {max(different)} different values besides zero in {looked} weights: these have been "
                "quantized before, and quantizing them again adds error.",
                "Quantize the original weights, or use the scheme and the groups that made these.",
                place=Place("weights"),
            )  # fmt: skip
            return


def _looks(w: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Some short runs, some whole rows, and weights from everywhere: one scale may serve any of these."""
    flat = w.reshape(len(w), -1) if w.ndim > 1 else w.reshape(1, -1)
    rows = flat[:: max(1, len(flat) // 4)][:4]
    for length in sorted({64, min(flat.shape[1], 4096)}):
        if 64 <= length <= flat.shape[1]:
            yield f"{length:,} neighbouring", [row[:length] for row in rows]
    everywhere = flat[:: max(1, len(flat) // 64), :: max(1, flat.shape[1] // 64)].reshape(-1)
    if everywhere.size >= TINY:
        yield f"{everywhere.size:,}", [everywhere]
