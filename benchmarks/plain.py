"""The published base-11 recipe as it stands, in plain torch: the reference that the benchmark times."""

from __future__ import annotations

import torch


def quantize(w: torch.Tensor, group: int = 128) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All eleven distances of every weight, argmin, then int64 powers of eleven."""
    codebook = torch.linspace(-1, 1, 11)
    powers = 11 ** torch.arange(9)
    groups = w.reshape(w.shape[0], -1, group)
    low = groups.min(-1).values.half()
    scale = (groups.max(-1).values.half() - low).clamp(min=1e-5)
    centred = 2 * (groups - low.float()[..., None]) / scale.float()[..., None] - 1
    codes = (centred[..., None] - codebook).abs().argmin(-1)
    padded = torch.nn.functional.pad(codes, (0, -group % 9)).reshape(*codes.shape[:2], -1, 9)
    return (padded * powers).sum(-1), low, scale


def decode(words: torch.Tensor, low: torch.Tensor, scale: torch.Tensor, group: int = 128) -> torch.Tensor:
    """int64 division and remainder for every digit, then the codebook."""
    codebook = torch.linspace(-1, 1, 11)
    digits = (words[..., None] // 11 ** torch.arange(9)) % 11
    codes = digits.reshape(*words.shape[:2], -1)[..., :group]
    return ((codebook[codes] + 1) / 2 * scale.float()[..., None] + low.float()[..., None]).flatten(1)
