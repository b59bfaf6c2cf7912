"""Verb, the base of everything that the command `qinspect` does."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from qinspect.registry import Registry


class Verb(ABC):
    """One word of the command line: its flags, and what it does."""

    name: ClassVar[str]
    summary: ClassVar[str]
    order: ClassVar[int] = 100

    @abstractmethod
    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what stands behind the verb; `scheme_flags.add` gives it the flags of a scheme."""

    @abstractmethod
    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code; a QInspectError is printed as one sentence."""


registry: Registry[Verb] = Registry("qinspect.cli.verbs", Verb)  # type: ignore[type-abstract]


def add_file(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument("file", metavar="FILE", help="a checkpoint")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_output(parser: argparse.ArgumentParser) -> None:
    """`-o OUT`."""
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the file to write")


def add_stored_group_size(parser: argparse.ArgumentParser) -> None:
    """`--group-size` of a verb that takes no scheme."""
    help = "of packed layers, where the file does not tell"
    parser.add_argument("--group-size", dest="scheme.group_size", type=int, metavar="SIZE", help=help)
