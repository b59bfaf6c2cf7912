"""Rules on the ranges that scales follow from: floors, clipping, outliers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist

import numpy as np

from qinspect.findings.rule import Case, Finding, Place, place_of_set, rule
from qinspect.findings.trial import WORTH_DB, advice, gain_db, remedies, rows_of
from qinspect.quant.layout import Layout
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import Scheme


@rule
def range_floor(case: Case) -> Iterator[Finding]:
    """Base-N groups narrower than the smallest range that is stored."""
    from qinspect.quant.rule import RANGE_FLOOR
    from qinspect.quant.schemes.base_n import BaseN

    if not isinstance(case.scheme, BaseN) or case.low == case.high:
        return
    scale = case.metrics.params["scale"].reshape(-1)
    floored = int(np.count_nonzero(scale <= scale.dtype.type(RANGE_FLOOR)))
    if floored:
        rms = math.sqrt(case.metrics.signal / math.prod(case.shape))
        yield Finding(
            "range-floor", "warning" if rms < 1000 * RANGE_FLOOR else "info",
            f"{floored} of {scale.size} groups span less than {RANGE_FLOOR:g}, the smallest range stored: "
            "their detail is lost.",
            "Scale the layer up, or leave it alone.", place=place_of_set(case, int(scale.argmin())),
        )  # fmt: skip


@rule
def clipping(case: Case) -> Iterator[Finding]:
    """Weights beyond the end codes carry much of the error."""
    m = case.metrics
    cost = m.sqnr_in_range_db - m.sqnr_db
    if 0 < m.clipped < 0.5 and cost > 0.5 and not _clips_by_choice(case.scheme):
        costs = f"costs {cost:.1f} dB" if math.isfinite(cost) else "is all the error there is"
        yield Finding(
            "clipped", "warning",
            f"{m.clipped:.2%} of the weights lie beyond the end codes; that {costs}.",
            _wider(case.scheme), cost if math.isfinite(cost) else None, Place("codes"),
        )  # fmt: skip


def _wider(scheme: Scheme) -> str:
    """What would cut fewer weights off."""
    if getattr(scheme, "calibration", "") == "percentile":
        return "Raise the percentile, or choose calibration=mse."
    if getattr(scheme, "param_dtype", "float32") != "float32":
        return f"Choose param_dtype=float32: rounded to {scheme.param_dtype}, parameters leave the extremes outside."  # type: ignore[attr-defined]
    return "Widen the range, or use more groups."


def _clips_by_choice(scheme: Scheme) -> bool:
    """Whether end levels lie within the range by calibration, because scales are powers of two, or nobody knows why."""
    if scheme.decode_only or any(dtype.kind == "u" for name, dtype in scheme.param_dtypes().items() if name == "scale"):
        return True
    return getattr(scheme, "calibration", "minmax") in ("absmean", "mse", "mse_ends") or bool(scheme.tensor_params())


@rule
def zero_outside(case: Case) -> Iterator[Finding]:
    """The range of an asymmetric scheme leaves out zero."""
    from qinspect.quant.schemes.asymmetric import Asymmetric

    if not isinstance(case.scheme, Asymmetric) or case.low <= 0 <= case.high or case.low == case.high:
        return
    lost = math.log2(max(abs(case.low), abs(case.high)) / (case.high - case.low))
    if case.scheme.offset == "zero_point" and lost > 0.1:
        yield Finding(
            "zero-outside-range", "warning",
            f"All weights lie between {case.low:.4g} and {case.high:.4g}; the range was extended to include zero, "
            f"which spends {lost:.1f} bits on values that never occur.",
            "Choose offset=minimum, or leave this tensor alone.", 6.0206 * lost, Place("weights"),
        )  # fmt: skip


@rule
def outlier(case: Case) -> Iterator[Finding]:
    """A channel or a weight far beyond the others sets the step for all that share its scale."""
    size = math.prod(case.shape)
    rms = math.sqrt(case.metrics.signal / size) if size else 0.0
    largest = max(abs(case.low), abs(case.high))
    if not rms > 0 or case.scheme.layout(case.shape).sets != 1 or largest < 6 * rms:
        return
    found = _channel(case, largest)
    if found is None and largest > rms * max(12, 1.5 * _laplacian_extreme(size)):
        remedy, gain = advice(case, "Share scales among fewer weights: per channel or per group.")
        found = Finding(
            "outlier", "warning",
            f"The largest weight is {largest / rms:.0f} times the RMS and sets the step of all {size:,} weights.",
            remedy, gain, Place("weights"),
        )  # fmt: skip
    if found is not None:
        yield found


def _channel(case: Case, largest: float) -> Finding | None:
    """A few channels that are far larger than the others set the step of a whole tensor."""
    x = rows_of(case)
    if x is None or x.ndim < 2 or not hasattr(case.scheme, "granularity"):
        return None
    ratio, few, looked, axis = max(_loudest(x, axis, largest) for axis in (0, 1))
    if ratio < 4:
        return None
    gain = gain_db(case, dataclasses.replace(case.scheme, granularity="channel", axis=axis))  # type: ignore[call-arg]
    if not gain > 3:
        return None
    are = "is" if few == 1 else "are"
    return Finding(
        "channel", "warning",
        f"{few} of {looked:,} channels looked at (axis {axis}) {are} more than 4 times as large as the median one, at "
        f"most {ratio:.0f} times, and {'sets' if few == 1 else 'set'} the step of all.",
        f"A scale per channel (axis {axis}).", gain, Place("error"),
    )  # fmt: skip


def _loudest(x: np.ndarray, axis: int, largest: float) -> tuple[float, int, int, int]:
    """Of the channels of `axis`: RMS of the one that sets the range over the median, how many are large, of how many.

    The ratio is 0 where no channel is an exception, where many are, and where too few of their weights are known.
    """
    others = tuple(i for i in range(x.ndim) if i != axis)
    rms = np.sqrt(np.square(x).mean(axis=others, dtype=np.float64))
    usual = float(np.median(rms))
    setting = np.abs(x).max(axis=others) > largest / 2
    few = int(np.count_nonzero(rms > 4 * usual))
    if not usual or not setting.any() or few * 4 > rms.size or x.size < 16 * rms.size:
        return 0.0, few, rms.size, axis
    return float(rms[setting].max()) / usual, few, rms.size, axis


@rule
def heavy_tails(case: Case) -> Iterator[Finding]:
    """Groups span more than Gaussian weights of the same energy would; a warning if more than even Laplacian ones."""
    layout, m, size = case.scheme.layout(case.shape), case.metrics, math.prod(case.shape)
    if not 1 < layout.sets <= size // 8 or not m.sqnr_db >= 1:
        return
    if _clips_by_choice(case.scheme):
        return  # the ranges are not those of the weights
    spans = _spans(case.scheme, m.params)
    # Sets of zeros have scale 1; nothing else can span more than all weights together do.
    ends = (np.array([value], np.float32) for value in (case.low, case.high))
    spans = np.square(np.where(spans > 1.01 * _spans(case.scheme, case.scheme.fit(*ends)), 0, spans))
    # Signed codes stretch to the larger of both ends, the largest of twice as many values.
    seen = size // layout.sets * (2 if case.scheme.centred else 1)
    end = np.array([_gaussian_extreme(seen) * math.sqrt(m.signal / size)], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = float(_spans(case.scheme, case.scheme.fit(-end, end))[0])
    lost = 20 * math.log10(math.sqrt(spans.mean()) / expected)
    usual = 20 * math.log10(_laplacian_extreme(seen) / _gaussian_extreme(seen))
    chance = 3 / math.sqrt(layout.sets)  # few groups differ more
    if lost > 1.2 + chance:
        few = layout.sets // 20
        share = float(np.sort(spans)[-few:].sum() / spans.sum()) if few else 0.0
        told = f"; {few:,} of {layout.sets:,} groups make {share:.0%} of the error" if share > 0.25 else ""
        remedy = "Smaller groups confine an outlier to fewer weights."
        grave = lost > usual + 1 + chance
        yield Finding(
            "heavy-tails", "warning" if grave else "info",
            f"Outliers stretch the groups: their ranges cost about {lost:.1f} dB against Gaussian weights of the same "
            f"energy{told}.",
            *(advice(case, remedy) if grave else (remedy, None)), place_of_set(case, int(spans.argmax())),
        )  # fmt: skip


@rule
def outlier_in_group(case: Case) -> Iterator[Finding]:
    """One weight sets the step of its group, in a layer whose other groups are as usual."""
    layout, size = case.scheme.layout(case.shape), math.prod(case.shape)
    if layout.sets < 2 or not layout.local or _clips_by_choice(case.scheme) or case.whole is None or layout.run < 8:
        return
    spans = _spans(case.scheme, case.metrics.params)
    at, usual = int(spans.argmax()), float(np.median(spans))
    if not spans[at] > 3 * usual > 0:
        return
    group = _group(case.whole, layout, at)
    largest = int(np.abs(group).argmax())
    rest = float(np.sqrt(np.square(np.delete(group, largest), dtype=np.float64).mean()))
    ratio = abs(float(group[0, largest])) / rest if rest else math.inf
    if not max(12, 1.5 * _laplacian_extreme(size)) < ratio < math.inf:
        return
    row, column = at // layout.runs_per_row, at % layout.runs_per_row * layout.run + largest
    now = case.scheme.measure(group)
    share = now.noise / case.metrics.noise if case.metrics.noise > 0 else 0.0
    yield Finding(
        "outlier", "warning" if share > 0.05 else "info",
        f"The weight {group[0, largest]:.4g} (row {row:,}, column {column:,}) is {ratio:.0f} times the RMS of the "
        f"others in its group; it makes their step {spans[at] / usual:.0f} times the usual one, and their error "
        f"{share:.1%} of the layer's.",
        _in_group(case.scheme, group, now.sqnr_db),
    )  # fmt: skip


def _group(whole: Weights, layout: Layout, number: int) -> np.ndarray:
    """The weights of a set that lies in one row, `[1, n]`."""
    row, within = divmod(number, layout.runs_per_row)
    values = whole[row : row + 1] if whole.ndim > 1 else whole[:]
    start = within // layout.runs_per_line * layout.line + within % layout.runs_per_line * layout.run
    end = min(start + layout.run, (within // layout.runs_per_line + 1) * layout.line)
    return np.asarray(values, np.float32).reshape(1, -1)[:, start:end]


def _in_group(scheme: Scheme, group: np.ndarray, now: float) -> str:
    """What smaller groups and clipping gain over `now` dB for the weights of one group."""
    tried = [(other.measure(group).sqnr_db - now, words) for words, other in remedies(scheme, group.shape)]
    worth = sorted(((gain, words) for gain, words in tried if gain >= WORTH_DB), reverse=True)
    if not worth:
        return "Neither smaller groups nor clipping gain anything: the weight itself is most of this group."
    return f"Measured in this group: {'; '.join(f'{words} {gain:.1f} dB' for gain, words in worth)}."


def _spans(scheme: Scheme, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """From the lowest to the highest level of every parameter set."""
    grid = scheme.grid_of(params)
    spans: np.ndarray = grid.high.astype(np.float64) - grid.low
    return spans


def _gaussian_extreme(n: int) -> float:
    """Typical largest of `n` standard normal values."""
    return NormalDist().inv_cdf(0.5264 ** (1 / max(2, n)))


def _laplacian_extreme(n: int) -> float:
    """The same of `n` Laplacian values of unit variance, and never less than of Gaussian ones."""
    return max(_gaussian_extreme(n), -math.log(2 * (1 - 0.5264 ** (1 / max(2, n)))) / math.sqrt(2))
