"""Sentinel weights in torch: a whole model to codes and back, and a linear layer of int8 codes."""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import SchemeError
from qinspect.nn.packed import PackedLinear, array_of
from qinspect.quant.scheme import QTensor, Scheme, make_scheme


class SentinelQuantizer:
    """The sentinel scheme over a whole model: every trainable parameter, vectors too."""

    def __init__(self, bits: int = 8) -> None:
        self.scheme: Scheme = make_scheme("sentinel", bits=bits)

    def quantize_model(self, model: nn.Module) -> dict[str, QTensor | Tensor]:
        """The trainable parameters by name, quantized; the model itself is left as it is.

        A parameter that the scheme would wipe out (all zeros, or far below its offset) comes back as a plain copy.
        """
        return {name: self._quantized(name, p) for name, p in model.named_parameters() if p.requires_grad}

    def dequantize_model(self, model: nn.Module, quantized: Mapping[str, QTensor | Tensor]) -> nn.Module:
        """Put the decoded values of `quantize_model` into the parameters of `model`, which is returned."""
        parameters = dict(model.named_parameters())
        for name, q in quantized.items():
            if name not in parameters or parameters[name].shape != q.shape:
                raise SchemeError(f"the model has no parameter of this name and shape {list(q.shape)}", tensor=name)
        with torch.no_grad():
            for name, q in quantized.items():
                parameters[name].copy_(torch.from_numpy(q.scheme.dequantize(q)) if isinstance(q, QTensor) else q)
        return model

    def _quantized(self, name: str, parameter: Tensor) -> QTensor | Tensor:
        from qinspect.quant.engine import extremes

        try:
            if self.scheme.leaves_alone(*extremes(parameter)):
                return parameter.detach().clone()
            return self.scheme.quantize(parameter)
        except SchemeError as error:
            raise error.within(tensor=name) from None


class SentinelLinear(PackedLinear):
    """`nn.Linear` until `quantize()` turns its weight into sentinel codes, int8, and one float32 scale.

    Its state dict holds the one or the other; a layer that loads codes is quantized from then on.
    """

    setting = "bits"
    weight: nn.Parameter | None
    quantized_weight: Tensor
    weight_scale: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True, bits: int = 8) -> None:
        super().__init__(in_features, out_features)
        self.bits = bits
        self.scheme: Scheme = make_scheme("sentinel", bits=bits)
        if bits > 8:
            raise SchemeError(f"codes of {bits} bits do not fit the layer's int8; choose 8 bits or fewer")
        start = nn.Linear(in_features, out_features, bias)
        self.register_parameter("bias", start.bias)
        self._hold(start.weight, torch.zeros_like(start.weight, dtype=torch.int8), torch.ones(()))

    def quantize(self) -> Self:
        """Replace the float weight by its codes, once."""
        if self.weight is not None:
            try:
                q = self.scheme.quantize(self.weight)
            except SchemeError as error:
                raise error.within(tensor="weight") from None
            device = self.weight.device
            codes = torch.from_numpy(self.scheme.codes(q)).to(device, torch.int8)
            self._hold(None, codes, torch.tensor(q.params["scale"][0], device=device))
        return self

    def qtensor(self) -> QTensor:
        """The int8 codes as the core takes them."""
        # The core stores codes of 8 bits unsigned, counted from the lowest.
        codes = array_of(self.quantized_weight).view(np.uint8) ^ np.uint8(0x80)
        scale = array_of(self.weight_scale).reshape(1)
        return QTensor(make_scheme("sentinel", bits=8), codes.shape, codes, {"scale": scale})

    def forward(self, x: Tensor) -> Tensor:
        """`x Wᵀ + bias`."""
        return super().forward(x) if self.weight is None else nn.functional.linear(x, self.weight, self.bias)

    def _hold(self, weight: nn.Parameter | None, codes: Tensor, scale: Tensor) -> None:
        """Be in one of the two states; buffers that mean nothing yet stay out of the state dict."""
        self.register_parameter("weight", weight)
        self.register_buffer("quantized_weight", codes, persistent=weight is None)
        self.register_buffer("weight_scale", scale, persistent=weight is None)

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """Codes make it a quantized layer; the last of `rest` is torch's list of errors."""
        codes = state.get(prefix + "quantized_weight")
        if codes is not None:
            self._hold(None, self.quantized_weight, self.weight_scale)
            if codes.dtype != torch.int8:
                rest[-1].append(f"{prefix}quantized_weight is {codes.dtype}, not int8")
        super()._load_from_state_dict(state, prefix, *rest)
