"""What is open and chosen, and the work on it that the window and the command line share. No Qt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qinspect import analysis
from qinspect.compare import match
from qinspect.errors import FormatError, ParameterOverflowError, QInspectError, SchemeError
from qinspect.findings import Case, Finding, Place, find, overflow
from qinspect.formats.align import align
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.quant.lazy import Weights
from qinspect.quant.limits import Limits, limits_of, own_noise
from qinspect.quant.metrics import Metrics, decibels
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.recipe import Recipe
from qinspect.task import Token

SAMPLE = 1 << 18
"""Weights that the slower rules and the limits look at."""

PREVIEW = 1 << 19
"""Weights that a preview looks at: two blocks, one for each of two cores."""


@dataclass(frozen=True, eq=False)
class Request:
    """One layer to look at: an immutable snapshot that any thread may work on.

    `scheme` None means a packed layer as it is stored. `reference` holds the originals of a packed file's layers, this
    one's under the name `original`, if it has it. `importance` is what the errors of its input channels count.
    `questions` are what the views in sight want to know; `row` is one that a preview's sample is to have, unless it has
    the `sample` of an earlier one.
    """

    checkpoint: Checkpoint
    info: TensorInfo
    scheme: Scheme | None
    reference: Checkpoint | None = None
    original: str | None = None
    questions: tuple[analysis.Question, ...] = ()
    row: int | None = None
    importance: np.ndarray | None = None
    sample: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def key(self) -> tuple[str, Scheme | None]:
        """What results are cached under."""
        return self.info.name, self.scheme


@dataclass(frozen=True, eq=False)
class LayerReport:
    """The figures of one layer under one scheme, or the error that kept it from being measured."""

    info: TensorInfo
    scheme: Scheme | None
    metrics: Metrics | None
    findings: tuple[Finding, ...] = ()
    error: str | None = None
    limits: Limits | None = None
    weighted_sqnr_db: float | None = None
    """Where the layer's input channels have an importance: the SQNR in which each counts so much."""

    def to_json(self) -> dict[str, Any]:
        """One entry of `analyze --json`."""
        figures = dict.fromkeys(_METRIC_NAMES) if self.metrics is None else self.metrics.to_json()
        entry = {"name": self.info.name, "shape": list(self.info.shape), **figures}
        entry["findings"] = [finding.to_json() for finding in self.findings]
        entry["limits"] = self.limits and self.limits.to_json()
        weighted = self.weighted_sqnr_db
        if weighted is not None:
            entry["weighted_sqnr_db"] = weighted if math.isfinite(weighted) else None
        return entry | ({"error": self.error} if self.error else {})


