"""Packed `.safetensors`: any scheme, and all that a reader needs in the metadata (`docs/formats.md`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.native import LAYERS_KEY, VERSION, VERSION_KEY
from qinspect.targets.blueprint import Blueprint
from qinspect.targets.packed import Packed, records
from qinspect.targets.safetensors_file import SafetensorsFile
from qinspect.targets.sources import kept_metadata
from qinspect.targets.target import PlanRow


class PackedSafetensors(Packed):
    """Packed layers in a `.safetensors` file."""

    name: ClassVar[str] = "safetensors"
    title: ClassVar[str] = "Packed .safetensors"
    suffix: ClassVar[str] = ".safetensors"
    summary: ClassVar[str] = "Packed codes and parameters of any scheme, with a CRC-32 for every array."
    carries: ClassVar[str] = "Every scheme, group size and shape; other tensors as they are."
    order: ClassVar[int] = 10

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Blueprint:
        """The source's own metadata is kept beside the layers' records."""
        layers = {prefix: record.to_json() for prefix, record in records(rows).items()}
        metadata = kept_metadata(checkpoint) | {VERSION_KEY: str(VERSION), LAYERS_KEY: json.dumps(layers)}
        return SafetensorsFile([stored for row in rows for stored in self.stored(row)], metadata)
