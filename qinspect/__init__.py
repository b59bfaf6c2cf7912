"""qinspect shows what quantization does to every weight of a checkpoint, and writes the packed model a device runs.

Names are imported when they are first used, so that `import qinspect` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qinspect.errors import (
        BudgetError,
        ExportError,
        FormatError,
        QInspectError,
        SchemeError,
        UnsupportedError,
    )
    from qinspect.formats.checkpoint import Checkpoint, TensorInfo
    from qinspect.formats.open import open_checkpoint
    from qinspect.quant.metrics import Metrics
    from qinspect.quant.scheme import QTensor, Scheme, make_scheme
    from qinspect.task import Cancelled, Token

__version__ = "0.1.0"

__all__ = [
    "BudgetError",
    "Cancelled",
    "Checkpoint",
    "ExportError",
    "FormatError",
    "Metrics",
    "QInspectError",
    "QTensor",
    "Scheme",
    "SchemeError",
    "TensorInfo",
    "Token",
    "UnsupportedError",
    "make_scheme",
    "measure",
    "open_checkpoint",
    "schemes",
]

_HOMES = {
    "errors": ("BudgetError", "ExportError", "FormatError", "QInspectError", "SchemeError", "UnsupportedError"),
    "formats.checkpoint": ("Checkpoint", "TensorInfo"),
    "formats.open": ("open_checkpoint",),
    "quant.metrics": ("Metrics",),
    "quant.scheme": ("QTensor", "Scheme", "make_scheme"),
    "task": ("Cancelled", "Token"),
}


def schemes() -> dict[str, type[Scheme]]:
    """Every scheme by its name, in the order in which they are shown."""
    from qinspect.quant.scheme import registry

    return {cls.name: cls for cls in registry}


def measure(w: Any, scheme: Scheme) -> Metrics:
    """The error, size and code usage of quantizing `w`, a float array or torch tensor; raises what `quantize` does."""
    return scheme.measure(w)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
