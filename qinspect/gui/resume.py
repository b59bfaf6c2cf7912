"""Where the window was left: file, layer, recipe and what was shown, kept when it closes and taken up at the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qinspect.errors import SchemeError, printable
from qinspect.gui.scopes import Scope
from qinspect.recipe import Recipe

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def kept(window: MainWindow) -> dict[str, Any]:
    """What there is to keep; empty where no file is open."""
    controller = window.controller
    session, info = controller.session, controller.info
    if session.checkpoint is None:
        return {}
    return {
        "file": str(session.checkpoint.path.resolve()),
        "reference": None if session.reference is None else str(session.reference.path.resolve()),
        "layer": None if info is None else info.name,
        "recipe": controller.recipe.to_json(),
        "scope": controller.scope.value,
        "compared": controller.comparing.kept(),
        "shown": window.shown(),
    }


def restore(window: MainWindow) -> None:
    """Take up what was kept, as far as it is still there; what is not is told."""
    before = window.preferences.session
    path = before.get("file")
    if not isinstance(path, str):
        return
    if not Path(path).exists():
        window.status.say(f"{printable(path)}, which was open last, is not there any more.", important=True)
        return
    try:
        recipe = Recipe.from_json(before.get("recipe"))
    except SchemeError:
        recipe = None  # of another version of the program
    if isinstance(before.get("compared"), dict):
        window.controller.comparing.restore(before["compared"])
    layer, reference = before.get("layer"), before.get("reference")
    window.open(
        path,
        layer=layer if isinstance(layer, str) else None,
        recipe=recipe,
        reference=reference if isinstance(reference, str) and Path(reference).exists() else None,
    )
    if before.get("scope") in set(Scope):
        window.controller.set_scope(Scope(before["scope"]))
    if isinstance(before.get("shown"), dict):
        window.show_again(before["shown"])
