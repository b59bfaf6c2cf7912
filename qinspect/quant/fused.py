"""The short way through the engine, for schemes whose parameters follow by a rule from each run's own range."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from qinspect.quant import fused_kernels, metrics
from qinspect.quant.blocks import scratch
from qinspect.quant.error_kernels import TABLES
from qinspect.quant.layout import Layout
from qinspect.quant.packing import BitPacking, DigitPacking
from qinspect.quant.rule import PADDING
from qinspect.quant.scheme import Scheme


class Fused:
    """Quantizes or measures blocks of rows in one compiled call each, with the results of the general way.

    `params` are the arrays in which a tensor's parameters are stored; they are filled. Both methods tell by False or
    None that something is wrong with a block: the general way then says what.
    """

    def __init__(self, scheme: Scheme, layout: Layout, params: Mapping[str, np.ndarray]) -> None:
        rule = scheme.rule
        assert rule is not None
        self._scheme, self._layout = scheme, layout
        bytes_of = [params[name].reshape(-1).view(np.uint8) for name in ("scale", rule.second) if name is not None]
        self._params = bytes_of[0], bytes_of[1] if rule.second is not None else np.empty(0, np.uint8)
        self._how = layout.cols, layout.run, rule.numbers, scheme.code_range
        self._own = threading.local()

    @staticmethod
    def takes(scheme: Scheme, layout: Layout) -> bool:
        """Whether this way is open."""
        return (
            scheme.rule is not None
            and layout.local
            and scheme.n_codes <= 256
            and isinstance(scheme.packing, (BitPacking, DigitPacking))
            and getattr(scheme, "calibration", "minmax") == "minmax"
        )

    def quantize(self, x: np.ndarray, start: int, out: np.ndarray) -> bool:
        """Rows of weights, of which `start` is the first, into `out`, those rows of the stored array."""
        packing = self._scheme.packing
        assert isinstance(packing, (BitPacking, DigitPacking))
        how = (packing.levels, packing.digits) if isinstance(packing, DigitPacking) else (packing.bits, 0)
        codes, _, *sets = self._workspace()
        first = start * self._layout.runs_per_row
        return bool(
            fused_kernels.quantize_block(
                x.reshape(-1), *self._how, first, *self._params, *sets, self._layout.strip, codes, how, out.reshape(-1)
            )
        )

    def measure(self, x: np.ndarray, start: int, counts: np.ndarray) -> np.ndarray | None:
        """`metrics.SUMS` of such rows; codes are counted in `counts`."""
        sums = np.zeros(len(metrics.SUMS))
        codes, decoded, *sets = self._workspace()
        first = start * self._layout.runs_per_row
        tables = scratch("tables", TABLES, np.uint32)
        fine = fused_kernels.measure_block(
            x.reshape(-1), *self._how, first, *self._params, *sets, self._layout.strip,
            codes, decoded, counts, tables, sums,
        )  # fmt: skip
        return sums if fine else None

    def _workspace(self) -> tuple[np.ndarray, ...]:
        """This thread's memory for one strip: codes, decoded weights, what is known of each set, and patterns."""
        if not hasattr(self._own, "work"):
            weights, sets = self._layout.strip, self._layout.strip // self._layout.cols * self._layout.runs_per_row
            known, patterns = np.empty((9, sets + PADDING), np.float32), np.empty((2, sets + PADDING), np.uint16)
            self._own.work = np.empty(weights, np.uint8), np.empty(weights, np.float32), known, patterns
        work: tuple[np.ndarray, ...] = self._own.work
        return work
