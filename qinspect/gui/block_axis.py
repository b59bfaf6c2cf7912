"""The axis under layers that stand side by side: the name of each block in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from qinspect.errors import printable
from qinspect.gui.axes import Axis

WORDS = 2
"""A block is told by the last words of its name: `layer.3` of `encoder.layer.3`."""


class BlockAxis(Axis):
    """Names of blocks below their layers, which stand at 0, 1, 2 …; those that there is no room for are left out."""

    def __init__(self) -> None:
        super().__init__("bottom", "block")
        self._names: dict[float, str] = {}

    def show_blocks(self, blocks: Sequence[str]) -> None:
        """Take the block of each layer."""
        names, start = {}, 0
        for block, layers in groupby(blocks):
            count = len(list(layers))
            names[start + (count - 1) / 2] = printable(".".join(block.split(".")[-WORDS:]), 24)
            start += count
        if names != self._names:
            self._names = names
            self._drawn_for = ()
            self.update()

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N803
        """The middles of the blocks in view."""
        return [(1.0, [middle for middle in self._names if minVal <= middle <= maxVal])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """Their names."""
        return [self._names[middle] for middle in values]
