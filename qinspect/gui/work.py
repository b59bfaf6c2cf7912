"""What jobs of the window share: errors as sentences, kernels made ready."""

from __future__ import annotations

import logging

from qinspect.errors import QInspectError
from qinspect.gui.jobs import COMPILED
from qinspect.task import Token


def sentence(error: Exception) -> str:
    """What to tell a person; what is not our own error is also logged whole, for whoever mends it."""
    if isinstance(error, QInspectError):
        return str(error)
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def prepare_kernels(token: Token, _: object = None) -> None:
    """Have kernels compiled where that has not been done, in a process of its own; then load them."""
    from qinspect import warm_up

    try:
        if not warm_up.ready():
            warm_up.compile_apart(token)
    finally:
        COMPILED.set()
    warm_up.warm_up(token)
