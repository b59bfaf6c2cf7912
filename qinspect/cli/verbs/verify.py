"""`qinspect verify`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect.cli.checkpoints import open_file, verified
from qinspect.cli.verb import Verb, add_importance, add_stored_group_size
from qinspect.formats.open import open_checkpoint


class Verify(Verb):
    """Proves a packed checkpoint."""

    name: ClassVar[str] = "verify"
    summary: ClassVar[str] = "Quantize the originals again and compare every code and parameter."
    order: ClassVar[int] = 50

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """PACKED and what it was made from."""
        parser.add_argument("file", metavar="PACKED", help="a packed checkpoint")
        add_stored_group_size(parser)
        help = "the checkpoint that PACKED was made from"
        parser.add_argument("--against", metavar="FILE", required=True, help=help)
        add_importance(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if anything differs."""
        with open_file(args) as packed, open_checkpoint(args.against) as against:
            return verified(packed, against, args.importance)
