"""TensorFile, the base of targets whose tensors stand in one file: planning, writing and reading back."""

from __future__ import annotations

import time
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from qinspect.errors import ExportError, FormatError, QInspectError, UnsupportedError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.dtypes import itemsize
from qinspect.formats.open import open_checkpoint
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import Scheme
from qinspect.recipe import Recipe
from qinspect.targets import read_back
from qinspect.targets.atomic import check_destination, durable, replacing, replacing_folder
from qinspect.targets.blueprint import Blueprint, Stored
from qinspect.targets.choice import Choice, choices
from qinspect.targets.read_back import Content
from qinspect.targets.sources import Sources
from qinspect.targets.target import Needs, Plan, PlanRow, Report, ReportRow, Target
from qinspect.task import Token

Contents = Iterable[tuple[PlanRow, Content, Token]]
"""Every tensor as it is to be stored, one in memory at a time, with a token for the work on it."""


@dataclass(frozen=True, eq=False)
class Written:
    """A file or folder that has a temporary name, of what it was made, and the CRC-32 of every stored array."""

    path: Path
    checkpoint: Checkpoint
    rows: Sequence[PlanRow]
    crcs: Mapping[str, int]


class TensorFile(Target):
    """A target that stores one or more named arrays for every tensor, in one file.

    A subclass says which arrays (`stored`), what is in them (`content`, `arrays`), and how their file is laid out. In a
    folder that file is `tensors_in`; `companions` names those beside it, which `complete` writes.
    """

    tensors_in: ClassVar[str] = ""

    @abstractmethod
    def stored(self, row: PlanRow) -> list[Stored]:
        """The arrays in which a tensor will be stored; none for one that is left out."""

    @abstractmethod
    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """`held`, as the source has it, turned into what will be stored."""

    @abstractmethod
    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """The data of `stored`, in its order."""

    @abstractmethod
    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Blueprint:
        """The layout of the whole file."""

    def companions(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Mapping[str, int]:
        """The other files of a folder, with their sizes."""
        return {}

    def complete(self, written: Written, token: Token) -> None:
        """Write the other files into the folder, in which the tensors are already."""

    def needs(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Needs | None:
        """What a device needs, where that is known."""
        return None

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """Every scheme can be held."""
        return None

    def note(self, choice: Choice) -> str:
        """What a person should know of how this tensor is written."""
        return choice.note

    def remark(self, checkpoint: Checkpoint) -> str:
        """What a person should know of the whole."""
        return ""

    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """A row for every tensor."""
        return [self.row(checkpoint, choice) for choice in chosen]

    def row(self, checkpoint: Checkpoint, choice: Choice, stored_as: str = "", place: Any = None) -> PlanRow:
        """The row of one tensor, with its sizes."""
        info, note = choice.info, self.note(choice)
        try:
            row = PlanRow(info.name, info.shape, info.dtype, choice.scheme, 0, 0, note, stored_as, place=place)
            nbytes = sum(stored.nbytes for stored in self.stored(row))
            return replace(row, nbytes=nbytes, original_nbytes=info.size * itemsize(info.dtype))
        except QInspectError as error:
            raise error.within(path=checkpoint.path, tensor=info.name) from None

    def plan(self, checkpoint: Checkpoint, recipe: Recipe, token: Token | None = None) -> Plan:
        """See `Target.plan`."""
        return self.plan_of(checkpoint, self.plan_rows(checkpoint, choices(checkpoint, recipe, token)))

    def plan_of(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Plan:
        """See `Target.plan_of`."""
        _check_names((row, stored) for row in rows for stored in self.stored(row))
        nbytes = self.blueprint(checkpoint, rows).nbytes
        files = {self.tensors_in: nbytes, **self.companions(checkpoint, rows)} if self.folder else {}
        needs, remark = self.needs(checkpoint, rows), self.remark(checkpoint)
        return Plan(tuple(rows), sum(files.values()) or nbytes, tuple(files.items()), needs, remark)

    def write(self, checkpoint: Checkpoint, plan: Plan, out: Path, token: Token | None = None) -> Report:
        """See `Target.write`."""
        started = time.monotonic()
        token, out, sources = token or Token(), Path(out), Sources(checkpoint)
        first, second = token.part(0, 0.6), token.part(0.6, 1)
        names = [name for name, _ in plan.files]
        with replacing_folder(out, names) if self.folder else replacing(out) as part:
            check_destination(out, plan.nbytes, sources.paths, names)
            if self.folder:
                part.mkdir()
            blueprint = self.blueprint(checkpoint, plan.rows)
            contents = self._contents(checkpoint, plan, sources, first)
            crcs = self._store(part / self.tensors_in, blueprint, contents, token)
            written = Written(part, checkpoint, plan.rows, crcs)
            self.complete(written, token)
            if _nbytes(part) != plan.nbytes:
                raise ExportError("the plan is not of this checkpoint; plan the export again", path=out)
            rows, proof = self._proved(written, plan, sources, token, second)
        return Report(out, plan.nbytes, rows, time.monotonic() - started, proof)

    def _contents(self, checkpoint: Checkpoint, plan: Plan, sources: Sources, token: Token) -> Contents:
        total = max(1, sum(row.original_nbytes for row in plan.rows))
        done = 0
        for row in plan.rows:
            if not self.stored(row):
                continue
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

    def _store(self, part: Path, blueprint: Blueprint, contents: Contents, token: Token) -> dict[str, int]:
        """Write the file; the CRC-32 of every stored array."""
        offsets = blueprint.offsets
        crcs: dict[str, int] = {}
        with durable(part) as file:
            for row, content, step in contents:
                for stored, array in zip(self.stored(row), self.arrays(row, content, step), strict=True):
                    file.seek(offsets[stored.name])
                    crcs[stored.name] = _put(file, array, step)
                del content, array
            for offset, data in blueprint.frame(crcs):
                token.check()
                file.seek(offset)
                file.write(data)
        return crcs

    def _proved(
        self, written: Written, plan: Plan, sources: Sources, token: Token, step: Token
    ) -> tuple[tuple[ReportRow, ...], str]:
        """What `read_back` finds; that what was written cannot even be read is an error of the export."""
        try:
            return self.read_back(written, self._contents(written.checkpoint, plan, sources, step), token)
        except (FormatError, UnsupportedError) as error:
            if error.path in sources.paths:
                raise
            text = f"what was written cannot be read back: {error.message}"
            raise ExportError(text, tensor=error.tensor) from error

    def read_back(self, written: Written, contents: Contents, token: Token) -> tuple[tuple[ReportRow, ...], str]:
        """What was written against what was meant, tensor by tensor, and how that was found out."""
        rows = []
        with open_checkpoint(written.path) as opened:
            for row, meant, part in contents:
                found = opened.lazy(row.name)
                sums = [written.crcs[stored.name] for stored in self.stored(row)]
                difference = read_back.check(meant, found, sums, self.arrays(row, found, part), part)
                rows.append(ReportRow(row.name, row.nbytes, difference))
                del meant, found
        return tuple(rows), "read back, and every tensor is as it was meant"


def _nbytes(part: Path) -> int:
    """Size of a file, or of all files in a folder."""
    return sum(path.stat().st_size for path in (part.iterdir() if part.is_dir() else [part]))


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
