"""Counts of codes as bars, and as maps with a line for every row or group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QRectF

from qinspect.analysis import CodeMap
from qinspect.gui.axes import number
from qinspect.gui.pooling import Crop, Source, crop
from qinspect.gui.probe import Probe
from qinspect.tables import Column, Table

IN_ORDER, FEWEST, LEAST_ENTROPY = range(3)
ORDERS = ("in order", "fewest codes first", "least entropy first")


@dataclass(frozen=True, eq=False)
class Bars:
    """Codes in view, `width` of them to a bar: left edges and shares in percent."""

    width: int
    left: np.ndarray
    share: np.ndarray


def bars(counts: np.ndarray, first: int, low: float, high: float, most: int) -> Bars:
    """Bars of the codes from `low` to `high`, no more than `most`: a power of two of codes to each where needed."""
    width = 1
    while (high - low) / width > max(1, most):
        width *= 2
    start = max(0, int(np.floor(low - first)) // width * width)
    stop = min(counts.size, int(np.ceil(high - first)) + 1)
    stop = min(counts.size, -(-stop // width) * width)
    starts = np.arange(start, max(stop, start + 1), width)
    share = np.add.reduceat(counts[: max(stop, start + 1)], starts) * (100 / max(1, int(counts.sum())))
    return Bars(width, starts + first - 0.5, share)


class Pieces:
    """A map of codes in an order, and where its lines lie: those of the matrix' own order beside its rows."""

    def __init__(self, found: CodeMap, order: int, spacing: float) -> None:
        self.found = found
        self.height = spacing * found.rows_per_piece / max(1, found.pieces)
        totals = np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
        self.shares: np.ndarray = (found.counts * (np.float32(100) / totals)).astype(np.float32)
        self.order: np.ndarray | None = None
        if order != IN_ORDER:
            entropy = np.round(found.entropy, 3)
            keys = (entropy, found.used) if order == FEWEST else (found.used, entropy)
            self.order = np.lexsort(keys)
            self.shares = self.shares[self.order]

    def at(self, y: float) -> int:
        """The piece drawn at `y`."""
        line = min(max(math.floor((y + 0.5) / self.height), 0), len(self.shares) - 1)
        return line if self.order is None else int(self.order[line])

    def centre(self, piece: int) -> float:
        """Where a piece is drawn."""
        line = piece if self.order is None else int(np.flatnonzero(self.order == piece)[0])
        return (line + 0.5) * self.height - 0.5

    def place(self, piece: int, run: int, cols: int) -> tuple[int, tuple[int, int]]:
        """The first row of a piece and its columns."""
        found = self.found
        line, number = divmod(piece, found.pieces)
        if not found.by_group:
            return line * found.rows_per_piece, (0, cols)
        wide = run * found.groups_per_piece
        return line, (number * wide, min((number + 1) * wide, cols))

    def piece(self, index: int, group: int | None) -> int | None:
        """The piece that a group of a row is in."""
        found = self.found
        if not found.by_group:
            return index // found.rows_per_piece
        return None if group is None else index * found.pieces + group // found.groups_per_piece

    def table(self, probe: Probe) -> Table:
        """What is counted of every piece, in the order that is seen."""
        found = self.found
        codes = range(found.first, found.first + found.counts.shape[1] * found.per_column, found.per_column)
        columns = (Column("row", "Row", "d"), *([Column("group", "Group", "d")] if found.by_group else []))
        columns += Column("codes_used", "Codes used", "d"), Column("entropy_bits", "Entropy, bits", ".3f")
        columns += tuple(Column(f"code {code}", f"Code {code_text(code)}", ",") for code in codes)
        rows = []
        for piece in range(len(found.used)) if self.order is None else self.order.tolist():
            line, number = divmod(piece, found.pieces)
            where = [probe.number(min(line * found.rows_per_piece, probe.rows - 1))]
            where += [number * found.groups_per_piece] if found.by_group else []
            usage = int(found.used[piece]), float(found.entropy[piece])
            rows.append((*where, *usage, *found.counts[piece].tolist()))
        return Table("Codes of every " + ("group" if found.by_group else "row"), columns, tuple(rows))

    @property
    def sentence(self) -> str:
        """How many codes the poorest and the richest use."""
        found = self.found
        noun = "group" if found.by_group else "row"
        together = found.groups_per_piece * found.rows_per_piece
        each = f"Each {noun}" if together == 1 else f"Each {together} {noun}s"
        low, high = int(found.used.min()), int(found.used.max())
        uses = f"{low}" if low == high else f"{low} to {high}"
        entropy = float(np.median(found.entropy))
        return f"{each} uses {uses} codes; median entropy {entropy:.1f} bits."


def source_of(pieces: Pieces, values: np.ndarray | None = None) -> Source:
    """What is painted of a map, or of other values of its pieces."""
    found, shares = pieces.found, pieces.shares if values is None else values

    def source(view: QRectF, per_pixel: tuple[float, float]) -> Crop:
        part = crop(shares, view, per_pixel, factor=(1, found.per_column), stretch=pieces.height)
        part.rect.translate(found.first, 0)
        return part

    return source


def steps(found: Bars, values: np.ndarray, between: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and values of a step curve; few bars get gaps between them, in which the curve falls to `between`."""
    gap = 0.12 * found.width if found.left.size <= 64 else 0.0
    if not gap:
        return np.append(found.left, found.left[-1] + found.width), values
    edges = np.column_stack((found.left + gap, found.left + found.width - gap)).ravel()
    heights = np.column_stack((values, np.full_like(values, between))).ravel()[:-1]
    return edges, heights


def code_text(code: int) -> str:
    """A code, with a true minus sign."""
    return f"{code}".replace("-", "−")


def share(count: int, counts: np.ndarray) -> str:
    """A count and its share of all."""
    if not count:
        return "never used"
    return f"{count:,} weights, {number(100 * count / max(1, int(counts.sum())))} %"
