"""`qinspect analyze`."""

from __future__ import annotations

import argparse
import contextlib
from typing import ClassVar

from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import measured, open_file, scheme_for
from qinspect.cli.verb import Verb, add_file, add_json
from qinspect.formats.open import open_checkpoint
from qinspect.session import Session, total


class Analyze(Verb):
    """Measures layers."""

    name: ClassVar[str] = "analyze"
    summary: ClassVar[str] = "Measure what quantization does to every layer."
    order: ClassVar[int] = 30

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, which of its tensors, what to compare them with, and a scheme."""
        add_file(parser)
        add_json(parser)
        scheme_flags.add(parser)
        parser.add_argument(
            "--layers", metavar="GLOB", help="measure the tensors of these names; by default the layers"
        )
        parser.add_argument("--reference", metavar="FILE", help="the originals of a packed FILE")

    def run(self, args: argparse.Namespace) -> int:
        """1 if a layer could not be measured."""
        with contextlib.closing(Session()) as session:
            checkpoint = open_file(args)
            session.open(checkpoint)
            if args.reference:
                session.attach(open_checkpoint(args.reference))
            scheme = scheme_for(args, checkpoint)
            reports = measured(session, scheme, args.layers)
            unknown = [one.info.name for one in reports if one.metrics is not None and one.metrics.exact is None]
            if args.reference and unknown:
                names = report.some_names(unknown)
                report.remark(f"{args.reference}: has no tensor of the same name and shape as {names}")
            if args.json:
                layers = [one.to_json() for one in reports]
                stated = scheme.to_json() if scheme else None
                report.print_json({"scheme": stated, "layers": layers, "total": total(reports).to_json()})
            else:
                report.print_analysis(scheme, reports)
        return int(any(one.error for one in reports))
