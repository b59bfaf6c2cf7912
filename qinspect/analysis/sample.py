"""The rows that a preview looks at."""

from __future__ import annotations

import numpy as np

from qinspect.quant.lazy import Weights

SAMPLE = 1 << 20
"""About so many weights are looked at in a preview."""


def sample_rows(w: Weights, limit: int = SAMPLE) -> np.ndarray:
    """About `limit` weights as evenly spread whole rows of `w` (a copy), or `w` itself where it is not larger."""
    return numbered_rows(w, limit)[0]


def numbered_rows(w: Weights, limit: int = SAMPLE, row: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`sample_rows`, and the numbers of these rows; None where they are all.

    `row`, in which someone is interested, takes the place of that next to it.
    """
    if w.ndim < 2 or w.size <= limit:
        return np.asarray(w), None
    rows = len(w)
    keep = max(1, limit * rows // w.size)
    step = max(1, rows // keep)
    sample = np.ascontiguousarray(w[::step][:keep])
    numbers = np.arange(len(sample)) * step
    if row is not None and 0 <= row < rows:
        place = int(np.argmin(np.abs(numbers - row)))
        numbers[place] = row
        sample[place] = w[row : row + 1][0]
    return sample, numbers
