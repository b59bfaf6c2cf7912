"""Products of decoded blocks with a few vectors, compiled by numba as those of `kernels.py` are."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit_sums


@jit_sums
def dots(block: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """`out[b, r]` = the dot product of row `r` of `block` `[m, cols]` and row `b` of `x` `[n, cols]`, in float32."""
    for row in range(block.shape[0]):
        weights = block[row]
        for vector in range(x.shape[0]):
            values = x[vector]
            total = np.float32(0)
            for i in range(weights.size):
                total += weights[i] * values[i]
            out[vector, row] = total
