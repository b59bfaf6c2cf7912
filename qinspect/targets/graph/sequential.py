"""A network of our own (`qinspect.network`) as an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qinspect.network import LayerNorm, Linear, Network, Operator, Relu, Residual
from qinspect.targets.blueprint import Stored
from qinspect.targets.graph import wire
from qinspect.targets.graph.forms import Form, Site
from qinspect.targets.graph.nbits import MICROSOFT, NBits
from qinspect.targets.graph.wire import Message, joined, node

OPSET = 21
IR_VERSION = 10
"""The version of the format that came with that operator set."""

INPUT, OUTPUT = "x", "y"


def sites(network: Network, rows: Mapping[str, tuple[int, ...]]) -> dict[str, Site]:
    """Where the weights of linear layers are wanted: as [inputs, outputs], so that a product takes them as they are."""
    names = [f"{each.prefix}.weight" for each in network.flat() if isinstance(each, Linear)]
    return {name: Site(name, "F32", rows[name], True, OPSET, products=True) for name in names}


def model(
    network: Network, inputs: int, outputs: int, forms: Mapping[str, Form], plain: Mapping[str, Stored],
    metadata: Mapping[str, str],
) -> Message:  # fmt: skip
    """The model; weights are in `forms` or, float32, in `plain`, both by name."""
    walk = _Walk(forms, plain)
    last = walk.run(network.operators, INPUT)
    walk.nodes.append(node("Identity", [last], [OUTPUT]))
    made = [form.nodes() for form in forms.values()]
    decoding = [each for nodes, _ in made for each in nodes]
    constants = [each for _, constants in made for each in constants]
    tensors = [each for form in forms.values() for each in form.tensors()]
    tensors += [wire.tensor(a.name, a.dtype, a.shape, [a]) for a in plain.values()]
    graph = joined(
        *(wire.field(1, each) for each in [*decoding, *walk.nodes]),
        wire.field(2, "network"),
        *(wire.field(5, each) for each in [*constants, *tensors]),
        wire.field(11, wire.value_info(INPUT, "F32", ["n", inputs])),
        wire.field(12, wire.value_info(OUTPUT, "F32", ["n", outputs])),
    )
    domains = [wire.opset(OPSET)] + ([wire.opset(1, MICROSOFT)] if any(f.domain for f in forms.values()) else [])
    return joined(
        wire.field(1, IR_VERSION),
        wire.field(2, "qinspect"),
        wire.field(7, graph),
        *(wire.field(8, domain) for domain in domains),
        *(wire.field(14, wire.pair(key, value)) for key, value in metadata.items()),
    )


def needed(network: Network, name: str) -> bool:
    """Whether the network uses a tensor."""
    prefix, _, kind = name.rpartition(".")
    return prefix in network.prefixes and kind in ("weight", "bias")


@dataclass
class _Walk:
    """Adds nodes while it goes through the operators; values are called v0, v1 …"""

    forms: Mapping[str, Form]
    plain: Mapping[str, Stored]
    nodes: list[Message] = field(default_factory=list)

    def run(self, operators: tuple[Operator, ...], value: str) -> str:
        """The name of the result."""
        for operator in operators:
            value = self._apply(operator, value)
        return value

    def _apply(self, operator: Operator, value: str) -> str:
        match operator:
            case Relu():
                return self._add("Relu", value)
            case Residual(body):
                return self._add("Add", self.run(body, value), value)
            case LayerNorm(prefix, eps):
                inputs = [value, *self._named(f"{prefix}.weight", f"{prefix}.bias")]
                return self._add("LayerNormalization", *inputs, axis=-1, epsilon=float(eps))
            case Linear(prefix):
                return self._linear(prefix, value)

    def _linear(self, prefix: str, value: str) -> str:
        name, bias = f"{prefix}.weight", self._named(f"{prefix}.bias")
        form = self.forms.get(name)
        if form is None:
            return self._add("Gemm", value, name, *bias, transB=1)
        if isinstance(form, NBits):
            product = self._new()
            self.nodes.append(form.product(value, product, prefix))
        else:
            product = self._add("MatMul", value, name)
        return self._add("Add", product, *bias) if bias else product

    def _named(self, *names: str) -> list[str]:
        return [name for name in names if name in self.plain]

    def _new(self) -> str:
        return f"v{len(self.nodes)}"

    def _add(self, op: str, *inputs: str, **attributes: Any) -> str:
        found = self._new()
        self.nodes.append(node(op, inputs, [found], **attributes))
        return found
