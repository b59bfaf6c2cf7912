"""What layers take in the file of a target, so that a budget is shared out of the bytes that will be stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from qinspect.errors import BudgetError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.planning.budget import Allocation, Budget, Limit
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepPoint
from qinspect.recipe import Recipe
from qinspect.targets.choice import Choice, choices
from qinspect.targets.target import Plan, PlanRow, Target
from qinspect.task import Token

TRIES = 20
"""What a file has beside its tensors depends a little on the plan; so often a plan is made smaller until it fits."""


class Prices:
    """The sizes that `target` gives to the layers of a checkpoint. Raises what planning an export of it raises."""

    def __init__(self, target: Target, checkpoint: Checkpoint, token: Token | None = None) -> None:
        self.target = target
        self._checkpoint = checkpoint
        self._stay = {choice.info.name: choice for choice in choices(checkpoint, Recipe.of(None), token)}
        rows = target.plan_rows(checkpoint, [*self._stay.values()])
        self._rows = {row.name: row for row in rows}
        self._whole = target.plan_of(checkpoint, rows).budgeted_nbytes
        self._known: dict[tuple[str, Scheme], int | None] = {}

    def sizes(self, wanted: Mapping[str, Iterable[Scheme]]) -> dict[str, dict[Scheme, int]]:
        """Bytes of layers under schemes, without those that the target cannot hold or that save nothing there."""
        wanted = {name: list(schemes) for name, schemes in wanted.items()}
        unknown: dict[Scheme, list[str]] = defaultdict(list)
        for name, schemes in wanted.items():
            for scheme in schemes:
                if (name, scheme) not in self._known:
                    unknown[scheme].append(name)
        for scheme, names in unknown.items():
            self._learn(scheme, names)
        return {
            name: {scheme: size for scheme in schemes if (size := self._known[name, scheme]) is not None}
            for name, schemes in wanted.items()
        }

    def priced(self, points: Mapping[str, Sequence[SweepPoint]]) -> dict[str, list[SweepPoint]]:
        """The points that the target can hold, with its sizes; layers that have none are left out."""
        sizes = self.sizes({name: [point.scheme for point in some] for name, some in points.items()})
        found = {
            name: [_resized(point, sizes[name][point.scheme]) for point in some if point.scheme in sizes[name]]
            for name, some in points.items()
        }
        return {name: some for name, some in found.items() if some}

    def rest(self, planned: Iterable[str]) -> int:
        """Bytes of all but these layers: other tensors, and what the file has beside them."""
        return self._whole - sum(self._rows[name].nbytes for name in planned)

    def plan(self, choice: Mapping[str, Scheme | None]) -> Plan:
        """The export of a choice; layers that it does not name stay as they are."""
        chosen = [self._chosen(name, choice.get(name)) for name in self._stay]
        return self.target.plan_of(self._checkpoint, self.target.plan_rows(self._checkpoint, chosen))

    def fitted(self, budget: Budget, limit: Limit) -> Allocation:
        """The plan of `budget` under `limit`, with the size of its export, which keeps a limit of bytes exactly."""
        allowed, smallest = limit.value, float(budget.front.nbytes[0])
        for _ in range(TRIES):
            allocation = budget.plan(replace(limit, value=allowed))
            whole = self.plan(allocation.choice).budgeted_nbytes
            if limit.kind != "bytes" or whole <= limit.value:
                return replace(allocation, nbytes=whole)
            if allowed <= smallest:
                break
            allowed = max(smallest, allowed - (whole - limit.value))
        raise BudgetError(
            f"no choice of points stays within {limit.value:,.0f} bytes as {self.target.title}: the smallest found "
            f"takes {whole:,} bytes; allow that much, or sweep fewer bits"
        )

    def _learn(self, scheme: Scheme, names: Sequence[str]) -> None:
        self._known |= {(name, scheme): None for name in names}
        held = [name for name in names if self.target.refusal(scheme, self._rows[name].shape) is None]
        for row in self.target.plan_rows(self._checkpoint, [self._chosen(name, scheme) for name in held]):
            if self._saves(row):
                self._known[row.name, scheme] = row.nbytes

    def _saves(self, row: PlanRow) -> bool:
        """Whether the tensor is stored in the scheme, and not decoded or as it was."""
        if row.wanted is not None:
            return False
        return self._stay[row.name].info.qtype is not None or row.nbytes < self._rows[row.name].nbytes

    def _chosen(self, name: str, scheme: Scheme | None) -> Choice:
        return self._stay[name] if scheme is None else replace(self._stay[name], scheme=scheme, note="")


def _resized(point: SweepPoint, nbytes: int) -> SweepPoint:
    return replace(point, nbytes=nbytes, bpw=point.bpw * nbytes / point.nbytes if point.nbytes else 0.0)
