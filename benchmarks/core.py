"""Speed of the core, as ratios measured side by side in one run.

`make bench` prints the tables of `docs/benchmarks.md`: against a warm memory copy of the input, the plain recipe
in torch, and gguf-py. Times on a shared machine drift, so each round times all contestants one after the other,
and medians of the rounds are compared.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable

import gguf
import numpy as np
import torch

from benchmarks import plain
from benchmarks.libraries import against_libraries
from benchmarks.page import Both, processor, write
from benchmarks.timing import medians_ms
from qinspect.planning.budget import Budget, Limit
from qinspect.quant.distribution import distribution
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.quant.sweep import SweepPoint

SHAPES = ((4096, 4096), (4096, 14336))
PLAIN_ROWS = 2048
"""The plain recipe holds eleven times the weights at once: so many rows are timed, which no cache holds either."""

_GROUP = {"granularity": "group", "group_size": 32, "param_dtype": "float16"}
GGUF = (
    ("Q8_0", gguf.GGMLQuantizationType.Q8_0, make_scheme("symmetric", bits=8, **_GROUP)),
    ("Q4_0", gguf.GGMLQuantizationType.Q4_0, make_scheme("symmetric", bits=4, **_GROUP)),
    ("Q4_1", gguf.GGMLQuantizationType.Q4_1, make_scheme("asymmetric", bits=4, offset="minimum", **_GROUP)),
)
"""The same job at the same size: groups of 32 with float16 parameters, 8.5, 4.5 and 5 bits a weight."""

FIRST_CALL = """
import time
import numpy as np
from qinspect.quant.scheme import make_scheme
w = np.ones((256, 256), np.float32)
scheme = make_scheme("base11")
start = time.perf_counter()
scheme.measure(w)
scheme.dequantize(scheme.quantize(w))
print(time.perf_counter() - start)
"""


def against_copy(shape: tuple[int, int]) -> None:
    """Every kind of scheme against a memory copy, base-11 against the plain recipe too."""
    w = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    out = np.empty_like(w)
    print(f"\n{shape[0]} × {shape[1]} float32\n")
    print("| scheme | work | G weights/s | of a memory copy's speed | × the plain recipe |")
    print("|---|---|---|---|---|")
    cases = [
        make_scheme("base11"),
        make_scheme("symmetric", bits=8, granularity="group", group_size=32),
        make_scheme("symmetric", bits=4, granularity="group", group_size=32),
        make_scheme("asymmetric", bits=8, granularity="group", group_size=32),
        make_scheme("asymmetric", bits=4, granularity="group", group_size=32),
        make_scheme("symmetric", granularity="channel"),
    ]
    for scheme in cases:
        q = scheme.quantize(w)
        copy, *times = medians_ms(
            lambda: np.copyto(out, w),
            lambda s=scheme: s.quantize(w),
            lambda s=scheme, q=q: s.dequantize(q, out=out),
            lambda s=scheme: s.measure(w),
        )
        recipe = _plain_ms(w) if scheme.name == "base11" else (None, None)
        for title, ms, plain_ms in zip(("quantize", "decode", "measure"), times, (*recipe, None), strict=True):
            times_faster = f"{plain_ms / ms:.0f}" if plain_ms else ""
            print(f"| {scheme.label} | {title} | {w.size / ms / 1e6:.2f} | {copy / ms:.2f} | {times_faster} |")
        print(f"| | measure ÷ quantize | {times[2] / times[0]:.2f} | | |")


def _plain_ms(w: np.ndarray) -> tuple[float, float]:
    part = torch.from_numpy(w[:PLAIN_ROWS])
    packed = plain.quantize(part)
    found = medians_ms(lambda: plain.quantize(part), lambda: plain.decode(*packed), rounds=2)
    return found[0] * len(w) / PLAIN_ROWS, found[1] * len(w) / PLAIN_ROWS


def against_gguf(shape: tuple[int, int]) -> None:
    """Integer groups of 32 against gguf-py."""
    w = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    out = np.empty_like(w)
    print("\n| gguf-py | qinspect | quantize, × gguf-py | decode, × gguf-py |")
    print("|---|---|---|---|")
    for name, kind, scheme in GGUF:
        theirs, ours = gguf.quants.quantize(w, kind), scheme.quantize(w)
        assert theirs.nbytes == ours.nbytes
        a, b, c, d = medians_ms(
            lambda k=kind: gguf.quants.quantize(w, k),
            lambda s=scheme: s.quantize(w),
            lambda k=kind, t=theirs: gguf.quants.dequantize(t, k),
            lambda s=scheme, q=ours: s.dequantize(q, out=out),
            rounds=3,
        )
        print(f"| {name} | {scheme.label} | {a / b:.1f} | {c / d:.1f} |")


def memory(shape: tuple[int, int]) -> None:
    """Peak extra memory of numpy arrays, the result included, and whether it is within what is aimed at."""
    w = np.ones(shape, np.float32)
    out = np.empty_like(w)
    scheme = make_scheme("base11")
    q = scheme.quantize(w)
    bound = 1.2 * q.nbytes + 64e6
    print("\n| work | peak extra memory | packed size | 1.2 × packed + 64 MB |")
    print("|---|---|---|---|")
    for title, call in _jobs(scheme, w, q, out):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        kept = "kept" if peak < bound else "exceeded"
        print(f"| {title} | {peak / 1e6:.1f} MB | {q.nbytes / 1e6:.1f} MB | {bound / 1e6:.1f} MB: {kept} |")


def answers(shape: tuple[int, int]) -> None:
    """What is asked of a layer that has been read once, and of a plan that has been made."""
    w = 0.02 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    known, edges = distribution(w), np.linspace(-0.1, 0.1, 4097)
    points = _points(layers=300, each=60)
    budget = Budget(points)
    sizes = itertools.cycle(np.linspace(*budget.front.nbytes[[0, -1]], 50).tolist())
    jobs: dict[str, Callable[[], object]] = {
        "a histogram of 4096 bins": lambda: known.histogram(edges),
        "five percentiles": lambda: known.percentile([0.1, 1, 50, 99, 99.9]),
        "the share that a range clips": lambda: known.clipped(-0.05, 0.05),
        "300 layers × 60 points taken in": lambda: Budget(points),
        "a limit for all of these": lambda: budget.plan(Limit("bytes", next(sizes))),
    }
    print("\n| answer | ms | aim |\n|---|---|---|")
    print(
        f"| (one pass over {shape[0]} × {shape[1]} before) | {medians_ms(lambda: distribution(w), rounds=3)[0]:.0f} | |"
    )
    for (title, job), aim in zip(jobs.items(), (5, 5, 5, 100, 100), strict=True):
        print(f"| {title} | {medians_ms(job, rounds=9)[0]:.2f} | {aim} |")


def _points(layers: int, each: int) -> dict[str, list[SweepPoint]]:
    """Sweeps as of layers of some millions of weights: 6 dB a bit, more or less."""
    rng, scheme = np.random.default_rng(0), make_scheme("base11")

    def point(layer: str, size: int, bpw: float) -> SweepPoint:
        noise = size * 4.0 ** (-bpw + rng.normal(0, 0.2))
        figures = bpw, decibels(size, noise), 0.0, 0.0, int(size * bpw / 8), float(size), noise
        return SweepPoint(layer, scheme, *figures)

    sizes = {f"{layer}": int(rng.integers(1 << 20, 1 << 24)) for layer in range(layers)}
    return {name: [point(name, n, bpw) for bpw in rng.uniform(2, 9, each)] for name, n in sizes.items()}


def _jobs(scheme: Scheme, w: np.ndarray, q: object, out: np.ndarray) -> tuple[tuple[str, Callable[[], object]], ...]:
    return (
        ("quantize", lambda: scheme.quantize(w)),
        ("decode", lambda: scheme.dequantize(q, out=out)),  # type: ignore[arg-type]
        ("measure", lambda: scheme.measure(w)),
    )


def first_call() -> None:
    """Kernels that are compiled after installing, and the first measure, quantize and decode of a process later."""
    print("\n| compiler | s |")
    print("|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        titles = "all kernels, after installing or in the background of the window", "first call of a process later"
        for title, command in zip(titles, (["-m", "qinspect.warm_up"], ["-c", FIRST_CALL]), strict=True):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *command],
                env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            spent = float(done.stdout) if command[0] == "-c" else time.perf_counter() - start
            print(f"| {title} | {spent:.2f} |")


if __name__ == "__main__":
    with contextlib.redirect_stdout(Both()) as told:
        print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
        for each in SHAPES:
            against_copy(each)
        against_gguf(SHAPES[0])
        against_libraries(SHAPES[0])
        memory(SHAPES[1])
        answers(SHAPES[1])
        first_call()
    write(told.getvalue())
