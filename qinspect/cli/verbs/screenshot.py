"""`qinspect screenshot`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import scheme_flags
from qinspect.cli.verb import Verb, add_file, add_output
from qinspect.cli.window import draw
from qinspect.formats.open import open_checkpoint

CHOICES = ("layer", "size", "theme", "scheme", "view", "compare", "side")
"""What is handed to the window as it is."""


class Screenshot(Verb):
    """Draws the window."""

    name: ClassVar[str] = "screenshot"
    summary: ClassVar[str] = "Draw the window with a checkpoint into a PNG file; needs no display."
    order: ClassVar[int] = 70
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect screenshot model.safetensors -o window.png --view error --layer fc1.weight",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, a scheme, and how the window looks."""
        add_file(parser)
        scheme_flags.add(parser)
        add_output(parser)
        parser.add_argument("--layer", metavar="NAME", help="the tensor to show; by default the worst")
        parser.add_argument("--view", metavar="NAME", help="the view that fills the centre: error, sweep, budget …")
        parser.add_argument("--compare", metavar="OTHER", help="a checkpoint or a recipe to compare with")
        parser.add_argument(
            "--side", choices=("a", "b", "difference", "swipe"), default="difference",
            help="what is shown of the comparison (default difference)",
        )  # fmt: skip
        parser.add_argument(
            "--size", type=_size, default=(1600, 1000), metavar="WxH", help="in pixels (default 1600x1000)"
        )
        parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="(default dark)")

    def run(self, args: argparse.Namespace) -> int:
        """A layer that does not exist is said before the window is made."""
        with open_checkpoint(args.file) as checkpoint:
            if args.layer is not None:
                checkpoint.info(args.layer)
        choices = {
            name: getattr(args, name) for name in ("layer", "size", "theme", "scheme", "view", "compare", "side")
        }
        draw(args.file, args.output, **choices)
        return 0


def _size(text: str) -> tuple[int, int]:
    """`1600x1000` as two numbers."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 200):
        raise argparse.ArgumentTypeError(f"a size is written 1600x1000, each at least 200, not {text!r}")
    return int(width), int(height)
