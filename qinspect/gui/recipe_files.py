"""Recipes from files and to files, and schemes over the clipboard."""

from __future__ import annotations

import json
from pathlib import Path

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from qinspect.errors import QInspectError
from qinspect.gui.controller import Controller
from qinspect.quant.scheme import Scheme, scheme_from_json
from qinspect.recipe import Recipe

FILTER = "Recipes (*.json);;All files (*)"


def choose_and_open(controller: Controller, parent: QWidget) -> None:
    """Ask for a recipe file and take it over."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open a recipe", "", FILTER)
    if path:
        load(controller, Path(path))


def load(controller: Controller, path: Path) -> None:
    """Take over the recipe of a file, as one step; what is wrong with it is told."""
    try:
        controller.set_recipe(Recipe.load(path), f"recipe {path.name}")
    except QInspectError as error:
        controller.failed.emit(str(error))


def choose_and_save(controller: Controller, parent: QWidget) -> None:
    """Ask for a name and write the recipe there."""
    checkpoint = controller.session.checkpoint
    name = "recipe.json" if checkpoint is None else str(checkpoint.path.with_suffix(".recipe.json"))
    path, _ = QFileDialog.getSaveFileName(parent, "Save the recipe", name, FILTER)
    if path:
        save(controller, Path(path))


def save(controller: Controller, path: Path) -> None:
    """Write the recipe; what goes wrong is told."""
    try:
        controller.recipe.save(path if path.suffix else path.with_suffix(".json"))
    except QInspectError as error:
        controller.failed.emit(str(error))


def copy_scheme(scheme: Scheme | None) -> None:
    """Put a scheme on the clipboard, as recipes write it."""
    QGuiApplication.clipboard().setText(json.dumps({"scheme": None} if scheme is None else scheme.to_json()))


def copied_scheme() -> tuple[Scheme | None] | None:
    """The scheme on the clipboard, alone in a tuple as it may be none; None if there is something else."""
    try:
        value = json.loads(QGuiApplication.clipboard().text())
        return (None,) if value == {"scheme": None} else (scheme_from_json(value),)
    except (QInspectError, ValueError, RecursionError):
        return None


def paste_scheme(controller: Controller) -> None:
    """Give the scheme on the clipboard to what changes apply to."""
    copied = copied_scheme()
    if copied is None:
        controller.failed.emit("There is no scheme on the clipboard; copy one from a layer first (Ctrl+Shift+C).")
    else:
        controller.choose(copied[0])
