"""Base-11 weights in torch: the quantizer, and the linear layer that runs packed."""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import QInspectError, SchemeError
from qinspect.formats.native import RECORD_KEY, LayerRecord
from qinspect.nn.packed import Packed, PackedLinear, array_of
from qinspect.quant.packing import DigitPacking
from qinspect.quant.scheme import QTensor, Scheme, make_scheme
from qinspect.quant.schemes.base_n import codebook


class Base11Quantizer(Packed):
    """Weights to base-11 arrays and back, `group_size` weights a group; the buffer `codebook` is what files hold."""

    codebook: Tensor

    def __init__(self, group_size: int = 128) -> None:
        super().__init__()
        self.scheme: Scheme = make_scheme("base11", group_size=group_size)
        self.group_size = group_size
        self.register_buffer("codebook", torch.tensor(codebook(11)))

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`packed` uint8 `[out, groups, bytes]`, `min_val` and `scale` float16 `[out, groups]` of `w` `[out, in]`."""
        q = self.scheme.quantize(w)
        arrays = q.data, q.params["min_val"], q.params["scale"]
        packed, min_val, scale = (torch.tensor(array, device=w.device) for array in arrays)
        return packed, min_val, scale

    def dequantize(self, packed: Tensor, min_val: Tensor, scale: Tensor, in_features: int | None = None) -> Tensor:
        """Float32 weights `[out, in_features]`; `in_features` is needed where it is no multiple of the group size."""
        if in_features is None:
            in_features = min_val.shape[-1] * self.group_size
        q = self.qtensor(packed, min_val, scale, (len(packed), in_features))
        return torch.from_numpy(self.scheme.dequantize(q)).to(packed.device)

    def qtensor(self, packed: Tensor, min_val: Tensor, scale: Tensor, shape: tuple[int, int]) -> QTensor:
        """The arrays as the core takes them, not copied where they are on the CPU; SchemeError if one does not fit."""
        tensors = {"packed": packed, "min_val": min_val, "scale": scale}
        for (name, tensor), (dtype, dims) in zip(tensors.items(), self.scheme.stored(shape).values(), strict=True):
            if tensor.shape != dims or str(tensor.dtype) != f"torch.{dtype}":
                raise SchemeError(
                    f"{name} is {tensor.dtype} {list(tensor.shape)}, but {list(shape)} weights have "
                    f"{dtype} {list(dims)}: give the in_features and group_size they were packed with"
                )
        return QTensor(self.scheme, shape, array_of(packed), {"min_val": array_of(min_val), "scale": array_of(scale)})

    def extra_repr(self) -> str:
        """The group size."""
        return f"group_size={self.group_size}"

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """The codebook may be missing, but must not be another one; the last of `rest` is torch's list of errors."""
        key = prefix + "codebook"
        stored = state.get(key, self.codebook).to(self.codebook)
        if stored.shape != self.codebook.shape or not torch.allclose(stored, self.codebook, rtol=0, atol=1e-6):
            rest[-1].append(f"{key} is not linspace(-1, 1, 11): the file was packed with other levels")
        super()._load_from_state_dict({**state, key: self.codebook}, prefix, *rest)


class Linear11Bit(PackedLinear):
    """`nn.Linear` with base-11 weights, of which only the bias is trained; starts as `nn.Linear` does.

    A state dict may hold packed arrays, taken as they are, or a float `weight`, quantized as it loads.
    """

    setting = "group_size"
    quant_packed: Tensor
    min_val: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True, group_size: int = 256) -> None:
        super().__init__(in_features, out_features)
        self.group_size = group_size
        self.quantizer = Base11Quantizer(group_size)
        start = nn.Linear(in_features, out_features, bias)
        self.register_parameter("bias", start.bias)
        for name, tensor in self._quantized(start.weight).items():
            self.register_buffer(name, tensor)

    def dequantize(self) -> Tensor:
        """The decoded weights, float32 `[out_features, in_features]`."""
        return self.quantizer.dequantize(self.quant_packed, self.min_val, self.scale, self.in_features)

    def qtensor(self) -> QTensor:
        """The buffers as the core takes them."""
        return self.quantizer.qtensor(self.quant_packed, self.min_val, self.scale, self._shape)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    def _quantized(self, weight: Tensor) -> dict[str, Tensor]:
        """The buffers that hold `weight`."""
        if weight.shape != self._shape:
            raise SchemeError(f"shape {list(weight.shape)} is not the {list(self._shape)} of the layer")
        return dict(zip(("quant_packed", "min_val", "scale"), self.quantizer.quantize(weight), strict=True))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Adds to the state dict's metadata what a reader must know beside the arrays."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            record = LayerRecord(prefix + "weight", self._shape, "F32", self.quantizer.scheme)
            destination._metadata[prefix[:-1]][RECORD_KEY] = record.to_json()

    def _load_from_state_dict(
        self, state: Mapping[str, Tensor], prefix: str, metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        """Quantizes a float weight, examines packed arrays; the last of `rest` is torch's list of errors."""
        state = dict(state)
        packed = {name: state[prefix + name] for name in ("quant_packed", "min_val", "scale") if prefix + name in state}
        if packed:
            rest[-1].extend(self._misfits(prefix, packed, metadata.get(RECORD_KEY)))
        elif prefix + "weight" in state:
            packed = dict(self.named_buffers(recurse=False))
            try:
                packed = self._quantized(state.pop(prefix + "weight"))
            except SchemeError as error:
                rest[-1].append(str(error.within(tensor=prefix + "weight")))
            state |= {prefix + name: tensor for name, tensor in packed.items()}
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def _misfits(self, prefix: str, packed: Mapping[str, Tensor], record: Any) -> Iterator[str]:
        """Why packed arrays do not belong in this layer, beyond what their shapes show."""
        for name, tensor in packed.items():
            problem = _words_problem(tensor) if name == "quant_packed" else _half_problem(tensor)
            if problem:
                yield f"{prefix}{name} {problem}"
        if record is None:
            return
        try:
            found, ours = LayerRecord.from_json(record), self.quantizer.scheme
            if (found.scheme.packing, found.scheme.layout(found.shape)) != (ours.packing, ours.layout(self._shape)):
                yield (
                    f"{prefix}quant_packed was packed as {found.scheme.label} of shape {list(found.shape)}, this layer "
                    f"is {ours.label} of shape {list(self._shape)}: build it with the shape and group_size of the file"
                )
        except QInspectError as error:
            yield f"{prefix}quant_packed: {error}"


def _words_problem(packed: Tensor) -> str | None:
    """Why `packed` can hold no base-11 digits."""
    if packed.dtype != torch.uint8 or not packed.ndim or packed.shape[-1] % 4:
        return f"is {packed.dtype} {list(packed.shape)}, not uint8 in records of 4-byte words"
    bad = np.count_nonzero(array_of(packed).view("<u4") > DigitPacking(11).top_word)
    return f"holds {bad} words above 11^9-1: the file is corrupt; copy or export it again" if bad else None


def _half_problem(values: Tensor) -> str | None:
    """Why `values` cannot be the float16 minima or ranges of groups."""
    if torch.equal(values.half().to(values.dtype), values) and values.isfinite().all():
        return None
    return "holds values that are no finite float16: pack the layer with param_dtype=float16"
