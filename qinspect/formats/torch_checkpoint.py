"""The tensors of a torch file, once its pickle is read and its storages are found, in whatever container they lie."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.affine import Array, Sharing, packed_affine
from qinspect.formats.checkpoint import TensorInfo
from qinspect.formats.dtypes import bits, stored_nbytes
from qinspect.formats.native import LAYERS_KEY, RECORD_KEY
from qinspect.formats.pickles import Key, Object
from qinspect.formats.state_dict import Contents, QuantizedTensor, StoredTensor, is_understood
from qinspect.formats.stored import PackedSource, Source, Span, WatchedFile

_NAMED = 8
"""Names in a note, and notes of one kind; the rest is counted."""

Found = tuple[TensorInfo, Source | PackedSource]


@dataclass(frozen=True)
class Place:
    """Where a storage lies in the file."""

    offset: int
    nbytes: int


@dataclass(frozen=True)
class TorchFile:
    """What a torch file holds: its pickle's contents, everything in it, and the places of its storages by key."""

    file: WatchedFile
    contents: Contents
    objects: list[Object]
    places: Mapping[str, Place]

    def tensors(self) -> Iterator[Found]:
        """A row for every tensor; FormatError for one that lies beyond its storage."""
        for tensor in self.contents.tensors:
            if isinstance(tensor, QuantizedTensor):
                yield from self._quantized(tensor)
            else:
                yield self._plain(tensor)

    def _plain(self, tensor: StoredTensor) -> Found:
        array = self._array(tensor)
        return TensorInfo(tensor.name, array.shape, array.dtype, array.nbytes), array.source

    def _array(self, tensor: StoredTensor) -> Array:
        """Where one tensor is read, made sure to lie inside its storage."""
        place = self.places.get(tensor.key)
        if place is None:
            raise FormatError(f"its storage {printable(tensor.key)} is not in the file", tensor=tensor.name)
        width = 8 if tensor.dtype == "F4" else bits(tensor.dtype) or 8
        begin, nbytes = tensor.offset * width // 8, -(-tensor.reach * width // 8)
        if begin + nbytes > place.nbytes:
            text = f"it needs {begin + nbytes} bytes of a storage that has {place.nbytes}"
            raise FormatError(text, tensor=tensor.name)
        shape, strides = tensor.shape, None if tensor.contiguous else tensor.strides
        if tensor.dtype == "F4":
            shape = (*shape[:-1], 2 * shape[-1])  # an element is two numbers
        span = Span(self.file, place.offset + begin, nbytes, tensor.dtype, shape, strides)
        return Array(tensor.dtype, shape, min(nbytes, stored_nbytes(tensor.dtype, shape) or nbytes), span)

    def _quantized(self, tensor: QuantizedTensor) -> Iterator[Found]:
        """The tensor; or its parts, each for itself, where it cannot be decoded."""
        scale, zero = (
            None if part is None else self._array(part) if isinstance(part, StoredTensor) else Array.of(part, dtype)
            for part, dtype in ((tensor.scale, "F64"), (tensor.zero, "I64"))
        )
        codes = self._array(tensor.codes)
        assert scale is not None
        try:
            packed = packed_affine(codes, scale, zero, _sharing(tensor))
        except UnsupportedError:
            yield from map(self._plain, tensor.parts)
            return
        except FormatError as error:
            raise error.within(tensor=tensor.name) from None
        scheme = packed.scheme
        yield TensorInfo(tensor.name, codes.shape, tensor.dtype, scheme.stored_bytes, scheme.label), packed

    def metadata(self) -> dict[str, str]:
        """The records of packed layers as one JSON text, and what the model's own attributes say under `qinspect.…`."""
        attributes = self.contents.attributes
        records = {prefix: held[RECORD_KEY] for prefix, held in attributes.items() if RECORD_KEY in held}
        found = {LAYERS_KEY: json.dumps(_plain_data(records))} if records else {}
        for key, text in attributes.get("", {}).items():
            if isinstance(key, str) and isinstance(text, str) and key.startswith(f"{RECORD_KEY}."):
                found[key] = text
        return found

    def notes(self) -> Iterator[str]:
        """What a person should know of the file."""
        yield from _sharing_notes(self.contents)
        if self.contents.unreadable:
            kinds = (f"{some_of(names)} ({why})" for why, names in self.contents.unreadable.items())
            yield f"Not shown: {'; '.join(kinds)}."
        if self.contents.optimizers:
            yield f"The state of an optimizer is not shown: {some_of(self.contents.optimizers)}."
        yield from _refusals(self.objects)


def _sharing(tensor: QuantizedTensor) -> Sharing:
    """Which weights share a scale; UnsupportedError for what is neither one axis nor blocks along one."""
    shape = tensor.codes.shape
    cut = [axis for axis, side in enumerate(tensor.block) if side != shape[axis]]
    if not cut:
        return Sharing()
    if len(cut) == 1 and tensor.block[cut[0]] == 1:
        return Sharing(cut[0])
    longer = [axis for axis, side in enumerate(tensor.block) if side != 1]
    if len(longer) == 1 and tensor.block[longer[0]] > 1:
        return Sharing(longer[0], tensor.block[longer[0]])
    raise UnsupportedError(f"scales of blocks of {list(tensor.block)} are not read")


def _plain_data(value: Any, depth: int = 8) -> Any:
    """Part of a pickle's tree as JSON has it; what JSON has not becomes null."""
    if isinstance(value, dict) and depth:
        return {key.text if isinstance(key, Key) else key: _plain_data(part, depth - 1) for key, part in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_plain_data(part, depth - 1) for part in value]
    return value if isinstance(value, str | int | float | bool) else None


def _sharing_notes(contents: Contents) -> Iterator[str]:
    sharing: dict[str, list[str]] = defaultdict(list)
    for tensor in contents.tensors:
        if isinstance(tensor, StoredTensor):
            sharing[tensor.key].append(tensor.name)
    shared = [names for names in sharing.values() if len(names) > 1]
    for names in shared[:_NAMED]:
        yield f"{some_of(names)} share one storage."
    if len(shared) > _NAMED:
        yield f"The same is true of {len(shared) - _NAMED} more storages."


def _refusals(objects: Iterable[Object]) -> Iterator[str]:
    """What the pickle wanted to run or load."""
    others = [made for made in objects if not is_understood(made)]
    if called := [made.origin for made in others if made.called]:
        yield f"{some_of(called)} was refused: nothing that a checkpoint asks for is ever run."
    if classes := [made.origin for made in others if not made.called]:
        yield f"Only data was taken from instances of {some_of(classes)}: their classes were not loaded."


def some_of(names: Iterable[str]) -> str:
    """A few of the names, each once."""
    names = list(dict.fromkeys(names))
    more = len(names) - _NAMED
    return ", ".join(map(printable, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")
