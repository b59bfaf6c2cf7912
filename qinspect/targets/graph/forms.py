"""How a quantized weight is held in a graph: three forms, the arrays of each, and the nodes that make weights of them.

| form | what is stored | decoded by |
|---|---|---|
| `MatMulNBits` | 2, 4 or 8 bits in blocks, scales, zero points (integers or floats) | onnxruntime's product, packed |
| `DequantizeLinear` | 4, 8 or 16 bits, scales by tensor, row or block, zero points | the standard operator |
| `digits` | digits in uint32 words and parameters, any scheme of `matrix.py` | Div, Mod, Cast, Mul, Add |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.blueprint import Stored
from qinspect.targets.graph.wire import TYPES, Message, integers, node, tensor
from qinspect.targets.matrix import Matrix, matrix_of


@dataclass(frozen=True)
class Site:
    """Where a weight is wanted: as the value `name` of type `dtype` in a graph of an operator set.

    `shape` is that of the tensor as recipes see it, rows first; in the graph it is `turned`, [inputs, outputs], or not.
    `products` says whether nothing but matrix products takes it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    turned: bool
    opset: int
    products: bool


@dataclass(frozen=True)
class Held:
    """An array of a form: how it lies in the file, and the type and shape that the graph gives those bytes."""

    dtype: str
    shape: tuple[int, ...]
    seen: tuple[str, tuple[int, ...]] | None = None


class Form(ABC):
    """A weight in a graph. Its arrays have the names that onnxruntime's tools give, `<value>_quantized` and so on."""

    name: ClassVar[str]
    domain: ClassVar[str] = ""

    def __init__(self, site: Site, scheme: Scheme, matrix: Matrix) -> None:
        self.site, self.scheme, self.matrix = site, scheme, matrix

    @classmethod
    @abstractmethod
    def fits(cls, site: Site, scheme: Scheme, matrix: Matrix) -> bool:
        """Whether this form can hold such a weight."""

    @abstractmethod
    def held(self) -> dict[str, Held]:
        """The arrays."""

    @abstractmethod
    def arrays(self, q: QTensor) -> list[np.ndarray]:
        """The data of `held`, in its order."""

    @abstractmethod
    def decoded(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Float32 weights `[rows, cols]` from stored arrays, by a formula of its own: proof that they are right."""

    @abstractmethod
    def nodes(self) -> tuple[list[Message], list[Message]]:
        """The nodes that compute the value, and small constants that they take."""

    def part(self, key: str) -> str:
        """The name of an array, or of a value on the way."""
        return f"{self.site.name}_{_ARRAYS.get(key, f'qinspect_{key}')}"

    @property
    def stored(self) -> list[Stored]:
        """The arrays under their names."""
        return [Stored(self.part(key), held.dtype, held.shape) for key, held in self.held().items()]

    def tensors(self) -> list[Message]:
        """The arrays as messages."""
        return [
            tensor(stored.name, *(held.seen or (stored.dtype, stored.shape)), [stored])
            for stored, held in zip(self.stored, self.held().values(), strict=True)
        ]


_ARRAYS = {"codes": "quantized", "scale": "scale", "zero": "zero_point", "offset": "offset", "table": "table"}


def form_of(site: Site, scheme: Scheme, wanted: Sequence[type[Form]]) -> Form | str:
    """The first of the `wanted` forms that fits, or why none does."""
    matrix = matrix_of(scheme, site.shape)
    if isinstance(matrix, str):
        return matrix
    fitting = next((form for form in wanted if form.fits(site, scheme, matrix)), None)
    return f"no operator holds {scheme.label}" if fitting is None else fitting(site, scheme, matrix)


def codes_of(q: QTensor) -> np.ndarray:
    """Codes counted from the lowest, `[rows, cols]`."""
    codes = q.scheme.codes(q)
    low = q.scheme.code_range[0]
    return (codes - low if low else codes).reshape(len(codes) if codes.ndim > 1 else 1, -1)


def bits_packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis, low bits first, in bytes; the last byte is filled up with zeros."""
    each = 8 // bits
    padded = np.pad(codes.astype(np.uint8), [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % each)])
    grouped = padded.reshape(*padded.shape[:-1], -1, each) << (np.arange(each, dtype=np.uint8) * np.uint8(bits))
    return np.asarray(np.bitwise_or.reduce(grouped, axis=-1))


def bits_read(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of `_bits_packed`."""
    places = data[..., None] >> np.arange(0, 8, bits, dtype=np.uint8) & ((1 << bits) - 1)
    return np.asarray(places.reshape(*data.shape[:-1], -1)[..., :count])


def finished(form: Form, last: Callable[[str], Message]) -> tuple[list[Message], list[Message]]:
    """`last` makes a node that gives float32 `[rows, cols]`; what follows gives the value its shape and type."""
    site = form.site
    follow = [op for op, needed in (("Reshape", len(site.shape) != 2), ("Cast", site.dtype != "F32")) if needed]
    names = [*(form.part(f"before_{op}") for op in follow), site.name]
    nodes, constants = [last(names[0])], []
    for op, before, after in zip(follow, names, names[1:], strict=False):
        if op == "Reshape":
            constants.append(integers(form.part("shape"), site.shape))
            nodes.append(node(op, [before, form.part("shape")], [after]))
        else:
            nodes.append(node(op, [before], [after], to=TYPES[site.dtype]))
    return nodes, constants
