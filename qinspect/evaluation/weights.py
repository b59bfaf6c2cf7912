"""Weights before and after, what a layer makes of inputs with both, and how far apart that is."""

from __future__ import annotations

import functools
import math

import numpy as np

from qinspect.formats.checkpoint import Checkpoint
from qinspect.network import Tensors, decoded
from qinspect.quant.layout import matrix_shape
from qinspect.quant.scheme import QTensor
from qinspect.recipe import Recipe
from qinspect.targets.choice import choices
from qinspect.task import Token


class Weights:
    """The tensors of a checkpoint before and after, each decoded once, and the schemes that change them."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe, token: Token) -> None:
        chosen = choices(checkpoint, recipe, token)
        self.schemes = {choice.info.name: choice.scheme for choice in chosen if choice.scheme is not None}
        self.shapes = {choice.info.name: choice.info.shape for choice in chosen}
        self.before: Tensors = decoded(checkpoint)
        self.after: Tensors = functools.cache(self._quantized)
        self._checkpoint = checkpoint

    def _quantized(self, name: str) -> np.ndarray | None:
        scheme, weights = self.schemes.get(name), self.before(name)
        if weights is None or scheme is None:
            return weights
        held = self._checkpoint.load(name)
        if isinstance(held, QTensor) and held.scheme == scheme:
            return weights
        return scheme.dequantize(scheme.quantize(weights))


class Sums:
    """Squares of differences and of outputs, summed over batches."""

    def __init__(self) -> None:
        self.samples = 0
        self._noise = self._signal = 0.0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Outputs of some inputs."""
        self.samples += len(before)
        self._noise += float(np.square(after - before, dtype=np.float64).sum())
        self._signal += float(np.square(before, dtype=np.float64).sum())

    @property
    def error(self) -> float:
        """The relative difference; 0 where nothing differs, infinite where only the outputs before are 0."""
        if not self._noise:
            return 0.0 if self.samples else math.nan
        return math.sqrt(self._noise / self._signal) if self._signal else math.inf


def products(weights: Weights, name: str, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a layer makes of inputs, without its bias, before and after."""
    matrices = (weights.before(name), weights.after(name))
    first, second = (inputs @ w.reshape(matrix_shape(w.shape)).T for w in matrices if w is not None)
    return first, second
