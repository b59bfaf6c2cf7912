"""ONNX: the initializers and constants of a graph, those that are quantized as the weights they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from qinspect.errors import QInspectError, UnsupportedError, printable
from qinspect.formats.checkpoint import FLOATING, Checkpoint, Reader, TensorInfo
from qinspect.formats.onnx_graph import Graph, Model, Node, Tensor, scan
from qinspect.formats.onnx_packed import weight_of
from qinspect.formats.onnx_uses import Uses, name_of, only_rounds, takes_columns
from qinspect.formats.onnx_weight import Weight
from qinspect.formats.protobuf import BYTES, VARINT, begin_of
from qinspect.formats.stored import Derived, PackedSource, Source, StoredCheckpoint, WatchedFile

_VERSIONS = range(3, 32)
"""Of the format; the newest is 14, and since 2017 none was older than 3."""
_FIELDS = {(1, VARINT), (5, VARINT), *((number, BYTES) for number in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26))}
"""The fields of a model, by number and wire type."""
_NAMED = 5

Found = tuple[TensorInfo, Source | PackedSource]


class Onnx(Reader):
    """`.onnx` files."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    order: ClassVar[int] = 70

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """The version of the format as the first field, and then fields that a model has."""
        fields = begin_of(head)
        return len(fields) > 1 and fields[0] == (1, VARINT) and head[1] in _VERSIONS and _FIELDS.issuperset(fields)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file and those in which it keeps its weights; only its structure is read."""
        file = WatchedFile(path)
        try:
            model = scan(file)
        except QInspectError as error:
            file.close()
            raise error.within(path=path) from None
        try:
            return OnnxCheckpoint(file, model)
        except QInspectError as error:
            file.close()
            model.files.close()
            raise error.within(path=path) from None


class OnnxCheckpoint(StoredCheckpoint):
    """An open `.onnx` file and those in which it keeps its weights."""

    def __init__(self, file: WatchedFile, model: Model) -> None:
        self._external = model.files
        listing = _Listing(model)
        super().__init__(
            file.path, Onnx.title, listing.rows(), file=file, metadata=model.metadata, notes=listing.all_notes()
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The model and the files of its weights."""
        return (self.path, *self._external.paths)

    def check(self) -> None:
        """See `Checkpoint.check`."""
        super().check()
        self._external.check()

    def close(self) -> None:
        """Release all."""
        super().close()
        self._external.close()


class _Listing:
    """The rows of a model's table, in the order of its file."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.uses = Uses(model.graphs)
        self.notes: list[str] = []
        self.turned = self.scalars = 0
        self.weights: dict[int, Weight] = {}
        self.hidden: set[int] = set()
        for graph in model.graphs:
            for node in graph.nodes:
                self.note_weight(graph, node)

    def note_weight(self, graph: Graph, node: Node) -> None:
        try:
            weight = weight_of(graph, node, self.uses)
        except UnsupportedError as error:
            self.notes.append(f"{printable(error.tensor or node.name)} is shown as it is stored: {error.message}.")
            return
        if weight is not None:
            self.weights.setdefault(id(graph.tensor(weight.codes.name)), weight)
            self.hidden.update(id(part) for part in weight.parts)

    def rows(self) -> list[Found]:
        """One for every tensor that is not a part of another."""
        found = [
            (graph, tensor) for graph in self.model.graphs for tensor in graph.tensors.values()
            if id(tensor) not in self.hidden and self.shown(graph, tensor)
        ]  # fmt: skip
        names = [self.name(graph, tensor) for graph, tensor in found]
        taken = Counter(names)
        rows = []
        for (graph, tensor), name in zip(found, names, strict=True):
            own = graph.prefix + tensor.name
            rows.append(self.row(graph, tensor, name if taken[name] == 1 else own))
        return rows

    def shown(self, graph: Graph, tensor: Tensor) -> bool:
        """Whether it holds weights; scales of activations, and constants that only say a shape or a number, do not."""
        if tensor.size == 1 and id(tensor) not in self.weights and only_rounds(self.uses.of_tensor(tensor)):
            self.scalars += 1
            return False
        constant = self.uses.maker(graph, tensor.name) is not None
        return not constant or id(tensor) in self.weights or (tensor.dtype in FLOATING and tensor.size > 1)

    def name(self, graph: Graph, tensor: Tensor) -> str:
        weight = self.weights.get(id(tensor))
        takers = self.uses.of_tensor(tensor)
        taker = weight.taker if weight is not None else takers[0][0] if takers else None
        return graph.prefix + name_of(tensor, taker, packed=weight is not None)

    def row(self, graph: Graph, tensor: Tensor, name: str) -> Found:
        weight = self.weights.get(id(tensor))
        said = {"initializer": tensor.name}
        if weight is not None:
            told = MappingProxyType(said | {"node": weight.taker.name, "operator": weight.taker.op})
            return TensorInfo(name, weight.shape, weight.dtype, weight.nbytes, weight.label, told), weight.source
        shape, source = tensor.shape, tensor.source
        if len(shape) == 2 and tensor.dtype in FLOATING and takes_columns(self.uses.of_tensor(tensor)):
            shape, source = (shape[1], shape[0]), Derived(source, np.transpose)
            said["transposed"] = "yes"
            self.turned += 1
        return TensorInfo(name, shape, tensor.dtype, tensor.nbytes, None, MappingProxyType(said)), source

    def all_notes(self) -> Iterator[str]:
        """What a person should know of the file; called after `rows`."""
        yield from self.notes
        if sparse := [name for graph in self.model.graphs for name in graph.sparse]:
            some = ", ".join(map(printable, sparse[:_NAMED])) + (" …" if len(sparse) > _NAMED else "")
            yield f"Not shown, being sparse: {some}."
        if self.scalars:
            yield f"{self.scalars} scales and zero points of activations are not listed."
        if self.turned or any(weight.turned for weight in self.weights.values()):
            yield "Weights that the graph keeps as [inputs, outputs] are shown as [outputs, inputs], a row an output."
