"""Importance: what the squared error of each input channel counts, by layer, from a file that says so.

A file is any checkpoint that holds one vector a layer under the layer's name, or an importance matrix of llama.cpp in
GGUF: `NAME.in_sum2`, sums of squared activations of each input channel, over `NAME.counts` tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qinspect.errors import FormatError, SchemeError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.gguf_names import names_in_gguf
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor, Scheme

SUMS, COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True, eq=False)
class Importance:
    """A float32 vector a layer, by the names that the file at `path` gives them."""

    path: Path
    vectors: Mapping[str, np.ndarray]

    @classmethod
    def load(cls, path: str | Path) -> Importance:
        """Read a file; FormatError for one without vectors."""
        with open_checkpoint(path) as file:
            names = {info.name for info in file.infos}
            sums = [name.removesuffix(SUMS) for name in names if name.endswith(SUMS)]
            if sums:
                vectors = {name: _mean_square(file, name) for name in sums if name + COUNTS in names}
            else:
                vectors = {info.name: _floats(file, info.name) for info in file.infos if len(info.shape) == 1}
        if not vectors:
            text = f"holds no importance: neither vectors under the names of layers nor NAME{SUMS} with NAME{COUNTS}"
            raise FormatError(text, path=path)
        return cls(Path(path), vectors)

    def vector(self, info: TensorInfo) -> np.ndarray | None:
        """What the input channels (axis 1) of this tensor count; None where the file does not say.

        The tensor is looked for by its name, with and without `.weight`. A stack of experts, whose inputs are axis 2,
        has none. Raises SchemeError for a vector of another length, or with values that cannot be.
        """
        found = self.vectors.get(info.name, self.vectors.get(info.name.removesuffix(".weight")))
        stacked = found is not None and len(info.shape) == 3 and found.shape == info.shape[2:] != info.shape[1:2]
        return None if found is None or stacked else self._fitting(info, found)

    def _fitting(self, info: TensorInfo, found: np.ndarray) -> np.ndarray:
        channels = info.shape[1] if len(info.shape) > 1 else info.size
        if found.shape != (channels,):
            text = f"the importance has {found.size:,} values, the layer {channels:,} input channels"
            raise SchemeError(text, path=self.path, tensor=info.name)
        if not (np.isfinite(found).all() and (found >= 0).all() and found.any()):
            text = "the importance of an input channel is a finite number, 0 or more, and not 0 for all"
            raise SchemeError(text, path=self.path, tensor=info.name)
        return found

    def _named_as(self, checkpoint: Checkpoint) -> Importance:
        """With the vectors also under the names that the layers have here, as llama.cpp or Hugging Face call them."""
        found = dict(self.vectors)
        if checkpoint.naming is not None:
            places = ((checkpoint.naming.place(name), vector) for name, vector in self.vectors.items())
            found |= {place.name: vector for place, vector in places if place and place.name not in found}
        elif not any(info.name in found for info in checkpoint.infos):
            called = names_in_gguf(info.name for info in checkpoint.infos)
            found |= {name: self.vectors[gguf] for name, gguf in called.items() if gguf in self.vectors}
        return Importance(self.path, found)

    def known(self, checkpoint: Checkpoint) -> dict[str, np.ndarray]:
        """The vectors of all layers that have one, by their names; FormatError if there are none."""
        here = self._named_as(checkpoint)
        layers = [info for info in checkpoint.infos if info.quantizable or info.qtype]
        found = {info.name: vector for info in layers if (vector := here.vector(info)) is not None}
        if layers and not found:
            raise self._nothing_for(checkpoint)
        return found

    def _nothing_for(self, checkpoint: Checkpoint) -> FormatError:
        text = f"has no vector of a layer of {checkpoint.path.name}: it has {', '.join(sorted(self.vectors)[:3])} …"
        return FormatError(text, path=self.path)

    def of(self, checkpoint: Checkpoint, schemes: Iterable[tuple[TensorInfo, Scheme]]) -> dict[str, np.ndarray]:
        """The vectors of those layers whose scheme heeds one, by the layers' names; FormatError if there are none.

        Raises SchemeError, too, where no scheme heeds importance: an option that does nothing is a mistake.
        """
        schemes = list(schemes)
        heeding = [info for info, scheme in schemes if scheme.heeds_importance]
        if schemes and not heeding:
            raise SchemeError(f"{schemes[0][1].label} heeds no importance; choose calibration=mse or mse_ends")
        here = self._named_as(checkpoint)
        vectors = {info.name: here.vector(info) for info in heeding}
        found = {name: vector for name, vector in vectors.items() if vector is not None}
        if heeding and not found:
            raise self._nothing_for(checkpoint)
        return found


def _floats(file: Checkpoint, name: str) -> np.ndarray:
    held = file.load(name)
    if isinstance(held, QTensor):
        raise FormatError("importance is held as plain numbers, not packed ones", path=file.path, tensor=name)
    return np.asarray(held).astype(np.float32)


def _mean_square(file: Checkpoint, name: str) -> np.ndarray:
    """Energy of the activations of each input channel; of the experts of a layer together, as they share a tensor."""
    sums, counts = (_floats(file, name + suffix) for suffix in (SUMS, COUNTS))
    tokens = float(counts.sum())
    if tokens <= 0:
        raise FormatError(
            "its activations were never counted; make the importance matrix anew", path=file.path, tensor=name
        )
    return np.asarray(sums.reshape(-1, sums.shape[-1]).sum(axis=0, dtype=np.float64) / tokens).astype(np.float32)
