"""Calibration by least squared error: every set's range shrunk, until what clipping adds outweighs finer steps."""

from __future__ import annotations

import numpy as np

from qinspect.quant import calibration_kernels as kernels
from qinspect.quant.blocks import scratch
from qinspect.quant.codec import decode, encode
from qinspect.quant.sample import Sample
from qinspect.quant.scheme import Scheme

OCTAVES = 6
"""Ranges are shrunk to 1/64 at most: one outlier of a large tensor may be that far out."""

STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""By which a range, or its end, is moved both ways, in octaves or as a part of the range; the best place is kept."""


def least_error(scheme: Scheme, sample: Sample, low: np.ndarray, high: np.ndarray, ends: bool) -> _Best:
    """The best ranges within `low`…`high` found, both ends moved together, and with `ends` then each by itself."""
    if scheme.centred:
        high = np.maximum(-low, high)
        low = -high
    best = _Best(scheme, sample, low, high)
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    factor = np.ones(sample.sets, np.float32)

    def shrink(tried: np.ndarray) -> None:
        better = best.take(middle - half * tried, middle + half * tried)
        factor[better] = tried[better]

    for halves in range(1, 2 * OCTAVES + 1):
        shrink(np.full_like(factor, 2 ** (-halves / 2)))
    for step in STEPS:
        centre = factor.copy()
        shrink(centre * np.float32(2**-step))
        shrink(np.minimum(centre * np.float32(2**step), np.float32(1)))
    if ends:
        _move_ends(best, low, high)
    return best


def _move_ends(best: _Best, lowest: np.ndarray, highest: np.ndarray) -> None:
    for step in (*STEPS[1:], *STEPS[1:]):
        for part in (np.float32(-step), np.float32(step)):
            best.take(np.clip(_moved(best.low, part, best), lowest, best.high), best.high)
            best.take(best.low, np.clip(_moved(best.high, part, best), best.low, highest))


def _moved(end: np.ndarray, part: np.float32, best: _Best) -> np.ndarray:
    """An end moved by a part of its range; infinite where float32 ends, which the clipping that follows undoes."""
    with np.errstate(over="ignore"):
        moved: np.ndarray = end + part * (best.high - best.low)
    return moved


class _Best:
    """The range with the least error so far of every set."""

    def __init__(self, scheme: Scheme, sample: Sample, low: np.ndarray, high: np.ndarray) -> None:
        self._scheme = scheme
        self._sample = sample
        self.low, self.high = low, high
        self._error = self._errors(low, high)

    def take(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Take those ranges that are better; tells which."""
        error = self._errors(low, high)
        better: np.ndarray = error < self._error
        self.low, self.high = np.where(better, low, self.low), np.where(better, high, self.high)
        self._error = np.where(better, error, self._error)
        return better

    def _errors(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Weighted squared error of every set; infinite where parameters overflow."""
        scheme, layout, weight = self._scheme, self._sample.layout, self._sample.weight
        with np.errstate(over="ignore", invalid="ignore"):
            grid = scheme.grid(scheme.fit(low, high))
        even = grid.table is None or grid.even

        def work(x: np.ndarray) -> np.ndarray:
            found = np.empty((1, len(x) * layout.runs_per_row))
            runs, codes = (layout.line, layout.run), scheme.code_range
            decoded = scratch("decoded", x.size, np.dtype(np.float32)).reshape(x.shape)
            if even:
                kernels.round_trip(x, *runs, grid.step, grid.zero, grid.offset, *codes, decoded)
            else:
                decode(scheme, encode(scheme, x, layout, 0, grid), layout, 0, grid, decoded)
            kernels.squared_errors(x, decoded, *runs, weight, found[0])
            return found

        fine = np.isfinite(grid.low) & np.isfinite(grid.high)
        return np.where(fine, self._sample.fold(work)[0], np.inf)
