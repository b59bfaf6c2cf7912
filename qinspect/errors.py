"""What can go wrong, as one tree.

QInspectError
├── FormatError        a file is damaged, or is not what it claims to be
├── UnsupportedError   recognised, but this version cannot read, show or write it
├── SchemeError        parameters a scheme does not allow, or weights it cannot represent
│   └── ParameterOverflowError   a scale or a minimum beyond its type
├── BudgetError        no choice of schemes keeps within a limit
└── ExportError        the packed file could not be written, or read back differently

Every error is one sentence that names the file, the tensor and the remedy as far as they are known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self


def printable(text: str, limit: int = 200) -> str:
    """`text` safe to show: control and bidirectional characters escaped, long names shortened in the middle."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return shown if len(shown) <= limit else f"{shown[: limit // 2]}…{shown[-limit // 2 :]}"


class QInspectError(Exception):
    """Base of every error that qinspect raises on purpose."""

    def __init__(self, message: str, *, path: str | Path | None = None, tensor: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.tensor = tensor

    def within(self, *, path: str | Path | None = None, tensor: str | None = None) -> Self:
        """This error with the file and tensor filled in where they were not known yet."""
        self.path = self.path or path
        self.tensor = self.tensor or tensor
        return self

    def __str__(self) -> str:
        where = [printable(str(part)) for part in (self.path, self.tensor) if part]
        return ": ".join([*where, self.message])


class FormatError(QInspectError):
    """A file is damaged, or is not what it claims to be."""


class UnsupportedError(QInspectError):
    """A file or request is understood, but this version cannot carry it out."""


class SchemeError(QInspectError):
    """Parameters that a scheme does not allow, or weights that it cannot represent."""


class ParameterOverflowError(SchemeError):
    """A scale or a minimum beyond its type: `text` says which and where, `remedy` what to choose."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(f"{text}; {remedy}")
        self.text = text
        self.remedy = remedy


class BudgetError(QInspectError):
    """No choice of schemes keeps within a limit."""


class ExportError(QInspectError):
    """A file could not be written, or read back differently from what was meant."""
