"""Speed of the core, as ratios measured side by side: against a warm memory copy and the plain recipe in torch.

`make bench` prints the table that stands in `docs/benchmarks.md`. Times on a shared machine drift; each round times all
contestants one after the other, and medians of the rounds are compared.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from qinspect.quant.scheme import make_scheme

ROUNDS = 7
SHAPES = ((4096, 4096), (4096, 14336))
PLAIN_ROWS = 256  # the plain recipe holds 11 × the weights at once; a part of the rows is enough to time it


def plain_quantize(w: torch.Tensor, group: int = 128) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The published base-11 recipe: all eleven distances, argmin, int64 powers."""
    codebook = torch.linspace(-1, 1, 11)
    powers = 11 ** torch.arange(9)
    groups = w.reshape(w.shape[0], -1, group)
    low = groups.min(-1).values.half()
    scale = (groups.max(-1).values.half() - low).clamp(min=1e-5)
    centred = 2 * (groups - low.float()[..., None]) / scale.float()[..., None] - 1
    codes = (centred[..., None] - codebook).abs().argmin(-1)
    padded = torch.nn.functional.pad(codes, (0, -group % 9)).reshape(*codes.shape[:2], -1, 9)
    return (padded * powers).sum(-1), low, scale


def plain_decode(words: torch.Tensor, low: torch.Tensor, scale: torch.Tensor, group: int = 128) -> torch.Tensor:
    """The published decoder: int64 division and remainder, then the codebook."""
    codebook = torch.linspace(-1, 1, 11)
    digits = (words[..., None] // 11 ** torch.arange(9)) % 11
    codes = digits.reshape(*words.shape[:2], -1)[..., :group]
    return ((codebook[codes] + 1) / 2 * scale.float()[..., None] + low.float()[..., None]).flatten(1)


def median_ms(work: object, rounds: int = ROUNDS) -> float:
    """Median time of a call after one warm-up."""
    work()  # type: ignore[operator]
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def compare(shape: tuple[int, int]) -> None:
    """Print one table."""
    w = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    out = np.empty_like(w)
    copy = median_ms(lambda: np.copyto(out, w))
    part = torch.from_numpy(w[:PLAIN_ROWS])
    scale_up = shape[0] / PLAIN_ROWS
    packed = plain_quantize(part)
    plain_q = scale_up * median_ms(lambda: plain_quantize(part), 3)
    plain_d = scale_up * median_ms(lambda: plain_decode(*packed), 3)
    print(f"\n{shape[0]} × {shape[1]} float32, memory copy {copy:.1f} ms ({w.size / copy / 1e6:.2f} G weights/s)\n")
    print("| scheme | work | ms | G weights/s | of the copy's speed | × the plain recipe |")
    print("|---|---|---|---|---|---|")
    cases = [
        make_scheme("base11"),
        make_scheme("symmetric", bits=8, granularity="group", group_size=32),
        make_scheme("symmetric", bits=4, granularity="group", group_size=32),
        make_scheme("asymmetric", bits=4, granularity="group", group_size=32),
        make_scheme("symmetric", granularity="channel"),
    ]
    for scheme in cases:
        q = scheme.quantize(w)
        work = (
            ("quantize", lambda s=scheme: s.quantize(w), plain_q),
            ("decode", lambda s=scheme, q=q: s.dequantize(q, out=out), plain_d),
            ("measure", lambda s=scheme: s.measure(w), None),
        )
        for title, call, plain in work:
            ms = median_ms(call)
            times = f"{plain / ms:.0f}" if plain is not None and scheme.name == "base11" else ""
            print(f"| {scheme.label} | {title} | {ms:.1f} | {w.size / ms / 1e6:.2f} | {copy / ms:.2f} | {times} |")


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    for each in SHAPES:
        compare(each)
