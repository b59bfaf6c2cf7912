"""What every group of a layer has one of: scale, minimum, range, step, and how well it serves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qinspect import analysis
from qinspect.gui.axes import number
from qinspect.gui.colours import Kind, Look
from qinspect.gui.pooling import Pool
from qinspect.gui.theme import Theme
from qinspect.session import Inspection

LOOK = Look("viridis", percent=99.0)
"""A single odd group would hide all differences."""


@dataclass(frozen=True)
class Parameter:
    """Something that every group has one of. `source` is "scales" or the question whose answer has it."""

    title: str
    field: str
    question: analysis.Question | None = None
    unit: str = ""
    look: Look = LOOK
    pool: Pool = Pool.LARGEST
    pooled: str = "the largest"


DIFFERENCES = Look("neutral", Kind.SIGNED, percent=99.0)
"""Colours of A − B."""

ERRORS, CODES = analysis.GroupErrors(), analysis.GroupCodes()
_COUNT = Look("inferno", Kind.MAGNITUDE)

PARAMETERS = (
    Parameter("scale", "scale"),
    Parameter("minimum", "minimum"),
    Parameter("range", "range"),
    Parameter("step", "step"),
    Parameter("SQNR", "sqnr_db", ERRORS, "dB", pool=Pool.LEAST, pooled="the least"),
    Parameter("RMSE", "rmse", ERRORS),
    Parameter("largest error", "max_error", ERRORS),
    Parameter("clipped weights", "clipped", ERRORS, look=_COUNT),
    Parameter("codes used", "used", CODES, pool=Pool.LEAST, pooled="the least"),
    Parameter("entropy", "entropy", CODES, "bits", pool=Pool.LEAST, pooled="the least"),
)  # fmt: skip


def lacking(inspection: Inspection) -> set[str]:
    """Uneven levels have no one step, errors need the originals, and codes are counted where groups are runs."""
    layout = inspection.scheme.layout(inspection.quantized.shape)
    lacking = set() if "step" in inspection.scales.values else {"step"}
    if inspection.weights is None:
        lacking |= {each.title for each in PARAMETERS if each.question == ERRORS}
    if not layout.local:
        lacking |= {each.title for each in PARAMETERS if each.question == CODES}
    return lacking


def steps_instead(a: Inspection, b: Inspection) -> bool:
    """Whether the scale of one is a step and that of the other a range: they compare as steps alone."""
    sides = [side.scales.values for side in (a, b)]
    if any("step" not in side or not side["step"].size for side in sides):
        return False
    kinds = []
    for side in sides:
        at = int(side["step"].argmax())
        step = float(side["step"].flat[at])
        kinds.append(float(side["scale"].flat[at]) / step if step > 0 else math.nan)
    return not math.isnan(sum(kinds)) and not math.isclose(*kinds, rel_tol=0.01)


def both_text(theme: Theme, parameter: Parameter, a: float, b: float) -> str:
    """One value for the whole tensor on either side."""
    return (
        f"<p style='color:{theme.muted}; margin:0'>one {parameter.title} for the whole tensor</p>"
        f"<p style='font-size:24px; color:{theme.text}; margin:6px'>"
        f"A {value_text(parameter, a)} &nbsp; B {value_text(parameter, b)}</p>"
        f"<p style='color:{theme.muted}; margin:0'>A − B {value_text(parameter, a - b)}</p>"
    )


def capital(title: str) -> str:
    """As a sentence begins; SQNR stays as it is."""
    return title if title[0].isupper() else title.capitalize()


def unit(parameter: Parameter) -> str:
    """Behind a number, with a space."""
    return f" {parameter.unit}" if parameter.unit else ""


def value_text(parameter: Parameter, value: float) -> str:
    """A value with its unit."""
    if math.isinf(value) and parameter.unit == "dB":
        return "exact"
    whole = parameter.field in ("clipped", "used")
    text = f"{value:,.0f}" if whole else number(value, 4)
    return f"{text} {parameter.unit}".rstrip()
