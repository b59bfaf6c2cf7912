"""`qinspect compare` of a checkpoint with what a recipe would make of it."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qinspect import figures as fmt
from qinspect import report
from qinspect.cli.checkpoints import load_recipe, measured
from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import Scheme
from qinspect.recipe import Recipe
from qinspect.session import LayerReport, Session, total


@dataclass(frozen=True)
class Side:
    """A layer, or all together, on one side. The SQNR is infinite for weights as they are, None where nothing tells."""

    held: str
    sqnr_db: float | None
    nbytes: int
    size: int

    @property
    def bpw(self) -> float:
        """Bits a weight."""
        return 8 * self.nbytes / max(1, self.size)

    def to_json(self, prefix: str) -> dict[str, Any]:
        """Its figures; an infinite SQNR is null."""
        finite = self.sqnr_db if self.sqnr_db is not None and math.isfinite(self.sqnr_db) else None
        return {f"{prefix}sqnr_db": finite, f"{prefix}bpw": self.bpw, f"{prefix}nbytes": self.nbytes}


def compare_recipe(args: argparse.Namespace) -> int:
    """A as it is stored, or under the scheme that is named, beside what the recipe B makes of it; 1 after an error."""
    with contextlib.closing(Session()) as session:
        checkpoint = open_checkpoint(args.a)
        session.open(checkpoint)
        recipe = load_recipe(args.b, checkpoint)
        others = measured(session.layers(recipe))
        if not others:
            raise FormatError(f"the recipe {args.b} quantizes nothing here; give it rules that match", path=args.a)
        names = {one.info.name for one in others}
        mine = Recipe.of(args.scheme if args.named else None)
        own = measured([one for one in session.layers(mine) if one.info.name in names])
    by_name = {one.info.name: one for one in own}
    pairs = [(_side(by_name.get(one.info.name), one), _side(one, one), one) for one in others]
    whole = _whole([a for a, _, _ in pairs], own), _whole([b for _, b, _ in pairs], others)
    if args.json:
        report.print_json({"a": args.a, "b": args.b, "recipe": recipe.to_json(), **_json(pairs, whole)})
    else:
        _print(pairs, whole)
    return int(any(one.error for one in (*own, *others)))


def _side(one: LayerReport | None, like: LayerReport) -> Side:
    """A layer as a report has it; without one as it lies in the file."""
    info = like.info
    if one is None:
        return Side(info.dtype, math.inf, info.nbytes, info.size)
    if one.metrics is None:
        return Side("error", None, info.nbytes, info.size)
    known = None if math.isnan(one.metrics.sqnr_db) else one.metrics.sqnr_db
    return Side(_label(one.scheme, one), known, one.metrics.nbytes, info.size)


def _label(scheme: Scheme | None, one: LayerReport) -> str:
    return scheme.label if scheme else one.info.qtype or one.info.dtype


def _whole(sides: Sequence[Side], reports: Sequence[LayerReport]) -> Side:
    """All layers of one side; weights that are as they were add no error."""
    sqnr = total(reports).sqnr_db if reports else math.inf
    return Side("", sqnr, sum(side.nbytes for side in sides), sum(side.size for side in sides))


def _json(pairs: Sequence[tuple[Side, Side, LayerReport]], whole: tuple[Side, Side]) -> dict[str, Any]:
    layers = [
        {"name": one.info.name, "shape": list(one.info.shape), "stored_as": a.held, "other_stored_as": b.held}
        | a.to_json("")
        | b.to_json("other_")
        for a, b, one in pairs
    ]
    return {"layers": layers, "total": whole[0].to_json("") | whole[1].to_json("other_")}


def _print(pairs: Sequence[tuple[Side, Side, LayerReport]], whole: tuple[Side, Side]) -> None:
    """The worst of B first, and all together."""
    ordered = sorted(pairs, key=lambda pair: math.inf if pair[1].sqnr_db is None else pair[1].sqnr_db)
    rows = [_row(one.info.name, a, b) for a, b, one in ordered]
    rows.append(_row(fmt.counted(len(pairs), "tensor"), *whole))
    print(report.table({title: [row[title] for row in rows] for title in rows[0]}, ("A is", "B is")))


def _row(name: str, a: Side, b: Side) -> dict[str, str]:
    known = [side.sqnr_db for side in (b, a) if side.sqnr_db is not None and math.isfinite(side.sqnr_db)]
    return {
        "tensor": name,
        "A is": a.held,
        "B is": b.held,
        "SQNR of A": _decibels(a),
        "of B": _decibels(b),
        "change": f"{known[0] - known[1]:+.2f}" if len(known) == 2 else fmt.NONE,
        "bpw of A": f"{a.bpw:.3f}",
        "bpw of B": f"{b.bpw:.3f}",
        "size of A": fmt.nbytes(a.nbytes),
        "size of B": fmt.nbytes(b.nbytes),
        "of A's": f"{b.nbytes / max(1, a.nbytes):.1%}",
    }


def _decibels(side: Side) -> str:
    return "exact" if side.sqnr_db == math.inf else fmt.decimal(side.sqnr_db, 2)
