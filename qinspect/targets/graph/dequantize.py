"""The form `DequantizeLinear`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.graph.forms import Form, Held, Site, bits_packed, bits_read, codes_of, finished
from qinspect.targets.graph.wire import Message, node
from qinspect.targets.matrix import Matrix, params_of

BLOCKED_OPSET = 21
"""From which `DequantizeLinear` takes blocks, 4 and 16 bits."""


class Dequantize(Form):
    """`DequantizeLinear`, by tensor, by row, or in blocks along a row."""

    name: ClassVar[str] = "DequantizeLinear"

    @classmethod
    def fits(cls, site: Site, scheme: Scheme, matrix: Matrix) -> bool:
        """Integers of 4, 8 or 16 bits without a float offset, in blocks that divide a row."""
        integer = matrix.even and matrix.unit == 1 and "offset" not in matrix.arrays and not matrix.fixed_offset
        simple = scheme.n_codes == 256 and matrix.groups == 1
        middle = matrix.fixed_zero == scheme.n_codes // 2
        return (
            integer
            and scheme.n_codes in (16, 256, 65536)
            and ("zero" in matrix.arrays or middle or not matrix.fixed_zero)
            and (simple or site.opset >= BLOCKED_OPSET)
            and (matrix.groups == 1 or matrix.cols % matrix.group == 0)
        )

    @property
    def _signed(self) -> bool:
        return "zero" not in self.matrix.arrays and self.matrix.fixed_zero > 0

    @property
    def _bits(self) -> int:
        return self.scheme.n_codes.bit_length() - 1

    def held(self) -> dict[str, Held]:
        """Codes in the order of the graph, scales, zero points."""
        m, turned = self.matrix, self.site.turned
        codes = (m.cols, m.rows) if turned else (m.rows, m.cols)
        blocks = (m.groups, m.rows) if turned else (m.rows, m.groups)
        sets: tuple[int, ...] = () if not m.sets else (m.rows,) if m.groups == 1 else blocks
        found = {"codes": self._integers(codes), "scale": Held("F32", sets)}
        if "zero" in m.arrays:
            found["zero"] = self._integers(sets)
        return found

    def _integers(self, shape: tuple[int, ...]) -> Held:
        dtype = f"{'I' if self._signed else 'U'}{self._bits}"
        if self._bits > 4:
            return Held(dtype, shape)
        return Held("U8", (-(-math.prod(shape) // 2),), (dtype, shape))

    def arrays(self, q: QTensor) -> list[np.ndarray]:
        """Signed codes where 0 is in the middle."""
        m, params, turned = self.matrix, params_of(q, self.matrix), self.site.turned
        codes = codes_of(q)
        found = [self._as_integers(codes.T if turned else codes)]
        for key in ("scale", "zero") if "zero" in m.arrays else ("scale",):
            values = params[key]
            if m.groups > 1:
                values = values.reshape(m.rows, m.groups)
                values = values.T if turned else values
            found.append(values.astype(np.float32) if key == "scale" else self._as_integers(values))
        return [a.reshape(held.shape) for a, held in zip(found, self.held().values(), strict=True)]

    def _as_integers(self, codes: np.ndarray) -> np.ndarray:
        """Stored codes, two a byte where they have four bits."""
        middle = self.scheme.n_codes // 2 if self._signed else 0
        whole = (np.ascontiguousarray(codes).astype(np.int32) - middle).reshape(-1)
        if self._bits == 4:
            return bits_packed(whole & 15, 4)
        return whole.astype(f"<{'i' if self._signed else 'u'}{self._bits // 8}")

    def decoded(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """`(code − zero)·scale`."""
        m = self.matrix
        held = self.held()
        codes = self._read(arrays["codes"], held["codes"])
        scale = arrays["scale"]
        zero = self._read(arrays["zero"], held["zero"]) if "zero" in arrays else np.zeros_like(scale)
        if self.site.turned:
            codes = codes.T
            scale, zero = (a.T if a.ndim == 2 else a for a in (scale, zero))
        if m.sets:
            scale, zero = (np.repeat(a.reshape(m.rows, -1), m.group, axis=1) for a in (scale, zero))
        return np.asarray((codes - zero).astype(np.float32) * scale)

    def _read(self, data: np.ndarray, held: Held) -> np.ndarray:
        if held.seen is None:
            return data.astype(np.int32)
        dtype, shape = held.seen
        codes = bits_read(data, 4, math.prod(shape)).astype(np.int32)
        return (codes - (codes > 7) * 16 if dtype == "I4" else codes).reshape(shape)

    def nodes(self) -> tuple[list[Message], list[Message]]:
        """One, and what gives the value its shape and type."""
        m, turned = self.matrix, self.site.turned
        attributes: dict[str, Any] = {}
        if m.sets:
            attributes["axis"] = int(turned) if m.groups == 1 else int(not turned)
        if m.groups > 1:
            attributes["block_size"] = m.group
        inputs = [stored.name for stored in self.stored]
        return finished(self, lambda y: node("DequantizeLinear", inputs, [y], **attributes))
