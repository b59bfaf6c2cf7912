"""The outputs of an ONNX model, run in onnxruntime with its weights as they are and as they decode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from qinspect.errors import ExportError, FormatError, UnsupportedError
from qinspect.evaluation.inputs import InputSet
from qinspect.evaluation.result import Evaluation, LayerOutput
from qinspect.evaluation.weights import Sums, Weights, products
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.onnx_file import OnnxCheckpoint
from qinspect.targets.graph import runtime
from qinspect.targets.graph.rewriting import UserGraph
from qinspect.targets.pieces import Pieces
from qinspect.task import Token

ROWS = 128
"""Inputs that run at a time, unless the model says how many."""

_TYPES = {
    "tensor(float)": "f4", "tensor(float16)": "f2", "tensor(double)": "f8", "tensor(int64)": "i8",
    "tensor(int32)": "i4", "tensor(int8)": "i1", "tensor(uint8)": "u1", "tensor(bool)": "?",
}  # fmt: skip
"""Types of inputs as onnxruntime calls them, and as numpy does."""


@dataclass(frozen=True)
class _Layer:
    """A weight that is quantized: the initializer that it is, and the value that is multiplied with it, if one is."""

    name: str
    initializer: str
    inputs: str | None


def of_onnx(checkpoint: OnnxCheckpoint, weights: Weights, data: InputSet, token: Token) -> Evaluation:
    """Run the model twice; each product also gets the inputs that it has in the unchanged model."""
    version = runtime.version()
    if version is None:
        raise UnsupportedError(
            "an ONNX model is run with onnxruntime, which is not installed: pip install qinspect[verify]",
            path=checkpoint.path,
        )
    graph = UserGraph(checkpoint.path)
    try:
        layers, without = _layers(checkpoint, graph, weights)
        with _sessions(checkpoint, graph, weights, layers) as (before, after):
            found = _compared(before, after, graph.outputs, layers, weights, data, token)
            return replace(found, remark=f"run in onnxruntime {version}{without}")
    except runtime.refusals() as error:
        text = f"onnxruntime does not run this model with these inputs: {str(error).partition(chr(10))[0]}"
        raise UnsupportedError(text, path=checkpoint.path) from error
    except (FormatError, UnsupportedError) as error:
        raise error.within(path=checkpoint.path) from None
    finally:
        graph.close()


def _layers(checkpoint: OnnxCheckpoint, graph: UserGraph, weights: Weights) -> tuple[list[_Layer], str]:
    """The weights that can be exchanged, and in words which cannot."""
    found, without = [], []
    for name in weights.schemes:
        info = checkpoint.info(name)
        initializer = str(info.metadata.get("initializer", ""))
        if info.qtype is not None or info.dtype not in ("F32", "F16", "F64") or not graph.replaceable(initializer):
            without.append(name)
        else:
            found.append(_Layer(name, initializer, graph.product_input(initializer)))
    for name in without:
        del weights.schemes[name]
    return found, f"; left as they are, being packed or within other graphs: {len(without)} tensors" if without else ""


@contextlib.contextmanager
def _sessions(
    checkpoint: OnnxCheckpoint, graph: UserGraph, weights: Weights, layers: Sequence[_Layer]
) -> Iterator[tuple[Any, Any]]:
    """The model with the inputs of its layers among its outputs, and the model with their weights as they decode."""
    own = {*graph.outputs, *graph.inputs}
    exposed = dict.fromkeys(layer.inputs for layer in layers if layer.inputs is not None and layer.inputs not in own)
    changed = {layer.initializer: _as_initializer(checkpoint, weights, layer.name) for layer in layers}
    with TemporaryDirectory(prefix="qinspect-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            with path.open("wb") as file:
                for at, part in Pieces(graph.exposing(exposed)).frame({}):
                    file.seek(at)
                    file.write(part)
        except OSError as error:
            text = f"a copy of the model could not be written ({error.strerror}); make room"
            raise ExportError(text, path=path) from error
        yield runtime.session(str(path)), runtime.session(str(path), changed)


def _as_initializer(checkpoint: OnnxCheckpoint, weights: Weights, name: str) -> np.ndarray:
    """The decoded weights as the graph has them."""
    info, decoded = checkpoint.info(name), weights.after(name)
    assert decoded is not None
    turned = decoded.T if info.metadata.get("transposed") == "yes" else decoded
    return np.ascontiguousarray(turned.astype(numpy_dtype(info.dtype), copy=False))


def _compared(
    before: Any,
    after: Any,
    outputs: Sequence[str],
    layers: Sequence[_Layer],
    weights: Weights,
    data: InputSet,
    token: Token,
) -> Evaluation:
    feeds, rows, fixed = _feeds(before, data)
    n = len(next(iter(feeds.values())))
    names = [output.name for output in before.get_outputs()]
    sums: dict[str, Sums] = {layer.name: Sums() for layer in layers}
    whole, tops = Sums(), _Tops(data.labels)
    for start in range(0, n, rows):
        token.check(start / n)
        count = min(rows, n - start)
        size = rows if fixed else count
        batch = {name: _filled(array[start : start + rows], size) for name, array in feeds.items()}
        first = {**batch, **dict(zip(names, before.run(names, batch), strict=True))}
        first = {name: _of_samples(value, size, count) for name, value in first.items()}
        for layer in layers:
            if layer.inputs in first:
                x = first[layer.inputs]
                x = x.reshape(-1, x.shape[-1]).astype(np.float32, copy=False)
                sums[layer.name].add(*products(weights, layer.name, x))
        for number, (name, found) in enumerate(zip(outputs, after.run(outputs, batch), strict=True)):
            second = _of_samples(found, size, count)
            if second.dtype.kind == "f":
                whole.add(first[name].astype(np.float32, copy=False), second.astype(np.float32, copy=False))
            if not number:
                tops.add(first[name], second, start)
    of_layers = (LayerOutput(name, weights.schemes[name], one.samples, one.error) for name, one in sums.items())
    return Evaluation(tuple(of_layers), n, *tops.shares(), whole.error)


def _feeds(session: Any, data: InputSet) -> tuple[dict[str, np.ndarray], int, bool]:
    """The arrays that the model's inputs take, of their types and shapes; how many run at a time, and if they must."""
    wanted = session.get_inputs()
    feeds, rows, fixed = {}, ROWS, False
    for one in wanted:
        array = data.inputs.get(one.name, data.inputs.get("x") if len(wanted) == 1 else None)
        if array is None or one.type not in _TYPES:
            has = ", ".join(data.inputs)
            raise FormatError(f"the model takes {one.name} {one.shape} {one.type}, and the input set has {has}")
        sides = one.shape[1:]
        if all(isinstance(side, int) for side in sides) and np.prod(sides, dtype=np.int64) * len(array) == array.size:
            array = array.reshape(len(array), *sides)
        feeds[one.name] = array.astype(_TYPES[one.type])
        if one.shape and isinstance(one.shape[0], int):
            rows, fixed = one.shape[0], True
    if len({len(array) for array in feeds.values()}) > 1:
        counts = ", ".join(f"{name} {len(array)}" for name, array in feeds.items())
        raise FormatError(f"the inputs of a model have one length, and these have several: {counts}")
    return feeds, rows, fixed


