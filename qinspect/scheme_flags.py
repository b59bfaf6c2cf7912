"""Command-line flags that come from the schemes' fields, and the scheme that they name."""

from __future__ import annotations

import argparse
from typing import Any

from qinspect.errors import SchemeError
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import Scheme, make_scheme, registry


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add(parser: argparse.ArgumentParser) -> None:
    """Add `--scheme`, and a flag for each field that any scheme has."""
    group = parser.add_argument_group("scheme", "How weights are stored; by default base11 in groups of 128.")
    group.add_argument("--scheme", choices=registry.names(), help="its other flags are the parameters it has")
    helps: dict[str, dict[str, list[str]]] = {}
    types: dict[str, type] = {}
    for cls in registry:
        for p in cls.parameters():
            types[p.name] = p.type
            helps.setdefault(p.name, {}).setdefault(_described(p), []).append(cls.name)
    for name, texts in helps.items():
        help = ". ".join(f"{text} ({', '.join(owners)})" for text, owners in texts.items())
        metavar = name.rpartition("_")[2].upper()
        group.add_argument(
            _flag(name), dest=f"scheme.{name}", type=types[name], metavar=metavar, help=help.replace("%", "%%")
        )


def _described(p: Parameter) -> str:
    """What a field means and what it may be."""
    allowed = f"{p.low} to {p.high}" if p.choices is None else f"one of {', '.join(map(str, p.choices))}"
    return f"{p.help.rstrip('.')}: {allowed}; default {p.default}"


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The scheme flags on the command line, by field."""
    flags = {key.removeprefix("scheme."): value for key, value in vars(args).items() if key.startswith("scheme.")}
    return {name: value for name, value in flags.items() if value is not None}


def scheme_of(args: argparse.Namespace) -> Scheme | None:
    """The scheme of the flags, None if there are none; a flag that the scheme does not have ends the program."""
    fields, name = given(args), args.scheme or "base11"
    parameters = {p.name: p for p in registry[name].parameters()}
    for unknown in sorted(fields.keys() - parameters):
        args.parser.error(f"{name} has no {_flag(unknown)}; it has {', '.join(map(_flag, parameters)) or 'no flags'}")
    for field in list(fields):
        # A group size asks for groups: `--granularity group` goes without saying.
        needs = parameters[field].needs
        if needs is not None and fields.setdefault(*needs) != needs[1]:
            args.parser.error(f"{_flag(field)} needs {_flag(needs[0])} {needs[1]}")
    try:
        scheme = make_scheme(name, **fields)
    except SchemeError as error:
        args.parser.error(str(error))
    return scheme if fields or args.scheme else None
