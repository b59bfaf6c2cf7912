"""Weights before and after, what a layer makes of inputs with both, and how far apart that is."""

from __future__ import annotations

import functools
import math

import numpy as np

from qinspect.compare import match
from qinspect.errors import FormatError, QInspectError, printable
from qinspect.formats.checkpoint import Checkpoint
from qinspect.network import Tensors, decoded
from qinspect.quant.layout import matrix_shape
from qinspect.quant.scheme import QTensor
from qinspect.recipe import Recipe
from qinspect.targets.choice import choices, stored_scheme
from qinspect.task import Token


class Weights:
    """The tensors of a checkpoint before and after, each decoded once, and the schemes that change them."""

    def __init__(
        self, checkpoint: Checkpoint, recipe: Recipe, token: Token, reference: Checkpoint | None = None
    ) -> None:
        """With a `reference`, weights before are those that it has, and packed layers count as changed."""
        chosen = choices(checkpoint, recipe, token)
        self.schemes = {choice.info.name: choice.scheme for choice in chosen if choice.scheme is not None}
        self.shapes = {choice.info.name: choice.info.shape for choice in chosen}
        self.own: Tensors = decoded(checkpoint)
        self.before: Tensors = self.own
        self._as_stored: set[str] = set()
        if reference is not None:
            self.before = _originals(checkpoint, reference, self.own)
            stored = {choice.info.name: stored_scheme(checkpoint, choice.info) for choice in chosen}
            left = {name: held for name, held in stored.items() if held is not None and name not in self.schemes}
            self._as_stored = set(left)
            self.schemes |= left
        self.after: Tensors = functools.cache(self._quantized)
        self._checkpoint = checkpoint

    def check(self) -> None:
        """Raise SchemeError where a tensor that is to be quantized is not finite."""
        from qinspect.quant.engine import extremes

        for name in self.schemes:
            held = self._checkpoint.lazy(name)
            if not isinstance(held, QTensor):
                try:
                    extremes(held, Token())
                except QInspectError as error:
                    raise error.within(path=self._checkpoint.path, tensor=name) from None

    def _quantized(self, name: str) -> np.ndarray | None:
        scheme, weights = self.schemes.get(name), self.before(name)
        if weights is None or scheme is None or name in self._as_stored:
            return self.own(name)
        held = self._checkpoint.load(name)
        if isinstance(held, QTensor) and held.scheme == scheme:
            return self.own(name)
        return scheme.dequantize(scheme.quantize(weights))


def _originals(checkpoint: Checkpoint, reference: Checkpoint, own: Tensors) -> Tensors:
    """The tensors of `reference` under the names of `checkpoint`, which has those that are not there."""
    pairs = match(checkpoint, reference).pairs
    if not any(pair.a.qtype for pair in pairs):
        text = f"no packed layer of it has its original in {printable(str(reference.path))}; name what it was made from"
        raise FormatError(text, path=checkpoint.path)
    names = {pair.a.name: pair.b.name for pair in pairs}
    held = decoded(reference)
    return lambda name: held(names[name]) if name in names else own(name)


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
