"""Libraries that do the same job in torch: groups of 32, 8 and 4 bits, quantized and decoded on the processor.

They are timed where they are installed, beside the pinned torch and without their own dependencies:
`pip install --no-deps torchao==0.18.0 hqq==0.2.8.post1 termcolor tqdm einops accelerate psutil pyyaml`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.timing import medians_ms
from qinspect.quant.scheme import Scheme, make_scheme

GROUP = 32
_HOW = {"granularity": "group", "group_size": GROUP}


@dataclass(frozen=True)
class Rival:
    """One way of a library: `quantize(w)` gives what `decode` takes; `scheme` is ours for the same job."""

    title: str
    scheme: Scheme
    quantize: Callable[[torch.Tensor], Any]
    decode: Callable[[Any], torch.Tensor]


def _torchao() -> Iterator[Rival]:
    """Symmetric integers with a float32 scale a group; 4 bits are left in a byte each."""
    from torchao.quantization import quant_primitives as ao

    for bits in (8, 4):
        ends = -(1 << bits - 1), (1 << bits - 1) - 1

        def quantize(w: torch.Tensor, ends: tuple[int, int] = ends) -> Any:
            how = (1, GROUP), torch.int8, *ends
            scale, zero = ao.choose_qparams_affine(
                w, ao.MappingType.SYMMETRIC, *how, scale_dtype=torch.float32, zero_point_dtype=torch.int32
            )
            return ao.quantize_affine(w, (1, GROUP), scale, zero, torch.int8, *ends), scale, zero

        def decode(held: Any, ends: tuple[int, int] = ends) -> torch.Tensor:
            codes, scale, zero = held
            return ao.dequantize_affine(codes, (1, GROUP), scale, zero, torch.int8, *ends)

        yield Rival(f"torchao int{bits} g32", make_scheme("symmetric", bits=bits, **_HOW), quantize, decode)


def _hqq() -> Iterator[Rival]:
    """Integers with a float zero point a group, as our minimum; without its search for better ones."""
    from hqq.core.quantize import Quantizer

    for bits in (8, 4):

        def quantize(w: torch.Tensor, bits: int = bits) -> Any:
            how = {"nbits": bits, "group_size": GROUP, "axis": 1, "optimize": False, "device": "cpu"}
            return Quantizer.quantize(w, channel_wise=True, compute_dtype=torch.float32, **how)

        ours = make_scheme("asymmetric", bits=bits, offset="minimum", **_HOW)
        yield Rival(f"HQQ {bits}-bit g32", ours, quantize, lambda held: Quantizer.dequantize(*held))


LIBRARIES: dict[str, Callable[[], Iterator[Rival]]] = {"torchao": _torchao, "hqq": _hqq}


def against_libraries(shape: tuple[int, int]) -> None:
    """Print a row for each library that is here."""
    found = [make for name, make in LIBRARIES.items() if importlib.util.find_spec(name)]
    if not found:
        return
    w = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    out, given = np.empty_like(w), torch.from_numpy(w)
    print("\n| library | qinspect | quantize, × the library | decode, × the library |")
    print("|---|---|---|---|")
    for make in found:
        for rival in _quietly(lambda make=make: list(make())):
            row = _quietly(lambda rival=rival: _row(rival, w, given, out))
            print(f"| {rival.title} | {rival.scheme.label} | {row} |")


def _row(rival: Rival, w: np.ndarray, given: torch.Tensor, out: np.ndarray) -> str:
    ours, theirs = rival.scheme.quantize(w), rival.quantize(given)
    a, b, c, d = medians_ms(
        lambda: rival.quantize(given),
        lambda: rival.scheme.quantize(w),
        lambda: rival.decode(theirs),
        lambda: rival.scheme.dequantize(ours, out=out),
        rounds=2,
    )
    return f"{a / b:.1f} | {c / d:.1f}"


def _quietly(work: Callable[[], Any]) -> Any:
    """Without what libraries say of kernels for other processors."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return work()
