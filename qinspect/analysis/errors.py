"""The error of every row and column, and of every set of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qinspect.analysis.question import Pass, Question, Subject, read_only
from qinspect.quant.layout import Layout, matrix_shape

if TYPE_CHECKING:
    from qinspect.quant.engine import Block


@dataclass(frozen=True, eq=False)
class MarginalSums:
    """Root mean square of the errors of every row and of every column, and of the weights: float32."""

    rows: np.ndarray
    cols: np.ndarray
    weight_rows: np.ndarray
    weight_cols: np.ndarray


@dataclass(frozen=True)
class Marginals(Question):
    """How large errors and weights are in each row and each column: what shows bad channels."""

    def begin(self, subject: Subject) -> Pass:
        """Rows have their own place; columns are added up."""
        from qinspect.quant import view_kernels

        rows, cols = matrix_shape(subject.quantized.shape)
        down = np.zeros((2, rows))

        def visit(block: Block) -> np.ndarray:
            across = np.zeros((2, cols))
            weights = block.decoded if block.weights is None else block.weights
            for number, values in enumerate((block.errors, weights)):
                view_kernels.add_squares(values, down[number, block.start : block.stop], across[number])
            return across

        def finish(parts: list[np.ndarray]) -> MarginalSums:
            across = sum(parts, np.zeros((2, cols)))
            found = [
                np.sqrt(sums / max(1, n)).astype(np.float32)
                for sums, n in ((down[0], cols), (across[0], rows), (down[1], cols), (across[1], rows))
            ]
            read_only(*found)
            return MarginalSums(*found)

        return Pass(visit, finish)


@dataclass(frozen=True, eq=False)
class GroupQuality:
    """Figures of every set of parameters, in their order, float32.

    SQNR in dB (infinite where exact, NaN where there is neither signal nor error), root mean square and largest error,
    and how many weights are clipped.
    """

    sqnr_db: np.ndarray
    rmse: np.ndarray
    max_error: np.ndarray
    clipped: np.ndarray


@dataclass(frozen=True)
class GroupErrors(Question):
    """The error figures of every set of parameters; needs the original weights."""

    def begin(self, subject: Subject) -> Pass:
        """Sets of a block's own have their place; others are added up."""
        from qinspect.quant import view_kernels

        q = subject.quantized
        layout = q.scheme.layout(q.shape)
        found = np.zeros((4, layout.sets), np.float32)
        sizes = set_sizes(layout)

        def visit(block: Block) -> np.ndarray | None:
            sums = np.zeros((4, block.grid.low.size))
            weights = block.decoded if block.weights is None else block.weights
            runs = layout.line, layout.run, block.first
            view_kernels.run_sums(weights, block.errors, *runs, block.grid.low, block.grid.high, sums)
            if not layout.local:
                return sums
            own = layout.sets_of(block.start, block.stop)
            found[:, own] = _figures(sums, sizes[: sums.shape[1]])
            return None

        def finish(parts: list[np.ndarray | None]) -> GroupQuality:
            shared = [part for part in parts if part is not None]
            if shared:
                total = np.sum(shared, axis=0)
                total[3] = np.max([part[3] for part in shared], axis=0)
                found[...] = _figures(total, sizes)
            read_only(found)
            return GroupQuality(*found)

        return Pass(visit, finish)


def set_sizes(layout: Layout) -> np.ndarray:
    """How many weights each set of parameters has; of a local layout, those of as many rows as wanted fit from 0 on."""
    if not (layout.rows and layout.cols):
        return np.zeros(layout.sets, np.int64)
    if not layout.local:
        return np.full(layout.sets, layout.rows * layout.cols // layout.sets)
    line = np.minimum(layout.run, layout.line - np.arange(0, layout.line, layout.run))
    return np.tile(line, layout.sets // line.size)


def _figures(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`[4, sets]` as in `GroupQuality` from what `view_kernels.run_sums` gives."""
    signal, noise, clipped, largest = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr_db = 10 * np.log10(signal / noise)
        rmse = np.sqrt(noise / sizes)
    return np.stack([sqnr_db, rmse, largest.astype(np.int32).view(np.float32), clipped])
