"""TensorFlow Lite, also called LiteRT: the constant tensors of a model, quantized ones as the weights they stand for.

The tables are those of tensorflow/lite/schema/schema.fbs; their fields have numbers here.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats.affine import INTEGERS, SCALES, Array, Sharing, decoded, packed_affine
from qinspect.formats.checkpoint import Checkpoint, Reader, TensorInfo
from qinspect.formats.dtypes import bits
from qinspect.formats.flatbuffer import FlatBuffer, Table
from qinspect.formats.stored import Derived, PackedSource, Source, Span, StoredCheckpoint, WatchedFile, truncated

MAGIC = b"TFL3"
TYPES = {
    0: "F32", 1: "F16", 2: "I32", 3: "U8", 4: "I64", 5: "STRING", 6: "BOOL", 7: "I16", 8: "C64", 9: "I8", 10: "F64",
    11: "C128", 12: "U64", 13: "RESOURCE", 14: "VARIANT", 15: "U32", 16: "U16", 17: "I4", 18: "BF16", 19: "I2",
    20: "U4", 21: "F8_E4M3", 22: "F8_E5M2",
}  # fmt: skip
"""Element types by their numbers in `TensorType`."""

_VERSION, _OPERATOR_CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS = range(5)
_TENSORS, _OPERATORS, _GRAPH_NAME = 0, 3, 4
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SPARSITY, _EXTERNAL = 0, 1, 2, 3, 4, 6, 10
_DATA, _OFFSET, _SIZE = range(3)
_SCALE, _ZERO_POINT, _DETAILS_TYPE, _DETAILS, _DIMENSION = range(2, 7)
_BLOCKS = 2
"""The kind of details that says that blocks share a scale."""
_BLOCK_SCALES, _BLOCK_ZEROS, _BLOCK_SIZE, _BLOCK_SHAPE = range(4)
_CODE_INDEX, _INPUTS, _OUTPUTS = range(3)
_DEPRECATED_CODE, _BUILTIN_CODE = 0, 3
DEQUANTIZE, DEPTHWISE = 6, 4
_CHANNELS_FIRST = (3, 1, 2, 0)
"""Depthwise weights are [1, height, width, channels] in the file; so turned, a channel is a row."""

_MADE_UP = re.compile(r"(arith|tfl)\.(pseudo_q?)?const(ant)?\d*")
_PARTS = {1: "weight", 2: "bias"}
_NAMED = 5

Found = tuple[TensorInfo, Source | PackedSource]


class TFLite(Reader):
    """`.tflite` files."""

    name: ClassVar[str] = "tflite"
    title: ClassVar[str] = "TFLite"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    order: ClassVar[int] = 65

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """The identifier behind the first reference."""
        return head[4:8] == MAGIC

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; only its structure is read."""
        file = WatchedFile(path)
        try:
            if file.at(4, 4).tobytes() != MAGIC:
                raise FormatError("it does not begin as a TFLite model does; copy it again")
            listing = _Listing(file)
            rows = listing.rows()
            return StoredCheckpoint(
                path, cls.title, rows, file=file, metadata=listing.metadata(), notes=listing.notes()
            )
        except QInspectError as error:
            file.close()
            raise error.within(path=path) from None


@dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor of a subgraph that has data: its table, and where the data lies."""

    table: Table
    index: int
    name: str
    array: Array


class _Listing:
    """The rows of a model's table."""

    def __init__(self, file: WatchedFile) -> None:
        self.file = file
        self.model = FlatBuffer(file).root()
        self.buffers = self.model.vector(_BUFFERS, 4)
        self.unshown: dict[str, list[str]] = defaultdict(list)
        self.integers = 0
        self.depthwise = False
        codes = self.model.vector(_OPERATOR_CODES, 4).tables()
        self.codes = [max(c.number(_DEPRECATED_CODE, "<b"), c.number(_BUILTIN_CODE, "<i")) for c in codes]

    def metadata(self) -> dict[str, str]:
        """What the file says of itself."""
        said = {"tflite.version": str(self.model.number(_VERSION, "<I"))}
        description = self.model.text(_DESCRIPTION)
        return said | ({"tflite.description": description} if description else {})

    def notes(self) -> Iterator[str]:
        """What a person should know of the file; called after `rows`."""
        for why, names in self.unshown.items():
            more = " …" if len(names) > _NAMED else ""
            yield f"Not shown, {why}: {', '.join(map(printable, names[:_NAMED]))}{more}."
        if self.integers:
            yield f"{self.integers} lists of integers that say shapes and axes are not listed."
        if self.depthwise:
            yield "Weights of depthwise convolutions are shown as [channels, height, width, 1], a row a channel."

    def rows(self) -> list[Found]:
        """One for every constant tensor that holds weights, in the order of the file."""
        found: list[Found] = []
        for number, graph in enumerate(self.model.vector(_SUBGRAPHS, 4).tables()):
            prefix = f"{graph.text(_GRAPH_NAME) or number}." if number else ""
            found += _Graph(self, graph, prefix).rows()
        return _told_apart(found)

    def array(self, tensor: Table, name: str) -> Array | None:
        """Where a tensor's data lies, made sure to be what it needs; None where it is computed."""
        kind = tensor.number(_TYPE, "<b")
        dtype = TYPES.get(kind) or f"type {kind}"
        shape = tensor.vector(_SHAPE, 4).numbers("i")
        if tensor.number(_EXTERNAL, "<I"):
            self.unshown["being in another file"].append(name)
            return None
        number = tensor.number(_BUFFER, "<I")
        if not number:
            return None
        buffer = self.buffers.table(number)
        data = buffer.vector(_DATA, 1)
        offset, nbytes = data.at, data.count
        if not nbytes and buffer.number(_OFFSET, "<Q") > 1:  # files of more than 2 GB keep data behind the structure
            offset, nbytes = buffer.number(_OFFSET, "<Q"), buffer.number(_SIZE, "<Q")
        if not nbytes:
            return None
        if tensor.has(_SPARSITY):
            self.unshown["being sparse"].append(name)
            return None
        if any(side < 0 for side in shape) or len(shape) > 64:
            raise FormatError(f"its shape {list(shape[:8])} is none")
        width = bits(dtype)
        if width is not None and -(-math.prod(shape) * width // 8) != nbytes:
            raise FormatError(f"its {nbytes} bytes do not hold {dtype} {list(shape)}")
        if offset + nbytes > self.file.nbytes:
            raise truncated(self.file.path, offset + nbytes, self.file.nbytes)
        return Array(dtype, shape, nbytes, Span(self.file, offset, nbytes, dtype, shape))


class _Graph:
    """One subgraph: its tensors, and which operators take them."""

    def __init__(self, listing: _Listing, graph: Table, prefix: str) -> None:
        self.listing = listing
        self.prefix = prefix
        self.tensors = graph.vector(_TENSORS, 4)
        self.takers: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        """Of each tensor the operators: what they are, as which input they take it, and their first output."""
        for operator in graph.vector(_OPERATORS, 4).tables():
            index = operator.number(_CODE_INDEX, "<I")
            code = listing.codes[index] if index < len(listing.codes) else -1
            output = next(iter(operator.vector(_OUTPUTS, 4).numbers("i")), -1)
            for place, tensor in enumerate(operator.vector(_INPUTS, 4).numbers("i")):
                self.takers[tensor].append((code, place, output))

    def rows(self) -> Iterator[Found]:
        """A row for every tensor with data that is shown."""
        found = {}
        for index, table in enumerate(self.tensors.tables()):
            name = self.prefix + self.name(table, index)
            try:
                array = self.listing.array(table, name)
            except FormatError as error:
                raise error.within(tensor=name) from None
            if array is not None:
                found[index] = _Tensor(table, index, name, array)
        parts = {index for tensor in found.values() for index in _block_parts(tensor.table)}
        for index, tensor in found.items():
            if index not in parts:
                try:
                    yield from self.row(tensor, found)
                except FormatError as error:
                    raise error.within(tensor=tensor.name) from None

    def name(self, table: Table, index: int) -> str:
        """Its own; or that of the layer that takes it, if a converter made it up."""
        own = table.text(_NAME)
        takers = self.takers.get(index, [])
        if takers and (not own or _MADE_UP.fullmatch(own)):
            _, place, output = takers[0]
            if 0 <= output < self.tensors.count and (layer := self.tensors.table(output).text(_NAME).split(";")[0]):
                return f"{layer}.{_PARTS.get(place, f'input{place}')}"
        return own or f"tensor {index}"

    def row(self, tensor: _Tensor, others: dict[int, _Tensor]) -> Iterator[Found]:
        array, order = tensor.array, self.order(tensor)
        told = MappingProxyType({"tensor": tensor.table.text(_NAME)})
        try:
            scale, zero, sharing = self.quantization(tensor, others)
        except UnsupportedError as error:
            self.listing.unshown[f"because {error.message}"].append(tensor.name)
            return
        if scale is None and array.dtype not in SCALES:
            self.listing.integers += 1
        elif scale is None:
            shape = array.shape if order is None else tuple(array.shape[axis] for axis in order)
            source = array.source if order is None else Derived(array.source, lambda data: data.transpose(order))
            yield TensorInfo(tensor.name, shape, array.dtype, array.nbytes, None, told), source
        elif array.dtype in INTEGERS:
            packed = packed_affine(array, scale, zero, sharing, order=order)
            scheme = packed.scheme
            yield TensorInfo(tensor.name, scheme.whole, "F32", scheme.stored_bytes, scheme.label, told), packed
        elif array.dtype not in ("I32", "I64"):
            self.listing.unshown["being quantized in a type that is not read"].append(tensor.name)
        else:  # biases, which are wider than any view
            nbytes = array.nbytes + scale.nbytes + (zero.nbytes if zero else 0)
            info = TensorInfo(tensor.name, array.shape, scale.dtype, nbytes, None, told)
            yield info, decoded(array, scale, zero, sharing)

    def order(self, tensor: _Tensor) -> tuple[int, ...] | None:
        """The order of axes in which a row is a channel, where the file has another."""
        takers = self.takers.get(tensor.index, [])
        if takers and takers[0][0] == DEQUANTIZE:
            takers = [taker for _, _, output in takers for taker in self.takers.get(output, [])]
        codes = [code for code, place, _ in takers if place == 1]
        if len(tensor.array.shape) == 4 and codes and set(codes) == {DEPTHWISE}:
            self.listing.depthwise = True
            return _CHANNELS_FIRST
        return None

    def quantization(self, tensor: _Tensor, others: dict[int, _Tensor]) -> tuple[Array | None, Array | None, Sharing]:
        """Scale, zero point, and which weights share them; no scale where it is not quantized."""
        told = tensor.table.table(_QUANTIZATION)
        shape = tensor.array.shape
        if told is None or not math.prod(shape):
            return None, None, Sharing()
        kind, details = told.number(_DETAILS_TYPE, "<B"), told.table(_DETAILS)
        if kind and details is not None:
            if kind != _BLOCKS or details.vector(_BLOCK_SHAPE, 4).count:
                raise UnsupportedError("of a quantization that is not read")
            return self.blocks(details, shape, others)
        scale, zero = self.vector(told, _SCALE, "F32", 4), self.vector(told, _ZERO_POINT, "I64", 8)
        if scale is None or scale.shape == (1,):
            return scale, zero, Sharing()
        axis = told.number(_DIMENSION, "<i")
        if not 0 <= axis < len(shape):
            raise FormatError(f"it is quantized along axis {axis}, which {list(shape)} has not")
        return scale, zero, Sharing(axis)

    def vector(self, table: Table, field: int, dtype: str, width: int) -> Array | None:
        """A list of numbers in a table; None where it is empty."""
        found = table.vector(field, width)
        shape = (found.count,)
        span = Span(self.listing.file, found.at, found.nbytes, dtype, shape)
        return Array(dtype, shape, found.nbytes, span) if found.count else None

    def blocks(
        self, details: Table, shape: tuple[int, ...], others: dict[int, _Tensor]
    ) -> tuple[Array, Array | None, Sharing]:
        """Scales of blocks along the last axis, which are tensors themselves."""
        scale = others.get(details.number(_BLOCK_SCALES, "<i"))
        at = details.number(_BLOCK_ZEROS, "<i")
        zero = others.get(at) if at > 0 else None
        block = details.number(_BLOCK_SIZE, "<i")
        if scale is None or block <= 0:
            raise FormatError(f"it is quantized in blocks of {block}, whose scales are not in the file")
        return scale.array, zero.array if zero else None, Sharing(len(shape) - 1, block)


def _block_parts(table: Table) -> tuple[int, ...]:
    """The tensors that hold scales and zero points of another's blocks."""
    told = table.table(_QUANTIZATION)
    details = told.table(_DETAILS) if told is not None and told.number(_DETAILS_TYPE, "<B") == _BLOCKS else None
    return () if details is None else (details.number(_BLOCK_SCALES, "<i"), details.number(_BLOCK_ZEROS, "<i"))


def _told_apart(rows: list[Found]) -> list[Found]:
    """Names may occur twice in a model: the later ones get a number."""
    seen: Counter[str] = Counter()
    names = {info.name for info, _ in rows}
    found = []
    for info, source in rows:
        seen[info.name] += 1
        if seen[info.name] > 1:
            name = next(n for n in _numbered(info.name, seen[info.name]) if n not in names)
            names.add(name)
            info = TensorInfo(name, info.shape, info.dtype, info.nbytes, info.qtype, info.metadata)
        found.append((info, source))
    return found


def _numbered(name: str, first: int) -> Iterator[str]:
    number = first
    while True:
        yield f"{name} #{number}"
        number += 1
