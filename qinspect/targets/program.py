"""A network as a list of steps, with every value in a buffer that nothing else needs at the time."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.network import LayerNorm, Linear, Network, Operator, Relu, Residual, find_test_set, load_test_set

INPUT = -1
"""The buffer that the caller hands in, which is never written to."""


@dataclass(frozen=True)
class Step:
    """An operator that reads buffer `source` and writes `target` (a sum adds `source` to `target`).

    `width` is the number of values that come out.
    """

    operator: Operator
    source: int
    target: int
    width: int


@dataclass(frozen=True)
class Program:
    """`steps` in order; the result is in buffer `result`, and buffer i holds up to `buffers[i]` values."""

    steps: tuple[Step, ...]
    buffers: tuple[int, ...]
    inputs: int
    outputs: int
    result: int


def compiled(network: Network, shapes: Mapping[str, tuple[int, ...]]) -> Program:
    """The program of a network whose tensors have these shapes; FormatError names one that does not fit."""
    inputs = _first_width(network.operators, shapes)
    if inputs is None:
        raise FormatError("the network has no layer with weights, so nothing tells the size of its input")
    builder = _Builder(shapes)
    result, outputs = builder.run(network.operators, INPUT, inputs)
    return Program(tuple(builder.steps), tuple(builder.sizes), inputs, outputs, result)


VECTORS = 4
"""Inputs that a check runs."""


def inputs_for(checkpoint: Checkpoint, features: int) -> np.ndarray:
    """Inputs to check a network with: the first rows of the test set beside the checkpoint, or random numbers."""
    path = find_test_set(checkpoint.path)
    if path is not None:
        with contextlib.suppress(FormatError):
            x, _ = load_test_set(path)
            if x.shape[1] == features:
                return x[:VECTORS]
    return np.random.default_rng(0).standard_normal((VECTORS, features), np.float32)


def _first_width(operators: tuple[Operator, ...], shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Inputs of the first operator that has weights; those before it do not change the width."""
    for operator in operators:
        if isinstance(operator, Residual):
            width = _first_width(operator.body, shapes)
        elif isinstance(operator, Linear | LayerNorm):
            width = _shape(shapes, f"{operator.prefix}.weight", 2 if isinstance(operator, Linear) else 1)[-1]
        else:
            width = None
        if width is not None:
            return width
    return None


@dataclass
class _Builder:
    """Hands out buffers while it goes through the operators."""

    shapes: Mapping[str, tuple[int, ...]]
    steps: list[Step] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    free: set[int] = field(default_factory=set)
    held: list[int] = field(default_factory=lambda: [INPUT])

    def run(self, operators: tuple[Operator, ...], source: int, width: int) -> tuple[int, int]:
        """Buffer and width of the result."""
        for operator in operators:
            source, width = self._apply(operator, source, width)
        return source, width

    def _apply(self, operator: Operator, source: int, width: int) -> tuple[int, int]:
        match operator:
            case Residual(body):
                self.held.append(source)
                target, found = self.run(body, source, width)
                self.held.remove(source)
                if found != width:
                    raise FormatError(f"a residual block of the network turns {width} features into {found}")
                self.steps.append(Step(operator, source, target, width))
                self._release(source)
                return target, width
            case Linear(prefix):
                out, cols = _shape(self.shapes, f"{prefix}.weight", 2)
                self._check(f"{prefix}.weight", cols, width)
                target = self._take(out)
            case LayerNorm(prefix):
                self._check(f"{prefix}.weight", _shape(self.shapes, f"{prefix}.weight", 1)[0], width)
                out, target = width, self._in_place(source, width)
            case Relu():
                out, target = width, self._in_place(source, width)
        bias = f"{operator.prefix}.bias" if isinstance(operator, Linear | LayerNorm) else ""
        if bias in self.shapes:
            self._check(bias, _shape(self.shapes, bias, 1)[0], out)
        self.steps.append(Step(operator, source, target, out))
        if target != source:
            self._release(source)
        return target, out

    def _in_place(self, source: int, width: int) -> int:
        return self._take(width) if source in self.held else source

    def _take(self, width: int) -> int:
        """The free buffer that has to grow least, or a new one."""
        if not self.free:
            self.sizes.append(width)
            return len(self.sizes) - 1
        found = min(self.free, key=lambda b: (max(0, width - self.sizes[b]), self.sizes[b], b))
        self.free.remove(found)
        self.sizes[found] = max(self.sizes[found], width)
        return found

    def _release(self, buffer: int) -> None:
        if buffer not in self.held:
            self.free.add(buffer)

    def _check(self, name: str, found: int, width: int) -> None:
        if found != width:
            raise FormatError(f"the network brings {width} features to this tensor, which takes {found}", tensor=name)


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, ndim: int) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise FormatError("the network needs this tensor, and the file does not have it", tensor=name)
    if len(shape) != ndim or not all(shape):
        raise FormatError(f"the network needs {ndim} dimensions here, none of them 0, not {list(shape)}", tensor=name)
    return shape
