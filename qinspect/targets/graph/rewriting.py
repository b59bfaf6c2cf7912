"""A user's ONNX file with some of its weights held in another form, and every other byte of it as it was.

The initializer of a weight goes, and nodes that compute a value of the same name come in front of all others, so that
whatever takes it need not be touched. Only a product in the form `MatMulNBits` is replaced itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qinspect.errors import UnsupportedError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.external import ExternalFiles
from qinspect.formats.onnx_graph import Graph, Node, scan
from qinspect.formats.onnx_uses import Uses
from qinspect.formats.protobuf import BYTES, VARINT, Wire
from qinspect.formats.stored import Span, WatchedFile
from qinspect.targets.graph.forms import Form, Site
from qinspect.targets.graph.nbits import MICROSOFT, NBits
from qinspect.targets.graph.wire import Message, field, joined, node, opset
from qinspect.targets.pieces import Stretch

OLDEST_OPSET = 13
"""From which `DequantizeLinear` goes along an axis and `Unsqueeze` takes its axes as an input."""

_GRAPH, _OPSET = 7, 8
"""Fields of a model."""
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
"""Fields of a graph."""
_NAME, _EXTERNAL, _LOCATION, _RAW = 8, 13, 14, 9
"""Fields of a tensor."""


@dataclass(frozen=True)
class _Part:
    """A field of a message, and where its value is."""

    number: int
    kind: int
    start: int
    stop: int


class UserGraph:
    """An ONNX file that is to be rewritten."""

    def __init__(self, path: Path) -> None:
        self.file = WatchedFile(path)
        model = scan(self.file)
        self._external: ExternalFiles = model.files
        self._wire = Wire(self.file)
        self._top = [_Part(*each) for each in self._wire.fields(0, self.file.nbytes)]
        self._parts = [
            _Part(*each)
            for part in self._top
            if part.number == _GRAPH and part.kind == BYTES
            for each in self._wire.fields(part.start, part.stop)
        ]
        self._graphs = model.graphs
        self.graph: Graph = model.graphs[0]
        self.uses = Uses(model.graphs)
        self.opset = int(model.metadata.get("onnx.opset.ai.onnx", "0"))
        self._has_microsoft = f"onnx.opset.{MICROSOFT}" in model.metadata
        self.inputs, self.outputs = (
            [self._text(p, 1) for p in self._parts if p.number == n] for n in (_INPUT, _OUTPUT)
        )
        self._initializers = {self._name(part): part for part in self._parts if part.number == _INITIALIZER}

    def close(self) -> None:
        """Release all files."""
        self.file.close()
        self._external.close()

    def sites(self, checkpoint: Checkpoint) -> dict[str, Site]:
        """Where each weight of the checkpoint is wanted, as far as it is an initializer of the outer graph."""
        if self.opset < OLDEST_OPSET:
            raise UnsupportedError(
                f"the model is of operator set {self.opset}; convert it to {OLDEST_OPSET} or newer with "
                "onnx.version_converter first"
            )
        self._check_inner()
        named = Counter(info.metadata.get("initializer") for info in checkpoint.infos)
        found = {}
        for info in checkpoint.infos:
            name = info.metadata.get("initializer")
            if name in self._initializers and named[name] == 1 and info.qtype is None:
                found[info.name] = self._site(name, info)
        return found

    def _check_inner(self) -> None:
        """What is not an initializer of the outer graph is copied as it is, and so must lie in the file itself."""
        for graph in self._graphs:
            for name, tensor in graph.tensors.items():
                outer = graph is self.graph and name in self._initializers
                if not outer and isinstance(tensor.source, Span) and tensor.source.file is not self.file:
                    text = (
                        "a constant or a graph within the graph keeps this in another file; save the model as one file"
                    )
                    raise UnsupportedError(text, tensor=graph.prefix + name)

    def _site(self, name: str, info: TensorInfo) -> Site:
        takers = self.uses.of_tensor(self.graph.tensors[name])
        products = bool(takers) and all(_is_product(taker, index) for taker, index in takers)
        own = all(any(taker is node for node in self.graph.nodes) for taker, _ in takers)
        turned = info.metadata.get("transposed") == "yes"
        return Site(name, info.dtype, info.shape, turned, self.opset, products and own and len(info.shape) == 2)

    def replaceable(self, name: str) -> bool:
        """Whether an initializer of the outer graph has this name."""
        return name in self._initializers

    def product_input(self, name: str) -> str | None:
        """The value that the first plain product with the initializer `name` multiplies it with; None if none does."""
        takers = self.uses.of_tensor(self.graph.tensors[name]) if name in self._initializers else []
        return next((taker.inputs[0] for taker, index in takers if _is_product(taker, index)), None)

    # Writing.

    def exposing(self, values: Iterable[str]) -> Message:
        """The model with `values` among its outputs; weights that are in other files come into it."""
        outputs = [field(_OUTPUT, field(1, value)) for value in values]
        kept = [self._inlined(part) if part.number == _INITIALIZER else self._copied(part) for part in self._parts]
        graph = joined(*kept, *outputs)
        return joined(*(field(_GRAPH, graph) if p.number == _GRAPH else self._copied(p) for p in self._top))

    def rewritten(self, forms: Mapping[str, Form]) -> Message:
        """The model with the weights named (by initializer) in these forms."""
        taken = {*self.graph.tensors, *(name for node in self.graph.nodes for name in node.outputs)}
        for form in forms.values():
            if used := taken.intersection(stored.name for stored in form.stored):
                text = f"the model has {min(used)} already; leave this tensor alone in the recipe"
                raise UnsupportedError(text, tensor=form.site.name)
        made = [form.nodes() for form in forms.values()]
        added = [field(_NODE, each) for nodes, _ in made for each in nodes]
        constants = [field(_INITIALIZER, each) for _, several in made for each in several]
        constants += [field(_INITIALIZER, each) for form in forms.values() for each in form.tensors()]
        nodes = iter(self.graph.nodes)
        kept = [self._kept(part, forms, nodes) for part in self._parts]
        graph = joined(*added, *kept, *constants)
        needs_domain = any(form.domain for form in forms.values()) and not self._has_microsoft
        more = field(_OPSET, opset(1, MICROSOFT)) if needs_domain else []
        return joined(*(field(_GRAPH, graph) if p.number == _GRAPH else self._copied(p) for p in self._top), more)

    def _kept(self, part: _Part, forms: Mapping[str, Form], nodes: Iterator[Node]) -> Message:
        """A field of the graph as it goes on; nothing for an initializer that is replaced."""
        if part.number == _NODE:
            return self._node(part, next(nodes), forms)
        if part.number == _INITIALIZER:
            return [] if self._name(part) in forms else self._inlined(part)
        if part.number == _INPUT and self._text(part, 1) in forms:
            return []
        return self._copied(part)

    def _node(self, part: _Part, old: Node, forms: Mapping[str, Form]) -> Message:
        form = forms.get(old.inputs[1]) if len(old.inputs) > 1 else None
        if not isinstance(form, NBits):
            return self._copied(part)
        bias = old.inputs[2] if len(old.inputs) > 2 else ""
        y = form.part(f"{old.outputs[0]}_before_bias") if bias else old.outputs[0]
        product = field(_NODE, form.product(old.inputs[0], y, old.name))
        return product + (field(_NODE, node("Add", [y, bias], [old.outputs[0]])) if bias else [])

    def _copied(self, part: _Part) -> Message:
        if part.kind == VARINT:
            return field(part.number, part.start)
        if part.kind != BYTES:
            raise UnsupportedError(f"field {part.number} of the model is of a kind that is not written")
        return field(part.number, [Stretch(self.file, part.start, part.stop)])

    def _inlined(self, part: _Part) -> Message:
        """An initializer, whose data come into the file if they lie in another."""
        span = self.graph.tensors[self._name(part)].source
        inner = [_Part(*each) for each in self._wire.fields(part.start, part.stop)]
        if not any(each.number == _EXTERNAL for each in inner) or not isinstance(span, Span):
            return self._copied(part)
        kept = [self._copied(each) for each in inner if each.number not in (_EXTERNAL, _LOCATION, _RAW)]
        data = field(_RAW, [Stretch(span.file, span.offset, span.offset + span.nbytes)])
        return field(_INITIALIZER, joined(*kept, data))

    def _name(self, part: _Part) -> str:
        return self._text(part, _NAME)

    def _text(self, part: _Part, number: int) -> str:
        """A text of the message that a field holds."""
        for each in self._wire.fields(part.start, part.stop):
            if each[0] == number and each[1] == BYTES:
                return self._wire.text(each[2], each[3])
        return ""


def _is_product(taker: Node, index: int) -> bool:
    """Whether a node is a plain product with the weight on the right."""
    said = taker.attributes
    plain = taker.op == "MatMul" or (
        taker.op == "Gemm" and not said.get("transA", 0) and said.get("alpha", 1.0) == said.get("beta", 1.0) == 1.0
    )
    return plain and index == 1 and taker.domain in ("", "ai.onnx")
