"""A sequential network as a list of operators, so that a checkpoint can be run and its accuracy measured.

It stands as JSON in a checkpoint's metadata under `qinspect.network`, or in a file of its own:
`[{"op": "linear", "prefix": "fc1"}, {"op": "relu"}, {"op": "layernorm", "prefix": "n1", "eps": 1e-5},
{"op": "residual", "body": […]}]`. A linear layer has `<prefix>.weight` `[out, in]` and, if it wants, `<prefix>.bias`.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor

Tensors = Callable[[str], np.ndarray | None]
"""Gives a float32 tensor by its full name, None where there is none."""

Inputs = Callable[[str, np.ndarray], np.ndarray]
"""Is shown the prefix of a linear layer and its input `[n, features]`, and gives what the layer takes instead."""

METADATA_KEY = "qinspect.network"
MAX_DEPTH = 16


@dataclass(frozen=True)
class Linear:
    """`x · weightᵀ + bias`."""

    prefix: str


@dataclass(frozen=True)
class Relu:
    """`max(x, 0)`."""


@dataclass(frozen=True)
class LayerNorm:
    """Each row to mean 0 and variance 1, then `· weight + bias`."""

    prefix: str
    eps: float = 1e-5


@dataclass(frozen=True)
class Residual:
    """`x + body(x)`."""

    body: tuple[Operator, ...]


Operator: TypeAlias = Linear | Relu | LayerNorm | Residual


@dataclass(frozen=True)
class Network:
    """Operators that run one after the other."""

    operators: tuple[Operator, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """The network that `text` describes in JSON; FormatError names what is wrong with it."""
        try:
            return cls(_operators(json.loads(text), 0))
        except (ValueError, RecursionError) as error:
            raise FormatError("the description of the network is not JSON") from error

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self | None:
        """The network that `checkpoint` describes in its metadata or is known by its names; None if there is none."""
        text = checkpoint.metadata.get(METADATA_KEY)
        if text is not None:
            try:
                return cls.parse(text)
            except FormatError as error:
                error.within(path=checkpoint.path)
                raise
        prefixes = {info.name.rpartition(".")[0] for info in checkpoint.infos}
        network = cls(_big_net())
        return network if prefixes == set(network.prefixes) else None

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Prefixes of the tensors that the network needs, in the order in which it runs."""
        return tuple(operator.prefix for operator in self.flat() if isinstance(operator, Linear | LayerNorm))

    def flat(self) -> Iterator[Operator]:
        """All operators that are no residual blocks, those in blocks too, in the order in which they run."""
        return _flat(self.operators)

    def to_json(self) -> list[dict[str, Any]]:
        """The list that `parse` reads as text."""
        return [_to_json(operator) for operator in self.operators]

    def forward(self, x: np.ndarray, tensors: Tensors, inputs: Inputs | None = None) -> np.ndarray:
        """Float32 output `[n, classes]` for a batch `x` `[n, features]`; FormatError where tensors do not fit."""
        if x.ndim != 2:
            raise FormatError(f"the network takes inputs of shape [n, features], not {list(x.shape)}")
        # Broken weights give inf and NaN, which the accuracy then shows; they need no warning a row.
        with np.errstate(all="ignore"):
            return _run(self.operators, np.asarray(x, np.float32), tensors, inputs)


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    """Fraction of the rows of `logits` `[n, classes]` whose largest entry is the label in `y` `[n]`."""
    return float(np.mean(logits.argmax(axis=1) == y))


def decoded(checkpoint: Checkpoint) -> Tensors:
    """The tensors of `checkpoint`, packed ones decoded; each is read once and kept."""
    names = {info.name for info in checkpoint.infos}

    @functools.cache
    def tensor(name: str) -> np.ndarray | None:
        if name not in names:
            return None
        stored = checkpoint.load(name)
        return stored.scheme.dequantize(stored) if isinstance(stored, QTensor) else np.asarray(stored, np.float32)

    return tensor


def find_test_set(path: Path) -> Path | None:
    """The test set `model.test.npz` beside `model.safetensors`, if it is there."""
    beside = path.with_suffix(".test.npz")
    return beside if beside.is_file() else None


