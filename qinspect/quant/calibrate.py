"""Calibration: the range of every parameter set, from which its parameters are fitted."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from qinspect.quant import calibration_kernels as kernels
from qinspect.quant.blocks import Matrix, map_blocks
from qinspect.quant.layout import Layout, per_tensor
from qinspect.quant.sample import BlockSample, Sample, TensorSample
from qinspect.quant.scheme import Scheme
from qinspect.task import Token


def ranges(scheme: Scheme, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest weight that each set of the sample is to express (float32), as the scheme's calibration says.

    Raises NotFiniteError for weights that are not finite.
    """
    low, high = sample.extremes()
    rule = getattr(scheme, "calibration", "minmax")
    if rule == "absmean":
        mean = _folded(sample, kernels.sum_magnitudes) / sample.sizes
        high = mean.astype(np.float32)
        low = -high
    elif rule == "percentile":
        end = _quantile(sample, getattr(scheme, rule) / 100)
        low, high = np.maximum(low, -end), np.minimum(high, end)
    elif rule in ("mse", "mse_ends"):
        from qinspect.quant.search import least_error

        best = least_error(scheme, sample, low, high, ends=rule == "mse_ends")
        low, high = best.low, best.high
    return low, high


def _folded(sample: Sample, kernel: Callable[..., None], *more: np.ndarray, by: np.ufunc = np.add) -> np.ndarray:
    """One number a set: `kernel(x, line, run, …, out)` gives one a run."""
    return np.asarray(sample.fold(lambda x: _per_run(kernel, x, sample.layout, *more), by)[0])


def _quantile(sample: Sample, part: float) -> np.ndarray:
    """The `part`-quantile of |w| of every set, linear between weights: one bit of their float32 patterns a fold."""
    place = part * (sample.sizes - 1)
    rank = np.floor(place)

    found = np.zeros(sample.sets, np.int32)
    for bit in range(30, -1, -1):
        tried = found | np.int32(1 << bit)
        found = np.where(_folded(sample, kernels.count_below, tried) <= rank, tried, found)
    above = _folded(sample, kernels.smallest_from, found + 1, by=np.minimum)
    following = np.where(_folded(sample, kernels.count_below, found + 1) > rank + 1, found, above).astype(np.int32)
    following = np.where(place > rank, following, found)
    lower, upper = (bits.view(np.float32).astype(np.float64) for bits in (found, following))
    return (lower + (upper - lower) * (place - rank)).astype(np.float32)


PLACES = 65535
"""Where weights are counted, from −1 to 1 times the range of their set; 0 and both ends are places."""

_UNIT = 1 << 24
"""What a weight counts in the set with the largest range; in others less, as errors do: by the square."""


def place_counts(scheme: Scheme, matrix: Matrix, layout: Layout, token: Token) -> np.ndarray:
    """How much lies at each of the `PLACES`, int64: integers, so that no sum depends on threads."""
    everything = TensorSample(matrix, per_tensor(matrix.shape), token.part(0, 0.3))
    largest = _magnitude(*everything.extremes())[0] or np.float32(1)
    shared = None if layout.local else ranges(scheme, TensorSample(matrix, layout, token.part(0.3, 0.6)))
    counts = np.zeros(PLACES, np.int64)
    lock = threading.Lock()

    def count(start: int, stop: int) -> None:
        x, found = matrix.block(start, stop), np.zeros_like(counts)
        reach = _magnitude(*(shared or ranges(scheme, BlockSample(x, layout))))
        each = np.rint(_UNIT * np.square(reach.astype(np.float64) / largest)).astype(np.int64)
        kernels.count_places(x, layout.line, layout.run, np.where(reach > 0, reach, np.float32(1)), each, found)
        with lock:
            np.add(counts, found, out=counts)

    map_blocks(count, matrix.rows, matrix.cols, token.part(0.6, 1))
    return counts


def _magnitude(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(-low, high))


def _per_run(kernel: Callable[..., None], x: np.ndarray, layout: Layout, *more: np.ndarray) -> np.ndarray:
    """`[1, runs]`, float64, as `kernel(x, line, run, …, out)` fills it."""
    found = np.empty((1, len(x) * layout.runs_per_row))
    kernel(x, layout.line, layout.run, *more, found[0])
    return found
