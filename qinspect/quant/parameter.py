"""What a form, a command-line flag or a check must know of one field of a scheme."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from qinspect.errors import SchemeError


@dataclass(frozen=True)
class Parameter:
    """What a form, a flag or a check must know of one field of a scheme."""

    name: str
    type: type
    default: Any
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[Any, ...] | None = None
    unit: str = ""
    needs: tuple[str, Any] | None = None
    """The field and the value it must have for this one to matter."""

    def check(self, value: Any) -> None:
        """Raise SchemeError unless `value` is allowed."""
        if not isinstance(value, self.type) or isinstance(value, bool):
            wanted = "a whole number" if self.type is int else "text"
            raise SchemeError(f"{self.name} must be {wanted}, not {value!r}")
        if self.choices is not None and value not in self.choices:
            raise SchemeError(f"{self.name} must be one of {', '.join(map(str, self.choices))}, not {value!r}")
        if isinstance(value, int) and not (self.low or 0) <= value <= (self.high if self.high is not None else value):
            raise SchemeError(f"{self.name} must be {self.low} to {self.high}, not {value}")


def param(default: Any, help: str, **limits: Any) -> Any:
    """A dataclass field that is a parameter of a scheme; `limits` are those of `Parameter`."""
    return dataclasses.field(default=default, metadata={"help": help, **limits})
