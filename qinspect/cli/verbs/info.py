"""`qinspect info`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import report
from qinspect.cli.checkpoints import open_file
from qinspect.cli.verb import Verb, add_file, add_json, add_stored_group_size


class Info(Verb):
    """Lists tensors."""

    name: ClassVar[str] = "info"
    summary: ClassVar[str] = "List the tensors and the metadata of a checkpoint, from its headers alone."
    order: ClassVar[int] = 20
    examples: ClassVar[tuple[str, ...]] = ("qinspect info model.safetensors --json",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE."""
        add_file(parser)
        add_json(parser)
        add_stored_group_size(parser)

    def run(self, args: argparse.Namespace) -> int:
        """From headers alone."""
        with open_file(args) as checkpoint:
            if args.json:
                keys = ("name", "shape", "dtype", "nbytes", "qtype")
                tensors = [{key: getattr(info, key) for key in keys} for info in checkpoint.infos]
                named = {"path": str(checkpoint.path), "format": checkpoint.format}
                report.print_json({**named, "metadata": dict(checkpoint.metadata), "tensors": tensors})
            else:
                report.print_infos(checkpoint)
        return 0
