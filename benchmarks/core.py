"""Speed of the core, as ratios measured side by side in one run.

`make bench` prints the tables of `docs/benchmarks.md`: against a warm memory copy of the input, the plain recipe
in torch, and gguf-py. Times on a shared machine drift, so each round times all contestants one after the other,
and medians of the rounds are compared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
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
from benchmarks.page import Both, processor, write
from qinspect.quant.scheme import Scheme, make_scheme

ROUNDS = 9
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


def medians_ms(*work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Median time of each call, timed in turns after one warm-up."""
    times: list[list[float]] = [[] for _ in work]
    for number in range(rounds + 1):
        for call, found in zip(work, times, strict=True):
            start = time.perf_counter()
            call()
            if number:
                found.append(time.perf_counter() - start)
    return [1e3 * statistics.median(found) for found in times]


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
    """Peak extra memory of numpy arrays, beside what the result itself takes."""
    w = np.ones(shape, np.float32)
    out = np.empty_like(w)
    scheme = make_scheme("base11")
    q = scheme.quantize(w)
    print("\n| work | peak extra memory | packed size |")
    print("|---|---|---|")
    for title, call in _jobs(scheme, w, q, out):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"| {title} | {peak / 1e6:.1f} MB | {q.nbytes / 1e6:.1f} MB |")


def _jobs(scheme: Scheme, w: np.ndarray, q: object, out: np.ndarray) -> tuple[tuple[str, Callable[[], object]], ...]:
    return (
        ("quantize", lambda: scheme.quantize(w)),
        ("decode", lambda: scheme.dequantize(q, out=out)),  # type: ignore[arg-type]
        ("measure", lambda: scheme.measure(w)),
    )


def first_call() -> None:
    """The first measure, quantize and decode of a process: right after installing, and from the compiler's cache."""
    print("\n| first call of a process | s |")
    print("|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        for title in ("after installing: kernels are compiled", "later: kernels come from the cache"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_CALL],
                env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(f"| {title} | {float(done.stdout):.2f} |")


if __name__ == "__main__":
    with contextlib.redirect_stdout(Both()) as told:
        print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
        for each in SHAPES:
            against_copy(each)
        against_gguf(SHAPES[0])
        memory(SHAPES[1])
        first_call()
    write(told.getvalue())
