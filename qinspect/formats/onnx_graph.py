"""What an ONNX file holds, from its structure alone: tensors and where they lie, and the nodes that take them.

The messages are those of onnx.proto (github.com/onnx/onnx, IR version 14). Weights are passed over, and so a file opens
in a moment however large it is.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.dtypes import bits, numpy_dtype, unpacked
from qinspect.formats.external import ExternalFiles
from qinspect.formats.protobuf import BYTES, FIXED32, VARINT, Field, Wire, signed, varints
from qinspect.formats.stored import Source, Span, WatchedFile, readonly, taken

TYPES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 8: "STRING", 9: "BOOL", 10: "F16", 11: "F64",
    12: "U32", 13: "U64", 14: "C64", 15: "C128", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2",
    20: "F8_E5M2FNUZ", 21: "U4", 22: "I4", 23: "F4", 24: "F8_E8M0", 25: "U2", 26: "I2", 27: "F6_E2M3", 28: "F6_E3M2",
}  # fmt: skip
"""Element types by their numbers in `TensorProto.DataType`."""

_FLOATS, _INT32S, _STRINGS, _INT64S, _DOUBLES, _UINT64S, _RAW = 4, 5, 6, 7, 10, 11, 9
_FIELD_OF = {
    "F32": _FLOATS, "C64": _FLOATS, "F64": _DOUBLES, "C128": _DOUBLES, "I64": _INT64S, "U64": _UINT64S, "U32": _UINT64S,
    "STRING": _STRINGS,
}  # fmt: skip
"""The field for values of a type that are not in `raw_data`; `int32_data` for all others."""

_DIMENSIONS = 64
_COUNT_LIMIT = 1 << 63
_DEPTH = 16
_STRING = 100
"""Bytes of a text attribute that are kept."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file and where it can be read; `dtype` is a safetensors name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    source: Source

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Node:
    """An operator of the graph; `attributes` are its values by name: numbers, bytes, lists of integers, tensors."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(eq=False)
class Graph:
    """A graph, or the body of an `If`, `Loop` or `Scan` in the graph `outer`; names in it begin with `prefix`.

    `tensors` are its initializers and the values of its `Constant` nodes, by the names that nodes use.
    """

    prefix: str = ""
    outer: Graph | None = None
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    sparse: list[str] = field(default_factory=list)

    def tensor(self, name: str) -> Tensor | None:
        """The stored tensor that a node of this graph calls `name`."""
        graph: Graph | None = self
        while graph is not None:
            if name in graph.tensors:
                return graph.tensors[name]
            graph = graph.outer
        return None


@dataclass(eq=False)
class Model:
    """Everything that was found; `metadata` is what the file says of itself."""

    graphs: list[Graph]
    metadata: dict[str, str]
    files: ExternalFiles


def scan(file: WatchedFile) -> Model:
    """The structure of an ONNX file; FormatError if it is damaged."""
    reading = _Scan(file)
    try:
        reading.model()
    except (FormatError, UnsupportedError):
        reading.model_found.files.close()
        raise
    return reading.model_found


class _Scan:
    """One walk through a file."""

    def __init__(self, file: WatchedFile) -> None:
        self.wire = Wire(file)
        self.model_found = Model([], {}, ExternalFiles(file.path))

    def model(self) -> None:
        said = self.model_found.metadata
        for number, kind, a, b in self.wire.fields(0, self.wire.file.nbytes):
            if number == 1 and kind == VARINT:
                said["onnx.ir_version"] = str(a)
            elif kind != BYTES:
                continue
            elif number in (2, 3):
                said["onnx.producer_name" if number == 2 else "onnx.producer_version"] = self.wire.text(a, b)
            elif number == 7:
                self.graph(Graph(), a, b)
            elif number == 8:
                self.opset(a, b)
            elif number == 14:
                key, value = self.pair(a, b)
                said[key] = value
        if not self.model_found.graphs:
            raise FormatError("there is no graph in it: it is no ONNX model, or it is truncated")

    def opset(self, start: int, stop: int) -> None:
        domain, version = "ai.onnx", 0
        for number, kind, a, b in self.wire.fields(start, stop):
            if number == 1 and kind == BYTES:
                domain = self.wire.text(a, b) or domain
            elif number == 2 and kind == VARINT:
                version = signed(a)
        self.model_found.metadata[f"onnx.opset.{domain}"] = str(version)

    def pair(self, start: int, stop: int) -> tuple[str, str]:
        """A key and a value."""
        texts = {number: self.wire.text(a, b) for number, kind, a, b in self.wire.fields(start, stop) if kind == BYTES}
        return texts.get(1, ""), texts.get(2, "")

    def graph(self, graph: Graph, start: int, stop: int, depth: int = 0) -> None:
        """Fill a graph, and note those in it."""
        if depth > _DEPTH:
            raise FormatError(f"it nests more than {_DEPTH} graphs in each other")
        self.model_found.graphs.append(graph)
        for number, kind, a, b in self.wire.fields(start, stop):
            if kind != BYTES:
                continue
            if number == 1:
                self.node(graph, a, b, depth)
            elif number == 5:
                self.keep(graph, self.tensor(a, b))
            elif number == 15:
                graph.sparse.append(graph.prefix + self.sparse_name(a, b))

    def keep(self, graph: Graph, tensor: Tensor) -> None:
        """Take a tensor into a graph, under its name."""
        if tensor.name in graph.tensors:
            raise FormatError("two tensors have this name", tensor=graph.prefix + tensor.name)
        graph.tensors[tensor.name] = tensor

    def node(self, graph: Graph, start: int, stop: int, depth: int) -> None:
        texts: dict[int, list[str]] = {1: [], 2: [], 3: [""], 4: [""], 7: [""]}
        attributes: dict[str, Any] = {}
        inner: list[tuple[str, int, int]] = []
        for number, kind, a, b in self.wire.fields(start, stop):
            if kind == BYTES and number in texts:
                texts[number].append(self.wire.text(a, b))
            elif kind == BYTES and number == 5:
                self.attribute(attributes, inner, a, b)
        name = texts[3][-1]
        node = Node(texts[4][-1], texts[7][-1], name, tuple(texts[1]), tuple(texts[2]), attributes)
        graph.nodes.append(node)
        if node.op == "Constant" and node.outputs and isinstance(value := attributes.get("value"), Tensor):
            self.keep(graph, replace(value, name=node.outputs[0]))
        for number, (key, a, b) in enumerate(inner):
            prefix = f"{graph.prefix}{name or f'node {len(graph.nodes)}'}.{key or number}."
            self.graph(Graph(prefix, graph), a, b, depth + 1)

    def attribute(self, found: dict[str, Any], inner: list[tuple[str, int, int]], start: int, stop: int) -> None:
        """Note one attribute of a node; graphs go to `inner`."""
        name = ""
        value: Any = None
        integers: list[int] = []
        for each in self.wire.fields(start, stop):
            number, kind, a, b = each
            if number == 8:
                integers += self.wire.counts(each)
            elif number == 3 and kind == VARINT:
                value = signed(a)
            elif number == 2 and kind == FIXED32:
                value = struct.unpack("<f", self.wire.bytes(a, b))[0]
            elif kind != BYTES:
                continue
            elif number == 1:
                name = self.wire.text(a, b)
            elif number == 4:
                value = self.wire.bytes(a, min(b, a + _STRING))
            elif number == 5:
                value = self.tensor(a, b, unnamed=True)
            elif number in (6, 11):
                inner.append((name, a, b))
        if value is not None or integers:
            found[name] = integers if value is None else value

    def sparse_name(self, start: int, stop: int) -> str:
        for number, kind, a, b in self.wire.fields(start, stop):
            if number == 1 and kind == BYTES:
                for inner, inner_kind, c, d in self.wire.fields(a, b):
                    if inner == 8 and inner_kind == BYTES:
                        return self.wire.text(c, d)
        return "(unnamed)"

    def tensor(self, start: int, stop: int, *, unnamed: bool = False) -> Tensor:
        """One tensor; FormatError where its data are not what its type and shape need."""
        dims: list[int] = []
        parts: dict[int, list[Field]] = {}
        name, dtype, external, elsewhere = "", "type 0", {}, False
        for each in self.wire.fields(start, stop):
            number, kind, a, b = each
            if number == 1:
                dims += self.wire.counts(each)
            elif number == 2 and kind == VARINT:
                dtype = TYPES.get(a, f"type {a}")
            elif number == 8 and kind == BYTES:
                name = self.wire.text(a, b)
            elif number == 13 and kind == BYTES:
                key, value = self.pair(a, b)
                external[key] = value
            elif number == 14 and kind == VARINT:
                elsewhere = a == 1
            elif number in (_RAW, _FLOATS, _INT32S, _STRINGS, _INT64S, _DOUBLES, _UINT64S):
                parts.setdefault(number, []).append(each)
        try:
            if not name and not unnamed:
                raise FormatError(f"the tensor at byte {start} has no name")
            shape = _checked(dims)
            source, nbytes = self.source(dtype, shape, parts, external if elsewhere else None)
        except (FormatError, UnsupportedError) as error:
            raise error.within(tensor=name or None) from None
        return Tensor(name, dtype, shape, nbytes, source)

    def source(
        self, dtype: str, shape: tuple[int, ...], parts: dict[int, list[Field]], external: dict[str, str] | None
    ) -> tuple[Source, int]:
        """Where the elements are, and how many bytes they take there."""
        width, file = bits(dtype), self.wire.file
        expected = None if width is None else -(-math.prod(shape) * width // 8)
        if external is not None:
            where, offset, nbytes = self.model_found.files.place(external, expected)
            return Span(where, offset, nbytes, dtype, shape), nbytes
        raw = parts.get(_RAW, [])
        typed = parts.get(_FIELD_OF.get(dtype, _INT32S), [])
        whole = raw or (typed if typed and _FIELD_OF.get(dtype) in (_FLOATS, _DOUBLES) else [])
        nbytes = sum(b - a for _, kind, a, b in (whole or typed) if kind != VARINT)
        if expected is not None and (whole or not typed) and nbytes != expected:
            raise FormatError(f"its {nbytes} bytes do not hold {dtype} {list(shape)}")
        if whole and len(whole) == 1:
            return Span(file, whole[0][2], nbytes, dtype, shape), nbytes
        return Pieces(file, tuple(whole or typed), dtype, shape, varint=not whole), nbytes


def _checked(dims: list[int]) -> tuple[int, ...]:
    if len(dims) > _DIMENSIONS or not all(0 <= side < _COUNT_LIMIT for side in dims):
        raise FormatError("its shape is no short list of counts")
    return tuple(dims)


@dataclass(frozen=True)
class Pieces(Source):
    """An array in several fields of a file, or written as integers of variable length."""

    file: WatchedFile
    parts: tuple[Field, ...]
    dtype: str
    shape: tuple[int, ...]
    varint: bool

    def read(self, rows: slice | None) -> np.ndarray:
        """Everything is read, and converted."""
        dtype, count = numpy_dtype(self.dtype), math.prod(self.shape)
        data = np.concatenate([self._bytes(part) for part in self.parts] or [np.empty(0, np.uint8)])
        if self.varint:
            data = self._values(data, dtype, count)
        if not self.varint or bits(self.dtype) == 8 * dtype.itemsize:
            found = data.view(dtype)
        else:
            found = unpacked(data, self.dtype, count)
        return readonly(taken(found.reshape(self.shape), rows))

    def _bytes(self, part: Field) -> np.ndarray:
        _, kind, start, stop = part
        return np.frombuffer(_one(start), np.uint8) if kind == VARINT else self.file.at(start, stop - start)

    def _values(self, data: np.ndarray, dtype: np.dtype, count: int) -> np.ndarray:
        """The bytes of the elements, from varints of which each holds one, or a byte of several."""
        width = bits(self.dtype)
        assert width is not None
        whole = width == 8 * dtype.itemsize
        values = varints(data, count if whole else -(-count * width // 8))
        return values.astype(f"<u{dtype.itemsize}" if whole else np.uint8).view(np.uint8)


def _one(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
