"""Which block type of ggml carries a tensor of a scheme, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qinspect.formats.ggml import TYPES, BlockType
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.quant.schemes.mxfp4 import MXFP4
from qinspect.targets.matrix import Matrix, matrix_of, params_of

_SCALED = ("TQ1_0", "TQ2_0", "Q4_0", "Q5_0", "Q8_0")
"""Types whose levels are multiples of a scale, the smallest first."""
_SHIFTED = ("Q4_1", "Q5_1")
"""Types whose levels are multiples of a scale above a minimum."""


@dataclass(frozen=True)
class Carrier:
    """Blocks of `type` hold a tensor that is `matrix`; `exact` if parameters stay as they are, not rounded to float16.

    TQ2_0 has the codes −1 … 2, so that 2-bit codes −2 … 1 are held `negated`, under a negative scale.
    """

    type: BlockType
    matrix: Matrix
    n_codes: int
    exact: bool
    negated: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.matrix.rows * (self.matrix.cols // self.type.weights) * self.type.nbytes

    def grid(self, q: QTensor) -> tuple[np.ndarray, np.ndarray]:
        """The distance of levels and the lowest level of every block: float32 `[rows, blocks]`."""
        m, params = self.matrix, params_of(q, self.matrix)
        step = params["scale"].astype(np.float32) * np.float32(m.unit)
        zero, offset = (
            np.asarray(params.get(key, np.float32(fixed)), np.float32)
            for key, fixed in (("zero", m.fixed_zero), ("offset", m.fixed_offset))
        )
        low = np.broadcast_to(offset - zero * step, step.shape)
        return self._by_block(step), self._by_block(low)

    def exponents(self, q: QTensor) -> np.ndarray:
        """The stored exponents of every block, uint8 `[rows, blocks]`."""
        return self._by_block(np.asarray(q.params["scale"]))

    def _by_block(self, values: np.ndarray) -> np.ndarray:
        """One entry a set to one a block; blocks of a group that is longer have the same."""
        m, width = self.matrix, self.type.weights
        if not m.sets:
            return np.broadcast_to(values.reshape(1, 1), (m.rows, m.cols // width))
        group = np.arange(m.cols // width) * width // m.group
        return np.asarray(values.reshape(m.rows, m.sets)[:, group])


@lru_cache(maxsize=1024)
def carrier_of(scheme: Scheme, shape: tuple[int, ...]) -> Carrier | str:
    """What carries a tensor of this shape, or why nothing does, in words."""
    if len(shape) < 2:
        return "llama.cpp keeps vectors as floats"
    matrix = matrix_of(scheme, shape)
    if isinstance(matrix, str):
        return matrix
    fitting = _fitting(scheme, matrix)
    if not fitting:
        return f"GGUF has no block type like {scheme.label}"
    for carrier in fitting:
        width = carrier.type.weights
        if shape[-1] % width == 0 and matrix.group % width == 0:
            return carrier
    kind = min((carrier.type for carrier in fitting), key=lambda kind: kind.weights)
    if shape[-1] % kind.weights:
        return f"{kind.name} has blocks of {kind.weights}, which do not divide rows of {shape[-1]}"
    return f"{kind.name} has blocks of {kind.weights}, and the groups of {matrix.group} are no multiple of that"


def _fitting(scheme: Scheme, matrix: Matrix) -> list[Carrier]:
    """The types that have all levels of the scheme, the smallest first."""
    n = scheme.n_codes
    if isinstance(scheme, MXFP4):
        return [Carrier(TYPES["MXFP4"], matrix, n, exact=True)]
    if not matrix.even:
        return []
    halves = all(dtype == "F16" for name, (dtype, _) in matrix.arrays.items() if name in ("scale", "offset"))
    shifted = "zero" in matrix.arrays or "offset" in matrix.arrays or matrix.fixed_offset != 0
    if shifted:
        exact = halves and matrix.unit == 1 and "offset" in matrix.arrays
        return [Carrier(TYPES[name], matrix, n, exact) for name in _SHIFTED if n <= np.ptp(TYPES[name].codes) + 1]
    low = -int(matrix.fixed_zero)
    found = []
    for name in _SCALED:
        first, last = TYPES[name].codes
        if first <= low and low + n - 1 <= last:
            found.append(Carrier(TYPES[name], matrix, n, halves))
        elif name == "TQ2_0" and (low, n) == (-last, last - first + 1):
            found.append(Carrier(TYPES[name], matrix, n, halves, negated=True))
    return found
