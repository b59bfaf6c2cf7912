"""Tables of values that a terminal, a script and the window each show in their own way."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any, TextIO

from qinspect.errors import printable


@dataclass(frozen=True)
class Column:
    """One column: its key in JSON, its title, and how its numbers are written; without a `spec` it holds text."""

    key: str
    title: str
    spec: str = ""

    def text(self, value: Any) -> str:
        """A value, or a pair that is a range, for people."""
        if value is None:
            return "–"
        if isinstance(value, tuple):
            return " … ".join(dict.fromkeys(map(self.text, value)))
        return printable(value, 2000) if isinstance(value, str) else f"{value:{self.spec}}".replace("-", "−")


@dataclass(frozen=True)
class Table:
    """Rows of values under their columns; of a `total` table the last row sums up the others."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: bool = False

    def cells(self) -> list[list[str]]:
        """The values as text, row by row."""
        return [[c.text(value) for c, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def column(self, key: str) -> tuple[Any, ...]:
        """The values of one column."""
        index = [column.key for column in self.columns].index(key)
        return tuple(row[index] for row in self.rows)

    def to_csv(self, stream: TextIO) -> None:
        """Comma-separated values under the columns' keys, numbers in full; a range takes one cell, as text."""
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        for row in self.rows:
            writer.writerow(
                harmless(c.text(value) if isinstance(value, tuple) else value)
                for c, value in zip(self.columns, row, strict=True)
            )

    def to_json(self) -> dict[str, Any]:
        """The values by their columns' keys."""
        keys = [column.key for column in self.columns]
        return {"caption": self.caption, "rows": [dict(zip(keys, row, strict=True)) for row in self.rows]}


def harmless(cell: Any) -> Any:
    """A text that a terminal shows and no spreadsheet computes: names in a file may say anything."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell, len(cell) * 10)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
