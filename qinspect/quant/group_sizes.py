"""Which group sizes suit a row, and what one costs that does not divide it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from qinspect.quant.scheme import Scheme


@dataclass(frozen=True)
class Fit:
    """How groups of `size` fit rows of `cols` weights: `ragged` weights are in the last one, 0 where all are full.

    `padding` is what is stored of weights that are not there, in bits a weight: places of a short last group, digits
    of a word and bits of a byte that no weight uses, parameters beyond one set for `size` weights.
    """

    size: int
    cols: int
    ragged: int
    padding: float

    @property
    def sentence(self) -> str:
        """What it costs, in words; empty where it costs nothing."""
        cost = f"{self.padding:.2f} bits a weight"
        if self.ragged:
            rows = f"Groups of {self.size} do not divide rows of {self.cols}: the last holds {self.ragged}"
            return f"{rows}, which costs {cost}." if self.padding >= 0.005 else f"{rows}, which costs next to nothing."
        return (
            f"Groups of {self.size} leave packing digits that no weight uses: {cost}." if self.padding > 0.005 else ""
        )


@lru_cache(1 << 14)
def fit(scheme: Scheme, cols: int) -> Fit | None:
    """How the groups of `scheme` fit a row of `cols` weights; None where parameters are not shared by groups."""
    if not grouped(scheme) or not cols:
        return None
    layout, size = scheme.layout((1, cols)), min(group_size(scheme), cols)
    # In a long row of whole bytes and words nothing is padded.
    length = 8 * digits(scheme)
    codes = 8 * _data_bytes(resized(scheme, length), length) / length
    parameters = 8 * sum(dtype.itemsize for dtype in scheme.param_dtypes().values())
    shared = sum(dtype.itemsize * math.prod(dims) for dtype, dims in scheme.tensor_params().values())
    extra = 8 * (scheme.nbytes((1, cols)) - shared) / cols - codes - parameters / size
    return Fit(size, cols, layout.ragged, max(0.0, round(extra, 9)))


def grouped(scheme: Scheme) -> bool:
    """Whether runs of `group_size` weights along a row share parameters."""
    return any(p.name == "group_size" for p in scheme.active_parameters())


def group_size(scheme: Scheme) -> int:
    """The size of the groups of a scheme that has them."""
    size: int = scheme.group_size  # type: ignore[attr-defined]
    return size


def resized(scheme: Scheme, size: int) -> Scheme:
    """The same scheme with groups of another size."""
    return replace(scheme, group_size=size)  # type: ignore[call-arg]


def digits(scheme: Scheme) -> int:
    """How many codes of a group share a word; 1 where each has bits of its own."""
    found: int = getattr(scheme.packing, "digits", 1)
    return found


@lru_cache(1 << 12)
def useful_sizes(scheme: Scheme, cols: int, low: int = 32, high: int = 256) -> tuple[int, ...]:
    """The sizes from `low` to `high` to choose from for rows of `cols`, ascending.

    They are the powers of two; below each the largest number of whole words; and in each octave around one the size
    that pads least on this row, be it a divisor of it or whole words. All rows so have the first two in common.
    """
    word = digits(scheme)
    found = set()
    for power in (1 << n for n in range(low.bit_length() - 1, high.bit_length())):
        found |= {power, power // word * word}
        near = suiting_sizes(scheme, cols, math.ceil(power / math.sqrt(2)), math.floor(power * math.sqrt(2)))
        found |= set(sorted(near, key=lambda size: (padding(scheme, size, cols), abs(size - power)))[:1])
    return tuple(sorted(size for size in found if low <= size <= high))


def suiting_sizes(scheme: Scheme, cols: int, low: int, high: int) -> list[int]:
    """The sizes from `low` to `high` that divide a row of `cols` or are whole words."""
    word = digits(scheme)
    return [
        size for size in range(max(1, low), min(high, cols) + 1) if not (cols % size and (word == 1 or size % word))
    ]


def padding(scheme: Scheme, size: int, cols: int) -> float:
    """`Fit.padding` of the scheme with groups of another size."""
    found = fit(resized(scheme, size), cols)
    return found.padding if found else 0.0


def _data_bytes(scheme: Scheme, cols: int) -> int:
    dtype, dims = scheme.stored((1, cols))["data"]
    return dtype.itemsize * math.prod(dims)
