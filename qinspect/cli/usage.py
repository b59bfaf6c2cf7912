"""What is said of wrong usage: one sentence with what may have been meant, and where the flags are told."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

from qinspect import report

_OF_CHOICES = re.compile(r"'(.*?)'(?: \(choose from|; choose \w+ of) (.*)")
"""A word that is none of those that may stand there, as argparse and the schemes say it."""


class Parser(argparse.ArgumentParser):
    """An argument parser that prints no usage beside an error."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end the program with 2."""
        said = _with_choice(message)
        report.complain(f"{said}{' See' if said.endswith('?') else '; see'} `{self.prog} --help`")
        self.exit(2)

    def refuse(self, unknown: Iterable[str]) -> NoReturn:
        """Say that these words mean nothing here."""
        words = list(unknown)
        flag = next((word.partition("=")[0] for word in words if word.startswith("-")), "")
        known = re.findall(r"--[a-z][\w-]*", self.format_help())
        self.error(f"{' '.join(words)} means nothing here" + did_you_mean(flag, known))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a word that is nearly one of `known`, else nothing."""
    near = difflib.get_close_matches(word, sorted(set(known)), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _with_choice(message: str) -> str:
    """The message, with the nearest of the choices where there are some."""
    found = _OF_CHOICES.search(message)
    return message + did_you_mean(found[1], re.findall(r"[\w-]+", found[2])) if found else message
