"""Sets of inputs, from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint


@dataclass(frozen=True, eq=False)
class InputSet:
    """Inputs `[n, …]` by name: `x` of the network, those of a graph or of layers; `labels` `[n]` where known."""

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None

    def features(self, name: str) -> np.ndarray | None:
        """The inputs of a name as float32 `[n, features]`; None if there are none."""
        found = self.inputs.get(name)
        return None if found is None else found.reshape(len(found), -1).astype(np.float32, copy=False)


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
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != arrays.get("x", labels).shape[:1]):
        raise FormatError(f"labels y are integers, one for each x, not {labels.dtype} {list(labels.shape)}", path=path)
    return InputSet(arrays, labels)
