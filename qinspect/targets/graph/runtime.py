"""onnxruntime, where it is installed, as the proof of a graph: it computes from the file what was meant."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from qinspect.targets.graph import wire
from qinspect.targets.graph.forms import Form
from qinspect.targets.graph.nbits import MICROSOFT, NBits
from qinspect.targets.graph.sequential import INPUT, IR_VERSION
from qinspect.targets.graph.wire import joined

_INPUTS = 8
"""Vectors that a packed product is tried with."""


def version() -> str | None:
    """That of onnxruntime; None if it is not installed."""
    try:
        return importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        return None


def session(model: bytes | str, weights: Mapping[str, np.ndarray] = MappingProxyType({})) -> Any:
    """A model, from its bytes or its file, on the CPU and computed as it is written; `weights` replace initializers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in weights.items()}
    for name, value in held.items():
        options.add_initializer(name, value)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised, and said by whoever catches it
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def refusals() -> tuple[type[Exception], ...]:
    """What onnxruntime raises of a model that it does not run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
    return (*kinds, state.RuntimeException)


def loads(path: Path) -> str | None:
    """Why onnxruntime does not load a model, in its words; None if it does."""
    try:
        session(str(path))
    except refusals() as error:
        return str(error).partition("\n")[0]
    return None


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    """What a model of one input and one output makes of `x`."""
    found: np.ndarray = session(str(path)).run(None, {INPUT: x})[0]
    return found


def difference(form: Form, arrays: Mapping[str, np.ndarray], weights: np.ndarray) -> float:
    """The largest |difference| of a layer that onnxruntime computes from stored `arrays` and of one with `weights`.

    Of a form that computes the weights these are compared; of a product, its outputs for random inputs, relative to
    the length of a row of weights.
    """
    x = np.random.default_rng(0).standard_normal((_INPUTS, weights.shape[1])).astype(np.float32)
    found = session(_layer(form, arrays)).run(None, {"x": x} if isinstance(form, NBits) else {})[0]
    if not isinstance(form, NBits):
        matrix = found.astype(np.float32)
        matrix = matrix.T if form.site.turned else matrix.reshape(weights.shape)
        return float(np.abs(matrix - weights).max())
    exact = x @ weights.T.astype(np.float64)
    length = np.sqrt(np.square(weights.astype(np.float64)).sum(axis=1)) * np.sqrt(weights.shape[1])
    return float((np.abs(found - exact) / np.maximum(length, 1e-30)).max())


def _layer(form: Form, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A model of one layer."""
    nodes, constants = form.nodes()
    rows, cols = form.matrix.rows, form.matrix.cols
    if isinstance(form, NBits):
        nodes = [form.product("x", "y")]
        inputs, outputs = [wire.value_info("x", "F32", ["n", cols])], [wire.value_info("y", "F32", ["n", rows])]
    else:
        shape = form.site.shape[::-1] if form.site.turned else form.site.shape
        inputs, outputs = [], [wire.value_info(form.site.name, form.site.dtype, shape)]
    given = {stored.name: arrays[key].tobytes() for stored, key in zip(form.stored, form.held(), strict=True)}
    graph = joined(
        *(wire.field(1, each) for each in nodes),
        wire.field(2, "layer"),
        *(wire.field(5, each) for each in [*constants, *form.tensors()]),
        *(wire.field(11, each) for each in inputs),
        *(wire.field(12, each) for each in outputs),
    )
    opsets = [wire.opset(max(form.site.opset, 13)), wire.opset(1, MICROSOFT)]
    whole = joined(wire.field(1, IR_VERSION), wire.field(7, graph), *(wire.field(8, each) for each in opsets))
    return b"".join(piece if isinstance(piece, bytes) else given[piece.name] for piece in whole)  # type: ignore[union-attr]
