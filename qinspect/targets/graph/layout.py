"""The blueprint of an ONNX file."""

from __future__ import annotations

from functools import cached_property

from qinspect.errors import UnsupportedError
from qinspect.targets.pieces import Pieces, size

LIMIT = (1 << 31) - 1
"""Bytes of a message that readers of protocol buffers take."""


class OnnxLayout(Pieces):
    """The pieces of its message."""

    @cached_property
    def nbytes(self) -> int:
        """Size of the whole file, which readers limit."""
        found = size(self.pieces)
        if found > LIMIT:
            text = f"an ONNX file holds at most {LIMIT} bytes, and this would be one of {found}; take fewer bits"
            raise UnsupportedError(text)
        return found
