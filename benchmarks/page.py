"""The page of the documentation that benchmarks write their tables to."""

from __future__ import annotations

import io
import platform
import sys
from pathlib import Path


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write(tables: str, mark: str = "bench") -> None:
    """Put the tables between the marks of this name in the documentation."""
    page = Path(__file__).parent.parent / "docs" / "benchmarks.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->\n")
    page.write_text(f"{before}{begin}{tables.strip()}\n{end}{after}", encoding="utf-8")


class Both(io.StringIO):
    """Prints, and keeps what was printed."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)
        return super().write(text)
