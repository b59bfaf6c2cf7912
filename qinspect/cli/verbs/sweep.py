"""`qinspect sweep`."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Sequence
from typing import ClassVar

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import open_session, weigh
from qinspect.cli.sweeping import layers_of, point_cells, skipped_json, swept
from qinspect.cli.verb import Verb, add_file, add_importance, add_layers, add_reference, add_sample
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.group_sizes import fit
from qinspect.quant.layout import matrix_shape
from qinspect.quant.sweep import Skipped, SweepPoint, distinct, summed, with_pareto
from qinspect.session import Session
from qinspect.tables import harmless


class Sweep(Verb):
    """Measures layers under many schemes."""

    name: ClassVar[str] = "sweep"
    summary: ClassVar[str] = "Measure layers under many schemes, group sizes and bits, and tell which are worth having."
    order: ClassVar[int] = 32
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect sweep model.safetensors --layers '*.attn.*' --scheme base11,symmetric --bits 3,4",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, which of its tensors, and lists of schemes and their parameters."""
        add_file(parser)
        add_layers(parser)
        add_reference(parser)
        add_sample(parser)
        add_importance(parser)
        printed = parser.add_mutually_exclusive_group()
        printed.add_argument("--json", action="store_true", help="print JSON")
        printed.add_argument("--csv", action="store_true", help="print a table with commas")
        scheme_flags.add_lists(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if a layer could not be measured."""
        grid = scheme_flags.grid_of(args)
        with contextlib.closing(Session()) as session:
            weigh(args, session, open_session(args, session))
            infos = layers_of(args, session)
            points, skipped = swept(args, session, infos, lambda info: grid.schemes_for(info.shape))
        if args.json:
            entries = {"points": [p.to_json() for p in points], "skipped": [skipped_json(one) for one in skipped]}
            report.print_json({"sampled": args.sample, **entries})
        elif args.csv:
            _print_csv(points)
        else:
            _print_table(infos, points, skipped)
        return int(any(one.scheme is None for one in skipped))


def _print_csv(points: Sequence[SweepPoint]) -> None:
    """The keys of the JSON as columns; parameters are a JSON object in one of them."""
    if points:
        rows = [point.to_json() for point in points]
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            told = row | {"params": json.dumps(row["params"])}
            writer.writerow({key: harmless(value) for key, value in told.items()})


def _print_table(infos: Sequence[TensorInfo], points: Sequence[SweepPoint], skipped: Sequence[Skipped]) -> None:
    """One layer, or all together where there are several: each scheme for all of them."""
    if not points:
        print("There is nothing to sweep: no floating tensor of two dimensions or more.")
        return
    swept = [info for info in infos if any(point.layer == info.name for point in points)]
    shown = points if len(swept) == 1 else with_pareto(summed(points, "all"))
    ordered = sorted(distinct(shown, [info.shape for info in swept]), key=lambda point: (point.nbytes, point.noise))
    rows = [_row(point, swept) for point in ordered]
    what = printable(swept[0].name) if len(swept) == 1 else f"{fmt.counted(len(swept), 'layer')} together"
    print(report.wrapped(f"{what}: {fmt.counted(len(rows), 'point')}; ● marks those that no other point surpasses."))
    if rows:
        print(report.table({title: [row[title] for row in rows] for title in rows[0]}, ("max error",), total=False))
    if len(swept) > 1:
        print("Each scheme for all layers; --json and --csv list the layers.")
    _print_skipped(skipped)


def _print_skipped(skipped: Sequence[Skipped]) -> None:
    """Each reason once."""
    partly = [one for one in skipped if one.scheme is not None]
    for reason, one in {one.reason: one for one in reversed(partly)}.items():
        same = sum(other.reason == reason for other in partly) - 1
        more = f" (and {same} more)" if same else ""
        print(report.wrapped(f"left out: {one.layer} as {one.scheme and one.scheme.label}{more}: {reason}", "", "  "))


def _row(point: SweepPoint, infos: Sequence[TensorInfo]) -> dict[str, str]:
    return {
        "": "●" if point.pareto else "",
        "stored as": point.scheme.label,
        **point_cells(point),
        "padding": _padding(point, infos),
    }


def _padding(point: SweepPoint, infos: Sequence[TensorInfo]) -> str:
    """What groups cost that fit rows badly, in bits a weight of all layers."""
    fits = [(info, fit(point.scheme, matrix_shape(info.shape)[1])) for info in infos]
    padding = sum(info.size * one.padding for info, one in fits if one) / sum(info.size for info in infos)
    only = fits[0][1] if len(fits) == 1 else None
    ragged = f", last {only.ragged} of {only.size}" if only and only.ragged else ""
    return f"{padding:.2f} bpw{ragged}" if padding >= 0.005 or ragged else ""
