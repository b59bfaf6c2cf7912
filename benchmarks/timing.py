"""How contestants are timed: in turns, since times on a shared machine drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

ROUNDS = 9


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