_METRIC_NAMES = (
    "sqnr_db", "sqnr_in_range_db", "rmse", "mse", "rmse_per_step", "snr_db_eps", "cosine", "max_error", "mean_error",
    "exact", "bpw", "nbytes", "levels", "levels_used", "entropy_bits", "clipped",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is known of one layer. `part` is the share of rows it was computed from; 1.0 is exact.

    `answers` grows as views ask more. `rows` holds the numbers of a sample's rows in the layer; None where it has all.
    """

    info: TensorInfo
    scheme: Scheme
    subject: analysis.Subject
    metrics: Metrics
    findings: tuple[Finding, ...]
    limits: Limits
    usage: analysis.CodeUsage
    scales: analysis.ScaleMap
    answers: dict[analysis.Question, Any] = field(repr=False)
    part: float = 1.0
    rows: np.ndarray | None = None

    @property
    def quantized(self) -> QTensor:
        """The layer, or the sample of its rows, in its packed form."""
        return self.subject.quantized

    @property
    def weights(self) -> Weights | None:
        """The original weights of the same rows, where they are known."""
        return self.subject.weights

    @property
    def sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows that a preview was computed from and their numbers; None for what is exact."""
        weights = self.weights
        return (weights, self.rows) if isinstance(weights, np.ndarray) and self.rows is not None else None

    def report(self) -> LayerReport:
        """The figures alone, as `measure` finds them."""
        return LayerReport(self.info, self.scheme, self.metrics, self.findings, limits=self.limits)

    def unanswered(self, questions: Iterable[analysis.Question]) -> list[analysis.Question]:
        """Those of `questions` whose answers are not known yet."""
        return [question for question in questions if question not in self.answers]


def weights_of(request: Request, token: Token | None = None) -> tuple[Weights | None, QTensor | None]:
    """The layer's original weights, as far as they are known, and its packed form if it is shown as stored."""
    loaded = request.checkpoint.recent(request.info.name)
    original = _reference_of(request)
    if not isinstance(loaded, QTensor):
        return loaded, None
    if request.scheme is None:
        return original, loaded
    return (loaded.scheme.dequantize(loaded, token=token) if original is None else original), None


def _reference_of(request: Request) -> Weights | None:
    """The layer's weights in the reference, decoded if they are packed there."""
    if request.reference is None or request.original is None:
        return None
    loaded = request.reference.recent(request.original)
    return loaded.scheme.dequantize(loaded) if isinstance(loaded, QTensor) else loaded


def measure(request: Request, token: Token | None = None) -> LayerReport:
    """Measure one layer; what is wrong with its weights is told in the report, not raised."""
    token = token or Token()
    try:
        weights, packed = weights_of(request, token.part(0, 0.2))
        metrics, low, high = _figures(request, weights, packed, token.part(0.2, 0.9))
        weighted = _weighted(request, weights, packed, token.part(0.9, 1))
    except QInspectError as error:
        located = error.within(path=request.checkpoint.path, tensor=request.info.name)
        found = (overflow(error),) if isinstance(error, ParameterOverflowError) else ()
        return LayerReport(request.info, request.scheme, None, found, error=str(located))
    case = Case(request.info.shape, _scheme_of(request, packed), metrics, low, high, _sample(weights), weights)
    return LayerReport(request.info, case.scheme, metrics, find(case), limits=_limits(case), weighted_sqnr_db=weighted)


def _weighted(request: Request, weights: Weights | None, packed: QTensor | None, token: Token) -> float | None:
    """The SQNR in which input channels count by their importance, if there is one."""
    from qinspect.quant.weighted import weighted_sqnr_db

    if request.importance is None or weights is None:
        return None
    q = packed or _scheme_of(request, None).quantize(weights, importance=request.importance, token=token.part(0, 0.5))
    return weighted_sqnr_db(weights, q, request.importance, token.part(0.5, 1))


def _sample(weights: Weights | None) -> np.ndarray | None:
    """Evenly spread rows of the weights, as far as they are known: what takes long is done with these alone."""
    if weights is None:
        return None
    if weights.ndim < 2 or weights.size <= SAMPLE:
        return np.asarray(weights)
    keep = max(1, SAMPLE * len(weights) // weights.size)
    return weights[:: len(weights) // keep][:keep]


def _limits(case: Case) -> Limits:
    """How good the layer could be; on a sample of its weights to about 0.1 dB."""
    noise = None if case.weights is None else own_noise(case.weights, case.metrics.levels)
    if noise is not None and case.weights is not None and case.weights.size:
        noise *= math.prod(case.shape) / case.weights.size
    return limits_of(case.metrics, noise, one_set=case.scheme.layout(case.shape).sets == 1)


def _scheme_of(request: Request, packed: QTensor | None) -> Scheme:
    scheme = request.scheme if packed is None else packed.scheme
    if scheme is None:
        raise SchemeError("choose a scheme: this tensor is not packed", tensor=request.info.name)
    return scheme


def _figures(
    request: Request, weights: Weights | None, packed: QTensor | None, token: Token
) -> tuple[Metrics, float, float]:
    """Metrics, smallest and largest weight (of the levels where the weights are not known)."""
    from qinspect.quant import engine

    if packed is not None and weights is None:
        span = engine.level_span(packed, token.part(0, 0.1))
        return engine.stored_metrics(packed, token.part(0.1, 1)), *span
    if weights is None:
        raise FormatError("this tensor holds no weights")
    span, rest = engine.extremes(weights, token.part(0, 0.3)), token.part(0.3, 1)
    if packed is not None:
        return packed.scheme.compare(weights, packed, token=rest), *span
    return _scheme_of(request, None).measure(weights, importance=request.importance, token=rest), *span


def inspect(request: Request, *, preview: bool = False, token: Token | None = None) -> Inspection:
    """What the views show of one layer; as a preview, of a sample of its rows."""
    token = token or Token()
    try:
        weights, packed = weights_of(request, token)
        part, rows = 1.0, None
        if preview and packed is None and weights is not None:
            size = weights.size
            weights, rows = request.sample or analysis.numbered_rows(weights, PREVIEW, request.row)
            part = weights.size / max(1, size)
        scheme = _scheme_of(request, packed)
        quantized = scheme.quantize(weights, importance=request.importance, token=token) if packed is None else packed
        metrics, low, high = _figures(request, weights, quantized, token)
        whole = weights if part == 1 else None
        case = Case(quantized.shape, scheme, metrics, low, high, _sample(weights), whole)
        subject = analysis.Subject(quantized, weights, (low, high), metrics.max_error)
        return Inspection(
            request.info, scheme, subject, metrics, _of_layer(find(case), part), _limits(case),
            analysis.CodeUsage(scheme.code_range[0], metrics.counts), analysis.scale_map(quantized),
            analysis.answer(subject, request.questions, token), part, rows,
        )  # fmt: skip
    except QInspectError as error:
        raise error.within(path=request.checkpoint.path, tensor=request.info.name) from None


def _of_layer(found: tuple[Finding, ...], part: float) -> tuple[Finding, ...]:
    """Rows of a sample are not those of the layer: what was found in one does not say in which row."""
    if part == 1.0:
        return found
    return tuple(replace(each, place=each.place and Place(each.place.look)) for each in found)


@dataclass(frozen=True)
class Total:
    """The figures of several layers together. Decibels from summed energies; None where nothing was measured."""

    sqnr_db: float | None
    bpw: float
    nbytes: int
    original_nbytes: int

    def to_json(self) -> dict[str, Any]:
        """As `analyze --json` prints it; an infinite SQNR is null."""
        finite = self.sqnr_db is not None and math.isfinite(self.sqnr_db)
        return {
            "sqnr_db": self.sqnr_db if finite else None,
            "bpw": self.bpw,
            "nbytes": self.nbytes,
            "original_nbytes": self.original_nbytes,
        }


def total(reports: Iterable[LayerReport]) -> Total:
    """Sum up measured layers."""
    measured = [(report.info, report.metrics) for report in reports if report.metrics is not None]
    known = [metrics for _, metrics in measured if not math.isnan(metrics.noise)]
    weights = sum(info.size for info, _ in measured)
    nbytes = sum(metrics.nbytes for _, metrics in measured)
    return Total(
        decibels(sum(m.signal for m in known), sum(m.noise for m in known)) if known else None,
        8 * nbytes / max(1, weights),
        nbytes,
        sum(original_nbytes(info) for info, _ in measured),
    )


def original_nbytes(info: TensorInfo) -> int:
    """Bytes of a tensor before it was packed: as FP32 for a packed layer, else as stored."""
    return 4 * info.size if info.qtype else info.nbytes


def stored_nbytes(info: TensorInfo, scheme: Scheme | None) -> int:
    """Bytes that a tensor takes under `scheme`; None leaves it as it is in the file."""
    return info.nbytes if scheme is None else _nbytes(scheme, info.shape)


@lru_cache(1 << 16)
def _nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Many layers have the same shape."""
    return scheme.nbytes(shape)


@dataclass
class Session:
    """The open checkpoint, its reference, and what was measured of them. Changed on one thread only."""

    checkpoint: Checkpoint | None = None
    reference: Checkpoint | None = None
    originals: Mapping[str, str] = field(default_factory=dict)
    """The names in the reference of those tensors that it has."""
    reports: dict[tuple[str, Scheme | None], LayerReport] = field(default_factory=dict)
    importance: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What errors of the input channels of some layers count."""
    _decided: Decided | None = None

    def open(self, checkpoint: Checkpoint) -> None:
        """Take over a checkpoint; what was open is closed."""
        self.close()
        self.checkpoint = checkpoint

    def attach(self, reference: Checkpoint | None) -> None:
        """Take over the originals that packed layers are compared with."""
        if self.reference is not None:
            self.reference.close()
        if self.checkpoint is not None and reference is not None:
            reference = align(reference, self.checkpoint)
        self.reference, self.originals = reference, {}
        if self.checkpoint is not None and reference is not None:
            self.originals = {pair.a.name: pair.b.name for pair in match(self.checkpoint, reference).pairs}
        self.reports.clear()

    def weigh(self, importance: Mapping[str, np.ndarray]) -> None:
        """Let errors of input channels count by their importance, a vector a layer; of none all count alike."""
        self.importance = importance
        self.reports.clear()

    def close(self) -> None:
        """Close everything."""
        for opened in (self.checkpoint, self.reference):
            if opened is not None:
                opened.close()
        self.checkpoint = self.reference = None
        self.originals, self.importance = {}, {}
        self.reports.clear()

    def request(self, info: TensorInfo, scheme: Scheme | None) -> Request:
        """A snapshot for a job; None asks for a packed layer as it is stored."""
        if self.checkpoint is None:
            raise FormatError("no checkpoint is open")
        return Request(
            self.checkpoint, info, scheme, self.reference, self.originals.get(info.name),
            importance=self.importance.get(info.name),
        )  # fmt: skip

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The tensors of the open file."""
        return self.checkpoint.infos if self.checkpoint else ()

    def decided(self, recipe: Recipe) -> Decided:
        """What `recipe` makes of the tensors; found once for each recipe, however many ask."""
        if self._decided is None or self._decided.recipe is not recipe or self._decided.infos is not self.infos:
            self._decided = Decided(recipe, self.infos)
        return self._decided

    def layers(self, recipe: Recipe) -> list[Request]:
        """The layers that figures are shown of: all that `recipe` quantizes, and packed ones that stay as stored."""
        return [self.request(info, scheme) for info, scheme in self.decided(recipe).layers]

    def reports_under(self, recipe: Recipe) -> list[LayerReport]:
        """What was measured of `layers` so far."""
        keys = [(info.name, scheme) for info, scheme in self.decided(recipe).layers]
        return [report for report in map(self.reports.get, keys) if report is not None]

    def missing(self, recipe: Recipe) -> list[Request]:
        """Those of `layers` that have not been measured yet."""
        layers = self.decided(recipe).layers
        return [self.request(info, scheme) for info, scheme in layers if (info.name, scheme) not in self.reports]

    def wants(self, request: Request) -> bool:
        """Whether a report of it would be new, and what an exact inspection says would be all of it."""
        known = request.key in self.reports or request.info.name in self.importance
        return not known and request.checkpoint is self.checkpoint and request.reference is self.reference

    def total(self, recipe: Recipe) -> Total:
        """The whole file under `recipe`, with all that is left alone; SQNR of what was measured of `layers` so far."""
        decided, measured = self.decided(recipe), total(self.reports_under(recipe))
        size, before = sum(info.size for info in self.infos), sum(map(original_nbytes, self.infos))
        bpw = 8 * decided.nbytes / max(1, size)
        return replace(measured, nbytes=decided.nbytes, bpw=bpw, original_nbytes=before)


class Decided:
    """What a recipe makes of some tensors."""

    def __init__(self, recipe: Recipe, infos: tuple[TensorInfo, ...]) -> None:
        self.recipe = recipe
        self.infos = infos
        self.positions = [recipe.position(info) for info in infos]
        """Which rule decides on each, if any."""
        schemes = [None if at is None else recipe.rules[at].scheme for at in self.positions]
        pairs = list(zip(infos, schemes, strict=True))
        self.schemes = {info.name: scheme for info, scheme in pairs}
        self.layers = [(info, scheme) for info, scheme in pairs if scheme is not None or info.qtype]
        """Those that figures are shown of."""

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        known: dict[tuple[int, tuple[int, ...]], int] = {}  # by id: hashing a scheme costs as much as all else here
        whole = 0
        for info in self.infos:
            scheme = self.schemes[info.name]
            key = id(scheme), info.shape
            if scheme is None:
                whole += info.nbytes
            elif key in known:
                whole += known[key]
            else:
                whole += known.setdefault(key, stored_nbytes(info, scheme))
        return whole


def measure_all(requests: list[Request], token: Token | None = None) -> Iterator[LayerReport]:
    """Measure layers one after another, as they come."""
    token = token or Token()
    done, size = 0, max(1, sum(request.info.size for request in requests))
    for request in requests:
        share = request.info.size
        yield measure(request, token.part(done / size, (done + share) / size))
        done += share
        token.check(done / size)
