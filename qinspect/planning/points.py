"""The points of the layers of a checkpoint, as they come: what sweeps and plans are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from qinspect import analysis
from qinspect.errors import FormatError, QInspectError
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.lazy import Weights
from qinspect.quant.limits import OWN_LEVELS, own_curve
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.quant.sweep import Skipped, SweepPoint, sweep
from qinspect.session import SAMPLE, Request, Session, weights_of
from qinspect.task import Token

CURVE_LEVELS = (2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)
"""Numbers of levels that curves of the best scalar quantizer are drawn through."""


def points_of(
    request: Request, schemes: Iterable[Scheme], *, sample: int | None = None, token: Token | None = None
) -> Iterator[SweepPoint | Skipped]:
    """The layer of `request` under each of `schemes`; of a packed one, against its reference or what it decodes to.

    With `sample`, of about so many weights in whole rows. A layer that nothing can be made of is one `Skipped`.
    """
    schemes, token = list(schemes), token or Token()
    name = request.info.name
    if not schemes:
        return
    try:
        weights, _ = weights_of(replace(request, scheme=schemes[0]), token.part(0, 0.1))
        held, shape = _held(weights, sample), request.info.shape
        yield from sweep(name, held, schemes, shape=shape, importance=request.importance, token=token.part(0.1, 1))
    except QInspectError as error:
        yield Skipped(name, None, str(error.within(path=request.checkpoint.path, tensor=name)))


def _held(weights: Weights | None, sample: int | None) -> np.ndarray:
    """The weights in memory as float32: many schemes look at them, and reading or converting takes as long as that."""
    if weights is None:
        raise FormatError("this tensor holds no weights")
    some = np.asarray(weights) if sample is None else analysis.sample_rows(weights, sample)
    with np.errstate(over="ignore", invalid="ignore"):
        return some if some.dtype.kind not in "fV" else np.ascontiguousarray(some, np.float32)


def own_levels(request: Request, token: Token | None = None) -> dict[int, float]:
    """SQNR in dB of the best `CURVE_LEVELS` fixed levels for the layer's own weights, from a sample of its rows."""
    weights, _ = weights_of(replace(request, scheme=make_scheme("base11")), token)
    some = _held(weights, 4 * SAMPLE)
    return own_curve(some[:: max(1, some.size // SAMPLE)], [n for n in CURVE_LEVELS if n <= OWN_LEVELS])


def sweep_layers(
    session: Session,
    infos: Sequence[TensorInfo],
    schemes_for: Callable[[TensorInfo], Iterable[Scheme]],
    *,
    sample: int | None = None,
    token: Token | None = None,
) -> Iterator[SweepPoint | Skipped]:
    """The points of one layer after another."""
    token = token or Token()
    done, size = 0, max(1, sum(info.size for info in infos))
    for info in infos:
        part = token.part(done / size, (done + info.size) / size)
        yield from points_of(session.request(info, None), schemes_for(info), sample=sample, token=part)
        done += info.size
        token.check(done / size)