def _filled(batch: np.ndarray, size: int) -> np.ndarray:
    """The last batch filled up with its last sample: a model may insist on how many there are."""
    return np.concatenate([batch, batch[-1:].repeat(size - len(batch), axis=0)]) if len(batch) < size else batch


def _of_samples(value: np.ndarray, size: int, count: int) -> np.ndarray:
    """What belongs to `count` samples, and not to those that fill a batch up to `size`."""
    if count < size and value.ndim and len(value) % size == 0:
        return np.asarray(value[: len(value) // size * count])
    return np.asarray(value)


class _Tops:
    """Which output is largest, before and after, and which should be."""

    def __init__(self, labels: np.ndarray | None) -> None:
        self._labels = labels
        self._count = self._same = self._labelled = 0
        self._right = [0, 0]

    def add(self, before: np.ndarray, after: np.ndarray, start: int) -> None:
        """The first output for some samples, the first of which is number `start`."""
        if before.ndim < 2 or before.shape[-1] < 2:
            return
        first, second = before.argmax(-1), after.argmax(-1)
        self._count += first.size
        self._same += int((first == second).sum())
        if self._labels is not None and first.ndim == 1:
            labels = self._labels[start : start + len(first)]
            self._labelled += len(labels)
            self._right = [n + int((top == labels).sum()) for n, top in zip(self._right, (first, second), strict=True)]

    def shares(self) -> tuple[float | None, float | None, float | None]:
        """Of labels that are right before and after, and of inputs with the same largest output."""
        agreement = self._same / self._count if self._count else None
        if not self._labelled:
            return None, None, agreement
        return self._right[0] / self._labelled, self._right[1] / self._labelled, agreement
