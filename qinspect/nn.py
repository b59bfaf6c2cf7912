"""Packed layers as torch modules, thin around the shared core: they hold the codes and decode them as they run.

A packed layer never holds its weights in float32: every product decodes some rows into scratch memory, multiplies and
goes on, and so does the gradient of the input. `load_state_dict` reports what does not fit in torch's own way, all at
once and by name; everything else raises a `QInspectError`.
"""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import FormatError, QInspectError, SchemeError, UnsupportedError
from qinspect.formats.native import RECORD_KEY, LayerRecord, array_names, prefix_of
from qinspect.formats.open import open_checkpoint
from qinspect.quant.blocks import scratch
from qinspect.quant.packing import DigitPacking
from qinspect.quant.scheme import QTensor, Scheme, make_scheme
from qinspect.quant.schemes.base11 import Base11
from qinspect.quant.schemes.base_n import codebook

BLOCK_WEIGHTS = 1 << 22
"""Weights decoded at a time, 16 MB of float32; with fewer, torch and the core slow each other's threads down."""


class _Product(torch.autograd.Function):
    """`x Wᵀ`, or `x W` if `transposed`, of a float32 or float64 matrix and a packed W; differentiable by `x`.

    `stored` are the tensors whose memory `q` reads: torch refuses a gradient if one was overwritten in between.
    """

    @staticmethod
    def forward(x: Tensor, q: QTensor, transposed: bool, *stored: Tensor) -> Tensor:
        rows, cols = q.shape
        y = x.new_zeros(len(x), cols if transposed else rows)
        for start, stop, weights in _decoded_blocks(q):
            block = weights.to(x.device, x.dtype)
            if transposed:
                y.addmm_(x[:, start:stop], block)
            else:
                y[:, start:stop] = x @ block.T
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.q, ctx.transposed, *stored = inputs
        ctx.save_for_backward(*stored)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        stored = ctx.saved_tensors
        return _Product.apply(grad, ctx.q, not ctx.transposed, *stored), None, None, *(None for _ in stored)


def _decoded_blocks(q: QTensor) -> Iterator[tuple[int, int, Tensor]]:
    """First row, last row and float32 weights of each block of rows, all in one scratch memory of this thread."""
    rows, cols = q.shape
    step = max(1, BLOCK_WEIGHTS // max(1, cols))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        out = scratch("product", (stop - start) * cols, np.dtype(np.float32)).reshape(stop - start, cols)
        q.scheme.dequantize(q, rows=slice(start, stop), out=out)
        yield start, stop, torch.from_numpy(out)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().contiguous().numpy()
    return array


class _Packed(nn.Module):
    """A module whose buffers keep their types when it is cast: `.half()` and its like would destroy them."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {id(buffer) for buffer in self.buffers(recurse=False)}

        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if id(tensor) not in kept or moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep, recurse)
        return self


class _PackedLinear(_Packed, ABC):
    """What packed linear layers share: input `[…, in_features]` of any float type, output of the same type."""

    setting: ClassVar[str]
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features

    @abstractmethod
    def _qtensor(self) -> QTensor:
        """The packed weights as the core takes them."""

    def forward(self, x: Tensor) -> Tensor:
        """`x Wᵀ + bias`, computed in float32 or better."""
        if x.shape[-1:] != (self.in_features,) or not x.is_floating_point():
            raise SchemeError(f"{self} takes floating-point […, {self.in_features}], not {x.dtype} {list(x.shape)}")
        exact = torch.promote_types(x.dtype, torch.float32)
        matrix = x.to(exact).reshape(-1, self.in_features)
        y = _Product.apply(matrix, self._qtensor(), False, *self.buffers(recurse=False))
        if self.bias is not None:
            y = y + self.bias.to(exact)
        return y.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{type(self).__name__}({shape}, {self.setting}={getattr(self, self.setting)})"


class Base11Quantizer(_Packed):
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
        return QTensor(self.scheme, shape, _array(packed), {"min_val": _array(min_val), "scale": _array(scale)})

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


class Linear11Bit(_PackedLinear):
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

    def _qtensor(self) -> QTensor:
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
    bad = np.count_nonzero(_array(packed).view("<u4") > DigitPacking(11).top_word)
    return f"holds {bad} words above 11^9-1: the file is corrupt; copy or export it again" if bad else None


def _half_problem(values: Tensor) -> str | None:
    """Why `values` cannot be the float16 minima or ranges of groups."""
    if torch.equal(values.half().to(values.dtype), values) and values.isfinite().all():
        return None
    return "holds values that are no finite float16: pack the layer with param_dtype=float16"


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


class SentinelLinear(_PackedLinear):
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

    def _qtensor(self) -> QTensor:
        # The core stores codes of 8 bits unsigned, counted from the lowest.
        codes = _array(self.quantized_weight).view(np.uint8) ^ np.uint8(0x80)
        scale = _array(self.weight_scale).reshape(1)
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


class _Residual(nn.Module):
    """`f(x) + x` with three linear layers and ReLU between."""

    def __init__(self, channels: int, group_size: int) -> None:
        super().__init__()
        one, two, three = (Linear11Bit(channels, channels, group_size=group_size) for _ in range(3))
        self.model = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + x


class BigNet11Bit(nn.Module):
    """The reference network: six residual blocks of 1024 channels, layer norms between them; input `[…, 1024]`."""

    channels: ClassVar[int] = 1024
    blocks: ClassVar[int] = 6

    def __init__(self, group_size: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(self.blocks):
            layers += [_Residual(self.channels, group_size), nn.LayerNorm(self.channels, eps=1e-5)]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """`[…, 1024]` of the input's type."""
        return self.model(x)


def load(path: str | Path | None = None) -> BigNet11Bit:
    """The reference network with the weights of a checkpoint, packed or float; random ones without a `path`.

    FormatError names every tensor that is missing, unexpected or unfit.
    """
    if path is None:
        return BigNet11Bit()
    with open_checkpoint(path) as checkpoint:
        loaded = {info.name: checkpoint.load(info.name) for info in checkpoint.infos}
        network = BigNet11Bit(_group_size(loaded, path))
        state = {key: tensor for name, held in loaded.items() for key, tensor in _state(name, held).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise FormatError(" ".join(str(error).split()), path=path) from None
    return network


def _group_size(loaded: Mapping[str, np.ndarray | QTensor], path: str | Path) -> int:
    """That of the packed layers, or the default of a layer where none is packed."""
    schemes = {held.scheme for held in loaded.values() if isinstance(held, QTensor)}
    match tuple(schemes):
        case ():
            return 256
        case (Base11() as scheme,):
            return scheme.group_size
    labels = ", ".join(sorted(scheme.label for scheme in schemes))
    raise UnsupportedError(f"BigNet11Bit takes base-11 layers of one group size, the file holds {labels}", path=path)


def _state(name: str, held: np.ndarray | QTensor) -> dict[str, Tensor]:
    """What a state dict holds for a tensor of a checkpoint."""
    if not isinstance(held, QTensor):
        return {name: torch.tensor(held if held.dtype.kind in "iub" else np.asarray(held, np.float32))}
    arrays = {"data": held.data, **held.params}
    names = array_names(prefix_of(name), held.scheme)
    return {names[key]: torch.tensor(array) for key, array in arrays.items()}
