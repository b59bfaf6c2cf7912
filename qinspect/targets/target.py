"""Target, the base of everything that a checkpoint can be exported to, and what it says before and after writing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qinspect.formats.checkpoint import Checkpoint
from qinspect.quant.scheme import Scheme
from qinspect.recipe import Recipe
from qinspect.registry import Registry
from qinspect.targets.choice import Choice
from qinspect.task import Token


@dataclass(frozen=True)
class PlanRow:
    """What will be written for one tensor of the checkpoint.

    `dtype` and `original_nbytes` are those of the unpacked tensor in the source; `nbytes` is all that will be stored.
    `stored_as` says what it is in the file where that is neither `scheme`'s packing nor the tensor as it was;
    `importance` is what the errors of its input channels count while it is quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: Scheme | None
    nbytes: int
    original_nbytes: int
    note: str = ""
    stored_as: str = ""
    wanted: Scheme | None = None
    """The scheme that was asked for, where the target cannot hold it and writes something else: `note` says what."""
    importance: np.ndarray | None = field(default=None, compare=False, repr=False)
    place: Any = field(default=None, compare=False, repr=False)
    """What the target itself remembers of the tensor from planning to writing."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a device needs for the model: constants in flash, and memory while it runs. Code comes on top."""

    flash: int
    ram: int


@dataclass(frozen=True)
class Plan:
    """What will be written; `nbytes` is the size of the whole file, or of all `files` of a folder (name, bytes).

    `remark` says in one sentence what a person should know of the whole.
    """

    rows: tuple[PlanRow, ...]
    nbytes: int
    files: tuple[tuple[str, int], ...] = ()
    needs: Needs | None = None
    remark: str = ""

    def weighed(self, importance: Mapping[str, np.ndarray]) -> Plan:
        """The same, with what the errors of the input channels of some tensors count."""
        return replace(self, rows=tuple(replace(row, importance=importance.get(row.name)) for row in self.rows))

    @property
    def budgeted_nbytes(self) -> int:
        """What a budget is held against: flash on the device, else the size of what is written."""
        return self.needs.flash if self.needs else self.nbytes

    @property
    def original_nbytes(self) -> int:
        """Size of the same tensors, unpacked, in their original types."""
        return sum(row.original_nbytes for row in self.rows)

    @property
    def fp32_nbytes(self) -> int:
        """Size of the same tensors with four bytes an element."""
        return sum(4 * math.prod(row.shape) for row in self.rows)

    @property
    def bpw(self) -> float | None:
        """Stored bits per weight of the quantized tensors; None where there are none."""
        packed = [row for row in self.rows if row.scheme is not None]
        weights = sum(math.prod(row.shape) for row in packed)
        return 8 * sum(row.nbytes for row in packed) / weights if weights else None


@dataclass(frozen=True)
class ReportRow:
    """A tensor as it was read back; `max_difference` is the largest |difference| from what was meant to be decoded."""

    name: str
    nbytes: int
    max_difference: float


@dataclass(frozen=True)
class Report:
    """A file or folder that was written, read back and found to hold what was meant; `proof` says who found that."""

    path: Path
    nbytes: int
    rows: tuple[ReportRow, ...]
    seconds: float
    proof: str


class Target(ABC):
    """Something that a checkpoint can be exported to: one file, or a `folder` of some."""

    name: ClassVar[str]
    title: ClassVar[str]
    suffix: ClassVar[str]
    summary: ClassVar[str]
    carries: ClassVar[str]
    """What it can hold, in one sentence: schemes, bits, group sizes, shapes."""
    folder: ClassVar[bool] = False
    order: ClassVar[int] = 100

    @abstractmethod
    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """Why a tensor of this shape cannot be held in this scheme, in words; None if it can."""

    @abstractmethod
    def plan(self, checkpoint: Checkpoint, recipe: Recipe, token: Token | None = None) -> Plan:
        """What `write` will write, tensor by tensor, with its exact size.

        Raises SchemeError for weights that a scheme cannot take, ExportError or UnsupportedError for what the target
        cannot hold; each names the tensor.
        """

    @abstractmethod
    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """What becomes of some tensors of the checkpoint under these schemes, whatever their weights are."""

    @abstractmethod
    def plan_of(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Plan:
        """The whole, of rows of all tensors."""

    @abstractmethod
    def write(self, checkpoint: Checkpoint, plan: Plan, out: Path, token: Token | None = None) -> Report:
        """Write the file or folder, one tensor in memory at a time, read it back and compare.

        Raises ExportError; then, as when the token is cancelled, nothing is left behind and an old `out` is whole.
        """


registry: Registry[Target] = Registry("qinspect.targets", Target)  # type: ignore[type-abstract]
