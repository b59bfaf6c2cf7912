"""What packed modules share: buffers that keep their types, and a product that decodes weights as it goes."""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import SchemeError
from qinspect.quant.blocks import scratch
from qinspect.quant.engine import multiply
from qinspect.quant.scheme import QTensor

BLOCK_WEIGHTS = 1 << 22
"""Weights decoded at a time, 16 MB of float32; with fewer, torch and the core slow each other's threads down."""

FEW = 16
"""Inputs up to which weights are multiplied while they are in cache; more of them are worth a matrix product."""


class Packed(nn.Module):
    """A module whose buffers keep their types when it is cast: `.half()` and its like would destroy them."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {id(buffer) for buffer in self.buffers(recurse=False)}

        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if id(tensor) not in kept or moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep, recurse)
        return self


class PackedLinear(Packed, ABC):
    """What packed linear layers share: input `[…, in_features]` of any float type, output of the same type."""

    setting: ClassVar[str]
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features

    @abstractmethod
    def qtensor(self) -> QTensor:
        """The packed weights as the core takes them."""

    def forward(self, x: Tensor) -> Tensor:
        """`x Wᵀ + bias`, computed in float32 or better."""
        if x.shape[-1:] != (self.in_features,) or not x.is_floating_point():
            raise SchemeError(f"{self} takes floating-point […, {self.in_features}], not {x.dtype} {list(x.shape)}")
        exact = torch.promote_types(x.dtype, torch.float32)
        matrix = x.to(exact).reshape(-1, self.in_features)
        y = _Product.apply(matrix, self.qtensor(), False, *self.buffers(recurse=False))
        if self.bias is not None:
            y = y + self.bias.to(exact)
        return y.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{type(self).__name__}({shape}, {self.setting}={getattr(self, self.setting)})"


class _Product(torch.autograd.Function):
    """`x Wᵀ`, or `x W` if `transposed`, of a float32 or float64 matrix and a packed W; differentiable by `x`.

    `stored` are the tensors whose memory `q` reads: torch refuses a gradient if one was overwritten in between.
    """

    @staticmethod
    def forward(x: Tensor, q: QTensor, transposed: bool, *stored: Tensor) -> Tensor:
        if len(x) <= FEW and not transposed and x.dtype == torch.float32 and x.device.type == "cpu":
            return torch.from_numpy(multiply(q, array_of(x)))
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


def array_of(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor as numpy has it, copied where it is elsewhere or not contiguous."""
    array: np.ndarray = tensor.detach().cpu().contiguous().numpy()
    return array
