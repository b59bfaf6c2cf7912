"""The command `qinspect`: each verb does what the window does, on the same core, and prints it.

Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 130 interrupted. See `docs/command-line.md`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from qinspect import __version__, report, scheme_flags
from qinspect.cli.usage import Parser, did_you_mean
from qinspect.cli.verb import registry
from qinspect.errors import QInspectError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a code page without "∞" must not end the program
    args = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has seen enough; what Python flushes at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except QInspectError as error:
        report.complain(error)
    except OSError as error:
        report.complain(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError as error:
        report.complain(f"there is not enough memory: {error}")
    return 1


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; of scheme flags become `scheme`, None if there are none, and whether it was `named`."""
    parser = Parser(
        "qinspect",
        description="Show what quantization does to every weight of a checkpoint, and write the packed model.",
        epilog="`qinspect [FILE]` alone opens the window.",
    )
    parser.add_argument("--version", action="version", version=f"qinspect {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for cls in registry:
        verb = cls()
        own = verbs.add_parser(
            verb.name,
            help=verb.summary,
            description=verb.summary,
            epilog="\n  ".join(("examples:", *verb.examples)) if verb.examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        own.set_defaults(run=verb.run, parser=own)
        verb.arguments(own)
    if not argv or (argv[0] not in verbs.choices and not argv[0].startswith("-")):
        _check_file(parser, argv, verbs.choices)
        argv = ["gui", *argv]
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        args.parser.refuse(unknown)
    if hasattr(args, "scheme"):
        args.named, args.scheme = args.scheme is not None, scheme_flags.scheme_of(args)
    return args


def _check_file(parser: Parser, argv: Sequence[str], verbs: Iterable[str]) -> None:
    """Wrong usage where the first word is no verb, and seems to be meant as one: there is no such file."""
    if not argv or Path(argv[0]).exists():
        return
    meant = did_you_mean(argv[0], verbs)
    if meant or len(argv) > 1:
        parser.error(f"there is no verb or file {argv[0]!r}{meant}")
