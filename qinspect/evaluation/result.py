"""What an evaluation finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from qinspect.quant.scheme import Scheme


@dataclass(frozen=True)
class LayerOutput:
    """The output error of one layer, ‖XŴᵀ − XWᵀ‖ / ‖XWᵀ‖ over `samples` inputs X; NaN where no inputs fit it."""

    name: str
    scheme: Scheme
    samples: int
    error: float


@dataclass(frozen=True)
class Evaluation:
    """Layers that are quantized, and, where the network could be run, its outputs with their weights as they decode.

    `before` and `after` are the shares of labels that are the largest output; `agreement` is that of inputs for which
    it is the same one; `output_error` is ‖Ŷ − Y‖ / ‖Y‖. None where that is not known; `remark` then says why.
    """

    layers: tuple[LayerOutput, ...]
    samples: int
    before: float | None = None
    after: float | None = None
    agreement: float | None = None
    output_error: float | None = None
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        layers = [
            {
                "name": one.name,
                "scheme": one.scheme.to_json(),
                "samples": one.samples,
                "output_error": _finite(one.error),
            }
            for one in self.layers
        ]
        figures = {name: _finite(getattr(self, name)) for name in ("before", "after", "agreement", "output_error")}
        return {"layers": layers, "samples": self.samples, **figures, "remark": self.remark}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
