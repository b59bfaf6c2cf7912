"""What a person has fixed before a budget is shared out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qinspect.formats.checkpoint import TensorInfo
from qinspect.planning.budget import Budget
from qinspect.planning.prices import Prices
from qinspect.planning.ties import fused
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import SweepGrid, SweepPoint
from qinspect.task import Token


@dataclass(frozen=True)
class Wishes:
    """Layers that keep a scheme, what errors of layers count (1 where nothing is said), and layers that are tied.

    `fused` ties what runtimes fuse besides. Errors count relative to each layer's own energy, unless they are
    `absolute`: then layers with large weights decide, although what follows a layer sees by which part it is off.
    """

    kept: Mapping[str, Scheme] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    ties: tuple[tuple[str, ...], ...] = ()
    fused: bool = False
    absolute: bool = False

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """All ties: those by hand, and of the other layers among `names` those that are fused."""
        by_hand = {name for tie in self.ties for name in tie}
        found = fused(names) if self.fused else []
        return [*self.ties, *(tie for tie in found if not by_hand.intersection(tie))]

    def weight(self, name: str, signal: float) -> float:
        """What the squared error of a layer counts, whose weights have the energy `signal`."""
        return self.weights.get(name, 1.0) / (1.0 if self.absolute else signal or 1.0)

    def budget(self, points: Mapping[str, Sequence[SweepPoint]], rest: int) -> Budget:
        """The budget of these layers' points; `rest` are the bytes of all else. A kept scheme must have its point."""
        weights = dict(self.weights)
        for name, found in points.items():
            if found:
                weights[name] = self.weight(name, found[0].signal)
        kept = (point for found in points.values() for point in found if self.kept.get(point.layer) == point.scheme)
        return Budget(
            points,
            weights=weights,
            locked={point.layer: point for point in kept},
            ties=self.groups(points),
            rest=rest,
        )

    def budget_under(
        self,
        grid: SweepGrid,
        infos: Iterable[TensorInfo],
        known: Mapping[str, Mapping[Scheme, SweepPoint]],
        rest: int,
        token: Token,
        prices: Prices | None = None,
    ) -> Budget | None:
        """The budget of the points that are known of a grid, and of kept schemes; None where no layer has one.

        With `prices` sizes are a target's, those of the rest too; what it cannot hold is left out.
        """
        offered: dict[str, list[SweepPoint]] = {}
        for info in infos:
            token.check()
            points = known[info.name]
            kept = (self.kept[info.name],) if info.name in self.kept else ()
            found = [
                points[scheme] for scheme in dict.fromkeys((*grid.schemes_for(info.shape), *kept)) if scheme in points
            ]
            if found:
                offered[info.name] = found
        if prices is not None:
            offered = prices.priced(offered)
            rest = prices.rest(offered)
        return self.budget(offered, rest) if offered else None
