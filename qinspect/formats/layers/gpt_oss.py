"""MXFP4 of gpt-oss: experts as blocks of 32 four-bit floats, each with a power of two.

`<name>_blocks` uint8 `[experts, out, groups, 16]`, low half first, and `<name>_scales` uint8 `[experts, out, groups]`.
The weights are `[experts, out, in]`; Transformers turns each expert round.
"""

from __future__ import annotations

from typing import ClassVar

import ml_dtypes
import numpy as np

from qinspect.formats.layer import FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import powers_of_two
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import float_codes


class GptOss(LayerFormat):
    """Experts in blocks."""

    name: ClassVar[str] = "gpt_oss"
    title: ClassVar[str] = "gpt-oss"
    order: ClassVar[int] = 45
    marks: ClassVar[tuple[str, ...]] = ("_blocks",)

    def prefix(self, name: str) -> str | None:
        """By the blocks, with scales beside them."""
        prefix = name.removesuffix("_blocks")
        return prefix if prefix != name and f"{prefix}_scales" in self.stored else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = f"{prefix}_blocks", f"{prefix}_scales"
        blocks, scales = self.array(names[0], "U8"), self.array(names[1], "U8", "F8_E8M0")
        if len(blocks.shape) < 3 or blocks.shape[-1] != 16:
            return None
        self.expect(names[1], blocks.shape[:-1])
        table, patterns = float_codes(np.dtype(ml_dtypes.float4_e2m1fn))
        scheme = Blocked(
            kind="MXFP4", whole=(*blocks.shape[:-2], 32 * blocks.shape[-2]), stored_bytes=self.nbytes(*names), bits=4,
            block=(1, 32), table=table, patterns=patterns,
            held=held(data=(np.uint8, blocks.shape), scale=(ml_dtypes.float8_e8m0fnu, scales.shape)),
        )  # fmt: skip
        return self.found(prefix, scheme, {"data": Part((names[0],)), "scale": Part((names[1],), powers_of_two)})
