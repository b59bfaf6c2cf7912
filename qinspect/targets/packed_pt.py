"""Packed `.pt`: a state dict whose base-11 layers a torch module loads as they are (`docs/formats.md`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from qinspect.errors import UnsupportedError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.native import RECORD_KEY, VERSION, VERSION_KEY
from qinspect.quant.scheme import Scheme
from qinspect.quant.schemes.base11 import Base11
from qinspect.targets.blueprint import Blueprint, Stored
from qinspect.targets.packed import Packed, records
from qinspect.targets.sources import kept_metadata
from qinspect.targets.target import PlanRow
from qinspect.targets.torch_file import TorchFile


class PackedPt(Packed):
    """Packed layers in a torch state dict."""

    name: ClassVar[str] = "pt"
    title: ClassVar[str] = "Packed .pt"
    suffix: ClassVar[str] = ".pt"
    summary: ClassVar[str] = "A torch state dict with packed base-11 layers, which Linear11Bit loads as they are."
    carries: ClassVar[str] = "Base-11 with float16 parameters, any group size and shape; other tensors as they are."
    order: ClassVar[int] = 20

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """The layer layout is that of one scheme."""
        if isinstance(scheme, Base11) and scheme.param_dtype == "float16":
            return None
        return f"a packed .pt holds base11 with float16 parameters, not {scheme.label}; choose safetensors"

    def stored(self, row: PlanRow) -> list[Stored]:
        """As `Packed` has it; UnsupportedError for what the layer layout cannot hold."""
        if row.scheme is not None and (reason := self.refusal(row.scheme, row.shape)):
            raise UnsupportedError(reason)
        return super().stored(row)

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Blueprint:
        """`_metadata` holds each layer's record under its prefix, and what is said of the whole file under ""."""
        own = {key: text for key, text in kept_metadata(checkpoint).items() if key.startswith(f"{RECORD_KEY}.")}
        metadata: dict[str, dict[str, Any]] = {"": {VERSION_KEY: str(VERSION), **own}}
        for prefix, record in records(rows).items():
            metadata.setdefault(prefix, {})[RECORD_KEY] = record.to_json()
        return TorchFile([stored for row in rows for stored in self.stored(row)], metadata)
