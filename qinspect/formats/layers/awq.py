"""AWQ: four-bit integers, eight outputs to a 32-bit word in an order of its own.

`qweight` int32 `[in, out / 8]`, `qzeros` int32 `[groups, out / 8]`, `scales` `[groups, out]`. Nibble i of a word, the
lowest first, is output 0, 2, 4, 6, 1, 3, 5, 7 of eight. `w[n, k] = scales[g, n] · (q − z)`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, Part, held
from qinspect.formats.layers.words import WordLayers, stream_bytes, stream_codes, turned
from qinspect.quant.decode_only import Blocked

_NIBBLE_OF = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Where each of eight outputs is."""


class AWQ(WordLayers):
    """Layers of AutoAWQ, in its layout for matrices (GEMM)."""

    name: ClassVar[str] = "awq"
    title: ClassVar[str] = "AWQ"
    order: ClassVar[int] = 30

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = self.arrays(prefix)
        if names is None:
            return None
        qweight, scales = self.array(names[0], dims=2), self.array(names[1], *FLOATS, dims=2)
        qzeros = self.array(names[2], qweight.dtype, dims=2)
        layout = self.config.text("version", "gemm").lower()
        if qweight.dtype != "I32" or layout != "gemm":
            raise UnsupportedError(f"the layout {printable(layout, 40)} of {qweight.dtype} words is not decoded here")
        (cols, words), (groups, rows) = qweight.shape, scales.shape
        if 8 * words != rows or qzeros.shape != (groups, words) or not groups or cols % groups:
            raise FormatError(f"its scales {list(scales.shape)} do not go with its codes {list(qweight.shape)}")
        kinds = held(
            data=(np.uint8, (rows, -(-cols // 2))), scale=(numpy_dtype(scales.dtype), (rows, groups)),
            zero_point=(np.uint8, (rows, groups)),
        )  # fmt: skip
        scheme = Blocked(
            kind=f"AWQ 4-bit g{cols // groups}", whole=(rows, cols), stored_bytes=self.nbytes(*names),
            bits=4, block=(1, cols // groups), held=kinds, row_bits=8 * -(-cols // 2),
        )  # fmt: skip
        parts = {
            "data": Part((names[0],), lambda array: stream_bytes(_codes(array), 4)),
            "scale": Part((names[1],), turned),
            "zero_point": Part((names[2],), lambda array: np.ascontiguousarray(_codes(array))),
        }
        return self.found(f"{prefix}weight", scheme, parts, dtype=scales.dtype)


def _codes(words: np.ndarray) -> np.ndarray:
    """`[out, rows]` of words `[rows, out / 8]`."""
    nibbles = stream_codes(words, 4, 8 * words.shape[1])
    return nibbles.reshape(len(words), -1, 8)[..., _NIBBLE_OF].reshape(len(words), -1).T
