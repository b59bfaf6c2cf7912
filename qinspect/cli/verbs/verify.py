"""`qinspect verify`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import scheme_flags
from qinspect.cli.checkpoints import open_file, recipe_for, verified
from qinspect.cli.verb import Verb, add_importance, add_recipe
from qinspect.formats.align import align
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.open import open_checkpoint
from qinspect.recipe import Recipe
from qinspect.targets.verify import NO_RULES


class Verify(Verb):
    """Proves a packed checkpoint."""

    name: ClassVar[str] = "verify"
    summary: ClassVar[str] = "Quantize the originals again and compare every code and parameter."
    order: ClassVar[int] = 50
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect verify packed.safetensors --against model.safetensors",
        "qinspect verify packed.onnx --against model.onnx --scheme symmetric --bits 4 --group-size 32",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """PACKED and what it was made from."""
        parser.add_argument("file", metavar="PACKED", help="a packed checkpoint")
        help = "the checkpoint that PACKED was made from"
        parser.add_argument("--against", metavar="FILE", required=True, help=help)
        scheme_flags.add(parser)
        add_recipe(parser)
        add_importance(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if anything differs."""
        with open_file(args) as packed, align(open_checkpoint(args.against), packed) as against:
            return verified(packed, against, args.importance, _recipe(args, packed))


def _recipe(args: argparse.Namespace, packed: Checkpoint) -> Recipe:
    """The schemes of tensors that do not tell theirs, as far as somebody names them."""
    return recipe_for(args, packed) if args.named or args.recipe else NO_RULES
