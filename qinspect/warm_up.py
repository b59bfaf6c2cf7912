"""Kernels made ready: compiled once after installing, so that nobody who works with the program waits for a compiler.

`python -m qinspect.warm_up` compiles them into the compiler's cache: beside the package where that can be written to,
else in the user's own cache. It is a step of the installation; the window does the same in a process of its own where
it finds that it has not been done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from qinspect.quant import compiled
from qinspect.quant.scheme import Scheme, make_scheme, registry
from qinspect.task import Token

POLL_S = 0.05


def warm_up(token: Token | None = None, *, all_of_them: bool = False) -> None:
    """Run kernels once on tiny tensors: what every layer needs, or `all_of_them`. They are compiled, or loaded."""
    from qinspect import analysis
    from qinspect.quant import view_kernels
    from qinspect.quant.limits import own_noise
    from qinspect.quant.weighted import weighted_sqnr_db

    token = token or Token()
    w = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    own_noise(w, 4)
    schemes = [scheme for cls in registry for scheme in (_variants(cls) if all_of_them else [cls()])]
    for number, scheme in enumerate(schemes):
        token.check(number / len(schemes))
        scheme.measure(w)
        q = scheme.quantize(w)
        scheme.dequantize(q)
        if number == 0:
            weighted_sqnr_db(w, q, np.ones(16, np.float32))
        analysis.answer(analysis.Subject(q, w, (-1.0, 1.0), 1.0), analysis.EVERYTHING)
    for pool in range(4):
        view_kernels.pool_cells(w, 0, 0, 4, 16, 2, 2, pool, np.empty((2, 8), np.float32))


def _variants(cls: type[Scheme]) -> Iterator[Scheme]:
    """A scheme as it is by default, with every calibration, and with its longest codes."""
    limits: dict[str, Any] = {field.name: field.metadata for field in dataclasses.fields(cls)}
    yield cls()
    for rule in limits.get("calibration", {}).get("choices", ())[1:]:
        yield make_scheme(cls.name, calibration=rule)
    if "bits" in limits:
        yield make_scheme(cls.name, bits=limits["bits"].get("high") or max(limits["bits"]["choices"]))


def ready() -> bool:
    """Whether the kernels of this very version were compiled here, for this processor."""
    with contextlib.suppress(OSError):
        return (compiled.folder() / compiled.STAMP).read_text(encoding="ascii") == compiled.version()
    return False


def compile_apart(token: Token | None = None) -> None:
    """Compile what `ready` misses, in a process of its own, which ends with the token."""
    token = token or Token()
    command = [sys.executable, "-m", "qinspect.warm_up"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                token.check()
                time.sleep(POLL_S)
        finally:
            process.kill()


def main() -> None:
    """Compile all kernels, and say how long it took."""
    start = time.perf_counter()
    if not ready():
        # The compiler sees a change of a kernel's own file, but not of what it was made from.
        for stale in [*compiled.folder().glob("*.nbi"), *compiled.folder().glob("*.nbc")]:
            stale.unlink(missing_ok=True)
    warm_up(all_of_them=True)
    compiled.folder().mkdir(parents=True, exist_ok=True)
    (compiled.folder() / compiled.STAMP).write_text(compiled.version(), encoding="ascii")
    print(f"Kernels are ready, after {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
