"""The error of a packed tensor where some input channels count more than others."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.quant import engine
from qinspect.quant.metrics import decibels
from qinspect.quant.sample import column_weights
from qinspect.quant.scheme import QTensor
from qinspect.task import Token


def weighted_sqnr_db(w: Any, q: QTensor, importance: Any, token: Token | None = None) -> float:
    """`10·log10(Σ c·w² / Σ c·(w − ŵ)²)` with the importance `c` of each weight's input channel (axis 1)."""
    return decibels(*weighted_energies(w, q, importance, token))


def weighted_energies(w: Any, q: QTensor, importance: Any, token: Token | None = None) -> tuple[float, float]:
    """`Σ c·w²` and `Σ c·(w − ŵ)²` with the importance `c` of each weight's input channel (axis 1)."""
    weight = column_weights(importance, q.shape)
    if weight is None:
        raise ValueError("no importance was given")

    def sums(block: engine.Block) -> np.ndarray:
        x = np.asarray(block.weights, np.float64)
        return np.array([(np.square(values) @ weight).sum() for values in (x, x - block.decoded)])

    signal, noise = sum(engine.visit(q, w, sums, token), np.zeros(2))
    return float(signal), float(noise)
