"""Blocks of rows over a small thread pool: the one place where the core uses more than one core.

Kernels are single-threaded and release the GIL; each works on a block of rows that stays in cache. Results come back in
the order of the blocks and the blocks do not depend on the number of threads, so neither does any byte or sum.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant.layout import matrix_shape
from qinspect.task import Token

T = TypeVar("T")

BLOCK_WEIGHTS = 1 << 17
"""Weights in a block: half a megabyte of float32, which stays in a core's own cache."""

_scratch = threading.local()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="qinspect-kernel")


def scratch(tag: str, size: int, dtype: Any) -> np.ndarray:
    """A vector of this thread's own, kept between calls: touching fresh memory costs as much as a kernel does."""
    held: np.ndarray | None = getattr(_scratch, tag, None)
    if held is None or held.size < size or held.dtype != dtype:
        held = np.empty(size, dtype)
        setattr(_scratch, tag, held)
    return held[:size]


def map_blocks(
    work: Callable[[int, int], T], rows: int, cols: int, token: Token | None = None, *, multiple: int = 1
) -> list[T]:
    """`work(start, stop)` for every block of rows, in parallel; the results in order.

    Blocks start at multiples of `multiple` rows. The token is checked between them. An error in any block ends the rest
    and is raised here.
    """
    token = token or Token()
    size = max(1, BLOCK_WEIGHTS // max(1, cols) // multiple) * multiple
    spans = [(start, min(start + size, rows)) for start in range(0, rows, size)]
    if len(spans) == 1:
        token.check(0.0)
        return [work(*spans[0])]
    results: list[Any] = [None] * len(spans)
    numbers = itertools.count()
    failed = threading.Event()

    def pull() -> None:
        for number in numbers:
            if number >= len(spans) or failed.is_set():
                return
            try:
                token.check(number / len(spans))
                results[number] = work(*spans[number])
            except BaseException:
                failed.set()
                raise

    pullers: list[Future[None]] = [_pool().submit(pull) for _ in range(min(os.cpu_count() or 1, len(spans)))]
    errors = [puller.exception() for puller in pullers]
    for error in errors:
        if error is not None:
            raise error
    return results


class Matrix:
    """Weights of any float type, shape and memory order, read as float32 rows; copied only where that is needed."""

    def __init__(self, weights: Any) -> None:
        array = _as_array(weights)
        if array.dtype.kind not in "fV" or array.dtype.names:
            raise SchemeError(f"{array.dtype} weights cannot be quantized; choose a floating-point tensor")
        self.shape: tuple[int, ...] = array.shape
        self.rows, self.cols = matrix_shape(array.shape)
        self._array = array if array.ndim > 1 else array.reshape(1, -1)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows `start`…`stop` as a C-contiguous float32 matrix."""
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.ascontiguousarray(self._array[start:stop], dtype=np.float32)
        return part.reshape(stop - start, self.cols)


def _as_array(weights: Any) -> np.ndarray:
    """A numpy view of an array or a torch tensor (told by its methods: the core does not know torch)."""
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu()
        if str(weights.dtype) == "torch.bfloat16":
            weights = weights.float()  # numpy has no bfloat16 of torch's; the only copy made
        weights = weights.numpy()
    return np.asarray(weights)
