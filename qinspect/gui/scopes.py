"""Which layers a change of the scheme is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qinspect.errors import printable
from qinspect.figures import counted
from qinspect.formats.checkpoint import TensorInfo
from qinspect.recipe import kind_of


class Scope(StrEnum):
    """The choices beside the form."""

    ALL = "all"
    LAYER = "layer"
    SELECTION = "selection"
    KIND = "kind"
    RULE = "rule"


@dataclass(frozen=True)
class Place:
    """What a person looks at: the file's tensors, the current one, those selected, the rules that decide."""

    infos: tuple[TensorInfo, ...]
    info: TensorInfo | None
    selection: tuple[str, ...]
    positions: list[int | None]
    """Which rule decides on each of `infos`."""

    def reach(self, scope: Scope) -> list[str]:
        """Names of the layers that a change is for."""
        usual = [info.name for info in self.infos if info.quantizable or info.qtype]
        if scope == Scope.SELECTION:
            return list(self.selection)
        if scope == Scope.ALL or self.info is None:
            return usual
        name = self.info.name
        if scope == Scope.KIND:
            kind = kind_of(name)
            return [other for other in usual if kind_of(other) == kind] or [name]
        if scope == Scope.RULE:
            own = self.positions[self.infos.index(self.info)]
            found = zip(self.infos, self.positions, strict=True)
            return [other.name for other, at in found if at == own is not None]
        return [name]

    def title(self, scope: Scope) -> str:
        """The choice in words, with how many layers it reaches."""
        count = len(self.reach(scope))
        return {
            Scope.ALL: f"all {count} layers" if count != 1 else "the only layer",
            Scope.LAYER: "this layer",
            Scope.SELECTION: counted(count, "selected layer"),
            Scope.KIND: f"{counted(count, 'layer')} of this kind",
            Scope.RULE: f"{counted(count, 'layer')} of this rule",
        }[scope]

    def offered(self) -> dict[Scope, Scope]:
        """Those choices that differ, and for each of the others the one it comes to here."""
        if self.info is None:
            return dict.fromkeys(Scope, Scope.ALL)
        same: dict[Scope, Scope] = {}
        first: dict[frozenset[str], Scope] = {}
        for scope in Scope:
            reached = frozenset(self.reach(scope))
            otherwise = Scope.LAYER if scope == Scope.SELECTION else Scope.ALL
            same[scope] = first.setdefault(reached, scope) if reached else otherwise
        return same


def shared_words(names: Sequence[str]) -> str:
    """The pattern of layers of one kind, else of how many it is spoken."""
    kinds = {kind_of(name) for name in names}
    same = names[0] if len(names) == 1 else kinds.pop() if len(kinds) == 1 else None
    return counted(len(names), "layer") if same is None else printable(same, 80)
