"""Whose sizes a budget is in: those of packed tensors, or of what a target stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QWidget

from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.planning.budget import Budget
from qinspect.planning.prices import Prices
from qinspect.recipe import Recipe
from qinspect.targets.target import registry as targets
from qinspect.task import Token


class SizeBox(QComboBox):
    """`target` is the name of the chosen one, or empty for packed tensors."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.addItem("Sizes as packed", "")
        for cls in targets:
            self.addItem(f"Sizes as {cls.title}", cls.name)
            self.setItemData(self.count() - 1, cls.carries, Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(
            "Whose sizes count: those of packed tensors alone, or of a whole export, which also leaves out the schemes "
            "that this target does not hold"
        )
        self.setAccessibleName("Whose sizes count")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(20)

    @property
    def target(self) -> str:
        """The target's name."""
        name: str = self.currentData()
        return name

    def choose(self, name: str) -> None:
        """The target of this name."""
        self.setCurrentIndex(max(0, self.findData(name)))


@dataclass(frozen=True, eq=False)
class Sized:
    """A budget in the sizes of a target, and what the recipe comes to there: bytes, bits a weight."""

    budget: Budget | None
    prices: Prices | None = None
    recipe_size: tuple[Recipe, int, float] | None = None


def prices_of(target: str, checkpoint: Checkpoint | None, known: Prices | None, token: Token) -> Prices | None:
    """Those of the target, the `known` ones if they are its; None without a target."""
    if not target or checkpoint is None:
        return None
    return known if known is not None and known.target.name == target else Prices(targets[target](), checkpoint, token)


def size_there(prices: Prices | None, recipe: Recipe, infos: Iterable[TensorInfo]) -> tuple[Recipe, int, float] | None:
    """None where the target cannot hold the recipe."""
    if prices is None:
        return None
    try:
        plan = prices.plan({info.name: recipe.scheme_for(info) for info in infos})
    except QInspectError:
        return None
    return recipe, plan.budgeted_nbytes, plan.bpw or 0.0
