"""What quantization does to outputs, not to weights: of every layer for its inputs, and of the whole network."""

from __future__ import annotations

from qinspect.errors import FormatError, UnsupportedError
from qinspect.evaluation.inputs import InputSet, load_inputs
from qinspect.evaluation.result import Evaluation, LayerOutput
from qinspect.evaluation.sequential import of_network, single_layers
from qinspect.evaluation.weights import Weights
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.onnx_file import OnnxCheckpoint
from qinspect.network import Network, find_test_set
from qinspect.recipe import Recipe
from qinspect.task import Token

__all__ = ["Evaluation", "InputSet", "LayerOutput", "evaluate", "has_test_set", "load_inputs"]


def has_test_set(checkpoint: Checkpoint) -> bool:
    """Whether accuracy can be measured: the checkpoint is a network, and its test set lies beside it."""
    return find_test_set(checkpoint.path) is not None and Network.of(checkpoint) is not None


def evaluate(
    checkpoint: Checkpoint,
    recipe: Recipe,
    data: InputSet | None = None,
    token: Token | None = None,
    reference: Checkpoint | None = None,
) -> Evaluation:
    """Quantize as an export would, and compare outputs for `data`, by default the test set beside the checkpoint.

    `reference` has the originals of packed layers; without it they are compared with what they decode to.
    """
    token = token or Token()
    if data is None:
        path = find_test_set(checkpoint.path)
        if path is None:
            Weights(checkpoint, recipe, token.part(0, 0.1)).check()
            raise FormatError("there is no test set beside it; name inputs with --data", path=checkpoint.path)
        data = load_inputs(path)
    if isinstance(checkpoint, OnnxCheckpoint) and reference is not None:
        text = "an ONNX model is run with its own weights: no reference is put into it; evaluate the original instead"
        raise UnsupportedError(text, path=checkpoint.path)
    weights = Weights(checkpoint, recipe, token.part(0, 0.1), reference)
    if isinstance(checkpoint, OnnxCheckpoint):
        from qinspect.evaluation.onnx_model import of_onnx  # with all of ONNX: not before it is asked for

        return of_onnx(checkpoint, weights, data, token.part(0.1, 1))
    network = Network.of(checkpoint)
    x = data.features("x")
    if network is None or x is None:
        why = "no network is described" if network is None else "there is no x among the inputs"
        return Evaluation(tuple(single_layers(weights, data)), 0, remark=f"the network was not run: {why}")
    return of_network(network, weights, data, x, token.part(0.1, 1))
