"""The form `digits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.graph.forms import Form, Held, Site, finished
from qinspect.targets.graph.wire import TYPES, Message, integers, node, tensor
from qinspect.targets.matrix import Matrix, params_of, words_of


class Digits(Form):
    """Packed digits, taken apart by standard operators on unsigned integers."""

    name: ClassVar[str] = "digits"

    @classmethod
    def fits(cls, site: Site, scheme: Scheme, matrix: Matrix) -> bool:
        """Everything."""
        return True

    def held(self) -> dict[str, Held]:
        """Words `[rows, groups, words]`, parameters in the types of the scheme, the table of levels."""
        m = self.matrix
        sets = (m.rows, m.groups, 1) if m.sets else (1, 1, 1)
        found = {"codes": Held("U32", (m.rows, m.groups, m.group_words))}
        for key, (dtype, shape) in m.arrays.items():
            if key != "codes":
                # A power of two is a bfloat16, which graphs can cast.
                found[key] = Held("BF16" if dtype == "F8_E8M0" else dtype, shape if key == "table" else sets)
        return found

    def arrays(self, q: QTensor) -> list[np.ndarray]:
        """As the scheme has them."""
        found = params_of(q, self.matrix) | {"codes": words_of(q, self.matrix)}
        if self.matrix.arrays["scale"][0] == "F8_E8M0":
            found["scale"] = q.scheme.grid_of(q.params).scale.astype(ml_dtypes.bfloat16)
        return [found[key].reshape(held.shape) for key, held in self.held().items()]

    def decoded(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """`table[code]·scale + offset`, or `(code − zero)·scale + offset`."""
        m, rest = self.matrix, arrays["codes"].copy()
        digits = np.empty((*rest.shape, m.digits), np.uint16)
        for place in range(m.digits):
            digits[..., place] = rest % m.base
            rest //= m.base
        code = digits.reshape(m.rows, m.groups, -1)[:, :, : m.group]
        scale, offset, zero = (arrays.get(key) for key in ("scale", "offset", "zero"))
        assert scale is not None
        low = np.float32(m.fixed_zero) if zero is None else zero.astype(np.float32)
        shift = np.float32(m.fixed_offset) if offset is None else offset.astype(np.float32)
        level = arrays["table"][code] if "table" in arrays else code.astype(np.float32) - low
        weights = level * scale.astype(np.float32) + shift
        return np.asarray(weights.reshape(m.rows, -1)[:, : m.cols])

    def nodes(self) -> tuple[list[Message], list[Message]]:
        """Words to digits to levels to weights."""
        chain = _Chain(self)
        m = self.matrix
        value = chain.add("Unsqueeze", self.part("codes"), chain.integers("last", [-1]))
        value = chain.add("Div", value, chain.words("powers", [m.base**k for k in range(m.digits)]))
        value = chain.add("Mod", value, chain.words("base", [m.base]))
        value = chain.add("Reshape", value, chain.integers("groups", [m.rows, m.groups, m.group_words * m.digits]))
        value = chain.cut(value, 2, m.group_words * m.digits, m.group)
        if "table" in m.arrays:
            value = chain.add("Gather", self.part("table"), chain.cast(value, "I32"))
        else:
            value = chain.cast(value, "F32")
            if "zero" in m.arrays or m.fixed_zero:
                value = chain.add("Sub", value, chain.number("zero", m.fixed_zero))
        value = chain.add("Mul", value, chain.number("scale", 1.0))
        if "offset" in m.arrays or m.fixed_offset:
            value = chain.add("Add", value, chain.number("offset", m.fixed_offset))
        value = chain.add("Reshape", value, chain.integers("rows", [m.rows, m.groups * m.group]))
        value = chain.cut(value, 1, m.groups * m.group, m.cols)
        if self.site.turned:
            value = chain.add("Transpose", value, perm=[1, 0])
        nodes, constants = finished(self, lambda y: node("Identity", [value], [y]))
        return [*chain.nodes, *nodes], [*chain.constants, *constants]


class _Chain:
    """Nodes one after the other."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.nodes: list[Message] = []
        self.constants: list[Message] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The name of what a node of these inputs gives."""
        found = self._form.part(f"{op}_{len(self.nodes)}")
        self.nodes.append(node(op, inputs, [found], **attributes))
        return found

    def cast(self, value: str, dtype: str) -> str:
        """The value in another type."""
        return self.add("Cast", value, to=TYPES[dtype])

    def cut(self, value: str, axis: int, size: int, wanted: int) -> str:
        """The first `wanted` of `size` entries along an axis."""
        if wanted == size:
            return value
        ends = [self.integers(f"{key}_{axis}", [number]) for key, number in (("0", 0), ("end", wanted), ("axis", axis))]
        return self.add("Slice", value, *ends)

    def number(self, key: str, fixed: float) -> str:
        """A parameter in float32: that which is stored, or the one for all groups."""
        held = self._form.held().get(key)
        if held is None:
            self.constants.append(tensor(self._form.part(key), "F32", [], [np.float32(fixed).tobytes()]))
            return self._form.part(key)
        return self._form.part(key) if held.dtype == "F32" else self.cast(self._form.part(key), "F32")

    def integers(self, key: str, values: Sequence[int]) -> str:
        """A constant of int64 numbers."""
        self.constants.append(integers(self._form.part(key), values))
        return self._form.part(key)

    def words(self, key: str, values: Sequence[int]) -> str:
        """A constant of uint32 numbers."""
        data = np.asarray(values, "<u4").tobytes()
        self.constants.append(tensor(self._form.part(key), "U32", [len(values)], [data]))
        return self._form.part(key)
