"""A quantized weight in an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.formats.onnx_graph import Graph, Node, Tensor
from qinspect.formats.stored import PackedSource, Source


@dataclass(frozen=True)
class Weight:
    """A quantized weight: its codes, the tensors that decode them, and the node that takes it.

    The codes have the name of the stored tensor in whose place the weight is. `dtype` is what it decodes to; `label` is
    None where it is decoded on reading.
    """

    codes: Tensor
    parts: tuple[Tensor, ...]
    taker: Node
    shape: tuple[int, ...]
    dtype: str
    label: str | None
    source: Source | PackedSource
    turned: bool = False
    """Whether the stored matrix has a row an input."""

    @property
    def nbytes(self) -> int:
        """Bytes of everything that belongs to it."""
        return self.codes.nbytes + sum(part.nbytes for part in self.parts)


def stored_input(graph: Graph, node: Node, index: int | None) -> Tensor | None:
    """The stored tensor that is an input of a node; None if there is none, or it is computed."""
    if index is None or index >= len(node.inputs) or not node.inputs[index]:
        return None
    return graph.tensor(node.inputs[index])
