"""A checkpoint as the rest of the program sees it, and the base of the readers that open one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from qinspect.errors import FormatError
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor
from qinspect.registry import Registry

_NOTHING: Mapping[str, Any] = MappingProxyType({})

FLOATING = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def is_unicode(name: str) -> bool:
    """Whether a name can be written down: JSON and pickles can hold halves of characters (surrogates)."""
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


@dataclass(frozen=True)
class TensorInfo:
    """A row of the table, from headers alone. `dtype` is a safetensors name (F32, BF16, I64 …).

    For a packed tensor `shape` and `dtype` are those of the original weights, `nbytes` is what is stored, and `qtype`
    is the scheme's label.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    qtype: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, compare=False)

    @cached_property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @cached_property
    def quantizable(self) -> bool:
        """Whether it is quantized unless someone says otherwise: floating, two dimensions or more, not empty."""
        return self.dtype in FLOATING and len(self.shape) >= 2 and self.size > 0 and self.qtype is None


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a file of another format: its `name` there, or a numbered `entry` of that tensor.

    `heads` is not 0 where rows of attention heads may be in another order (`align.Part`).
    """

    name: str
    heads: int = 0
    entry: int | None = None


class Naming(Protocol):
    """The names of a format that has its own for the tensors of well-known networks."""

    def place(self, name: str) -> Place | None:
        """Where the tensor is that is called `name` elsewhere; None if nothing is known of it."""


class Checkpoint(ABC):
    """An open checkpoint file: headers in memory, weights loaded one tensor at a time. Use as a context manager."""

    path: Path
    format: str
    metadata: Mapping[str, str]
    infos: tuple[TensorInfo, ...]
    naming: Naming | None = None
    """How names of other formats become those of this one (`align.align`); None where tensors are called as usual."""
    notes: tuple[str, ...] = ()
    """What a person should know of this file, one sentence each (assumed group size, refused pickle globals …)."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose bytes are read: all shards of a sharded checkpoint, so that nobody writes onto one."""
        return (self.path,)

    @abstractmethod
    def load(self, name: str, rows: slice | None = None) -> np.ndarray | QTensor:
        """The tensor `name`, or some rows of it (first axis, step 1): read-only, in memory of its own."""

    def lazy(self, name: str) -> Weights | QTensor:
        """As `load`, but a large array is read by rows when they are needed; what is wrong with the file may come then.

        This is for work that goes over a tensor block by block and need not hold it.
        """
        return self.load(name)

    _recent: tuple[str, Weights | QTensor] | None = None

    def recent(self, name: str) -> Weights | QTensor:
        """As `lazy`, but the last one is kept: while a tensor is looked at it is asked for over and over.

        Some have to be read whole and turned round. FormatError if the file has changed since.
        """
        self.check()
        held = self._recent
        if held is None or held[0] != name:
            self._recent = None  # or two would be held
            held = self._recent = name, self.lazy(name)
        return held[1]

    def check(self) -> None:  # noqa: B027 - what is in memory does not change
        """FormatError if a file has changed since it was opened, or was closed."""

    def info(self, name: str) -> TensorInfo:
        """The header of `name`; FormatError if there is no such tensor."""
        if name not in self._by_name:
            raise FormatError("there is no tensor of this name in the file", path=self.path, tensor=name)
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, TensorInfo]:
        return {info.name: info for info in self.infos}

    def checksums(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name, CRC-32 and bytes (uint8) of every stored array that the file keeps a CRC-32 of."""
        yield from ()

    def close(self) -> None:  # noqa: B027 - some readers have nothing to release
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Reader(ABC):
    """Opens one container format."""

    name: ClassVar[str]
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    order: ClassVar[int] = 100

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Whether the file is of this format, from its first 4096 bytes (its name only where bytes can't tell)."""

    @classmethod
    @abstractmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the file; FormatError or UnsupportedError with one sentence if that can't be done."""


registry: Registry[Reader] = Registry("qinspect.formats", Reader)  # type: ignore[type-abstract]
