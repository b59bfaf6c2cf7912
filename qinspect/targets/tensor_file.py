"""TensorFile, the base of targets that are one file of named arrays: planning, writing and reading back."""

from __future__ import annotations

import time
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from qinspect.errors import ExportError, FormatError, QInspectError, UnsupportedError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.dtypes import itemsize
from qinspect.formats.open import open_checkpoint
from qinspect.quant.lazy import Weights
from qinspect.recipe import Recipe
from qinspect.targets import read_back
from qinspect.targets.atomic import check_destination, durable, replacing
from qinspect.targets.blueprint import Blueprint, Stored
from qinspect.targets.choice import Choice, choices
from qinspect.targets.read_back import Content
from qinspect.targets.sources import Sources
from qinspect.targets.target import Plan, PlanRow, Report, ReportRow, Target
from qinspect.task import Token

Contents = Iterable[tuple[PlanRow, Content, Token]]
"""Every tensor as it is to be stored, one in memory at a time, with a token for the work on it."""


class TensorFile(Target):
    """A target whose file holds one or more named arrays for every tensor.

    A subclass says which arrays (`stored`), what is in them (`content`, `arrays`), and how their file is laid out.
    """

    @abstractmethod
    def stored(self, row: PlanRow) -> list[Stored]:
        """The arrays in which a tensor will be stored."""

    @abstractmethod
    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """`held`, as the source has it, turned into what will be stored."""

    @abstractmethod
    def arrays(self, content: Content) -> list[Weights]:
        """The data of `stored`, in its order."""

    @abstractmethod
    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Blueprint:
        """The layout of the whole file."""

    def note(self, choice: Choice) -> str:
        """What a person should know of how this tensor is written."""
        return choice.note

    def plan(self, checkpoint: Checkpoint, recipe: Recipe, token: Token | None = None) -> Plan:
        """See `Target.plan`."""
        rows = tuple(self._row(checkpoint, choice) for choice in choices(checkpoint, recipe, token))
        _check_names((row, stored) for row in rows for stored in self.stored(row))
        return Plan(rows, self.blueprint(checkpoint, rows).nbytes)

    def _row(self, checkpoint: Checkpoint, choice: Choice) -> PlanRow:
        info = choice.info
        try:
            row = PlanRow(info.name, info.shape, info.dtype, choice.scheme, 0, 0, self.note(choice))
            nbytes = sum(stored.nbytes for stored in self.stored(row))
            return replace(row, nbytes=nbytes, original_nbytes=info.size * itemsize(info.dtype))
        except QInspectError as error:
            raise error.within(path=checkpoint.path, tensor=info.name) from None

    def write(self, checkpoint: Checkpoint, plan: Plan, out: Path, token: Token | None = None) -> Report:
        """See `Target.write`."""
        started = time.monotonic()
        token, out, sources = token or Token(), Path(out), Sources(checkpoint)
        first, second = token.part(0, 0.6), token.part(0.6, 1)
        with replacing(out) as part:
            check_destination(out, plan.nbytes, sources.paths)
            blueprint = self.blueprint(checkpoint, plan.rows)
            crcs = self._store(part, blueprint, self._contents(checkpoint, plan, sources, first))
            if part.stat().st_size != plan.nbytes:
                raise ExportError("the plan is not of this checkpoint; plan the export again", path=out)
            rows = self._read_back(part, crcs, self._contents(checkpoint, plan, sources, second))
        return Report(out, plan.nbytes, rows, time.monotonic() - started)

    def _contents(self, checkpoint: Checkpoint, plan: Plan, sources: Sources, token: Token) -> Contents:
        total = max(1, sum(row.original_nbytes for row in plan.rows))
        done = 0
        for row in plan.rows:
            whole = token.part(done / total, (done + row.original_nbytes) / total)
            done += row.original_nbytes
            sources.check()
            try:
                content = self.content(row, checkpoint.lazy(row.name), whole.part(0, 0.5))
            except QInspectError as error:
                raise error.within(path=checkpoint.path, tensor=row.name) from None
            yield row, content, whole.part(0.5, 1)
            del content  # here and where it was taken, or two would be in memory while the next is made
        sources.check()
        token.check(1.0)

    def _store(self, part: Path, blueprint: Blueprint, contents: Contents) -> dict[str, int]:
        """Write the file; the CRC-32 of every stored array."""
        offsets = blueprint.offsets
        crcs: dict[str, int] = {}
        with durable(part) as file:
            for row, content, token in contents:
                for stored, array in zip(self.stored(row), self.arrays(content), strict=True):
                    file.seek(offsets[stored.name])
                    crcs[stored.name] = _put(file, array, token)
                del content, array
            for offset, data in blueprint.frame(crcs):
                file.seek(offset)
                file.write(data)
        return crcs

    def _read_back(self, part: Path, crcs: Mapping[str, int], contents: Contents) -> tuple[ReportRow, ...]:
        rows = []
        try:
            with open_checkpoint(part) as written:
                for row, meant, token in contents:
                    found = written.lazy(row.name)
                    sums = [crcs[stored.name] for stored in self.stored(row)]
                    difference = read_back.check(meant, found, sums, self.arrays(found), token)
                    rows.append(ReportRow(row.name, row.nbytes, difference))
                    del meant, found
        except (FormatError, UnsupportedError) as error:
            text = f"what was written cannot be read back: {error.message}"
            raise ExportError(text, tensor=error.tensor) from error
        return tuple(rows)


def _check_names(stored: Iterable[tuple[PlanRow, Stored]]) -> None:
    """Raise ExportError if two tensors would be stored under one name."""
    owners: dict[str, str] = {}
    for row, array in stored:
        other = owners.setdefault(array.name, row.name)
        if other != row.name:
            text = f"{other} would be stored as {array.name} too; leave one of the two alone in the recipe"
            raise ExportError(text, tensor=row.name)


def _put(file: BinaryIO, array: Weights, token: Token) -> int:
    """Write an array where `file` stands; its CRC-32."""
    crc = 0
    for chunk in read_back.chunks(array):
        token.check()
        file.write(chunk)
        crc = zlib.crc32(chunk, crc)
    return crc
