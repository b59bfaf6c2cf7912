"""MLX: integers in 32-bit words along each row, a scale and a bias a group; or small floats with scales by group.

`weight` uint32 `[…, out, in · bits / 32]`, a stream of bits, low bits first; `scales` and `biases` `[…, out, groups]`:
`w = scales · q + biases`. In the modes mxfp4, nvfp4 and mxfp8 there are no biases, and scales are bytes: powers of two
or E4M3. `config.json` tells bits, group size and mode under `quantization`, also for single layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from qinspect.errors import FormatError, UnsupportedError, printable
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.layer import FLOATS, FoundLayer, LayerFormat, Part, held
from qinspect.formats.layers.words import powers_of_two
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import float_codes

_MODES = {
    "mxfp4": (4, 32, ml_dtypes.float4_e2m1fn, ml_dtypes.float8_e8m0fnu),
    "nvfp4": (4, 16, ml_dtypes.float4_e2m1fn, ml_dtypes.float8_e4m3fn),
    "mxfp8": (8, 32, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e8m0fnu),
}
"""Bits, group size, type of codes, type of scales."""
_BITS, _GROUPS = (4, 8, 2, 3, 5, 6), (64, 32, 128, 16)
"""What there can be; the likelier first."""


class MLX(LayerFormat):
    """Layers of MLX."""

    name: ClassVar[str] = "mlx"
    title: ClassVar[str] = "MLX"
    order: ClassVar[int] = 50
    marks: ClassVar[tuple[str, ...]] = ("scales",)

    def prefix(self, name: str) -> str | None:
        """By words with scales beside them."""
        prefix = name.removesuffix("weight")
        words = prefix != name and self.stored[name].dtype == "U32" and f"{prefix}scales" in self.stored
        return prefix if words else None

    def layer(self, prefix: str) -> FoundLayer | None:
        """See `LayerFormat.layer`."""
        names = [f"{prefix}weight", f"{prefix}scales"]
        weight, scales = self.array(names[0], "U32"), self.array(names[1], *FLOATS, "U8")
        if len(weight.shape) < 2 or scales.shape[:-1] != weight.shape[:-1] or not scales.shape[-1]:
            raise FormatError(f"its scales {list(scales.shape)} do not go with its words {list(weight.shape)}")
        if scales.dtype == "U8":
            return self._floats(prefix, weight.shape, scales.shape)
        bits, group = self._sizes(prefix, 32 * weight.shape[-1], scales.shape[-1])
        names.append(f"{prefix}biases")
        biases = self.array(names[2], scales.dtype)
        self.expect(names[2], scales.shape)
        kind = numpy_dtype(biases.dtype)
        scheme = Blocked(
            kind=f"MLX {bits}-bit g{group}", whole=(*weight.shape[:-1], group * scales.shape[-1]),
            stored_bytes=self.nbytes(*names), bits=bits, block=(1, group),
            held=held(data=(np.uint32, weight.shape), scale=(kind, scales.shape), minimum=(kind, scales.shape)),
        )  # fmt: skip
        parts = {"data": Part((names[0],)), "scale": Part((names[1],)), "minimum": Part((names[2],))}
        return self.found(names[0], scheme, parts, dtype=scales.dtype)

    def _floats(self, prefix: str, words: tuple[int, ...], scales: tuple[int, ...]) -> FoundLayer:
        mode = self._told(prefix).get("mode")
        if mode not in _MODES:
            raise UnsupportedError(f"the mode {printable(str(mode), 40)} is not decoded here")
        bits, group, codes, scale = _MODES[mode]
        shape = (*words[:-1], 32 * words[-1] // bits)
        if -(-shape[-1] // group) != scales[-1]:
            raise FormatError(f"its scales {list(scales)} do not go with {list(shape)} weights by {group}")
        table, patterns = float_codes(np.dtype(codes))
        if shape[-1] % group:
            raise UnsupportedError(f"groups of {group} do not divide rows of {shape[-1]}")
        names = [f"{prefix}weight", f"{prefix}scales"]
        scheme = Blocked(
            kind=mode.upper(), whole=shape, stored_bytes=self.nbytes(*names), bits=bits, block=(1, group),
            held=held(data=(np.uint32, words), scale=(scale, scales)), table=table, patterns=patterns,
        )  # fmt: skip
        scaled = powers_of_two if scale is ml_dtypes.float8_e8m0fnu else (lambda array: array.view(scale))
        return self.found(names[0], scheme, {"data": Part((names[0],)), "scale": Part((names[1],), scaled)})

    def _told(self, prefix: str) -> Mapping[str, Any]:
        """What the configuration says of this layer."""
        own = self.config.quantization.get(prefix.removesuffix("."))
        return {**self.config.quantization, **own} if isinstance(own, dict) else self.config.quantization

    def _sizes(self, prefix: str, row_bits: int, groups: int) -> tuple[int, int]:
        """Bits and group size: as told if that fits, else what is likeliest of what does."""
        told = self._told(prefix)
        bits, group = told.get("bits"), told.get("group_size")
        if type(bits) is type(group) is int and bits in _BITS and bits * group * groups == row_bits:
            return bits, group
        for bits in _BITS:
            for group in _GROUPS:
                if bits * group * groups == row_bits:
                    return bits, group
        raise FormatError(f"{row_bits} bits a row are not {groups} groups of any number of bits that MLX has")

    def notes(self, layers: Iterable[FoundLayer]) -> Iterator[str]:
        """What was assumed without a configuration."""
        if not self.config.quantization:
            labels = ", ".join(dict.fromkeys(layer.scheme.label for layer in layers))
            yield f"There is no config.json beside the file that tells bits and group size: {labels} is assumed."
