"""What the command line prints for people: tables, findings in words, errors, a progress bar."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from qinspect import figures as fmt
from qinspect.errors import printable
from qinspect.findings import SEVERITIES
from qinspect.formats.checkpoint import Checkpoint
from qinspect.quant.metrics import Metrics
from qinspect.reproduce import Demonstration
from qinspect.session import LayerReport, Total, total
from qinspect.tables import Table
from qinspect.targets.target import Plan, Report
from qinspect.task import Token

NAME_ROOM = 20
"""Names of tensors are never shortened to fewer characters than this."""
FINDINGS_SHOWN = 3
"""Different findings of one rule that are printed."""
WEIGHTED = "weighted dB"
"""The SQNR in which input channels count by their importance."""
_LEFT = ("tensor", "shape", "type", "stored as")
"""Columns of text where nothing else is said; all others hold numbers and are aligned on their right."""


def complain(error: object) -> None:
    """One line on stderr."""
    print(f"qinspect: error: {printable(str(error), 2000)}", file=sys.stderr)


def remark(text: str) -> None:
    """One line on stderr that is no error."""
    print(f"qinspect: note: {printable(text, 2000)}", file=sys.stderr)


def print_json(value: Mapping[str, Any]) -> None:
    """Plain ASCII, so that any pipe carries it."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_infos(checkpoint: Checkpoint) -> None:
    """The tensors of a checkpoint in its own order."""
    infos = checkpoint.infos
    size, nbytes = sum(info.size for info in infos), sum(info.nbytes for info in infos)
    columns = {
        "tensor": [*(info.name for info in infos), fmt.counted(len(infos), "tensor")],
        "shape": [*(fmt.shape(info.shape) for info in infos), f"{size:,} elements"],
        "type": [*(info.dtype for info in infos), ""],
        "stored as": [*(info.qtype or info.dtype for info in infos), ""],
        "size": [fmt.nbytes(n) for n in (*(info.nbytes for info in infos), nbytes)],
    }
    if not any(info.qtype for info in infos):
        del columns["stored as"]
    print(f"{printable(str(checkpoint.path))}: {checkpoint.format}")
    print(table(columns, spare=("type",)))
    if checkpoint.metadata:
        print()
        print(table(_metadata(checkpoint.metadata), left=("metadata", "value"), total=False))


