"""Blocks of rows over a small thread pool: the one place where the core uses more than one core.

Kernels are single-threaded and release the GIL; each works on a block of rows that stays in cache. Results come back in
the order of the blocks and the blocks do not depend on the number of threads, so neither does any byte or sum.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from qinspect.errors import SchemeError
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import LazyArray, Weights
from qinspect.task import Token

T = TypeVar("T")

BLOCK_WEIGHTS = 1 << 18
"""Weights in a block: a megabyte of float32, which stays in a core's own cache."""

_scratch = threading.local()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="qinspect-kernel")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def scratch(tag: str, size: int, dtype: Any) -> np.ndarray:
    """A vector of this thread's own, kept between calls: touching fresh memory costs as much as a kernel does.

    Good until the thread asks for the same `tag` again. What a single huge row needs is not kept.
    """
    if size > 128 * BLOCK_WEIGHTS:
        return np.empty(size, dtype)
    held: np.ndarray | None = getattr(_scratch, tag, None)
    if held is None or held.size < size or held.dtype != dtype:
        held = np.empty(size, dtype)
        setattr(_scratch, tag, held)
    return held[:size]


def map_blocks(
    work: Callable[[int, int], T], rows: int, cols: int, token: Token | None = None, *, multiple: int = 1
) -> list[T]:
    """`work(start, stop)` for every block of rows, in parallel; the results in order, none where there are no weights.

    Blocks start at multiples of `multiple` rows. The token is checked between them. An error ends the work; the one of
    the earliest block is raised here. `work` must not call `map_blocks` itself: the pool would wait for itself.
    """
    if not (rows and cols):
        return []
    token = token or Token()
    size = max(1, BLOCK_WEIGHTS // cols // multiple) * multiple
    spans = [(start, min(start + size, rows)) for start in range(0, rows, size)]
    if len(spans) == 1:
        token.check(0.0)
        return [work(*spans[0])]
    results: list[Any] = [None] * len(spans)
    numbers = itertools.count()
    failed: list[tuple[int, BaseException]] = []

    def pull() -> None:
        for number in numbers:
            # Blocks before a failed one still run, so that which error is raised does not depend on the threads.
            if number >= len(spans) or any(at < number for at, _ in failed):
                return
            try:
                token.check(number / len(spans))
                results[number] = work(*spans[number])
            except BaseException as error:
                failed.append((number, error))

    wait([_pool().submit(pull) for _ in range(min(os.cpu_count() or 1, len(spans)))])
    try:
        if failed:
            raise min(failed, key=lambda entry: entry[0])[1]
        return results
    finally:
        failed.clear()  # an error that refers to itself through this frame would keep every array alive


class Matrix:
    """Weights of any float type, shape and memory order, read as float32 rows; copied only where that is needed.

    Of a `LazyArray` a block is read when it is asked for, and let go of with it.
    """

    def __init__(self, weights: Any) -> None:
        array = weights if isinstance(weights, LazyArray) and weights.ndim > 1 else _as_array(weights)
        if not _is_float(array.dtype):
            raise SchemeError(f"{array.dtype} weights cannot be quantized; choose a floating-point tensor")
        self.shape: tuple[int, ...] = array.shape
        self.rows, self.cols = matrix_shape(array.shape)
        self._array: Weights = array.reshape(1, -1) if isinstance(array, np.ndarray) and array.ndim < 2 else array

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows `start`…`stop` as a C-contiguous float32 matrix, read-only: kernels are compiled for no other."""
        part = self._array[start:stop]
        if part.dtype != np.float32 or not part.flags.c_contiguous:
            with np.errstate(over="ignore", invalid="ignore"):
                part = np.ascontiguousarray(part, dtype=np.float32)
        part = part.reshape(stop - start, self.cols)
        part.flags.writeable = False
        return part


def _is_float(dtype: np.dtype) -> bool:
    """Whether this is numpy's or ml_dtypes' type of floating numbers; to numpy the latter's int4 looks the same."""
    if dtype.kind != "V":
        return dtype.kind == "f"
    try:
        ml_dtypes.finfo(dtype)
    except ValueError:
        return False
    return True


def _as_array(weights: Any) -> np.ndarray:
    """A numpy view of an array or a torch tensor (told by its methods: the core does not know torch)."""
    if not hasattr(weights, "detach"):
        return np.asarray(weights)
    try:
        return _of_torch(weights.detach().cpu().resolve_neg())
    except (TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise SchemeError(f"torch has no plain array of these weights ({reason}); make them dense first") from error


def _of_torch(tensor: Any) -> np.ndarray:
    """The memory of a dense tensor on the CPU. Numpy gets bfloat16 and float8, which it lacks, as bits from torch."""
    name = str(tensor.dtype).removeprefix("torch.")
    if not hasattr(ml_dtypes, name):
        return np.asarray(tensor.numpy())
    torch = sys.modules[type(tensor.dtype).__module__]
    bits = tensor.view(torch.int16 if tensor.itemsize == 2 else torch.uint8).numpy()
    return np.asarray(bits.view(getattr(ml_dtypes, name)))
