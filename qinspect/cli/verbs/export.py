"""`qinspect export`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import open_file, recipe_for, write
from qinspect.cli.verb import Verb, add_file, add_importance, add_json, add_output, add_recipe
from qinspect.targets.target import registry as targets


class Export(Verb):
    """Writes a packed checkpoint."""

    name: ClassVar[str] = "export"
    summary: ClassVar[str] = "Write a packed checkpoint, read it back and compare."
    order: ClassVar[int] = 40
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect export model.safetensors --to c --scheme base11 -o model_c",
        "qinspect export model.onnx --to onnxruntime --scheme symmetric --bits 4 --group-size 32 -o packed.onnx",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, a target, and a scheme or a recipe."""
        add_file(parser)
        add_json(parser)
        scheme_flags.add(parser)
        written = " ".join(f"{target.name}: {target.summary}" for target in targets)
        parser.add_argument("--to", choices=targets.names(), required=True, help=written.replace("%", "%%"))
        add_recipe(parser)
        add_importance(parser)
        add_output(parser)
        help = "say what would become of every tensor, and how large it gets, and write nothing"
        parser.add_argument("--dry-run", action="store_true", help=help)

    def run(self, args: argparse.Namespace) -> int:
        """All of it, or nothing is written."""
        with open_file(args) as checkpoint:
            recipe = recipe_for(args, checkpoint)
            plan, written = write(checkpoint, args.to, recipe, args.output, args.importance, dry=args.dry_run)
        if not any(row.scheme for row in plan.rows):
            report.remark(f"{args.output}: nothing is packed; --to {args.to} carries: {targets[args.to].carries}")
        if args.json:
            report.print_json(report.export_json(args.to, args.output, plan, written))
        else:
            report.print_export(plan, written)
        return 0
