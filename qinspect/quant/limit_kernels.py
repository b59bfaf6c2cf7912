"""The loop behind `limits`: the best division of bins into cells."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit


@jit
def least_squares(n: np.ndarray, s: np.ndarray, q: np.ndarray, cells: int) -> float:
    """Least Σ(x − mean of its cell)² over all divisions of bins into `cells`, from cumulative counts, sums and squares.

    `best[i]` is that of the first `i` bins; `cut[i]` is where their last cell begins, and lies between the cuts of
    any fewer and any more bins. So positions are taken in the order in which a ruler is divided.
    """
    bins = n.size - 1
    best = np.empty(bins + 1)
    best[0] = 0.0
    for i in range(1, bins + 1):
        best[i] = q[i] - s[i] * s[i] / n[i]
    fewer = np.empty_like(best)
    cut = np.zeros(bins + 1, np.int64)
    widest = 1
    while widest * 2 <= bins:
        widest *= 2
    for _ in range(1, cells):
        fewer[:] = best
        step = widest
        while step >= 1:
            for i in range(step, bins + 1, 2 * step):
                first = cut[i - step] if i > step else 0
                last = min(cut[i + step], i - 1) if i + step <= bins else i - 1
                least = np.inf
                for j in range(first, last + 1):
                    mass, total = n[i] - n[j], s[i] - s[j]
                    noise = fewer[j] + (q[i] - q[j]) - total * total / mass
                    if noise < least:
                        least = noise
                        cut[i] = j
                best[i] = least
            step //= 2
    least_of_all: float = best[bins]
    return least_of_all
