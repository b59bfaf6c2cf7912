"""How good a scalar quantizer of so many levels can be: for Gaussian weights, in theory, and for a layer's own weights.

Sources: Max, "Quantizing for minimum distortion", 1960; Lloyd, "Least squares quantization in PCM", 1982.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from qinspect.quant.blocks import Matrix, map_blocks
from qinspect.quant.distribution import Counter, Distribution, Patterns
from qinspect.quant.metrics import Metrics, decibels

DB_PER_BIT = 20 * math.log10(2)
OWN_LEVELS = 64
"""Up to so many levels the best ones for a layer's own weights are worked out."""
BINS = 512
_LARGEST = 256
"""Up to so many levels the Gaussian figures are computed exactly, beyond them from their asymptotes."""


@dataclass(frozen=True)
class Limits:
    """The best that `levels` fixed levels for a whole layer could do, in dB of SQNR; nothing that is stored is counted.

    `gaussian_db` and `uniform_db`: any levels and even ones, on Gaussian weights. `bound_db` and `entropy_bound_db`:
    6.02 dB for each bit of a code and of the codes' measured entropy, which no code at all for Gaussian weights
    surpasses. `own_db`: on the layer's own weights, None where it is not known. `gap_db`: from the measured SQNR to
    `own_db`, or without it to `gaussian_db`; below 0 where parameters of its own let each group do better.
    """

    levels: int
    gaussian_db: float
    uniform_db: float
    bound_db: float
    entropy_bound_db: float
    own_db: float | None
    gap_db: float | None

    @property
    def sentence(self) -> str:
        """The gap in words."""
        if self.gap_db is None:
            return f"The best {self.levels} levels reach {self.gaussian_db:.1f} dB on Gaussian weights."
        if self.gap_db == -math.inf:
            return "Exact: no levels could do better."
        best = f"the best {self.levels:,} {'levels for Gaussian weights' if self.own_db is None else _WHOLE}"
        if math.isinf(self.gap_db):
            return f"All is lost that {best} would keep."
        if abs(self.gap_db) < 0.05:
            return f"As good as {best}."
        if self.gap_db > 0:
            return f"{self.gap_db:.1f} dB under {best}."
        return f"{-self.gap_db:.1f} dB above {best}: so much is gained by parameters that follow the weights."

    def to_json(self) -> dict[str, Any]:
        """As `analyze --json` prints it: what is infinite or unknown is null."""
        figures = {k: None if v is None or not math.isfinite(v) else v for k, v in asdict(self).items()}
        return {**figures, "text": self.sentence}


_WHOLE = "fixed levels for the whole layer"


def limits_of(metrics: Metrics, own_noise: float | None, *, one_set: bool) -> Limits:
    """The limits for a layer that was measured; `own_noise` is what `least_noise` says of its weights.

    `one_set` tells that all weights share their parameters: then the measured levels are themselves levels for the
    whole layer, and what `least_noise` misses between its bins is made good.
    """
    n, sqnr = metrics.levels, metrics.sqnr_db
    own = None if own_noise is None else decibels(metrics.signal, own_noise)
    if own is not None and one_set:
        own = max(own, sqnr)
    best = gaussian_db(n) if own is None else own
    gap = None if math.isnan(sqnr) else -math.inf if sqnr == math.inf else best - sqnr
    return Limits(
        n, gaussian_db(n), uniform_db(n), DB_PER_BIT * math.log2(n), DB_PER_BIT * metrics.entropy_bits, own, gap
    )


@cache
def gaussian_db(levels: int) -> float:
    """SQNR of the best scalar quantizer (Lloyd–Max) of Gaussian weights; exact up to 256 levels."""
    if levels > _LARGEST:  # Panter and Dite's asymptote, shifted so that it meets the exact figures
        at_edge = 10 ** ((gaussian_db(_LARGEST) + _PANTER_DITE_DB) / 20) - _LARGEST
        return 20 * math.log10(levels + at_edge) - _PANTER_DITE_DB
    x = math.sqrt(3) * np.array([NormalDist().inv_cdf((i + 0.5) / levels) for i in range(levels)])
    for _ in range(10):
        mass, mean, slopes = _cells((x[1:] + x[:-1]) / 2)
        # Newton's way to levels that are the means of their cells: plain iteration takes thousands of rounds.
        below, above = slopes
        jacobian = np.diag((below + above) / 2 - 1) + np.diag(above[:-1] / 2, 1) + np.diag(below[1:] / 2, -1)
        x = x - np.linalg.solve(jacobian, mean - x)
    mass, mean, _ = _cells((x[1:] + x[:-1]) / 2)
    return -10 * math.log10(1 - float((mass * mean * mean).sum()))


_PANTER_DITE_DB = 10 * math.log10(math.sqrt(3) * math.pi / 2)


