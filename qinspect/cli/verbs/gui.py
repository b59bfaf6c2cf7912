"""`qinspect gui`, which is also what `qinspect FILE` means."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import ClassVar

from qinspect import scheme_flags
from qinspect.cli.verb import Verb
from qinspect.cli.window import has_display, window
from qinspect.errors import FormatError, UnsupportedError


class Gui(Verb):
    """Opens the window."""

    name: ClassVar[str] = "gui"
    summary: ClassVar[str] = "Open the window."
    order: ClassVar[int] = 10
    examples: ClassVar[tuple[str, ...]] = ("qinspect gui model.safetensors --scheme symmetric --bits 4",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE and a scheme."""
        parser.add_argument("file", nargs="?", metavar="FILE", help="a checkpoint to begin with")
        scheme_flags.add(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Until the window is closed."""
        if args.file is not None and not Path(args.file).exists():
            text = "there is no such file, and no such verb; `qinspect --help` lists the verbs"
            raise FormatError(text, path=args.file)
        if not has_display() and not os.environ.get("QT_QPA_PLATFORM"):
            text = "there is no display for a window; use analyze, or screenshot to draw one into a file"
            raise UnsupportedError(text)
        return int(window().run(args.file, scheme=args.scheme))
