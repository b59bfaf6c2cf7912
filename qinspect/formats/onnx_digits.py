"""Packed digits that standard operators of an ONNX graph take apart, as our own exports have them.

Words uint32 `[rows, groups, words]` → Unsqueeze → Div by the powers of the base → Mod base → Reshape to groups, cut to
their size → Gather of levels, or Cast (Sub zero) → Mul scale (Add offset) → Reshape to rows, cut to their length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.affine import Packed, parameter_source
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.onnx_graph import Graph, Node, Tensor
from qinspect.formats.onnx_uses import Uses
from qinspect.formats.onnx_weight import Weight, stored_input
from qinspect.formats.stored import Source, Span
from qinspect.quant.decode_only import Blocked
from qinspect.quant.layout import Layout, matrix_shape
from qinspect.quant.packing import DigitPacking, digits_per_word
from qinspect.quant.scheme import Grid, QTensor

_SMALL = 256
"""Values that a constant of the chain has at most: levels, sizes."""


@dataclass(frozen=True, kw_only=True)
class Digits(Blocked):
    """Groups along a row, each a record of words of base-`base` digits."""

    base: int
    group: int

    def __post_init__(self) -> None:
        rows, cols = matrix_shape(self.whole)
        words = -(-self.group // digits_per_word(self.base)) if self.group > 0 else 0
        if self.arrays()["data"][1] != (rows, -(-cols // max(1, self.group)), 4 * words):
            raise FormatError(f"its words do not hold {rows} × {cols} digits of base {self.base}")

    @property
    def code_range(self) -> tuple[int, int]:
        """As many as there are levels."""
        return 0, (self.base if self.table is None else len(self.table)) - 1

    def read(self, q: QTensor, start: int, stop: int, out: np.ndarray) -> None:
        """See `DecodeOnly.read`; FormatError for digits that name no level."""
        cols = out.shape[1]
        layout = Layout(stop - start, cols, cols, self.group, (1,))
        DigitPacking(self.base).unpack(q.data[start:stop], layout, out)
        if self.table is not None and out.size and int(out.max()) >= len(self.table):
            raise FormatError("its words hold digits that name no level: the file is corrupt; copy or export it again")

    def grid_rows(self, params: Mapping[str, np.ndarray], start: int, stop: int) -> Grid:
        """`table[code]·scale + minimum`, where there is a table."""
        grid = super().grid_rows(params, start, stop)
        minimum = self.values(params, "minimum", start // self.block[0], -(-stop // self.block[0]))
        if self.table is None or minimum is None:
            return grid
        offset = (minimum[:1] if self.blocks[0] <= 1 else minimum).reshape(-1)
        even = np.allclose(np.diff(self.table), 1 / (len(self.table) - 1), rtol=1e-5) and self.table[0] == 0
        step = grid.scale / np.float32(len(self.table) - 1) if even else grid.step
        return Grid(grid.scale, grid.zero, offset, step, grid.low + offset, grid.high + offset, grid.table, even)


class _Chain:
    """The nodes behind a node, one after the other, and the stored tensors that they take."""

    def __init__(self, graph: Graph, uses: Uses, node: Node) -> None:
        self.graph, self.uses, self.node = graph, uses, node
        self.parts: list[Tensor] = []

    def follow(self, *ops: str) -> bool:
        """Go on to the only taker of what the node computes, if it is one of `ops`."""
        takers = self.uses.of(self.graph, self.node.outputs[0]) if self.node.outputs else []
        if len(takers) != 1 or takers[0][0].op not in ops or takers[0][1]:
            return False
        self.node = takers[0][0]
        return True

    def stored(self, index: int) -> Tensor | None:
        """A stored operand of the node, perhaps through a Cast."""
        found = stored_input(self.graph, self.node, index)
        maker = self.uses.maker(self.graph, self.node.inputs[index]) if index < len(self.node.inputs) else None
        if found is None and maker is not None and maker.op == "Cast":
            found = stored_input(self.graph, maker, 0)
        if found is not None:
            self.parts.append(found)
        return found

    def numbers(self, index: int) -> list[float]:
        """The values of a small stored operand; empty where there is none."""
        found = self.stored(index)
        return np.asarray(found.source.read(None)).reshape(-1).tolist() if found and found.size <= _SMALL else []

    def sizes(self, op: str, index: int, count: int) -> list[int] | None:
        """Go on to `op`, whose operand is so many counts."""
        found = self.numbers(index) if self.follow(op) else []
        return [int(size) for size in found] if len(found) == count and all(map(_counts, found)) else None

    def cut(self, whole: int) -> int | None:
        """The end of a Slice, or the whole where there is none."""
        if not self.follow("Slice"):
            return whole
        begin, end, _ = self.numbers(1), self.numbers(2), self.numbers(3)
        return int(end[0]) if begin == [0] and len(end) == 1 and _counts(end[0]) and end[0] <= whole else None


def _counts(value: float) -> bool:
    return isinstance(value, int) and 1 <= value < 1 << 40


def digits(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """The weight whose words are the operand of this node; None if it is something else."""
    codes, chain = stored_input(graph, node, 0), _Chain(graph, uses, node)
    if codes is None or codes.dtype != "U32" or len(codes.shape) != 3 or not isinstance(codes.source, Span):
        return None
    chain.stored(1)
    powers = chain.numbers(1) if chain.follow("Div") else []
    base = chain.sizes("Mod", 1, 1)
    if base is None or not 2 <= base[0] <= 256 or powers != [base[0] ** k for k in range(digits_per_word(base[0]))]:
        return None
    groups = chain.sizes("Reshape", 1, 3)
    group = None if groups is None else chain.cut(groups[2])
    meaning = None if group is None else _meaning(chain)
    rows = None if meaning is None else chain.sizes("Reshape", 1, 2)
    if groups is None or group is None or meaning is None or rows is None:
        return None
    cols = chain.cut(rows[1])
    return None if cols is None else _weight(codes, chain, base[0], group, (rows[0], cols), *meaning)


Meaning = tuple[dict[str, Tensor], tuple[float, ...] | None]
"""Scale, zero point and minimum, and the table of levels if there is one."""


def _meaning(chain: _Chain) -> Meaning | None:
    """How codes become weights."""
    chain.follow("Cast")
    table = None
    takers = chain.uses.of(chain.graph, chain.node.outputs[0])
    if len(takers) == 1 and takers[0][0].op == "Gather":
        chain.node = takers[0][0]
        table = tuple(chain.numbers(0))
        ascending = all(a < b for a, b in itertools.pairwise(table))
        if not table or not ascending or not all(map(math.isfinite, table)):
            return None
    found = {}
    for op, name in (("Sub", "zero_point"), ("Mul", "scale"), ("Add", "minimum")):
        if chain.follow(op):
            tensor = chain.stored(1)
            if tensor is None:
                return None
            found[name] = tensor
    return (found, table) if "scale" in found else None


def _weight(
    codes: Tensor, chain: _Chain, base: int, group: int, matrix: tuple[int, int], params: dict[str, Tensor],
    table: tuple[float, ...] | None,
) -> Weight | None:  # fmt: skip
    """The weight, if all parts go together."""
    rows, cols = matrix
    across = -(-cols // group)
    if codes.shape != (rows, across, -(-group // digits_per_word(base))):
        return None
    single = all(part.size == 1 for part in params.values())
    sets, block = (1, (rows, cols)) if single else (rows * across, (1, group))
    if any(part.size not in (1, sets) for part in params.values()):
        return None
    shape: tuple[int, ...] = matrix
    turned = False
    for _ in range(3):
        if chain.follow("Transpose"):
            turned = True
        elif (sides := _reshaped(chain)) is not None and (sides[0], math.prod(sides)) == (rows, rows * cols):
            shape = tuple(sides)
        elif not chain.follow("Identity", "Cast"):
            break
    span = codes.source
    assert isinstance(span, Span)
    data_shape = (rows, across, 4 * codes.shape[2])
    arrays: dict[str, Source] = {"data": Span(span.file, span.offset, span.nbytes, "U8", data_shape)}
    arrays |= {name: parameter_source(part.source, (sets,), None, 1) for name, part in params.items()}
    held: list[tuple[str, np.dtype, tuple[int, ...]]] = [("data", np.dtype(np.uint8), data_shape)]
    held += [(name, numpy_dtype(part.dtype), (sets,)) for name, part in params.items()]
    stored = codes.nbytes + sum(part.nbytes for part in chain.parts)
    label = f"digits of {base}" + ("" if single else f" g{group}")
    scheme = Digits(
        kind=label, whole=shape, stored_bytes=stored, bits=8, block=block, held=tuple(held), table=table, base=base,
        group=group,
    )  # fmt: skip
    takers = chain.uses.of(chain.graph, chain.node.outputs[0]) if chain.node.outputs else []
    taker = takers[0][0] if takers else chain.node
    packed = Packed(scheme, tuple(arrays.items()))
    return Weight(codes, tuple(chain.parts), taker, shape, "F32", label, packed, turned)


def _reshaped(chain: _Chain) -> list[int] | None:
    """Go on to a Reshape, and its sides."""
    takers = chain.uses.of(chain.graph, chain.node.outputs[0]) if chain.node.outputs else []
    if len(takers) != 1 or takers[0][0].op != "Reshape" or takers[0][1]:
        return None
    sides = stored_input(chain.graph, takers[0][0], 1)
    return None if sides is None or not sides.size else chain.sizes("Reshape", 1, sides.size)
