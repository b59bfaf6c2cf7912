"""Which nodes take which values in an ONNX graph, and what that tells of weights: how they lie and what they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from qinspect.formats.affine import SCALES
from qinspect.formats.onnx_graph import Graph, Node, Tensor

Taker = tuple[Node, int]
"""A node and which of its inputs."""

_COLUMNS = {
    "MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1, "QLinearMatMul": 3, "QGemm": 3, "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "Attention": 1, "QAttention": 1,
}  # fmt: skip
"""Operators that take a weight [K, N], a column an output, unless `transB` says otherwise; and as which input."""

_MADE_UP = re.compile(r"onnx::\w+|val_\d+|_?v?_?\d+|const_fold_opt__\d+|Constant_\d+.*|.*/Constant(_\d+)?_output_0")
"""Names that an exporter gave for want of one."""
_OPERATOR = re.compile(r"[A-Z][A-Za-z0-9]+(_\d+)?")
_SUFFIX = re.compile(r"_(quantized|quant|quant_weight|DQ_Q[248]|Q[248](G\d+)?|Bnb4)$")
"""What quantizers put behind the name of a weight, or of a node."""


class Uses:
    """The takers of all values of a model."""

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self._takers: dict[tuple[int, str], list[Taker]] = defaultdict(list)
        self._makers: dict[tuple[int, str], Node] = {}
        self._of_tensors: dict[int, list[Taker]] = defaultdict(list)
        for graph in graphs:
            for node in graph.nodes:
                for index, name in enumerate(node.inputs):
                    self._takers[id(graph), name].append((node, index))
                    if (tensor := graph.tensor(name)) is not None:
                        self._of_tensors[id(tensor)].append((node, index))
                for name in node.outputs:
                    self._makers[id(graph), name] = node

    def of(self, graph: Graph, value: str) -> list[Taker]:
        """The nodes of `graph` that take `value`."""
        return self._takers.get((id(graph), value), [])

    def of_tensor(self, tensor: Tensor) -> list[Taker]:
        """The nodes of any graph that take a stored tensor."""
        return self._of_tensors.get(id(tensor), [])

    def maker(self, graph: Graph, value: str) -> Node | None:
        """The node of `graph` that computes `value`."""
        return self._makers.get((id(graph), value))

    def factor(self, graph: Graph, node: Node) -> Tensor | None:
        """The stored scale that an integer result is multiplied with: directly, or times that of the other operand."""
        takers = self.of(graph, node.outputs[0]) if node.outputs else []
        if len(takers) == 1 and takers[0][0].op == "Cast" and takers[0][0].outputs:
            takers = self.of(graph, takers[0][0].outputs[0])
        for taker, index in takers:
            if taker.op == "Mul" and len(taker.inputs) == 2:
                other = taker.inputs[1 - index]
                maker = self.maker(graph, other)
                names = [other] + (list(maker.inputs) if maker is not None and maker.op == "Mul" else [])
                found = [t for t in map(graph.tensor, names) if t is not None and t.dtype in SCALES]
                return found[0] if found else None
        return None


def only_rounds(takers: Sequence[Taker]) -> bool:
    """Whether a value says nothing but how others are rounded: it is a scale or a zero point wherever it is taken."""
    return bool(takers) and all(
        index and (node.op in ("QuantizeLinear", "DequantizeLinear") or node.op.startswith("QLinear"))
        for node, index in takers
    )


def takes_columns(takers: Sequence[Taker]) -> bool:
    """Whether everything that takes a matrix has its outputs in the columns: torch has them in the rows."""
    return bool(takers) and all(
        _COLUMNS.get(node.op) == index and not node.attributes.get("transB", 0) for node, index in takers
    )


def name_of(tensor: Tensor, taker: Node | None, *, packed: bool = False) -> str:
    """What a person calls a tensor: its own name, or that of the layer that takes it if an exporter made it up."""
    name = _SUFFIX.sub("", tensor.name) if packed else tensor.name
    if taker is None or not taker.name or not _MADE_UP.fullmatch(name):
        return name
    parts = [part for part in _SUFFIX.sub("", taker.name).split("/") if part]
    if len(parts) > 1 and _OPERATOR.fullmatch(parts[-1]):
        parts.pop()
    return ".".join([*parts, "weight"])