def _cells(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Of the standard normal cells between `bounds`: mass, mean, and the mean's slopes in lower and upper bound."""
    edges = np.concatenate([[-40.0], bounds, [40.0]])
    density = np.exp(-edges * edges / 2) / math.sqrt(2 * math.pi)
    mass = np.diff([math.erf(edge / math.sqrt(2)) / 2 for edge in edges])
    mean = -np.diff(density) / mass
    return mass, mean, (density[:-1] * (mean - edges[:-1]) / mass, density[1:] * (edges[1:] - mean) / mass)


@cache
def uniform_db(levels: int) -> float:
    """SQNR of the best evenly spaced levels around the mean of Gaussian weights."""
    low, high = math.log(1e-6), math.log(4.0)
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-7:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _uniform_noise(math.exp(left), levels) < _uniform_noise(math.exp(right), levels):
            high = right
        else:
            low = left
    return -10 * math.log10(_uniform_noise(math.exp(low), levels))


def _uniform_noise(step: float, levels: int) -> float:
    """Noise of standard normal values on `levels` even levels."""
    if levels > _LARGEST:  # plain rounding inside, beside what lies beyond the end cells
        end, last = levels * step / 2, (levels - 1) * step / 2
        beyond = math.erfc(end / math.sqrt(2)) / 2
        density = math.exp(-end * end / 2) / math.sqrt(2 * math.pi)
        return step * step / 12 * (1 - 2 * beyond) + 2 * ((1 + last * last) * beyond + (end - 2 * last) * density)
    edges = np.concatenate([[-40.0], np.arange(1 - levels / 2, levels / 2) * step, [40.0]])
    density = np.exp(-edges * edges / 2) / math.sqrt(2 * math.pi)
    mass = np.diff([math.erf(edge / math.sqrt(2)) / 2 for edge in edges])
    x = (np.arange(levels) - (levels - 1) / 2) * step
    return float(1 + 2 * (x * np.diff(density)).sum() + (x * x * mass).sum())


def least_noise(counts: np.ndarray, means: np.ndarray, variances: np.ndarray, levels: int) -> float:
    """Σe² of the best `levels` levels for values in ascending bins, none of which is divided: exact among these.

    Bins are given by their counts and by mean and variance of what lies in each. (One-dimensional k-means, solved by
    dynamic programming: a cut never moves down when values are added above.)
    """
    from qinspect.quant import limit_kernels

    used = counts > 0
    n, x = counts[used].astype(np.float64), means[used].astype(np.float64)
    inside = float(n @ variances[used])
    if n.size <= levels:
        return inside
    x = x - float(n @ x) / n.sum()
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum([n, n * x, n * x * x], axis=1)], axis=1)
    return inside + max(0.0, float(limit_kernels.least_squares(*sums, levels)))


def best_db(counts: np.ndarray, edges: np.ndarray, levels: int) -> float:
    """SQNR of the best `levels` levels for a histogram, values even within each bin; the mean square is the signal."""
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    signal = float(counts @ (centres**2 + widths**2 / 12))
    return decibels(signal, least_noise(counts, centres, widths**2 / 12, levels))


def _bins(weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, means and variances of finite weights in at most about `BINS` bins, dense where the weights are."""
    found, centre = _around_centre(weights)
    at = np.flatnonzero(found.counts)
    n, low, high = found.counts[at].astype(np.float64), found.patterns.edges[at], found.patterns.edges[at + 1]
    # Values are even within a cell, as far as is known; one alone has no variance, and the cell of zero holds zeros.
    x, widths = np.where(low == 0, 0, (low + high) / 2), np.where(low == 0, 0, high - low)
    variances = np.square(widths) / 12 * (1 - 1 / n)
    if at.size > BINS:
        # A mean that neither outliers nor zeros move far: bins must be fine where most values are.
        spread = (float(n @ np.sqrt(np.sqrt(np.abs(x)))) / n.sum()) ** 4
        place = np.arcsinh(x / spread)
        number = ((place - place[0]) * ((BINS - 1) / (place[-1] - place[0]))).astype(np.int64)
        total = np.bincount(number, n).astype(np.float64)
        some = np.maximum(total, 1)
        mean = np.bincount(number, n * x) / some
        variances = np.bincount(number, n * (np.square(x - mean[number]) + variances)) / some
        n, x = total, mean
    return n, x + centre, variances


def _around_centre(weights: Any) -> tuple[Distribution, float]:
    """The distribution of the weights less a value amid them: cells are fine near zero, and so must the weights be."""
    from qinspect.quant import engine

    matrix = Matrix(weights)
    low, high = engine.extremes(weights)
    centre = _centre(matrix)
    # Rounded up, by what the difference of two float32 may be rounded.
    largest = max(abs(low - float(centre)), abs(high - float(centre))) * (1 + 2.0**-22)
    counter = Counter(Patterns.of(np.float32, largest), centre=float(centre))
    map_blocks(lambda a, b: counter.add(matrix.block(a, b)), matrix.rows, matrix.cols)
    return counter.found(), float(centre)


def own_noise(weights: Any, levels: int) -> float | None:
    """Σe² of the best `levels` fixed levels for finite `weights`, to about 1 %; None above `OWN_LEVELS` levels."""
    if levels > OWN_LEVELS:
        return None
    return least_noise(*_bins(weights), levels)


def own_curve(weights: Any, levels: Sequence[int]) -> dict[int, float]:
    """SQNR in dB of the best so many fixed levels for finite `weights`, as `own_noise` has it, for all of `levels`."""
    counts, means, variances = _bins(weights)
    signal = float(counts @ (means**2 + variances))
    return {n: decibels(signal, least_noise(counts, means, variances, n)) for n in levels}


def _centre(matrix: Matrix) -> np.float32:
    """A value amid the weights: patterns are fine near zero, and so must the weights be. Zero where they are anyway."""
    if not (matrix.rows and matrix.cols):
        return np.float32(0)
    x = matrix.block(0, max(1, min(matrix.rows, 4096 // matrix.cols))).reshape(-1)[:4096].astype(np.float64)
    mean = float(x.mean())
    return np.float32(mean if abs(mean) > x.std() else 0)
