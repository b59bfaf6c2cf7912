"""`qinspect plan`."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import open_session, weigh
from qinspect.cli.sweeping import layers_of, point_cells, skipped_json, swept
from qinspect.cli.verb import Verb, add_file, add_importance, add_json, add_layers, add_reference, add_sample
from qinspect.errors import ExportError, FormatError, SchemeError, printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.planning.budget import POOR_DB, Allocation, Limit
from qinspect.planning.compact import compact
from qinspect.planning.llama_cpp import tensor_types
from qinspect.planning.prices import Prices
from qinspect.planning.wishes import Wishes
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepGrid, SweepPoint
from qinspect.recipe import Recipe
from qinspect.session import Session, stored_nbytes
from qinspect.targets.target import registry as targets


class Plan(Verb):
    """Shares out a budget among layers."""

    name: ClassVar[str] = "plan"
    summary: ClassVar[str] = "Find the recipe with the least error within a limit of bytes, bits or SQNR."
    order: ClassVar[int] = 34

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, the limit, what is fixed, and lists of schemes to choose from."""
        add_file(parser)
        add_layers(parser)
        add_reference(parser)
        add_sample(parser)
        add_importance(parser)
        add_json(parser)
        help = "share out the bytes of this target's file, among the schemes that it holds"
        parser.add_argument("--to", choices=targets.names(), help=help)
        limit = parser.add_mutually_exclusive_group(required=True)
        limit.add_argument(
            "--max-bytes",
            type=_nbytes,
            metavar="N",
            help="at most so many bytes for all tensors: 150000, 150kB, 256KiB",
        )
        limit.add_argument("--bpw", type=float, metavar="X", help="at most so many bits a weight on the planned layers")
        limit.add_argument("--min-sqnr", type=float, metavar="DB", help="at least this SQNR over the planned layers")
        out = "the recipe to write, for `export --recipe`"
        parser.add_argument("-o", "--output", metavar="JSON", type=Path, required=True, help=out)
        _add_wishes(parser)
        scheme_flags.add_lists(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if a layer could not be measured; it is then left alone."""
        grid = scheme_flags.grid_of(args)
        if not args.output.resolve().parent.is_dir():
            raise ExportError("the recipe cannot be written: there is no such folder", path=args.output)
        with contextlib.closing(Session()) as session:
            checkpoint = open_session(args, session)
            weigh(args, session, checkpoint)
            prices = Prices(targets[args.to](), checkpoint) if args.to else None
            wishes, left_alone = _wishes(args, session.infos)
            planned = [info for info in layers_of(args, session) if info.name not in left_alone]
            schemes = {info.name: _schemes(wishes, planned, grid, info) for info in planned}
            if prices is not None:
                schemes = {name: list(sizes) for name, sizes in prices.sizes(schemes).items()}
            points, skipped = swept(args, session, planned, lambda info: schemes[info.name])
            allocation = _allocated(args, wishes, points, session.infos, prices)
            recipe = compact(allocation.choice, session.infos)
            types = tensor_types(recipe, session.infos)
        recipe.save(args.output)
        if args.json:
            more: dict[str, Any] = {"skipped": [skipped_json(one) for one in skipped]}
            if args.llama_quantize:
                more["llama_quantize"] = [word for pair in types.arguments for word in pair]
            report.print_json(_json(args, allocation, recipe) | more)
        else:
            _print(args, allocation, recipe)
            for line in types.lines() if args.llama_quantize else ():
                print(line)
        if allocation.poor:
            report.remark(
                f"{report.some_names(allocation.poor, 10)}: under {POOR_DB:g} dB, errors are over a third of the "
                "weights there; allow more, or lock such layers"
            )
        unheld = [name for name, some in schemes.items() if not some]
        if unheld:
            report.remark(f"{report.some_names(unheld, 10)}: {args.to} holds none of these schemes there; left alone")
        for name, reason in types.without if args.llama_quantize else ():
            report.remark(f"{name}: {reason}")
        return int(any(one.scheme is None for one in skipped))


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    several: dict[str, Any] = {"action": "append", "default": []}
    help = "these layers keep a scheme, or without one stay as they are (`lm_head*=symmetric,bits=8,group_size=32`)"
    parser.add_argument("--lock", metavar="GLOB[=SCHEME,…]", help=help, **several)
    parser.add_argument("--tie", metavar="GLOB", help="these layers take the same scheme", **several)
    parser.add_argument("--tie-fused", action="store_true", help="so do q, k and v of a block, and gate and up")
    help = "the squared error of these layers counts so much; 1 for others"
    parser.add_argument("--weight", metavar="GLOB=X", help=help, **several)
    help = "count squared errors as they are, not relative to each layer's own energy: layers of large weights decide"
    parser.add_argument("--absolute", action="store_true", help=help)
    help = "print the recipe as arguments of llama-quantize, too"
    parser.add_argument("--llama-quantize", action="store_true", help=help)


def _wishes(args: argparse.Namespace, infos: Sequence[TensorInfo]) -> tuple[Wishes, set[str]]:
    """From the flags, and the layers that stay as they are; the last lock and weight of a layer holds."""
    fixed: dict[str, Scheme | None] = {}
    for text in args.lock:
        glob, _, scheme = text.partition("=")
        fixed |= dict.fromkeys(_like(args, infos, glob), _scheme_text(scheme, text) if scheme else None)
    weights: dict[str, float] = {}
    for text in args.weight:
        glob, _, value = text.partition("=")
        weights |= dict.fromkeys(_like(args, infos, glob), _number(value, text))
    ties = tuple(tuple(_like(args, infos, glob)) for glob in args.tie)
    kept = {name: scheme for name, scheme in fixed.items() if scheme is not None}
    return Wishes(kept, weights, ties, args.tie_fused, args.absolute), set(fixed) - set(kept)


def _schemes(wishes: Wishes, planned: Sequence[TensorInfo], grid: SweepGrid, info: TensorInfo) -> Sequence[Scheme]:
    """What to try on a layer: the grid and what its tie keeps, or what it keeps itself."""
    if info.name in wishes.kept:
        return (wishes.kept[info.name],)
    mates = {name for tie in wishes.groups(one.name for one in planned) if info.name in tie for name in tie}
    tied = (scheme for name, scheme in wishes.kept.items() if name in mates)
    return list(dict.fromkeys((*grid.schemes_for(info.shape), *tied)))


def _like(args: argparse.Namespace, infos: Sequence[TensorInfo], glob: str) -> list[str]:
    names = [info.name for info in infos if fnmatchcase(info.name, glob)]
    if not names:
        raise FormatError(f"no tensor has a name like {glob}; `qinspect info` lists them", path=args.file)
    return names


def _scheme_text(text: str, whole: str) -> Scheme:
    try:
        return scheme_flags.scheme_of_text(text)
    except SchemeError as error:
        raise SchemeError(f"--lock {whole}: {error.message}") from error


def _nbytes(text: str) -> int:
    found = fmt.read_nbytes(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 150000, 150kB, 256KiB or 1.5MB")
    return found


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SchemeError(f"--weight {whole}: a weight is written GLOB=X with a number above 0")
    return value


def _allocated(
    args: argparse.Namespace,
    wishes: Wishes,
    points: Sequence[SweepPoint],
    infos: Sequence[TensorInfo],
    prices: Prices | None,
) -> Allocation:
    found: dict[str, list[SweepPoint]] = defaultdict(list)
    for point in points:
        found[point.layer].append(point)
    if prices is not None:
        found = prices.priced(found)
        return prices.fitted(wishes.budget(found, prices.rest(found)), _limit(args))
    rest = sum(stored_nbytes(info, None) for info in infos if info.name not in found)
    return wishes.budget(found, rest).plan(_limit(args))


def _limit(args: argparse.Namespace) -> Limit:
    if args.max_bytes is not None:
        return Limit("bytes", args.max_bytes)
    return Limit("sqnr", args.min_sqnr) if args.bpw is None else Limit("bpw", args.bpw)


def _json(args: argparse.Namespace, allocation: Allocation, recipe: Recipe) -> dict[str, Any]:
    figures = {"sqnr_db": allocation.sqnr_db, "weighted_sqnr_db": allocation.weighted_sqnr_db, "bpw": allocation.bpw}
    finite = {key: value if math.isfinite(value) else None for key, value in figures.items()}
    return {
        "path": str(args.output),
        "sampled": args.sample,
        "target": args.to,
        "layers": [point.to_json() for point in allocation.points.values()],
        "total": {**finite, "nbytes": allocation.nbytes},
        "recipe": recipe.to_json(),
    }


def _print(args: argparse.Namespace, allocation: Allocation, recipe: Recipe) -> None:
    """The scheme of each layer in the order of the file, and all together."""
    rows = [{"tensor": name, "stored as": p.scheme.label, **point_cells(p)} for name, p in allocation.points.items()]
    if rows:
        planned = sum(point.nbytes for point in allocation.points.values())
        total = {
            "tensor": fmt.counted(len(rows), "layer"),
            "bpw": f"{allocation.bpw:.3f}",
            "SQNR dB": "exact" if allocation.sqnr_db == math.inf else fmt.decimal(allocation.sqnr_db, 2),
            "size": fmt.nbytes(planned),
        }
        rows.append(dict.fromkeys(rows[0], "") | total)
        print(report.table({title: [row[title] for row in rows] for title in rows[0]}, ("max error",)))
    if not args.absolute and math.isfinite(allocation.weighted_sqnr_db):
        print(
            f"errors relative to each layer's energy: {fmt.decibels(allocation.weighted_sqnr_db)} over all layers alike"
        )
    where = f"exported to {args.to}" if args.to else "all tensors together"
    print(f"{where}: {allocation.nbytes:,} bytes")
    print(f"wrote {printable(str(args.output))}: {fmt.counted(len(recipe.rules), 'rule')}")
