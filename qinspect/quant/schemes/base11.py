"""Base-11, the native "3.5-bit" scheme for devices: eleven levels a weight, nine weights to a uint32.

Source: SCHEMES section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qinspect.quant.schemes.base_n import BaseN


@dataclass(frozen=True)
class Base11(BaseN):
    """`BaseN` with eleven levels."""

    name: ClassVar[str] = "base11"
    title: ClassVar[str] = "Base-11 (3.5 bit)"
    summary: ClassVar[str] = "Eleven levels from each group's minimum to its maximum; nine weights share a 32-bit word."
    order: ClassVar[int] = 10

    levels: ClassVar[int] = 11  # type: ignore[misc]
