"""What quantization does to outputs, not to weights: of every layer for its inputs, and of the whole network."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.native import prefix_of
from qinspect.formats.open import open_checkpoint
from qinspect.network import Network, Tensors, decoded, find_test_set
from qinspect.quant.layout import matrix_shape
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.recipe import Recipe
from qinspect.targets.choice import choices
from qinspect.task import Token

ROWS = 4096
"""Inputs that run at a time."""


@dataclass(frozen=True, eq=False)
class InputSet:
    """Inputs `[n, features]` by name: `x` of the network, or those of single layers; `labels` `[n]` where known."""

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class LayerOutput:
    """The output error of one layer, ‖XŴᵀ − XWᵀ‖ / ‖XWᵀ‖ over `samples` inputs X; NaN where no inputs fit it."""

    name: str
    scheme: Scheme
    samples: int
    error: float


@dataclass(frozen=True)
class Evaluation:
    """Layers that are quantized, and, where the network could be run, its outputs with their weights as they decode.

    `before` and `after` are the shares of labels that are the largest output; `agreement` is that of inputs for which
    it is the same one; `output_error` is ‖Ŷ − Y‖ / ‖Y‖. None where that is not known; `remark` then says why.
    """

    layers: tuple[LayerOutput, ...]
    samples: int
    before: float | None = None
    after: float | None = None
    agreement: float | None = None
    output_error: float | None = None
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        layers = [
            {
                "name": one.name,
                "scheme": one.scheme.to_json(),
                "samples": one.samples,
                "output_error": _finite(one.error),
            }
            for one in self.layers
        ]
        figures = {name: _finite(getattr(self, name)) for name in ("before", "after", "agreement", "output_error")}
        return {"layers": layers, "samples": self.samples, **figures, "remark": self.remark}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def load_inputs(path: Path) -> InputSet:
    """The arrays of an `.npz`, `.pt`, `.safetensors` or `.npy` file: `x`, labels `y`, and inputs of layers by name."""
    with open_checkpoint(path) as file:
        arrays = {info.name: np.array(file.load(info.name)) for info in file.infos}
    labels = arrays.pop("y", None)
    if len(arrays) == 1:
        arrays = {"x": next(iter(arrays.values()))}
    for name, array in arrays.items():
        if array.ndim < 2 or not len(array) or array.dtype.kind not in "fiuV":
            raise FormatError(f"inputs are numbers [n, features], not {array.dtype} {list(array.shape)}", tensor=name)
    if not arrays:
        raise FormatError("there are no inputs in it, such as x [n, features]", path=path)
    inputs = {name: array.reshape(len(array), -1).astype(np.float32) for name, array in arrays.items()}
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != inputs.get("x", labels).shape[:1]):
        raise FormatError(f"labels y are integers, one for each x, not {labels.dtype} {list(labels.shape)}", path=path)
    return InputSet(inputs, labels)


def has_test_set(checkpoint: Checkpoint) -> bool:
    """Whether accuracy can be measured: the checkpoint is a network, and its test set lies beside it."""
    return find_test_set(checkpoint.path) is not None and Network.of(checkpoint) is not None


def evaluate(
    checkpoint: Checkpoint, recipe: Recipe, data: InputSet | None = None, token: Token | None = None
) -> Evaluation:
    """Quantize as an export would, and compare outputs for `data`, by default the test set beside the checkpoint."""
    token = token or Token()
    if data is None:
        path = find_test_set(checkpoint.path)
        if path is None:
            raise FormatError("there is no test set beside it; name inputs with --data", path=checkpoint.path)
        data = load_inputs(path)
    weights = _Weights(checkpoint, recipe, token.part(0, 0.1))
    network = Network.of(checkpoint)
    x = data.inputs.get("x")
    if network is None or x is None:
        why = "no network is described" if network is None else "there is no x among the inputs"
        return Evaluation(tuple(_single_layers(weights, data)), 0, remark=f"the network was not run: {why}")
    return _of_network(network, weights, data, x, token.part(0.1, 1))


class _Weights:
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


class _Sums:
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


def _of_network(network: Network, weights: _Weights, data: InputSet, x: np.ndarray, token: Token) -> Evaluation:
    layers: dict[str, _Sums] = defaultdict(_Sums)

    def compare(prefix: str, inputs: np.ndarray) -> np.ndarray:
        name = f"{prefix}.weight"
        if name in weights.schemes:
            layers[name].add(*_products(weights, name, inputs))
        return inputs

    outputs, same, right = _Sums(), 0, [0, 0]
    for start in range(0, len(x), ROWS):
        token.check(start / len(x))
        batch = x[start : start + ROWS]
        before = network.forward(batch, weights.before, compare)
        after = network.forward(batch, weights.after)
        outputs.add(before, after)
        same += int((before.argmax(1) == after.argmax(1)).sum())
        if data.labels is not None:
            labels = data.labels[start : start + ROWS]
            right = [n + int((y.argmax(1) == labels).sum()) for n, y in zip(right, (before, after), strict=True)]
    found = tuple(LayerOutput(name, weights.schemes[name], s.samples, s.error) for name, s in layers.items())
    first, second = (None if data.labels is None else n / len(x) for n in right)
    return Evaluation(found, len(x), first, second, same / len(x), outputs.error)


def _single_layers(weights: _Weights, data: InputSet) -> Iterator[LayerOutput]:
    """Layers with inputs of their own name, or else `x` where it has as many features as the layer takes."""
    for name, scheme in weights.schemes.items():
        cols = matrix_shape(weights.shapes[name])[1]
        named = (data.inputs.get(key) for key in (name, prefix_of(name)))
        inputs = next((array for array in named if array is not None), data.inputs.get("x"))
        sums = _Sums()
        if inputs is not None and inputs.shape[1] == cols:
            for start in range(0, len(inputs), ROWS):
                sums.add(*_products(weights, name, inputs[start : start + ROWS]))
        yield LayerOutput(name, scheme, sums.samples, sums.error)


def _products(weights: _Weights, name: str, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a layer makes of inputs, without its bias, before and after."""
    matrices = (weights.before(name), weights.after(name))
    first, second = (inputs @ w.reshape(matrix_shape(w.shape)).T for w in matrices if w is not None)
    return first, second
