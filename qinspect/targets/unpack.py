"""Unpacking: a packed checkpoint back to an ordinary one, every name, shape and type restored."""

from __future__ import annotations

from pathlib import Path

from qinspect.formats.checkpoint import Checkpoint
from qinspect.recipe import Recipe
from qinspect.targets.choice import Choice
from qinspect.targets.fp32_safetensors import Fp32Safetensors
from qinspect.targets.target import PlanRow, Report
from qinspect.task import Token


def unpack(checkpoint: Checkpoint, out: Path, token: Token | None = None) -> Report:
    """Write `checkpoint` decoded to a `.safetensors` file; raises what `Target.write` does."""
    target = _Restored()
    token = token or Token()
    plan = target.plan(checkpoint, Recipe(()), token.part(0, 0.05))
    return target.write(checkpoint, plan, out, token.part(0.05, 1))


class _Restored(Fp32Safetensors):
    """Like FP32, in the types that the tensors had before they were packed. Not in the registry: it takes no recipe."""

    def stored_dtype(self, row: PlanRow) -> str:
        """The original type."""
        return row.dtype

    def note(self, choice: Choice) -> str:
        """Nothing surprises here."""
        return ""
