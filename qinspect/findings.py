"""What is wrong with a layer, in plain words, with the number and the remedy. One small rule each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from qinspect.analysis import CodeUsage
from qinspect.quant.metrics import Metrics
from qinspect.quant.scheme import Scheme

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing to know of a layer. `gain_db` is what the remedy gains in SQNR, where that is known."""

    rule: str
    severity: str
    text: str
    remedy: str
    gain_db: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Case:
    """What a rule may look at: a layer of this shape, with weights in `low`…`high`, measured under a scheme."""

    shape: tuple[int, ...]
    scheme: Scheme
    metrics: Metrics
    low: float
    high: float


Rule = Callable[[Case], Iterator[Finding]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register a rule; findings come in the order of the rules in this file."""
    RULES.append(function)
    return function


def find(case: Case) -> tuple[Finding, ...]:
    """All findings of a layer, the gravest first."""
    found = [finding for check in RULES for finding in check(case)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


@rule
def no_better_than_zeros(case: Case) -> Iterator[Finding]:
    """The error is as large as the weights."""
    sqnr = case.metrics.sqnr_db
    if sqnr < 1.0 and case.metrics.noise > 0:
        shown = f"{sqnr:.1f} dB".replace("-", "−") if math.isfinite(sqnr) else "−∞ dB"
        yield Finding(
            "no-better-than-zeros", "error",
            f"At {shown} the decoded weights are no better than zeros: the error is as large as the weights.",
            "Choose another scheme, smaller groups or more bits for this layer.",
        )  # fmt: skip


@rule
def left_alone(case: Case) -> Iterator[Finding]:
    """The scheme cannot represent weights of this size."""
    reason = case.scheme.leaves_alone(case.low, case.high)
    if reason is not None:
        yield Finding(
            "saturated",
            "error",
            f"{reason[0].upper()}{reason[1:]}.",
            "Leave this tensor alone: exports do so by default.",
        )


@rule
def unused_codes(case: Case) -> Iterator[Finding]:
    """Most codes never occur, though there are weights enough to use them."""
    usage = CodeUsage(case.scheme.code_range[0], case.metrics.counts)
    size = math.prod(case.shape)
    if size >= 16 * usage.counts.size and usage.used * 2 <= usage.counts.size and usage.used > 1:
        yield Finding(
            "unused-codes", "warning", f"{usage.sentence[0].upper()}{usage.sentence[1:]}.",
            f"{usage.bits_needed} bit{'s' * (usage.bits_needed > 1)} a code would do: spend the rest on smaller "
            "groups, or choose a scheme that uses its codes.",
        )  # fmt: skip


@rule
def constant(case: Case) -> Iterator[Finding]:
    """There is only one value."""
    if case.low == case.high and math.prod(case.shape) > 1:
        yield Finding(
            "constant", "info", f"Every weight is {case.low:.6g}.", "Nothing to choose: a constant needs no codes."
        )


@rule
def range_floor(case: Case) -> Iterator[Finding]:
    """Base-N groups narrower than the smallest range that is stored."""
    from qinspect.quant.schemes.base_n import RANGE_FLOOR, BaseN

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
            "Scale the layer up, or leave it alone.",
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
            "Widen the range, or use more groups.", cost if math.isfinite(cost) else None,
        )  # fmt: skip


def _clips_by_choice(scheme: Scheme) -> bool:
    """Whether the end levels were put within the range because that makes the error least."""
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
            "Choose offset=minimum, or leave this tensor alone.", 6.0206 * lost,
        )  # fmt: skip


@rule
def outlier(case: Case) -> Iterator[Finding]:
    """One weight far beyond the others sets the step for all that share its scale."""
    size = math.prod(case.shape)
    rms = math.sqrt(case.metrics.signal / size) if size else 0.0
    largest = max(abs(case.low), abs(case.high))
    layout = case.scheme.layout(case.shape)
    if rms > 0 and layout.sets == 1 and largest > 12 * rms:
        yield Finding(
            "outlier", "warning",
            f"The largest weight is {largest / rms:.0f} times the RMS and sets the step of all {size:,} weights.",
            "Share scales among fewer weights: per channel or per group.",
        )  # fmt: skip


@rule
def heavy_tails(case: Case) -> Iterator[Finding]:
    """Groups span much more than Gaussian weights of the same energy would: outliers stretch them."""
    layout, m, size = case.scheme.layout(case.shape), case.metrics, math.prod(case.shape)
    if not 1 < layout.sets <= size // 8 or not m.sqnr_db >= 1:
        return
    if _clips_by_choice(case.scheme) or m.params["scale"].dtype.kind == "u":
        return  # the ranges are not those of the weights, or jump by powers of two
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
    if lost > 1.2 + 3 / math.sqrt(layout.sets):  # few groups differ more by chance
        few = layout.sets // 20
        share = float(np.sort(spans)[-few:].sum() / spans.sum()) if few else 0.0
        told = f"; {few:,} of {layout.sets:,} groups make {share:.0%} of the error" if share > 0.25 else ""
        yield Finding(
            "heavy-tails", "warning",
            f"Outliers stretch the groups: their ranges cost about {lost:.1f} dB against Gaussian weights of the same "
            f"energy{told}.",
            "Smaller groups confine an outlier to fewer weights.",
        )  # fmt: skip


def _spans(scheme: Scheme, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """From the lowest to the highest level of every parameter set."""
    grid = scheme.grid_of(params)
    spans: np.ndarray = grid.high.astype(np.float64) - grid.low
    return spans


def _gaussian_extreme(n: int) -> float:
    """Typical largest of `n` standard normal values."""
    return NormalDist().inv_cdf(0.5264 ** (1 / max(2, n)))


@rule
def group_size(case: Case) -> Iterator[Finding]:
    """The group size pays for weights that are not there: a ragged last group, or digits no weight uses."""
    layout = case.scheme.layout(case.shape)
    size = getattr(case.scheme, "group_size", None)
    if size is None or not layout.local or layout.cols <= size or not case.metrics.nbytes:
        return
    better = min(
        useful_group_sizes(case.scheme, layout.cols, size), key=lambda s: s.bpw(case.shape), default=case.scheme
    )
    parameters = 8 * sum(dtype.itemsize for dtype in case.scheme.param_dtypes().values()) / size
    wasted = case.scheme.bpw(case.shape) - math.log2(case.scheme.n_codes) - parameters
    # A larger group always saves some of the parameters; that is a choice, not waste.
    saved = min(wasted, case.scheme.bpw(case.shape) - better.bpw(case.shape))
    if saved > 0.1:
        what = f"a last group of {layout.ragged} weights" if layout.ragged else "packing digits that no weight uses"
        chosen = getattr(better, "group_size", size)
        yield Finding(
            "group-size", "warning" if saved > 0.25 else "info",
            f"Groups of {size} on rows of {layout.cols} leave {what} and take {case.scheme.bpw(case.shape):.2f} bits "
            "a weight.",
            f"Groups of {chosen} take {better.bpw(case.shape):.2f}.",
        )  # fmt: skip


def useful_group_sizes(scheme: Scheme, cols: int, near: int) -> list[Scheme]:
    """`scheme` with other group sizes within a quarter of `near` that suit rows of `cols`: divisors and whole words."""
    from dataclasses import replace

    digits = getattr(scheme.packing, "digits", 1)
    fits = [
        g for g in range(max(1, near * 3 // 4), near * 5 // 4 + 1) if cols % g == 0 or (digits > 1 and g % digits == 0)
    ]
    return [replace(scheme, group_size=g) for g in fits if g != near]  # type: ignore[call-arg]
