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
    examples: ClassVar[tuple[str, ...]] = ()
    """Command lines that stand at the end of its help."""

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
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the file or folder to write")


def add_layers(parser: argparse.ArgumentParser) -> None:
    """`--layers`."""
    parser.add_argument("--layers", metavar="GLOB", help="the tensors of these names; by default the layers")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """`--reference`."""
    parser.add_argument("--reference", metavar="FILE", help="the originals of a packed FILE")


def add_sample(parser: argparse.ArgumentParser) -> None:
    """`--sample`."""
    help = "measure about a million weights of each layer, in whole rows, and estimate: quick, to about 0.1 dB"
    parser.add_argument("--sample", action="store_true", help=help)


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """`--recipe`."""
    parser.add_argument("--recipe", metavar="JSON", help="rules a tensor; --scheme gets what they do not mention")


def add_importance(parser: argparse.ArgumentParser) -> None:
    """`--importance`."""
    help = (
        "what errors of each input channel count in calibration: vectors by layer, or an imatrix of llama.cpp in GGUF"
    )
    parser.add_argument("--importance", metavar="FILE", help=help)


def add_stored_group_size(parser: argparse.ArgumentParser) -> None:
    """`--group-size` of a verb that takes no scheme."""
    help = "of packed layers, where the file does not tell"
    parser.add_argument("--group-size", dest="scheme.group_size", type=int, metavar="SIZE", help=help)