def load_test_set(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `x`, float32 `[n, features]`, and labels `y`, integers `[n]`, of an `.npz` file with these two arrays."""
    with open_checkpoint(path) as file:
        x, y = (np.array(file.load(name)) for name in ("x", "y"))
    if x.ndim != 2 or y.shape != x.shape[:1] or y.dtype.kind not in "iu" or not len(y):
        raise FormatError(f"a test set has x [n, features] and integer y [n], not {x.shape} and {y.shape}", path=path)
    return x.astype(np.float32, copy=False), y


def _run(operators: tuple[Operator, ...], x: np.ndarray, tensors: Tensors, inputs: Inputs | None) -> np.ndarray:
    for operator in operators:
        x = _apply(operator, x, tensors, inputs)
    return x


def _apply(operator: Operator, x: np.ndarray, tensors: Tensors, inputs: Inputs | None) -> np.ndarray:
    match operator:
        case Linear(prefix):
            x = x if inputs is None else inputs(prefix, x)
            weight = _tensor(tensors, f"{prefix}.weight", (None, x.shape[1]))
            return _plus_bias(x @ weight.T, tensors, prefix)
        case Relu():
            return np.asarray(np.maximum(x, np.float32(0)))
        case LayerNorm(prefix, eps):
            weight = _tensor(tensors, f"{prefix}.weight", (x.shape[1],))
            centred = x - x.mean(axis=1, keepdims=True)
            variance = np.square(centred).mean(axis=1, keepdims=True)
            return _plus_bias(centred / np.sqrt(variance + np.float32(eps)) * weight, tensors, prefix)
        case Residual(body):
            y = _run(body, x, tensors, inputs)
            if y.shape != x.shape:
                raise FormatError(f"a residual block of the network turns {x.shape[1]} features into {y.shape[1]}")
            return np.asarray(x + y)


def _flat(operators: tuple[Operator, ...]) -> Iterator[Operator]:
    for operator in operators:
        if isinstance(operator, Residual):
            yield from _flat(operator.body)
        else:
            yield operator


def _tensor(tensors: Tensors, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    tensor = tensors(name)
    if tensor is None:
        raise FormatError("the network needs this tensor, and the file does not have it", tensor=name)
    if tensor.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, tensor.shape, strict=True)):
        wanted = " × ".join("any" if n is None else str(n) for n in shape)
        raise FormatError(f"the network needs this tensor as {wanted}, and it is {tensor.shape}", tensor=name)
    return tensor


def _plus_bias(x: np.ndarray, tensors: Tensors, prefix: str) -> np.ndarray:
    name = f"{prefix}.bias"
    return x if tensors(name) is None else x + _tensor(tensors, name, (x.shape[1],))


def _to_json(operator: Operator) -> dict[str, Any]:
    name = type(operator).__name__.lower()
    if isinstance(operator, Residual):
        return {"op": name, "body": [_to_json(inner) for inner in operator.body]}
    return {"op": name, **asdict(operator)}


def _operators(value: Any, depth: int) -> tuple[Operator, ...]:
    if not isinstance(value, list) or not value:
        raise FormatError("a network, and the body of a residual block, is a list of operators with at least one")
    if depth > MAX_DEPTH:
        raise FormatError(f"the network nests residual blocks more than {MAX_DEPTH} deep")
    return tuple(_operator(item, depth) for item in value)


def _operator(item: Any, depth: int) -> Operator:
    match item:
        case {"op": "relu", **rest} if not rest:
            return Relu()
        case {"op": "linear", "prefix": str(prefix), **rest} if not rest:
            return Linear(prefix)
        case {"op": "layernorm", "prefix": str(prefix), **rest} if rest.keys() <= {"eps"}:
            return LayerNorm(prefix, _eps(rest.get("eps", 1e-5)))
        case {"op": "residual", "body": body, **rest} if not rest:
            return Residual(_operators(body, depth + 1))
    shown = json.dumps(item)[:80]
    raise FormatError(f"the network has linear, relu, layernorm and residual operators, and this is none: {shown}")


def _eps(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise FormatError(f"eps of a layer norm is a number of 0 or more, not {str(value)[:20]}")
    return float(value)


def _big_net() -> tuple[Operator, ...]:
    """The reference network of the drop-in modules: six residual blocks of three layers, layer norms between them."""
    operators: list[Operator] = []
    for i in range(0, 12, 2):
        first, second, third = (Linear(f"model.{i}.model.{j}") for j in (0, 2, 4))
        operators += [Residual((first, Relu(), second, Relu(), third)), LayerNorm(f"model.{i + 1}")]
    return tuple(operators[:-1])
