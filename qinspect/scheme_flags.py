"""Command-line flags that come from the schemes' fields, and the scheme that they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from qinspect.errors import SchemeError
from qinspect.quant.parameter import Parameter
from qinspect.quant.scheme import Scheme, make_scheme, registry
from qinspect.quant.sweep import SweepGrid


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add(parser: argparse.ArgumentParser) -> None:
    """Add `--scheme`, and a flag for each field that any scheme has."""
    group = parser.add_argument_group("scheme", "How weights are stored; by default base11 in groups of 128.")
    group.add_argument("--scheme", metavar="NAME", help=f"one of {', '.join(registry.names())}")
    for name, (type, help) in _fields().items():
        metavar = name.rpartition("_")[2].upper()
        group.add_argument(_flag(name), dest=f"scheme.{name}", type=type, metavar=metavar, help=help)


def add_lists(parser: argparse.ArgumentParser) -> None:
    """The same flags, each of which takes several values with commas between them: all combinations are meant."""
    group = parser.add_argument_group("schemes", "What to try: all combinations; useful values of what is not named.")
    help = f"some of {', '.join(registry.names())}; by default all"
    group.add_argument("--scheme", dest="schemes", type=_list_of(str), default=[], metavar="SCHEME,…", help=help)
    for name, (type, help) in _fields().items():
        metavar = f"{name.rpartition('_')[2].upper()},…"
        group.add_argument(_flag(name), dest=f"grid.{name}", type=_list_of(type), metavar=metavar, help=help)


def _list_of(type: type) -> Callable[[str], list[Any]]:
    def values(text: str) -> list[Any]:
        return [type(word) for word in text.split(",")]

    values.__name__ = f"list of {type.__name__}"  # as argparse names it where a value is none
    return values


def grid_of(args: argparse.Namespace) -> SweepGrid:
    """The grid that the flags of `add_lists` name; a value that no scheme has ends the program."""
    flags = {key.removeprefix("grid."): value for key, value in vars(args).items() if key.startswith("grid.")}
    try:
        grid = SweepGrid.of(args.schemes, {name: values for name, values in flags.items() if values is not None})
    except SchemeError as error:
        args.parser.error(str(error))
    return grid


def _fields() -> dict[str, tuple[type, str]]:
    """Every field that any scheme has: its type, and in one line what it means, what it may be, and for whom."""
    owners: dict[str, dict[str, Parameter]] = {}
    for cls in registry:
        for p in cls.parameters():
            owners.setdefault(p.name, {})[cls.name] = p
    return {name: (next(iter(of.values())).type, _described(of).replace("%", "%%")) for name, of in owners.items()}


def _described(owners: Mapping[str, Parameter]) -> str:
    """What a field of some schemes means, what it may be in any of them, and which these are."""
    every = list(owners.values())
    choices = dict.fromkeys(choice for p in every for choice in p.choices or ())
    low, high = (pick(float(getattr(p, end) or 0) for p in every) for pick, end in ((min, "low"), (max, "high")))
    allowed = ", ".join(map(str, choices)) if choices else f"{low:g} to {high:.8g}"
    others = [name for name in registry.names() if name not in owners]
    whose = ", ".join(owners) if len(owners) <= len(others) else f"all but {', '.join(others)}"
    return f"{every[0].help.partition('. ')[0].rstrip('.')}: {allowed} ({whose})"


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The scheme flags on the command line, by field."""
    flags = {key.removeprefix("scheme."): value for key, value in vars(args).items() if key.startswith("scheme.")}
    return {name: value for name, value in flags.items() if value is not None}


def scheme_of(args: argparse.Namespace) -> Scheme | None:
    """The scheme of the flags, None if there are none; a flag that the scheme does not have ends the program."""
    fields, name = given(args), args.scheme or "base11"
    try:
        scheme = _scheme(name, fields)
    except SchemeError as error:
        args.parser.error(str(error))
    return scheme if fields or args.scheme else None


def scheme_of_text(text: str) -> Scheme:
    """The scheme that is written `symmetric,bits=8,group_size=32`; raises SchemeError."""
    name, *words = text.split(",")
    types = {p.name: p.type for p in registry[name].parameters()} if name in registry else {}
    fields: dict[str, Any] = {}
    for word in words:
        field, _, value = word.partition("=")
        field = field.strip().replace("-", "_")
        try:
            fields[field] = types.get(field, str)(value)
        except ValueError as error:
            raise SchemeError(f"{field} of {name} is {types[field].__name__}, not {value!r}") from error
    return _scheme(name, fields)


def _scheme(name: str, fields: dict[str, Any]) -> Scheme:
    """The scheme, where a field also sets what it needs: a group size asks for groups."""
    parameters = {p.name: p for p in registry[name].parameters()} if name in registry else {}
    for field in list(fields) if parameters else ():
        if field not in parameters:
            flags = ", ".join(map(_flag, parameters)) or "no flags"
            others = ", ".join(cls.name for cls in registry if field in (p.name for p in cls.parameters()))
            raise SchemeError(f"{name} has no {_flag(field)}, as {others} have; it has {flags}")
        needs = parameters[field].needs
        if needs is not None and fields.setdefault(*needs) != needs[1]:
            raise SchemeError(f"{_flag(field)} needs {_flag(needs[0])} {needs[1]}")
    return make_scheme(name, **fields)
