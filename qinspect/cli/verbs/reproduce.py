"""`qinspect reproduce`."""

from __future__ import annotations

import argparse
from typing import ClassVar

from qinspect import report
from qinspect.cli.verb import Verb, add_json
from qinspect.reproduce import RECIPES


class Reproduce(Verb):
    """Prints the published demonstrations."""

    name: ClassVar[str] = "reproduce"
    summary: ClassVar[str] = "Print the published demonstrations' tables, computed anew."
    order: ClassVar[int] = 80

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which one."""
        help = f"one of {', '.join(RECIPES)}; by default all"
        parser.add_argument("recipe", nargs="?", choices=[*RECIPES], metavar="RECIPE", help=help)
        add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Each from its own inputs."""
        shown = [RECIPES[name]() for name in ([args.recipe] if args.recipe else RECIPES)]
        if args.json:
            report.print_json({"demonstrations": [one.to_json() for one in shown]})
        else:
            report.print_demonstrations(shown)
        return 0
