"""Verification of what can be read and not made: decoded values against those that a scheme makes of the originals.

Other programs' layers, and our exports to their formats, keep codes and parameters in ways of their own. Whether they
are right is seen in what they stand for. Where nobody says which scheme that was, those of the registry are tried that
have as many levels and as long groups: a wrong one does not decode to the same weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant.layout import matrix_shape
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import QTensor, Scheme, registry
from qinspect.task import Token

ROUNDING = 2.0**-10
"""Of the largest level of a group: formats that keep parameters in float16 may move weights so far."""

_ROWS = 16
"""Rows on which schemes are tried."""
_FEW = 0.01
"""Of the weights: where no more are wrong the scheme is known, and they are corrupt."""
_MULTIPLES = (1, 2, 4, 8)
"""Groups of a scheme in parameter sets of the file: blocks of 32 may each repeat what a group of 128 has once."""


@dataclass(frozen=True)
class Decoded:
    """A tensor whose decoded values were compared with those that `scheme` makes of the originals.

    `difference` is the largest, `wrong` the number of weights, among `size`, that rounding of parameters does not
    explain.
    """

    name: str
    scheme: Scheme
    difference: float
    wrong: int
    size: int


def compared_decoded(
    name: str, held: QTensor | np.ndarray, original: np.ndarray, scheme: Scheme, importance: Any, token: Token
) -> Decoded:
    """What `held` decodes to beside what `scheme` makes of `original`; raises SchemeError if it can't take it."""
    found = held.scheme.dequantize(held, token=token) if isinstance(held, QTensor) else held
    return _beside(name, found, scheme.quantize(original, importance=importance, token=token))


def equivalent(name: str, held: QTensor, original: np.ndarray, last: Scheme | None, token: Token) -> Decoded | None:
    """The comparison under the scheme with the fewest wrong weights, then the least difference; None if none fits.

    A scheme fits if all weights of the first rows are as it makes them. The `last` one is taken if nothing is wrong.
    """
    rows = slice(0, _ROWS) if len(held.shape) > 1 else slice(None)
    found = held.scheme.dequantize(held, token=token)

    def tried(scheme: Scheme) -> Decoded | None:
        token.check()
        part = rows if scheme.layout(held.shape).local and not scheme.tensor_params() else slice(None)
        try:
            if _beside(name, found[part], scheme.quantize(original[part])).wrong:
                return None
            return _beside(name, found, scheme.quantize(original, token=token))
        except SchemeError:
            return None  # the originals are beyond this scheme, so it is not the one

    known = tried(last) if last is not None else None
    if known is not None and not known.wrong:
        return known
    best: Decoded | None = None
    for calibrated in (False, True):  # the extremes come first: they are the usual choice, and quick
        for one in filter(None, map(tried, _candidates(held, calibrated))):
            if not one.difference:
                return one
            if best is None or (one.wrong, one.difference) < (best.wrong, best.difference):
                best = one
        if best is not None and best.wrong <= _FEW * best.size:
            break
    return best


def _beside(name: str, found: np.ndarray, meant: QTensor) -> Decoded:
    apart = np.abs(found.astype(np.float32) - meant.scheme.dequantize(meant))
    share = min(ROUNDING, 0.25 / meant.scheme.n_codes)
    wrong = int(np.count_nonzero(~(apart <= share * _largest_level(meant))))
    return Decoded(name, meant.scheme, float(apart.max(initial=0)), wrong, apart.size)


def _largest_level(q: QTensor) -> np.ndarray:
    """For each weight the magnitude of the largest level of its set, in the tensor's shape."""
    grid, layout = q.scheme.grid_of(q.params), q.scheme.layout(q.shape)
    ends = np.maximum(np.abs(grid.low), np.abs(grid.high))
    runs = ends[np.arange(layout.rows * layout.runs_per_row) % layout.sets].reshape(-1, layout.runs_per_line)
    return np.repeat(runs, layout.run, axis=1)[:, : layout.line].reshape(q.shape)


def _candidates(held: QTensor, calibrated: bool) -> Iterator[Scheme]:
    """Schemes that could have made it: no more levels than it has codes, no fewer than it uses."""
    used, most = int(np.count_nonzero(held.scheme.count(held))), held.scheme.n_codes
    run, cols = held.scheme.layout(held.shape).run, matrix_shape(held.shape)[1]
    sizes = [run * times for times in _MULTIPLES if run * times < run + cols]
    for cls in registry:
        for values in product(*(_tried(p, sizes, (used, most), calibrated) for p in cls.parameters())):
            with contextlib.suppress(SchemeError):
                scheme = cls(*values)
                if used <= scheme.n_codes <= most and _plain(scheme):
                    yield scheme


def _tried(p: Parameter, sizes: Iterable[int], levels: Iterable[int], calibrated: bool) -> tuple[Any, ...]:
    """The values of a parameter that are tried."""
    if p.name == "calibration":
        return tuple(choice for choice in p.choices or () if (choice != p.default) == calibrated)
    own = {"group_size": (*sizes, p.default), "levels": levels}.get(p.name)
    return tuple(dict.fromkeys(own if own is not None else p.choices or (p.default,)))


def _plain(scheme: Scheme) -> bool:
    """Whether parameters that do not matter have their defaults, so that no scheme is tried twice."""
    active = scheme.active_parameters()
    return all(p in active or getattr(scheme, p.name) == p.default for p in scheme.parameters())
