"""FP32 `.safetensors`: every weight as the device will see it, for any program that knows no packed format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from qinspect.formats.checkpoint import FLOATING, Checkpoint
from qinspect.formats.dtypes import numpy_dtype
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor
from qinspect.targets.blueprint import Blueprint, Stored
from qinspect.targets.choice import Choice
from qinspect.targets.packed import converted, packed, within
from qinspect.targets.read_back import Content
from qinspect.targets.safetensors_file import SafetensorsFile
from qinspect.targets.sources import kept_metadata
from qinspect.targets.target import PlanRow
from qinspect.targets.tensor_file import TensorFile
from qinspect.task import Token


class Fp32Safetensors(TensorFile):
    """Quantized and decoded again; floating tensors without a scheme become FP32, all others stay as they are."""

    name: ClassVar[str] = "fp32"
    title: ClassVar[str] = "Decoded FP32 .safetensors"
    suffix: ClassVar[str] = ".safetensors"
    summary: ClassVar[str] = (
        "Ordinary FP32 weights with the quantization error in them, for programs that read nothing packed."
    )
    carries: ClassVar[str] = "Every scheme, decoded; all floating tensors become FP32."
    order: ClassVar[int] = 30

    def stored(self, row: PlanRow) -> list[Stored]:
        """The tensor under its own name."""
        return [Stored(row.name, self.stored_dtype(row), row.shape)]

    def stored_dtype(self, row: PlanRow) -> str:
        """The type in which a tensor is written."""
        return "F32" if row.dtype in FLOATING else row.dtype

    def note(self, choice: Choice) -> str:
        """Where the weights come from, if not from the source as they are."""
        if choice.scheme is not None:
            return f"{choice.note}; written decoded" if choice.note else "quantized, and written decoded"
        converted = choice.info.dtype in FLOATING and choice.info.dtype != "F32"
        return f"{choice.info.dtype} becomes F32" if converted else choice.note

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """Decoded weights."""
        content = packed(row, held, token)
        dtype = numpy_dtype(self.stored_dtype(row))
        if not isinstance(content, QTensor):
            return converted(content, dtype)
        return within(content.scheme.dequantize(content, token=token), dtype)

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """The weights."""
        assert not isinstance(content, QTensor)
        return [content]

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Blueprint:
        """A plain file."""
        return SafetensorsFile([stored for row in rows for stored in self.stored(row)], kept_metadata(checkpoint))
