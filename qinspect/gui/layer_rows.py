"""What the table of layers says: every row's texts and numbers, its place in the order, blocks of layers. No Qt."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.metrics import Metrics, decibels
from qinspect.quant.scheme import Scheme
from qinspect.recipe import block_of
from qinspect.session import LayerReport, stored_nbytes

COLUMNS = (
    "Layer", "SQNR", "bpw", "Size", "!", "Scheme", "RMSE", "Max error", "Shape", "Type",
    "Δ SQNR", "B SQNR", "Δ size", "B size",
)  # fmt: skip
NAME, SQNR, BPW, SIZE, NOTES, SCHEME, RMSE, MAX_ERROR, SHAPE, TYPE, D_SQNR, B_SQNR, D_SIZE, B_SIZE = range(len(COLUMNS))
COMPARED = (D_SQNR, B_SQNR, D_SIZE, B_SIZE)
"""Columns that are there while something is attached."""
TIPS = (
    "Name of the tensor in the file; leading words are shortened where there is no room.",
    "Signal to quantization noise ratio: 6 dB more halve the error. Worst first.",
    "Bits per weight, everything stored counted.",
    "Bytes under the layer's scheme, or in the file where the tensor is left alone.",
    "How many findings there are; select the layer to read them.",
    "What the recipe makes of the layer; shown where not all layers have the same.",
    "Root mean square error of a weight.",
    "Largest error of any weight.",
    "Its dimensions.",
    "Type in the file, or how it is packed.",
    "SQNR of A less that of B: below 0, A is worse.",
    "SQNR of the layer in B.",
    "Bytes of A less those of B.",
    "Bytes of the layer in B.",
)
LARGEST_FIRST = (BPW, SIZE, NOTES, RMSE, MAX_ERROR, SHAPE, B_SIZE, D_SIZE)
NEVER = "Left alone: only floating-point tensors of two dimensions and more are quantized unless a rule names them."
BY_RECIPE = "Left alone by the recipe."
WEIGHT = {"error": 10_000.0, "warning": 100.0}
"""Findings by weight: an error outweighs any number of warnings, a warning any number of remarks."""


@dataclass(frozen=True)
class Block:
    """Layers that stand together, as one row above theirs."""

    name: str
    members: tuple[str, ...]


Row = str | Block
"""A layer by its name, or a block of them."""


@dataclass
class LayerRows:
    """Tensors with what the recipe makes of them and what was measured."""

    infos: dict[str, TensorInfo] = field(default_factory=dict)
    schemes: dict[str, Scheme | None] = field(default_factory=dict)
    reports: dict[str, LayerReport] = field(default_factory=dict)
    others: dict[str, LayerReport] = field(default_factory=dict)
    """What was measured of B, by the names that the layers have here."""
    other_sizes: dict[str, int] = field(default_factory=dict)
    others_exact: bool = False
    _values: dict[Row, dict[int, float | None]] = field(default_factory=dict)

    # Filling.

    def decide(self, schemes: dict[str, Scheme | None], reports: Iterable[LayerReport]) -> None:
        """Take over what the recipe makes of every tensor, and what was measured of that."""
        self.schemes = schemes
        self.reports = {report.info.name: report for report in reports}
        self._values.clear()

    def report(self, report: LayerReport, *also: Row) -> None:
        """Take over the figures of one layer, which are in those of its block, too."""
        self.reports[report.info.name] = report
        for row in (report.info.name, *also):
            self._values.pop(row, None)

    def compare(self, sizes: dict[str, int], reports: dict[str, LayerReport], *, exact: bool) -> None:
        """Take over B: bytes of the layers that it has, and what was measured of them, where they are not exact."""
        self.other_sizes, self.others, self.others_exact = sizes, dict(reports), exact
        self._values.clear()

    def report_other(self, name: str, report: LayerReport, *also: Row) -> None:
        """Take over the figures of one layer of B."""
        self.others[name] = report
        for row in (name, *also):
            self._values.pop(row, None)

    # Texts.

    def text(self, row: Row, column: int) -> str:
        """What a cell shows."""
        return self._block_text(row, column) if isinstance(row, Block) else self._layer_text(row, column)

    def _layer_text(self, name: str, column: int) -> str:
        info, report = self.infos[name], self.reports.get(name)
        if column in (NAME, SHAPE, TYPE):
            return (printable(name), fmt.shape(info.shape), info.qtype or info.dtype)[(NAME, SHAPE, TYPE).index(column)]
        if column == SCHEME:
            return self._scheme_text(info)
        if column == NOTES and report is not None:
            return "!" if report.metrics is None else str(len(report.findings) or "")
        if column == SQNR and report is not None and report.metrics is None:
            return "error"
        value = self.value(name, column)
        if value is None and column in COMPARED:
            coming = name in self.other_sizes and name not in self.others and not self.others_exact
            return "" if coming else "·" if self.alone(name) or name not in self.other_sizes else fmt.NONE
        if value is None and column in (SQNR, RMSE, MAX_ERROR, NOTES):
            return "·" if self.alone(name) else "" if report is None else fmt.NONE
        return "" if value is None else _written(value, column)

    def _block_text(self, block: Block, column: int) -> str:
        infos = [self.infos[name] for name in block.members]
        if column == NAME:
            return printable(block.name)
        if column == SHAPE:
            return fmt.counted(len(infos), "tensor")
        if column in (SCHEME, TYPE):
            texts = {self._layer_text(name, column) for name in block.members if column == TYPE or not self.alone(name)}
            return "·" if not texts else texts.pop() if len(texts) == 1 else "mixed"
        if column == NOTES:
            notes = [self._layer_text(name, NOTES) for name in block.members]
            return "!" if "!" in notes else str(sum(int(note) for note in notes if note.isdecimal()) or "")
        value = self.value(block, column)
        if value is None:
            return "·" if all(map(self.alone, block.members)) else ""
        return _written(value, column)

    def _scheme_text(self, info: TensorInfo) -> str:
        scheme = self.schemes.get(info.name)
        return _label(scheme) if scheme else "as stored" if info.qtype else "left alone"

    def tip(self, row: Row, column: int) -> str:
        """What a cell says when the cursor rests on it."""
        if isinstance(row, Block):
            names = "\n".join(printable(name) for name in row.members[:20])
            more = f"\nand {len(row.members) - 20} more" if len(row.members) > 20 else ""
            return f"{names}{more}" if column == NAME else f"Of the block as a whole. {TIPS[column]}"
        info, report = self.infos[row], self.reports.get(row)
        if column == NAME:
            return printable(row, 400)
        if column == SHAPE:
            return f"{info.size:,} weights"
        if column == SIZE:
            return f"{self.value(row, SIZE):,.0f} bytes; {info.nbytes:,} in the file"
        if column in COMPARED:
            return self._compared_tip(row, column)
        if self.alone(row) and column != TYPE:
            return BY_RECIPE if info.quantizable else NEVER
        if report is not None and report.error is not None:
            return report.error
        if report is not None and column == NOTES:
            return "\n".join(finding.text for finding in report.findings)
        return self._layer_text(row, column)

    def _compared_tip(self, name: str, column: int) -> str:
        if name not in self.other_sizes:
            return "Not compared: B has no such layer, or an export leaves it alone."
        other = self.others.get(name)
        return TIPS[column] if other is None or other.error is None else other.error

    def severity(self, row: Row) -> str:
        """The gravest finding: error, warning, or info where there is none."""
        names = row.members if isinstance(row, Block) else (row,)
        reports = [self.reports[name] for name in names if name in self.reports]
        found = {finding.severity for report in reports for finding in report.findings}
        if "error" in found or any(report.metrics is None for report in reports):
            return "error"
        return "warning" if "warning" in found else "info"

    def alone(self, name: str) -> bool:
        """Whether an export passes a tensor on that is not packed."""
        info = self.infos[name]
        usual = info.quantizable and name not in self.schemes  # until the recipe is known
        return not (usual or self.schemes.get(name) or info.qtype)

    @property
    def mixed(self) -> bool:
        """Whether the layers that a recipe is for have different schemes."""
        usual = (i.name for i in self.infos.values() if i.quantizable or i.qtype or self.schemes.get(i.name))
        found = {id(scheme): scheme for scheme in map(self.schemes.get, usual)}
        return len(set(found.values())) > 1

    # Numbers.

    def value(self, row: Row, column: int) -> float | None:
        """The number behind a cell; None where there is none (yet)."""
        known = self._values.setdefault(row, {})
        if column not in known:
            known[column] = self._value(row, column)
        return known[column]

    def _value(self, row: Row, column: int) -> float | None:
        names = row.members if isinstance(row, Block) else (row,)
        infos = [self.infos[name] for name in names]
        if column == SHAPE:
            return float(sum(info.size for info in infos))
        if column in (SIZE, BPW):
            nbytes, size = sum(map(self._nbytes, infos)), sum(info.size for info in infos)
            return float(nbytes) if column == SIZE else 8 * nbytes / size if size else None
        if column in COMPARED:
            return self._compared(names, column)
        reports = [self.reports[name] for name in names if name in self.reports]
        if column == NOTES:
            return sum(map(_gravity, reports)) or None
        measured = [(report.info, report.metrics) for report in reports if report.metrics is not None]
        figure = _together(measured, column) if measured else math.nan
        return None if math.isnan(figure) else figure

    def _compared(self, names: Sequence[str], column: int) -> float | None:
        """Figures of B, and A's less them, of the layers that it has."""
        both = [name for name in names if name in self.other_sizes]
        if not both:
            return None
        if column in (B_SIZE, D_SIZE):
            theirs = sum(self.other_sizes[name] for name in both)
            ours = sum(self._nbytes(self.infos[name]) for name in both)
            return float(theirs) if column == B_SIZE else float(ours - theirs)
        if self.others_exact:
            return math.inf if column == B_SQNR else None
        found = [self.others[name] for name in both if name in self.others]
        measured = [(report.info, report.metrics) for report in found if report.metrics is not None]
        theirs_db = _together(measured, SQNR) if measured else math.nan
        if column == B_SQNR:
            return None if math.isnan(theirs_db) else theirs_db
        own = [self.reports[name] for name in both if name in self.reports]
        figures = [(report.info, report.metrics) for report in own if report.metrics is not None]
        own_db = _together(figures, SQNR) if figures else math.nan
        return own_db - theirs_db if math.isfinite(own_db) and math.isfinite(theirs_db) else None

    def _nbytes(self, info: TensorInfo) -> int:
        report = self.reports.get(info.name)
        if report is not None and report.metrics is not None:
            return report.metrics.nbytes
        return stored_nbytes(info, self.schemes.get(info.name))

    # Order.

    def ordered(self, rows: Iterable[Row], column: int, *, descending: bool) -> list[Row]:
        """Sorted by a column; what has no figure stays below, whichever way."""
        rows = list(rows)
        keys = {row: self._key(row, column) for row in rows}
        known = [row for row in rows if keys[row] is not None]
        without = [row for row in rows if keys[row] is None]
        known.sort(key=keys.__getitem__, reverse=descending)  # type: ignore[arg-type]
        return known + sorted(without, key=lambda row: isinstance(row, str) and self.alone(row))

    def _key(self, row: Row, column: int) -> float | str | None:
        """What a row is sorted by: what could not be measured is worst of all."""
        if column in (NAME, TYPE, SCHEME):
            return natural(self.text(row, column))
        report = self.reports.get(row) if column == SQNR and isinstance(row, str) else None
        if report is not None and report.metrics is None:
            return -math.inf
        return self.value(row, column)

    def csv(self, names: Sequence[str]) -> str:
        """Rows for a spreadsheet, numbers in full."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        compared = [column for column in COMPARED if self.other_sizes]
        writer.writerow((*CSV_COLUMNS, *CSV_COMPARED[: len(compared)]))
        for name in names:
            info, report = self.infos[name], self.reports.get(name)
            numbers = [self.value(name, column) for column in (SQNR, BPW, SIZE, RMSE, MAX_ERROR)]
            others = [_plain(self.value(name, column)) for column in compared]
            found = "" if report is None else report.error or " | ".join(finding.text for finding in report.findings)
            shape = "x".join(map(str, info.shape))
            stored = info.qtype or info.dtype
            writer.writerow([name, shape, stored, self._scheme_text(info), *map(_plain, numbers), found, *others])
        return out.getvalue()


CSV_COLUMNS = ("name", "shape", "type", "scheme", "sqnr_db", "bpw", "nbytes", "rmse", "max_error", "findings")
CSV_COMPARED = ("change_sqnr_db", "b_sqnr_db", "change_nbytes", "b_nbytes")


def blocks(names: Iterable[str]) -> list[Block]:
    """The layers by their blocks, in the order in which blocks come first."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[block_of(name)].append(name)
    return [Block(block, tuple(inside)) for block, inside in members.items()]


