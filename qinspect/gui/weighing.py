"""Importance of input channels from a file: asked for, read, and taken over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.gui import dialogs
from qinspect.gui.jobs import Job
from qinspect.gui.work import sentence
from qinspect.importance import Importance

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def choose(window: MainWindow) -> None:
    """Ask for a file and take it over."""
    path = dialogs.checkpoint_path(window, "Load importance: an imatrix of llama.cpp, or a vector a layer")
    if path:
        load(window, Path(path))


def load(window: MainWindow, path: Path) -> None:
    """Read a file in the background; what is wrong with it is told."""
    controller, checkpoint = window.controller, window.controller.session.checkpoint
    if checkpoint is None:
        window.show_error("Importance is that of a checkpoint's layers: open the checkpoint first.")
        return

    def done(found: Mapping[str, np.ndarray]) -> None:
        if controller.session.checkpoint is checkpoint:
            controller.weigh(found)
            layers = fmt.counted(len(found), "layer")
            window.status.say(
                f"{printable(path.name)} says what errors of each input channel count in {layers}: "
                "calibration by least error heeds it, and so do Sweep and Budget."
            )

    controller.bulk.put(
        Job(
            f"Reading {printable(path.name, 40)}",
            lambda _token, _part: Importance.load(path).known(checkpoint),
            done,
            lambda error: controller.failed.emit(sentence(error)),
        )
    )


def forget(window: MainWindow) -> None:
    """Let all input channels count alike again."""
    if window.controller.session.importance:
        window.controller.weigh({})
        window.status.say("All input channels count alike.")
