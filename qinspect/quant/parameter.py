"""What a form, a command-line flag or a check must know of one field of a scheme."""

from __future__ import annotations

import dataclasses
import math
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
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    unit: str = ""
    needs: tuple[str, Any] | None = None
    """The field and the value it must have for this one to matter."""

    def check(self, value: Any) -> None:
        """Raise SchemeError unless `value` is allowed."""
        allowed = (int, float) if self.type is float else self.type
        if not isinstance(value, allowed) or isinstance(value, bool):
            wanted = {int: "a whole number", float: "a number"}.get(self.type, "text")
            raise SchemeError(f"{self.name} must be {wanted}, not {value!r}")
        if self.choices is not None and value not in self.choices:
            raise SchemeError(f"{self.name} must be one of {', '.join(map(str, self.choices))}, not {value!r}")
        high = self.high if self.high is not None else math.inf
        if isinstance(value, (int, float)) and not (self.low or 0) <= value <= high:
            raise SchemeError(f"{self.name} must be {self.low} to {self.high}, not {value}")


def param(default: Any, help: str, **limits: Any) -> Any:
    """A dataclass field that is a parameter of a scheme; `limits` are those of `Parameter`."""
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def calibration_param(*rules: str) -> Any:
    """The field `calibration` of a scheme that knows these rules."""
    helps = {
        "minmax": "the extreme weights",
        "percentile": "a quantile of |w|, beyond which weights are clipped",
        "mse": "what makes the squared error least",
        "mse_ends": "the same, with each end searched by itself",
        "absmean": "mean |w|",
    }
    text = "; ".join(f"{rule}: {helps[rule]}" for rule in rules)
    return param(rules[0], f"Where the range of the codes comes from. {text}.", choices=rules)


def percentile_param() -> Any:
    """The field `percentile` beside it."""
    text = "Percentage of a set's weights whose magnitude lies within the range."
    return param(99.9, text, low=50.0, high=100.0, unit="%", needs=("calibration", "percentile"))