def _metadata(metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """What the file says of itself; long texts are cut."""
    keys = [printable(key, 60) for key in metadata]
    room = max(NAME_ROOM, (terminal_width() or 120) - max(map(len, (*keys, "metadata"))) - 3)
    return {"metadata": keys, "value": [printable(text, room) for text in metadata.values()]}


def print_analysis(how: str, reports: Sequence[LayerReport]) -> None:
    """The figures of layers that are stored as `how` says, the worst first, their total, their findings in words."""
    if not reports:
        print("There is nothing to quantize: no floating tensor of two dimensions or more.")
        return
    ordered, summary = sorted(reports, key=_badness), total(reports)
    rows = [_row(report) for report in ordered] + [_total_row(reports, summary)]
    if all(report.weighted_sqnr_db is None for report in reports):
        rows = [{title: cell for title, cell in row.items() if title != WEIGHTED} for row in rows]
    print(table({title: [row[title] for row in rows] for title in rows[0]}, spare=("shape", "max error")))
    print(f"{how}: {_share(summary.nbytes, summary.original_nbytes)}")
    for lines in _findings(ordered):
        print(f"\n{lines}")


def _badness(report: LayerReport) -> float:
    """Sorts the layers that could not be measured first, those without a reference last."""
    if report.metrics is None:
        return -math.inf
    return math.inf if math.isnan(report.metrics.sqnr_db) else report.metrics.sqnr_db


def _row(report: LayerReport) -> dict[str, str]:
    m = report.metrics
    return {
        "tensor": report.info.name,
        "shape": fmt.shape(report.info.shape),
        "SQNR dB": fmt.NONE if m is None else _sqnr(m),
        WEIGHTED: fmt.decimal(report.weighted_sqnr_db, 2),
        "RMSE": fmt.magnitude(m.rmse if m else None),
        "max error": fmt.magnitude(m.max_error if m else None),
        "bpw": fmt.decimal(m.bpw if m else None, 3),
        "size": fmt.nbytes(m.nbytes if m else None),
        "findings": "error" if m is None else str(len(report.findings) or ""),
    }


def _total_row(reports: Sequence[LayerReport], summary: Total) -> dict[str, str]:
    measured = sum(report.metrics is not None for report in reports)
    of = "" if measured == len(reports) else f"{measured} of "
    return {
        "tensor": f"{of}{fmt.counted(len(reports), 'tensor')}",
        "shape": "",
        "SQNR dB": fmt.decimal(summary.sqnr_db, 2),
        WEIGHTED: "",
        "RMSE": "",
        "max error": "",
        "bpw": fmt.decimal(summary.bpw, 3),
        "size": fmt.nbytes(summary.nbytes),
        "findings": str(sum(len(report.findings) for report in reports) or ""),
    }


def _findings(reports: Sequence[LayerReport]) -> Iterator[str]:
    """One paragraph a rule, the gravest first: its findings of the worst layers, and how many more there are."""
    found: dict[tuple[int, str], dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for report in reports:
        for finding in report.findings:
            gain = f" (+{finding.gain_db:.1f} dB)" if finding.gain_db is not None else ""
            kind = SEVERITIES.index(finding.severity), finding.rule
            found[kind][finding.remedy + gain, finding.text].append(report.info.name)
    for (severity, rule), texts in sorted(found.items(), key=lambda item: item[0][0]):
        tensors = fmt.counted(sum(map(len, texts.values())), "tensor")
        lines = [f"{SEVERITIES[severity]}: {rule}, {tensors}"]
        for remedy, same in groupby(list(texts.items())[:FINDINGS_SHOWN], key=lambda item: item[0][0]):
            lines += [wrapped(f"{some_names(names)}: {text}", "  ", "    ") for (_, text), names in same]
            lines.append(wrapped(remedy, "  → "))
        more = sum(map(len, list(texts.values())[FINDINGS_SHOWN:]))
        yield "\n".join(lines + ([f"  and {fmt.counted(more, 'tensor')} more; --json lists them all"] if more else []))


def export_json(target: str, out: Path, plan: Plan, written: Report | None) -> dict[str, Any]:
    """What `export --json` prints: the file as it was read back, and each tensor's scheme and size in it."""
    differences = {row.name: row.max_difference for row in written.rows} if written else {}
    tensors = [
        {
            "name": row.name,
            "shape": list(row.shape),
            "dtype": row.dtype,
            "scheme": row.scheme and row.scheme.to_json(),
            "wanted": row.wanted and row.wanted.to_json(),
            "nbytes": row.nbytes,
            "original_nbytes": row.original_nbytes,
            "stored_as": row.stored_as,
            "max_difference": differences.get(row.name),
            "note": row.note,
        }
        for row in plan.rows
    ]
    sizes = {"nbytes": plan.nbytes, "original_nbytes": plan.original_nbytes, "fp32_nbytes": plan.fp32_nbytes}
    needs = plan.needs and {"flash": plan.needs.flash, "ram": plan.needs.ram}
    whole = {
        "bpw": plan.bpw,
        "needs": needs,
        "files": dict(plan.files),
        "remark": plan.remark,
        "proof": written and written.proof,
    }
    return {"path": str(out), "target": target, **sizes, **whole, "tensors": tensors}


def print_export(plan: Plan, written: Report | None) -> None:
    """What was written, or would be, and what is left as it is and why."""
    packed = sum(row.scheme is not None for row in plan.rows)
    at = "" if plan.bpw is None else f" at {plan.bpw:.3f} bits a weight"
    size = _share(plan.nbytes, plan.original_nbytes) if plan.needs is None else fmt.nbytes(plan.nbytes)
    print(f"wrote {printable(str(written.path))}: {size}" if written else f"would write {size}")
    print(
        f"{fmt.counted(packed, 'tensor')} quantized{at}" + (f"; {written.proof}" if written else "; nothing is written")
    )
    if plan.needs is not None:
        share = _share(plan.needs.flash, plan.original_nbytes)
        print(f"on the device: {share}, in flash, and {fmt.nbytes(plan.needs.ram)} of RAM; code on top")
    if plan.remark:
        print(wrapped(printable(plan.remark, 2000)))
    notes: dict[str, list[str]] = defaultdict(list)
    for row in plan.rows:
        if row.note:
            notes[row.note].append(row.name)
    for note, names in notes.items():
        print(wrapped(f"{some_names(names)}: {printable(note, 2000)}", "  ", "    "))


def print_demonstrations(shown: Sequence[Demonstration]) -> None:
    """Of each published recipe its inputs, its tables, and what to learn from them."""
    texts = [[f"{one.title}\n  {one.code}", *map(_values, one.tables), wrapped(one.lesson, "→ ")] for one in shown]
    print("\n\n\n".join("\n\n".join(text) for text in texts))


def _values(shown: Table) -> str:
    """A table under its caption."""
    titles = [column.title for column in shown.columns]
    columns = dict(zip(titles, zip(*shown.cells(), strict=True), strict=True))
    lines = table(columns, left=[c.title for c in shown.columns if not c.spec], total=shown.total)
    return f"{wrapped(shown.caption)}\n{lines}".lstrip("\n")


def table(
    columns: Mapping[str, Sequence[str]], spare: Sequence[str] = (), *, left: Sequence[str] = _LEFT, total: bool = True
) -> str:
    """`columns` by title, side by side; of a `total`, their last entries stand under a rule.

    On a terminal too narrow for it, `spare` columns are left out in turn, then the names in the first are shortened.
    """
    first = next(iter(columns))
    cells = {title: [printable(cell, 2000) for cell in column] for title, column in columns.items()}
    width = terminal_width()
    if width is not None:
        for title in spare:
            if width - _taken(cells, first) < NAME_ROOM:
                cells.pop(title, None)
        room = max(NAME_ROOM, width - _taken(cells, first))
        cells[first] = [cell if len(cell) <= room else printable(cell, room - 1) for cell in cells[first]]
    padded = [_padded(title, column, title in left) for title, column in cells.items()]
    lines = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    rule = "─" * (sum(len(column[0]) + 2 for column in padded) - 2)
    return "\n".join([*lines[:-1], rule, lines[-1]] if total else lines)


def _taken(cells: Mapping[str, Sequence[str]], first: str) -> int:
    """Width of all columns but the first, with the gaps between."""
    return sum(2 + max(map(len, (title, *column))) for title, column in cells.items() if title != first)


def _padded(title: str, column: Sequence[str], left: bool) -> list[str]:
    width = max(map(len, (title, *column)))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in (title, *column)]


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none, so that files and pipes get whole names."""
    return shutil.get_terminal_size((0, 0)).columns or None


def wrapped(text: str, first: str = "", rest: str | None = None) -> str:
    """`text` in lines that can be read, indented by `first` and then `rest` (spaces as wide as `first`)."""
    width = min(terminal_width() or 100, 110)
    after = " " * len(first) if rest is None else rest
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=after, break_on_hyphens=False)


def _share(nbytes: int, original: int) -> str:
    of = f", {nbytes / original:.1%} of the original {fmt.nbytes(original)}" if original else ""
    return f"{fmt.nbytes(nbytes)}{of}"


def some_names(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, and how many there are besides."""
    listed = ", ".join(printable(name, 80) for name in names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"


def _sqnr(metrics: Metrics) -> str:
    return "exact" if metrics.exact else fmt.decimal(metrics.sqnr_db, 2)


@contextmanager
def progress(label: str) -> Iterator[Token]:
    """A token whose progress is drawn on stderr while the block runs, if that is a terminal."""
    bar = _Bar(label) if sys.stderr.isatty() else None
    token = Token(bar.draw if bar else None)
    try:
        yield token
    finally:
        token.cancel()  # threads of work that was interrupted stop at their next check
        if bar:
            bar.clear()


class _Bar:
    """One line that is drawn over and over."""

    CELLS = 30
    DELAY_S = 0.1

    def __init__(self, label: str) -> None:
        self._label = label
        self._next = time.monotonic() + 2 * self.DELAY_S  # short work shows no bar at all

    def draw(self, fraction: float) -> None:
        """Show how much is done, not more often than can be seen."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.DELAY_S
        done = round(fraction * self.CELLS)
        bar = "█" * done + "░" * (self.CELLS - done)
        print(f"\r{self._label} {bar} {fraction:4.0%}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave nothing behind."""
        print(f"\r{' ' * (len(self._label) + self.CELLS + 6)}\r", end="", file=sys.stderr, flush=True)
