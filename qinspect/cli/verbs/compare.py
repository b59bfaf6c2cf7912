"""`qinspect compare`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.cli.comparing import compare_recipe
from qinspect.cli.verb import Verb, add_json
from qinspect.compare import Difference, Matching, differences, match
from qinspect.errors import FormatError, printable
from qinspect.formats.align import align
from qinspect.formats.checkpoint import TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.quant.metrics import decibels
from qinspect.recipe import is_recipe


class Compare(Verb):
    """Compares checkpoints."""

    name: ClassVar[str] = "compare"
    summary: ClassVar[str] = "Compare a checkpoint with another, packed or not, tensor by tensor."
    order: ClassVar[int] = 36
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect compare model.safetensors packed.safetensors",
        "qinspect compare model.safetensors recipe.json",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """A and B."""
        parser.add_argument("a", metavar="A", help="the checkpoint that errors are told against")
        parser.add_argument("b", metavar="B", help="the other one, or a recipe: what it would make of A")
        add_json(parser)
        scheme_flags.add(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if a tensor could not be compared, or none has its like."""
        if is_recipe(Path(args.b)):
            return compare_recipe(args)
        if args.named:
            args.parser.error("--scheme is for a comparison with a recipe, and B is a checkpoint")
        with open_checkpoint(args.a) as a, align(open_checkpoint(args.b), a) as b:
            matching = match(a, b)
            with report.progress("comparing") as token:
                found = list(differences(a, b, matching.pairs, token))
            for one in found:
                if one.error:
                    report.complain(one.error)
            if args.json:
                report.print_json({"a": str(a.path), "b": str(b.path), **_json(matching, found)})
            elif found:
                _print(matching, found)
            if not found:
                text = f"no tensor of {printable(str(a.path))} has its like here: no name and shape fits"
                raise FormatError(text, path=b.path)
        return int(any(one.error for one in found))


def _json(matching: Matching, found: Sequence[Difference]) -> dict[str, Any]:
    """What is the same, how far it is apart, and what is not."""
    total = _total(found)
    finite = total if total is not None and math.isfinite(total) else None
    nbytes, other = (sum(getattr(one.pair, side).nbytes for one in found) for side in "ab")
    return {
        "layers": [one.to_json() for one in found],
        "total": {"sqnr_db": finite, "nbytes": nbytes, "other_nbytes": other},
        "only_a": [info.name for info in matching.only_a],
        "only_b": [info.name for info in matching.only_b],
        "misshapen": [
            {"name": p.a.name, "shape": list(p.a.shape), "other": p.b.name, "other_shape": list(p.b.shape)}
            for p in matching.misshapen
        ],
    }


def _total(found: Sequence[Difference]) -> float | None:
    """SQNR of all that could be compared."""
    known = [one for one in found if one.error is None]
    return decibels(sum(one.signal for one in known), sum(one.noise for one in known)) if known else None


def _print(matching: Matching, found: Sequence[Difference]) -> None:
    """The worst first; of what is not paired, the names."""
    ordered = sorted(found, key=lambda one: -math.inf if one.error else one.sqnr_db)
    rows = [_row(one) for one in ordered]
    total = _total(found)
    rows.append(
        dict.fromkeys(rows[0], "")
        | {
            "tensor": fmt.counted(len(found), "tensor"),
            "SQNR dB": "exact" if total == math.inf else fmt.decimal(total, 2),
            "size": fmt.nbytes(sum(one.pair.a.nbytes for one in found)),
            "size of B": fmt.nbytes(sum(one.pair.b.nbytes for one in found)),
        }
    )
    if not any(row["is in B"] for row in rows):
        for row in rows:
            del row["is in B"]
    print(report.table({title: [row[title] for row in rows] for title in rows[0]}, ("is in B", "shape", "max error")))
    for pair in matching.misshapen:
        shapes = f"{fmt.shape(pair.a.shape)} in A, {fmt.shape(pair.b.shape)} in B"
        print(report.wrapped(f"not compared: {pair.a.name} is {shapes}", "", "  "))
    for side, infos in (("A", matching.only_a), ("B", matching.only_b)):
        if infos:
            print(report.wrapped(f"only in {side}: {_names(infos)}", "", "  "))


def _names(infos: Sequence[TensorInfo]) -> str:
    return report.some_names([info.name for info in infos], 20)


def _row(one: Difference) -> dict[str, str]:
    a, b = one.pair.a, one.pair.b
    return {
        "tensor": a.name,
        "is in B": b.name if b.name != a.name else "",
        "shape": fmt.shape(a.shape),
        "SQNR dB": "error" if one.error else "exact" if one.exact else fmt.decimal(one.sqnr_db, 2),
        "RMSE": fmt.magnitude(one.rmse),
        "max error": fmt.magnitude(one.max_error),
        "size": fmt.nbytes(a.nbytes),
        "size of B": fmt.nbytes(b.nbytes),
    }
