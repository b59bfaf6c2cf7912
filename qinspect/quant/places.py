"""Where in its bytes a weight is: what a device reads for it, number by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qinspect.quant.scheme import QTensor


@dataclass(frozen=True)
class Place:
    """`nbytes` bytes that are read as one little-endian number, from `offset` on in what is stored of a row.

    The number holds `count` weights from column `first` on, each a digit of base `base`, the first weight the lowest.
    A base that is a power of two makes bit fields of the digits.
    """

    offset: int
    nbytes: int
    first: int
    count: int
    base: int


@dataclass(frozen=True)
class Held:
    """A place with what is in it: the bytes, the number they make, and the digit of each weight."""

    place: Place
    raw: bytes
    number: int
    digits: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """One parameter of a set: its name, the bytes it is stored in, from `offset` on in its array, and its value."""

    name: str
    offset: int
    raw: bytes
    value: float


def held(q: QTensor, row: int, start: int, stop: int) -> list[Held]:
    """All that holds columns `start`…`stop` of a row of `q`; nothing of a layout that somebody else packed."""
    if q.scheme.decode_only:
        return []
    data = np.asarray(q.data[row : row + 1]).reshape(-1)
    found = []
    for place in q.scheme.packing.places(q.scheme.layout(q.shape), start, stop):
        raw = data[place.offset : place.offset + place.nbytes].tobytes()
        number = int.from_bytes(raw, "little")
        digits = tuple(number // place.base**i % place.base for i in range(place.count))
        found.append(Held(place, raw, number, digits))
    return found


def parameters(q: QTensor, number: int) -> list[Stored]:
    """What is stored of one parameter set of `q`; nothing of a layout that somebody else packed."""
    found = []
    for name in () if q.scheme.decode_only else q.scheme.param_dtypes():
        array = np.asarray(q.params[name]).reshape(-1)
        raw = array[number : number + 1].tobytes()
        found.append(Stored(name, number * array.itemsize, raw, float(array[number])))
    return found