@lru_cache(1 << 16)
def natural(name: str) -> str:
    """A key under which layer.2 comes before layer.10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(8), name.lower())


def _together(measured: Sequence[tuple[TensorInfo, Metrics]], column: int) -> float:
    """One figure of one layer, or of several as one."""
    if len(measured) == 1:
        m = measured[0][1]
        return {SQNR: m.sqnr_db, RMSE: m.rmse, MAX_ERROR: m.max_error}.get(column, math.nan)
    known = [(info.size, m) for info, m in measured if not math.isnan(m.noise)]
    if not known:
        return math.nan
    noise = sum(m.noise for _, m in known)
    if column == SQNR:
        return decibels(sum(m.signal for _, m in known), noise)
    if column == RMSE:
        return math.sqrt(noise / sum(size for size, _ in known))
    return max(m.max_error for _, m in known)


def _written(value: float, column: int) -> str:
    write = {SQNR: fmt.decibels, B_SQNR: fmt.decibels, BPW: fmt.bits, SIZE: fmt.nbytes, B_SIZE: fmt.nbytes}
    if column in (D_SQNR, D_SIZE):
        return fmt.change(value, fmt.decibels if column == D_SQNR else fmt.nbytes)
    return write.get(column, fmt.magnitude)(value)


def _plain(value: float | None) -> str:
    return "" if value is None else str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _gravity(report: LayerReport) -> float:
    if report.metrics is None:
        return math.inf
    return sum(WEIGHT.get(each.severity, 1.0) for each in report.findings)


@lru_cache
def _label(scheme: Scheme) -> str:
    """Few schemes, many tensors: a label takes a third of a millisecond."""
    return scheme.label
