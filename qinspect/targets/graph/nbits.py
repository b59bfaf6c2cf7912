"""The form `MatMulNBits`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.graph.forms import Form, Held, Site, bits_packed, bits_read, codes_of
from qinspect.targets.graph.wire import Message, node
from qinspect.targets.matrix import Matrix, params_of

MICROSOFT = "com.microsoft"

_BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of blocks that onnxruntime knows."""


class NBits(Form):
    """`MatMulNBits` of onnxruntime: it takes the place of the product and reads the weights as they are packed."""

    name: ClassVar[str] = "MatMulNBits"
    domain: ClassVar[str] = MICROSOFT

    @classmethod
    def fits(cls, site: Site, scheme: Scheme, matrix: Matrix) -> bool:
        """Even levels in blocks of a power of two; with 8 bits, 0 is an integer code."""
        floats = "offset" in matrix.arrays or matrix.fixed_offset != 0
        block = _power_above(matrix.group)
        return (
            site.products
            and site.dtype == "F32"
            and len(site.shape) == 2
            and matrix.even
            and matrix.sets == matrix.groups
            and block in _BLOCKS
            and (matrix.group == block or matrix.groups == 1)
            and scheme.n_codes <= (16 if floats else 256)
        )

    @property
    def bits(self) -> int:
        """Of a code."""
        return next(bits for bits in (2, 4, 8) if self.scheme.n_codes <= 1 << bits)

    @property
    def _zeros(self) -> str:
        """How zero points are held: as `floats`, as `integers`, or not, being in the middle of the codes."""
        if "offset" in self.matrix.arrays or self.matrix.fixed_offset:
            return "floats"
        middle = self.matrix.fixed_zero == 1 << (self.bits - 1) and "zero" not in self.matrix.arrays
        return "" if middle else "integers"

    def held(self) -> dict[str, Held]:
        """Codes `[N, blocks, bytes]`, scales `[N, blocks]`, zero points."""
        rows, blocks, block = self.matrix.rows, self.matrix.groups, _power_above(self.matrix.group)
        found = {"codes": Held("U8", (rows, blocks, block * self.bits // 8)), "scale": Held("F32", (rows, blocks))}
        if self._zeros == "floats":
            found["zero"] = Held("F32", (rows, blocks))
        elif self._zeros:
            found["zero"] = Held("U8", (rows, -(-blocks * self.bits // 8)))
        return found

    def arrays(self, q: QTensor) -> list[np.ndarray]:
        """Packed along each block; the scale is the distance of two levels."""
        m, params = self.matrix, params_of(q, self.matrix)
        block = _power_above(m.group)
        codes = np.pad(codes_of(q), [(0, 0), (0, m.groups * block - m.cols)]).reshape(m.rows, m.groups, block)
        step = params["scale"].astype(np.float32).reshape(m.rows, m.groups) * np.float32(m.unit)
        zero, offset = (
            np.asarray(params.get(key, np.full(step.size, fixed))).astype(np.float32).reshape(step.shape)
            for key, fixed in (("zero", m.fixed_zero), ("offset", m.fixed_offset))
        )
        found = [bits_packed(codes, self.bits), step]
        if self._zeros == "floats":
            found.append(zero - offset / step)
        elif self._zeros:
            found.append(bits_packed(zero, self.bits))
        return found

    def decoded(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """`(code − zero)·scale`."""
        m, stored = self.matrix, arrays.get("zero")
        codes = bits_read(arrays["codes"], self.bits, _power_above(m.group)).astype(np.float32)
        if stored is None:
            stored = np.full((m.rows, m.groups), 1 << (self.bits - 1))
        elif stored.dtype == np.uint8:
            stored = bits_read(stored, self.bits, m.groups)
        zero = stored.astype(np.float32)[:, :, None]
        weights = (codes - zero) * arrays["scale"][:, :, None]
        return np.asarray(weights.reshape(m.rows, -1)[:, : m.cols])

    def nodes(self) -> tuple[list[Message], list[Message]]:
        """None: `product` takes the place of what takes the weight."""
        return [], []

    def product(self, x: str, y: str, name: str = "") -> Message:
        """`y` = `x` times the weight."""
        m = self.matrix
        inputs = [x, *(stored.name for stored in self.stored)]
        sizes = {"K": m.cols, "N": m.rows, "bits": self.bits, "block_size": _power_above(m.group)}
        return node("MatMulNBits", inputs, [y], domain=MICROSOFT, name=name, **sizes)


def _power_above(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(0, number - 1).bit_length()
