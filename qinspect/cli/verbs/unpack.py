"""`qinspect unpack`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import figures as fmt
from qinspect import report
from qinspect.cli.checkpoints import open_file
from qinspect.cli.verb import Verb, add_output, add_stored_group_size
from qinspect.errors import printable
from qinspect.targets.unpack import unpack


class Unpack(Verb):
    """Decodes a packed checkpoint."""

    name: ClassVar[str] = "unpack"
    summary: ClassVar[str] = "Decode a packed checkpoint; names, shapes and types are the original ones again."
    order: ClassVar[int] = 60
    examples: ClassVar[tuple[str, ...]] = ("qinspect unpack packed.safetensors -o unpacked.safetensors",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """PACKED and where to."""
        parser.add_argument("file", metavar="PACKED", help="a packed checkpoint")
        add_stored_group_size(parser)
        add_output(parser)

    def run(self, args: argparse.Namespace) -> int:
        """All of it, or nothing is written."""
        with open_file(args) as checkpoint, report.progress("unpacking") as token:
            written = unpack(checkpoint, args.output, token)
        tensors = fmt.counted(len(written.rows), "tensor")
        print(f"wrote {printable(str(args.output))}: {tensors}, {fmt.nbytes(written.nbytes)}")
        return 0
