"""How the codes are used: in the whole layer, in every row, in every group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qinspect.analysis.question import Pass, Question, Subject, read_only
from qinspect.quant.metrics import entropy_bits

if TYPE_CHECKING:
    from qinspect.quant.engine import Block

MAP_CELLS = 1 << 22
"""A map of codes has at most this many cells; neighbouring groups, then codes, are counted together to get there."""

MAP_CODES = 256
"""A map has no more columns than this."""


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """How often each code occurs, from `first` up."""

    first: int
    counts: np.ndarray

    @property
    def used(self) -> int:
        """Codes that occur at all."""
        return int(np.count_nonzero(self.counts))

    @property
    def entropy(self) -> float:
        """Bits a code would take with ideal coding."""
        return entropy_bits(self.counts)

    @property
    def bits_needed(self) -> int:
        """Bits that hold the codes used losslessly, as a smaller codebook."""
        return max(1, math.ceil(math.log2(max(1, self.used))))

    @property
    def sentence(self) -> str:
        """The occupancy in words."""
        text = f"{self.used} of {self.counts.size} codes used"
        if (1 << self.bits_needed) < self.counts.size:
            text += f"; {self.bits_needed} bit{'s' * (self.bits_needed > 1)} would hold this losslessly"
        return f"{text}; {self.entropy:.1f} bits of entropy"


@dataclass(frozen=True, eq=False)
class GroupUsage:
    """For every run of weights, in their order: how many codes occur (int32), and the bits of entropy (float32)."""

    used: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True)
class GroupCodes(Question):
    """How many codes each set of parameters uses, where every run of weights has a set of its own."""

    def begin(self, subject: Subject) -> Pass:
        """One number a run."""
        q = subject.quantized
        layout, codes = q.scheme.layout(q.shape), q.scheme.n_codes
        runs = layout.rows * layout.runs_per_row
        found = CodeMap(np.zeros((runs, 0), np.uint32), *_usage(runs), 0, codes, False, 1, layout.runs_per_row, 1)

        def visit(block: Block) -> None:
            _count(block, found, layout.line, layout.run, codes)

        def finish(_: list[None]) -> GroupUsage:
            read_only(found.used, found.entropy)
            return GroupUsage(found.used, found.entropy)

        return Pass(visit, finish)


@dataclass(frozen=True, eq=False)
class CodeMap:
    """How often codes occur in every piece of the matrix: `counts` uint32 `[pieces, columns]`, row by row.

    A piece is `groups_per_piece` groups of a row, or `rows_per_piece` whole rows; there are `pieces` in a row of the
    matrix (1 of whole rows). A column is `per_column` codes, from `first` up. `used` and `entropy` are the piece's.
    """

    counts: np.ndarray
    used: np.ndarray
    entropy: np.ndarray
    first: int
    per_column: int
    by_group: bool
    groups_per_piece: int
    pieces: int
    rows_per_piece: int


@dataclass(frozen=True)
class RowCodes(Question):
    """How often each code occurs in every row, or with `groups` in every group."""

    groups: bool = False

    def begin(self, subject: Subject) -> Pass:
        """Choose what is counted together, so that the map stays within its size."""
        q = subject.quantized
        layout, codes = q.scheme.layout(q.shape), q.scheme.n_codes
        per_column = -(-codes // MAP_CODES)
        columns = -(-codes // per_column)
        groups = layout.runs_per_row if self.groups else min(1, layout.cols)
        together = rows = 1
        while layout.rows * -(-groups // together) * columns > MAP_CELLS and together < groups:
            together *= 2
        while together >= groups and -(-layout.rows // rows) * columns > MAP_CELLS:
            rows *= 2
        pieces = -(-groups // together)
        lines = -(-layout.rows // rows) * pieces
        by_group = self.groups and rows == 1
        counts = np.zeros((lines, columns), np.uint32)
        found = CodeMap(
            counts, *_usage(lines), q.scheme.code_range[0], per_column, by_group, together, pieces, rows
        )  # fmt: skip

        def visit(block: Block) -> None:
            line, piece = (layout.line, layout.run * together) if by_group else (layout.cols * rows,) * 2
            _count(block, found, line, piece, codes)

        def finish(_: list[None]) -> CodeMap:
            read_only(found.counts, found.used, found.entropy)
            return found

        return Pass(visit, finish, rows)


def _usage(pieces: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(pieces, np.int32), np.zeros(pieces, np.float32)


def _count(block: Block, found: CodeMap, line: int, piece: int, codes: int) -> None:
    """Fill the pieces of one block."""
    from qinspect.quant import view_kernels

    first = block.start // found.rows_per_piece * found.pieces
    stop = -(-block.stop // found.rows_per_piece) * found.pieces
    into = found.counts[first:stop], found.used[first:stop], found.entropy[first:stop]
    view_kernels.count_runs(block.codes, line, piece, np.zeros(codes, np.int64), found.per_column, *into)
