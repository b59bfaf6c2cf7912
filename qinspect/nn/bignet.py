"""The reference network of packed layers, and what fills it from any checkpoint."""

# Torch is not followed by the type checker: its classes count as Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.native import array_names, prefix_of
from qinspect.formats.open import open_checkpoint
from qinspect.nn.base11 import Linear11Bit
from qinspect.quant.scheme import QTensor
from qinspect.quant.schemes.base11 import Base11


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
