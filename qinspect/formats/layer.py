"""Packed layers of other programs: what each format must say, so that `unfold` finds them in any container.

A packed layer is several stored arrays that are one tensor. A `LayerFormat` tells which arrays those are, and makes a
`FoundLayer` of them: a decode-only scheme, and for each array that the scheme speaks of where it is had from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats.checkpoint import FLOATING, Checkpoint, TensorInfo
from qinspect.formats.model_config import ModelConfig
from qinspect.quant.decode_only import DecodeOnly
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor
from qinspect.registry import Registry

FLOATS = ("F16", "BF16", "F32")
"""Types of scales."""

Stored = Mapping[str, TensorInfo]
"""The arrays of a container by name."""


class PackedLayer(ABC):
    """Stored arrays that are one packed tensor; `uses` are their names, `place` is that in whose place it is listed."""

    uses: frozenset[str]
    place: str

    @abstractmethod
    def row(self, stored: Stored) -> TensorInfo:
        """The tensor."""

    @abstractmethod
    def load(self, raw: Checkpoint, rows: slice | None) -> QTensor:
        """The tensor or some rows of it, from the container."""


@dataclass(frozen=True)
class Part:
    """Where an array of a scheme is had from: stored arrays, as they are or changed by `how`, which gets them whole."""

    names: tuple[str, ...]
    how: Callable[..., np.ndarray] | None = None

    def get(self, raw: Checkpoint, *, lazy: bool) -> Weights:
        """The array; what is not changed may stay in the file."""
        if self.how is None:
            held = raw.lazy(self.names[0]) if lazy else raw.load(self.names[0])
            assert not isinstance(held, QTensor)
            return held
        return self.how(*(raw.load(name) for name in self.names))


@dataclass(frozen=True, eq=False)
class FoundLayer(PackedLayer):
    """A packed layer of another program."""

    info: TensorInfo
    scheme: DecodeOnly
    parts: Mapping[str, Part]
    uses: frozenset[str]
    place: str

    def row(self, stored: Stored) -> TensorInfo:
        """As it was found."""
        return self.info

    def load(self, raw: Checkpoint, rows: slice | None) -> QTensor:
        """Codes stay in the file where they are stored as the scheme wants them."""
        arrays = {name: part.get(raw, lazy=name == "data") for name, part in self.parts.items()}
        return self.scheme.tensor(arrays, rows)


class LayerFormat(ABC):
    """Finds the packed layers of one program among the arrays of a container."""

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int] = 100
    marks: ClassVar[tuple[str, ...]]
    """With one of them ends the name of some array of every layer: where none does, nobody looks further."""

    def __init__(self, raw: Checkpoint, config: ModelConfig, stored: Stored) -> None:
        self.raw = raw
        self.config = config
        self.stored = stored

    @abstractmethod
    def prefix(self, name: str) -> str | None:
        """Of the name of a stored array that may be the codes of a layer, what names of its other arrays begin with."""

    @abstractmethod
    def layer(self, prefix: str) -> FoundLayer | None:
        """The layer; None if it is not of this format. FormatError where its arrays contradict each other.

        UnsupportedError for what is of this format and not decoded here.
        """

    def notes(self, layers: Iterable[FoundLayer]) -> Iterator[str]:
        """What a person should know of the layers found, one sentence each."""
        yield from ()

    # What helps to tell.

    def array(self, name: str, *dtypes: str, dims: int | None = None) -> TensorInfo:
        """The stored array `name`; FormatError if it is missing, not of one of the types, or of other dimensions."""
        found = self.stored.get(name)
        if found is None:
            raise FormatError(f"the array {printable(name)} of this packed layer is missing")
        if (dtypes and found.dtype not in dtypes) or (dims is not None and len(found.shape) != dims):
            wanted = " or ".join(dtypes) + (f" of {dims} dimensions" if dims is not None else "")
            raise FormatError(f"{printable(name)} is {found.dtype} {list(found.shape)}, not {wanted}")
        return found

    def expect(self, name: str, shape: tuple[int, ...]) -> None:
        """FormatError unless the stored array `name` has this shape."""
        found = self.array(name).shape
        if found != shape:
            raise FormatError(f"{printable(name)} has shape {list(found)}, where {list(shape)} belongs")

    def read(self, name: str) -> np.ndarray:
        """A small stored array."""
        found = self.raw.load(name)
        assert isinstance(found, np.ndarray)
        return found

    def found(
        self, name: str, scheme: DecodeOnly, parts: Mapping[str, Part], *more: str, dtype: str | None = None
    ) -> FoundLayer:
        """The layer `name`; `more` are arrays that belong to it and are not read. `dtype` is the weights' before."""
        uses = frozenset((*more, *(used for part in parts.values() for used in part.names)))
        before = dtype if dtype in FLOATING else None
        told = MappingProxyType({"format": self.title})
        info = TensorInfo(
            name, scheme.whole, self.config.dtype or before or "F32", scheme.stored_bytes, scheme.label, told
        )
        return FoundLayer(info, scheme, parts, uses, parts["data"].names[0])

    def nbytes(self, *names: str) -> int:
        """Bytes of these stored arrays."""
        return sum(self.stored[name].nbytes for name in names)


registry: Registry[LayerFormat] = Registry("qinspect.formats.layers", LayerFormat)  # type: ignore[type-abstract]


def find_layers(raw: Checkpoint, config: ModelConfig, taken: Iterable[str]) -> tuple[list[FoundLayer], list[str]]:
    """The packed layers of all formats, without arrays that are `taken`, and notes on what could not be decoded."""
    used = set(taken)
    layers: list[FoundLayer] = []
    failures: dict[str, list[str]] = {}
    notes: list[str] = []
    stored: Stored = {info.name: info for info in raw.infos}
    marks = tuple({mark for kind in registry for mark in kind.marks})
    marked = [name for name in stored if name.endswith(marks)]
    for kind in registry:
        if not any(name.endswith(kind.marks) for name in marked):
            continue
        reader = kind(raw, config, stored)
        here: list[FoundLayer] = []
        for name in stored:
            prefix = None if name in used else reader.prefix(name)
            if prefix is None:
                continue
            try:
                found = reader.layer(prefix)
            except UnsupportedError as error:
                failures.setdefault(f"{kind.title}: {error.message}", []).append(name)
                used.add(name)
                continue
            except QInspectError as error:
                raise error.within(path=raw.path, tensor=prefix.rstrip(".") or name) from None
            if found is not None:
                here.append(found)
                used |= found.uses
        layers += here
        notes += reader.notes(here) if here else ()
    notes += [_shown_as_stored(reason, names) for reason, names in failures.items()]
    if config.method and not layers and not failures:
        how = printable(config.method, 40)
        notes.append(f"config.json says that it was quantized with {how}: no layers that can be decoded were found.")
    return layers, notes


def _shown_as_stored(reason: str, names: list[str]) -> str:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return f"{printable(names[0])}{more} shown as stored. {reason}."


def held(**kinds: tuple[Any, tuple[int, ...]]) -> tuple[tuple[str, np.dtype, tuple[int, ...]], ...]:
    """The arrays of a scheme by name."""
    return tuple((name, np.dtype(dtype), shape) for name, (dtype, shape) in kinds.items())
