"""A choice for every layer, written in few rules."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.scheme import Scheme
from qinspect.recipe import ALL, Recipe, Rule, kind_of

Choice = Mapping[str, Scheme | None]


def compact(choice: Choice, infos: Iterable[TensorInfo]) -> Recipe:
    """A recipe that gives each of `infos` just what `choice` says, and leaves those alone that it does not name.

    Layers of one kind in many blocks share a rule where they can, those in neighbouring blocks one with a range of
    digits; what most kinds have is the base.
    """
    infos = list(infos)
    usual = [info.name for info in infos if info.quantizable or info.qtype is not None]
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in usual:
        kinds[kind_of(name)].append(name)
    most = {kind: _most(choice.get(name) for name in names) for kind, names in kinds.items()}
    base = _most(most.values())
    single, general = [], []
    for kind, names in kinds.items():
        others: dict[Scheme | None, list[str]] = defaultdict(list)
        for name in names:
            if choice.get(name) != most[kind]:
                others[choice.get(name)].append(name)
        single += [Rule(match, scheme) for scheme, some in others.items() for match in _ranges(some)]
        if most[kind] != base:
            general.append(Rule(kind if len(names) > 1 else names[0], most[kind]))
    recipe = Recipe((*single, *general, Rule(ALL, base)))
    # Vectors are only quantized by name, and a pattern may reach further than was meant.
    wrong = [info.name for info in infos if recipe.scheme_for(info) != choice.get(info.name)]
    return Recipe((*(Rule(name, choice.get(name)) for name in wrong), *recipe.rules))


def _most(schemes: Iterable[Scheme | None]) -> Scheme | None:
    counted = Counter(schemes).most_common(1)
    return counted[0][0] if counted else None


def _ranges(names: Sequence[str]) -> list[str]:
    """Globs of layers of one kind: where their names differ in the number of a block, tens with a range of ones."""
    shapes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        # The first number with dots around it is that of the block.
        found = re.match(r"(.*?\.)?(\d*)(\d)(\..*)$", name) if not re.search(r"[*?\[]", name) else None
        before, tens, one, after = found.groups("") if found else (name, "", "", "")
        shapes[before + tens, after].append(one)
    return [f"{before}{_class(ones)}{after}" for (before, after), ones in shapes.items()]


def _class(ones: Sequence[str]) -> str:
    """`[0-35]` for the digits 0, 1, 2, 3 and 5; a single one is itself."""
    digits = sorted({int(one) for one in ones if one})
    if len(digits) < 2:
        return "".join(map(str, digits))
    runs: list[list[int]] = []
    for digit in digits:
        if runs and digit == runs[-1][-1] + 1:
            runs[-1].append(digit)
        else:
            runs.append([digit])
    parts = (f"{run[0]}-{run[-1]}" if len(run) > 2 else "".join(map(str, run)) for run in runs)
    return f"[{''.join(parts)}]"
