"""The outputs of a described network, and of single layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from qinspect.evaluation.inputs import InputSet
from qinspect.evaluation.result import Evaluation, LayerOutput
from qinspect.evaluation.weights import Sums, Weights, products
from qinspect.formats.native import prefix_of
from qinspect.network import Network
from qinspect.quant.layout import matrix_shape
from qinspect.task import Token

ROWS = 4096
"""Inputs that run at a time."""


def of_network(network: Network, weights: Weights, data: InputSet, x: np.ndarray, token: Token) -> Evaluation:
    """Run it with both weights; every layer also gets the inputs that it has in the unchanged network."""
    layers: dict[str, Sums] = defaultdict(Sums)

    def compare(prefix: str, inputs: np.ndarray) -> np.ndarray:
        name = f"{prefix}.weight"
        if name in weights.schemes:
            layers[name].add(*products(weights, name, inputs))
        return inputs

    outputs, same, right = Sums(), 0, [0, 0]
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


def single_layers(weights: Weights, data: InputSet) -> Iterator[LayerOutput]:
    """Layers with inputs of their own name, or else `x` where it has as many features as the layer takes."""
    for name, scheme in weights.schemes.items():
        cols = matrix_shape(weights.shapes[name])[1]
        named = (data.features(key) for key in (name, prefix_of(name)))
        inputs = next((array for array in named if array is not None), data.features("x"))
        sums = Sums()
        if inputs is not None and inputs.shape[1] == cols:
            for start in range(0, len(inputs), ROWS):
                sums.add(*products(weights, name, inputs[start : start + ROWS]))
        yield LayerOutput(name, scheme, sums.samples, sums.error)
