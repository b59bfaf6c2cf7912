"""`qinspect demo`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import ClassVar

from qinspect import report
from qinspect.assets import resource
from qinspect.cli.checkpoints import measured, verified, write
from qinspect.cli.verb import Verb
from qinspect.cli.window import draw, has_display, window
from qinspect.evaluation import evaluate
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.session import Session


class Demo(Verb):
    """Shows the sample network."""

    name: ClassVar[str] = "demo"
    summary: ClassVar[str] = "Show a small network trained on handwritten digits."
    order: ClassVar[int] = 90

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Where files go."""
        help = "for files, without a display"
        parser.add_argument("--output", metavar="DIR", type=Path, default=Path("out"), help=help)

    def run(self, args: argparse.Namespace) -> int:
        """In the window, or without a display in words, files and a picture."""
        sample = resource("samples/digits.safetensors")
        if has_display():
            return int(window().run(str(sample), scheme=None))
        print("There is no display for the window, so its analysis, an export and a picture of it follow.\n")
        args.output.mkdir(parents=True, exist_ok=True)
        scheme, out = make_scheme("base11"), args.output / "digits.packed.safetensors"
        with contextlib.closing(Session()) as session:
            original = open_checkpoint(sample)
            session.open(original)
            report.print_analysis(scheme.label, measured(session.layers(Recipe.of(scheme))))
            found = evaluate(original, Recipe.of(scheme))
            print(f"\nOf {found.samples} test digits it reads {found.before:.1%} right, quantized {found.after:.1%}.\n")
            report.print_export(*write(original, "safetensors", Recipe.of(scheme), out))
            with open_checkpoint(out) as packed:
                code = verified(packed, original)
        draw(str(sample), args.output / "digits.png", scheme=scheme)
        return code
