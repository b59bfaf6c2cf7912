"""Learned levels: the codebook that fits the tensor best (Lloyd 1957, Max 1960), stored with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.affine import Affine, as_scale
from qinspect.quant.codebook import stretched
from qinspect.quant.packing import Packing, row_packing
from qinspect.quant.parameter import param
from qinspect.quant.scheme import Grid

ROUNDS = 1000
"""The most that Lloyd's method takes; it stops where no level moves by more than a millionth of the range."""


@dataclass(frozen=True)
class Learned(Affine):
    """Codes 0 … levels−1; `w ≈ codebook[code]·scale` with scale = max|w| and one codebook for the tensor."""

    name: ClassVar[str] = "learned"
    title: ClassVar[str] = "Learned codebook"
    summary: ClassVar[str] = "Levels placed for the least squared error on this tensor, times one scale."
    order: ClassVar[int] = 90
    centred: ClassVar[bool] = True

    bits: ClassVar[int] = 8  # type: ignore[misc]
    levels: int = param(16, "How many levels a weight may take.", low=2, high=256)

    @property
    def code_range(self) -> tuple[int, int]:
        """0 … levels−1, in the order of the levels."""
        return 0, self.levels - 1

    @property
    def packing(self) -> Packing:  # type: ignore[override]
        """Digits along each row; bit fields for a power of two."""
        return row_packing(self.levels)

    def param_dtypes(self) -> dict[str, np.dtype]:
        """`scale`."""
        return {"scale": self.scale_dtype}

    def tensor_params(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """`codebook`, ascending within −1 … 1."""
        return {"codebook": (np.dtype(np.float32), (self.levels,))}

    def learn(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """By Lloyd's method."""
        return {"codebook": lloyd_max(counts, self.levels)}

    def fit(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """The largest magnitude."""
        return {"scale": as_scale(np.maximum(-low, high), 1, self.scale_dtype)}

    def grid(self, params: Mapping[str, np.ndarray]) -> Grid:
        """The codebook, times the scale."""
        return stretched(params["codebook"], params["scale"].astype(np.float32))


def lloyd_max(counts: np.ndarray, levels: int) -> np.ndarray:
    """The `levels` of least mean squared error for `counts` at an odd number of even places −1 … 1, float32 ascending.

    Each level goes to the mean of the places nearest to it, again and again; where nothing is counted, all are 0.
    """
    if not counts.any():
        return np.zeros(levels, np.float32)
    half = counts.size // 2
    places = (np.arange(counts.size) - half) / half
    mass, moment = (np.append(0.0, np.cumsum(values)) for values in (counts, counts * places))
    found: np.ndarray = _first_guess(counts, levels)
    for _ in range(ROUNDS):
        edges = np.searchsorted(places, (found[1:] + found[:-1]) / 2, side="right")
        edges = np.concatenate([[0], edges, [counts.size]])
        here = np.diff(mass[edges])
        moved = np.where(here > 0, np.diff(moment[edges]) / np.maximum(here, 1), found)
        still = np.abs(moved - found).max() < 1e-6
        found = moved
        if still:
            break
    return found.astype(np.float32)


def _first_guess(counts: np.ndarray, levels: int) -> np.ndarray:
    """Levels as dense as the cube root of the weights', which is best where there are many (Panter and Dite 1951)."""
    cells = np.linspace(-1, 1, 1025)
    coarse = np.add.reduceat(counts, np.arange(1024) * counts.size // 1024)
    below = np.append(0.0, np.cumsum(np.cbrt(coarse)))
    return np.asarray(np.interp((np.arange(levels) + 0.5) / levels * below[-1], below, cells))
