"""Which scheme each tensor of a checkpoint gets, and why, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import FLOATING, Checkpoint, TensorInfo
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.recipe import Recipe
from qinspect.task import Token


@dataclass(frozen=True)
class Choice:
    """A tensor, the scheme in which it will be stored (None: as it is), and a remark where that may surprise."""

    info: TensorInfo
    scheme: Scheme | None
    note: str = ""


def choices(checkpoint: Checkpoint, recipe: Recipe, token: Token | None = None) -> list[Choice]:
    """One for every tensor of the checkpoint, in its order."""
    token = token or Token()
    found = []
    for number, info in enumerate(checkpoint.infos):
        part = token.part(number / len(checkpoint.infos), (number + 1) / len(checkpoint.infos))
        try:
            found.append(_choose(checkpoint, info, recipe, part))
        except QInspectError as error:
            raise error.within(path=checkpoint.path, tensor=info.name) from None
        part.check(1.0)
    return found


def same_scheme(a: Scheme, b: Scheme) -> bool:
    """Whether both store any tensor alike: parameters that do not matter beside the others may differ."""
    values = [[(p.name, getattr(scheme, p.name)) for p in scheme.active_parameters()] for scheme in (a, b)]
    return type(a) is type(b) and values[0] == values[1]


def more_than_packed(scheme: Scheme, shape: tuple[int, ...], nbytes: int) -> str:
    """What `nbytes` are more than the scheme's own packing takes, in words; empty if that is not worth a word."""
    more = 8 * (nbytes - scheme.nbytes(shape)) / max(1, math.prod(shape))
    return f"{more:.2g} bits a weight more than packed" if more > 0.01 else ""


def with_note(choice: Choice, more: str) -> Choice:
    """The choice with one more remark."""
    return replace(choice, note="; ".join(filter(None, (choice.note, more))))


def _choose(checkpoint: Checkpoint, info: TensorInfo, recipe: Recipe, token: Token) -> Choice:
    """The recipe's word, unless the scheme itself declines and the rule does not insist."""
    rule = recipe.rule_for(info)
    scheme = rule.scheme if rule else None
    held = stored_scheme(checkpoint, info)
    stays = None if held is None or held.decode_only else held
    if rule is None or scheme is None:
        return Choice(info, stays, _why_decoded(info) if held is not stays else _why_unchanged(info))
    if stays is not None and same_scheme(scheme, stays):
        return Choice(info, stays, _why_unchanged(info))
    if not rule.names(info) and (reason := _declined(checkpoint, info, scheme, token)):
        return Choice(info, stays, f"the {scheme.name} scheme leaves it alone: {reason}")
    again = f"packed already: decoded from {info.qtype} and quantized again" if held else ""
    return Choice(info, scheme, "; ".join(filter(None, (again, _ragged(info, scheme)))))


def stored_scheme(checkpoint: Checkpoint, info: TensorInfo) -> Scheme | None:
    """The scheme of a packed tensor, from one row of it."""
    if info.qtype is None:
        return None
    held = checkpoint.load(info.name, slice(0, 1) if len(info.shape) > 1 else None)
    return held.scheme if isinstance(held, QTensor) else None


def _why_decoded(info: TensorInfo) -> str:
    return f"packed as {info.qtype}, which is read and not written: decoded to {info.dtype}"


def _why_unchanged(info: TensorInfo) -> str:
    if info.qtype is not None:
        return f"packed already ({info.qtype}): passes through unchanged"
    if info.dtype not in FLOATING:
        return f"{info.dtype} is not floating: passes through unchanged"
    if not info.size:
        return "empty: passes through unchanged"
    if len(info.shape) < 2:
        return f"{len(info.shape)}-D: passes through unchanged"
    return "the recipe leaves it alone"


def _ragged(info: TensorInfo, scheme: Scheme) -> str:
    """A remark where groups do not divide a row, which costs bits."""
    layout = scheme.layout(info.shape)
    if not layout.ragged:
        return ""
    return f"groups of {layout.run} do not divide rows of {layout.line}: the last holds {layout.ragged} weights"


def _declined(checkpoint: Checkpoint, info: TensorInfo, scheme: Scheme, token: Token) -> str | None:
    """The scheme's own reason not to take this tensor; weights are only read for a scheme that may have one."""
    if type(scheme).leaves_alone is Scheme.leaves_alone:
        return None
    from qinspect.quant.engine import extremes

    held = checkpoint.lazy(info.name)
    weights = held.scheme.dequantize(held, token=token) if isinstance(held, QTensor) else held
    return scheme.leaves_alone(*extremes(weights, token))
