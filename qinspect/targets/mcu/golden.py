"""What the self-test on the device expects, computed from the file that was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from qinspect.network import Network
from qinspect.targets.mcu.device_file import DeviceFile, Entry
from qinspect.targets.mcu.parsed import Parsed
from qinspect.targets.program import Program
from qinspect.task import Token


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs by a name for each check; those of int8 inputs where there are any."""

    inputs: dict[str, np.ndarray]
    f32: dict[str, np.ndarray]
    i8: dict[str, np.ndarray]


def of_network(network: Network, x: np.ndarray, parsed: Parsed, rounds: Iterable[str]) -> Golden:
    """Outputs of a whole network for the rows of `x`; layers of the prefixes `rounds` round their inputs to 8 bits."""
    rounding, n = set(rounds), len(x)

    def rounded(prefix: str, values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:n], int8_inputs(values[n:])]) if prefix in rounding else values

    both = network.forward(np.concatenate([x, x]), parsed.tensor, rounded)
    names = [str(number) for number in range(n)]
    return Golden(*(dict(zip(names, rows, strict=True)) for rows in (x, both[:n], both[n:])))


def of_layers(file: DeviceFile, parsed: Parsed, token: Token) -> Golden:
    """Products of every matrix with `generated` inputs."""
    golden = Golden({}, {}, {})
    entries = [entry for entry in file.entries if entry.matrix]
    for number, entry in enumerate(entries):
        token.check(number / len(entries))
        assert entry.matrix is not None
        x = generated(entry.matrix.cols)
        golden.f32[entry.name] = _product(parsed, entry, x)
        if entry.matrix.takes_int8:
            golden.i8[entry.name] = _product(parsed, entry, int8_inputs(x[None])[0])
    return golden


def zeros(file: DeviceFile, program: Program | None, vectors: int) -> Golden:
    """Numbers in place of those that are not known yet: as many, and written as long."""
    if program is None:
        matrices = {entry.name: entry.matrix for entry in file.entries if entry.matrix}
        sizes = {name: np.zeros(matrix.rows) for name, matrix in matrices.items()}
        return Golden({}, sizes, {name: sizes[name] for name, matrix in matrices.items() if matrix.takes_int8})
    x, y = np.zeros(program.inputs), np.zeros(program.outputs)
    names = [str(number) for number in range(vectors)]
    return Golden(dict.fromkeys(names, x), dict.fromkeys(names, y), dict.fromkeys(names, y))


def _product(parsed: Parsed, entry: Entry, x: np.ndarray) -> np.ndarray:
    return np.concatenate([block.astype(np.float64) @ x for block in parsed.blocks(entry.name)])


def int8_inputs(x: np.ndarray) -> np.ndarray:
    """The rows of `x` as `qi_quantize_i8` of the runtime rounds them, times their scale."""
    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float32)
    with np.errstate(divide="ignore"):
        up = np.where(largest > 0, np.float32(127) / largest, np.float32(0))
    return np.asarray(np.rint(x.astype(np.float32) * up) * (largest / np.float32(127)))


@cache
def generated(n: int) -> np.ndarray:
    """The inputs that `main_test.c` computes for itself: upper halves of a linear congruential sequence, −1 … 1."""
    state, values = 1, np.empty(n, np.float32)
    for i in range(n):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        values[i] = ((state >> 16) - 32768) / 32768
    values.flags.writeable = False
    return values
