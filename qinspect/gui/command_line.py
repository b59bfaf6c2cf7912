"""What the window would write, as a command for a terminal or a script."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from qinspect import scheme_flags
from qinspect.recipe import Recipe


def export_command(source: Path, target: str, recipe: Recipe, out: Path) -> str:
    """`qinspect export …`; a recipe of several rules goes into a file first, beside what is written."""
    words = ["qinspect", "export", str(source), "--to", target]
    before = ""
    if recipe.base is not None and recipe.rules == Recipe.of(recipe.base).rules:
        words += scheme_flags.arguments_of(recipe.base)
    else:
        file = out.with_name(f"{out.name}.recipe.json")
        before = f"cat > {shlex.quote(str(file))} <<'END'\n{json.dumps(recipe.to_json(), indent=1)}\nEND\n"
        words += ["--recipe", str(file)]
    return before + shlex.join([*words, "-o", str(out)])
