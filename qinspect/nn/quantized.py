"""A linear layer in any scheme, and a live model's layers swapped for packed ones."""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import TensorInfo
from qinspect.formats.native import RECORD_KEY, LayerRecord, array_names, codebook_name
from qinspect.nn.packed import PackedLinear, array_of
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.quant.schemes.base_n import BaseN, codebook
from qinspect.recipe import Recipe

_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""The types of torch that can be quantized, as recipes know them."""


class QuantizedLinear(PackedLinear):
    """`nn.Linear` with the weights of a `QTensor` `[out, in]` of any scheme; only the bias is trained.

    Its state dict holds the arrays that a packed file of the scheme holds.
    """

    setting = "label"

    def __init__(self, q: QTensor, bias: nn.Parameter | None = None) -> None:
        out_features, in_features = q.shape
        super().__init__(in_features, out_features)
        self.scheme: Scheme = q.scheme
        self.register_parameter("bias", bias)
        arrays = {"data": q.data, **q.params}
        for key, name in array_names("", q.scheme).items():
            self.register_buffer(name, _tensor(np.asarray(arrays[key])))

    @property
    def label(self) -> str:
        """The scheme."""
        return self.scheme.label

    @property
    def weight(self) -> Tensor:
        """The decoded weights, float32 `[out_features, in_features]`, made anew at each look."""
        q = self.qtensor()
        return torch.from_numpy(q.scheme.dequantize(q)).to(next(self.buffers()).device)

    def qtensor(self) -> QTensor:
        """The buffers as the core takes them."""
        names = array_names("", self.scheme)
        arrays = {key: _array(getattr(self, name)) for key, name in names.items()}
        return QTensor(self.scheme, (self.out_features, self.in_features), arrays.pop("data"), arrays)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Adds the levels that files of base-N layers hold, and to the metadata what a reader must know besides."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if isinstance(self.scheme, BaseN):
            destination[prefix + _CODEBOOK] = torch.tensor(codebook(self.scheme.levels))
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]][RECORD_KEY] = self._record(prefix).to_json()

    def _load_from_state_dict(
        self, state: Mapping[str, Tensor], prefix: str, metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        """Refuses arrays of another scheme; the last of `rest` is torch's list of errors."""
        found = metadata.get(RECORD_KEY)
        if found is not None and found.get("scheme") != self.scheme.to_json():
            rest[-1].append(f"{prefix[:-1]} was packed otherwise than this layer, which is {self.label}")
        state = {key: tensor for key, tensor in state.items() if key != prefix + _CODEBOOK}
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def _record(self, prefix: str) -> LayerRecord:
        return LayerRecord(prefix + "weight", (self.out_features, self.in_features), "F32", self.scheme)


_CODEBOOK = codebook_name("")


def _tensor(array: np.ndarray) -> Tensor:
    """A copy, of any type that parameters have."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def _array(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor as the core takes it."""
    if tensor.dtype == torch.bfloat16:
        return array_of(tensor.view(torch.int16)).view(ml_dtypes.bfloat16)
    return array_of(tensor)


@dataclass(frozen=True)
class Swap:
    """A weight of a model that was quantized: `packed` in a new layer, or as decoded values in the layer it has."""

    name: str
    scheme: Scheme
    packed: bool


def quantize_model(model: nn.Module, recipe: Recipe | Scheme) -> list[Swap]:
    """Quantize a live model in place by the names of its parameters, as an export of its state dict would.

    Linear layers become packed ones; in other layers, whose own code uses their weights, these get the decoded values.
    Biases stay the parameters that they were. A SchemeError names a weight that cannot be quantized; the model is then
    as it was.
    """
    rules = Recipe.of(recipe) if isinstance(recipe, Scheme) else recipe
    swaps: list[Swap] = []
    layers: dict[int, QuantizedLinear] = {}
    values: dict[int, tuple[nn.Parameter, Tensor]] = {}
    for name, parameter, module in _parameters(model):
        scheme = _scheme(rules, name, parameter)
        if scheme is None or id(parameter) in values:
            continue
        try:
            q = scheme.quantize(parameter.detach())
        except QInspectError as error:
            raise error.within(tensor=name) from None
        # A subclass may use its weight in ways of its own, and the model itself cannot be replaced.
        packed = type(module) is nn.Linear and module is not model and parameter is module.weight
        if packed:
            layers[id(module)] = QuantizedLinear(q, module.bias).to(parameter.device)
        else:
            values[id(parameter)] = parameter, torch.from_numpy(scheme.dequantize(q))
        swaps.append(Swap(name, scheme, packed))
    _put(model, layers, values.values())
    return swaps


def _put(model: nn.Module, layers: Mapping[int, nn.Module], values: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
    """Layers in place of those with these ids, wherever they stand, and values in parameters."""
    with torch.no_grad():
        for parameter, decoded in values:
            parameter.copy_(decoded)
    for parent in [*model.modules()]:
        for name, child in [*parent._modules.items()]:
            if id(child) in layers:
                layers[id(child)].train(child.training)
                setattr(parent, name, layers[id(child)])


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Every parameter with its full name and its layer; one that two layers share comes twice."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            yield name, parameter, module


def _scheme(rules: Recipe, name: str, parameter: nn.Parameter) -> Scheme | None:
    """The recipe's word, unless the scheme itself declines and the rule does not insist."""
    from qinspect.quant.engine import extremes

    dtype = _DTYPES.get(parameter.dtype)
    if dtype is None:
        return None
    info = TensorInfo(name, tuple(parameter.shape), dtype, parameter.nbytes)
    rule = rules.rule_for(info)
    if rule is None or rule.scheme is None:
        return None
    insists = rule.names(info) or type(rule.scheme).leaves_alone is Scheme.leaves_alone
    return rule.scheme if insists or not rule.scheme.leaves_alone(*extremes(parameter.detach())) else None
