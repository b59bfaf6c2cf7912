"""What the window would write, as a command for a terminal or a script."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from qinspect.quant.scheme import Scheme
from qinspect.recipe import Recipe


def export_command(source: Path, target: str, recipe: Recipe, out: Path) -> str:
    """`qinspect export …`; a recipe of several rules goes into a file first, beside what is written."""
    words = ["qinspect", "export", str(source), "--to", target]
    before = ""
    if recipe.base is not None and recipe.rules == Recipe.of(recipe.base).rules:
        words += arguments_of(recipe.base)
    else:
        file = out.with_name(f"{out.name}.recipe.json")
        before = f"cat > {shlex.quote(str(file))} <<'END'\n{json.dumps(recipe.to_json(), indent=1)}\nEND\n"
        words += ["--recipe", str(file)]
    return before + shlex.join([*words, "-o", str(out)])


def arguments_of(scheme: Scheme) -> list[str]:
    """The words of a command line that name `scheme`; values that are the default are left out."""
    words = ["--scheme", scheme.name]
    for p in scheme.active_parameters():
        value = getattr(scheme, p.name)
        if value != p.default:
            words += [f"--{p.name.replace('_', '-')}", f"{value:g}" if p.type is float else str(value)]
    return words
