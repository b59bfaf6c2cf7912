"""Finds the packed layers among the stored arrays of any container, and puts the tensors they stand for in their place.

Those of our own layout first (`native_layers.py`), then those of other programs (`layers/`, one file each).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np

from qinspect.errors import FormatError, QInspectError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.layer import PackedLayer, find_layers
from qinspect.formats.model_config import config_beside
from qinspect.formats.native import CRC_KEY, LAYERS_KEY, VERSION_KEY
from qinspect.formats.native_layers import native_layers
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor

_OURS = (VERSION_KEY, LAYERS_KEY, CRC_KEY)


def unfold(raw: Checkpoint, group_size: int | None = None) -> Checkpoint:
    """`raw` with its packed layers as the tensors they stand for; itself where there are none.

    `group_size` is that of our own layers without a record. FormatError where arrays contradict each other.
    """
    layers, notes = native_layers(raw, group_size)
    used = frozenset[str]().union(*(layer.uses for layer in layers))
    found, more = find_layers(raw, config_beside(raw.path), used)
    return PackedCheckpoint(raw, [*layers, *found], [*notes, *more]) if layers or found or notes or more else raw


class PackedCheckpoint(Checkpoint):
    """A checkpoint some of whose tensors are packed; the others are those of `raw`."""

    def __init__(self, raw: Checkpoint, layers: Iterable[PackedLayer], notes: Iterable[str]) -> None:
        self.path = raw.path
        self.format = raw.format
        self.metadata = MappingProxyType({key: text for key, text in raw.metadata.items() if key not in _OURS})
        self.naming = raw.naming
        self.notes = (*raw.notes, *notes)
        self._raw = raw
        self._layers: dict[str, PackedLayer] = {}
        self.infos = tuple(self._listed(list(layers)))
        names = [info.name for info in self.infos]
        if len(set(names)) < len(names):
            raise FormatError("two tensors have one name: a packed layer and another", path=self.path)

    def _listed(self, layers: list[PackedLayer]) -> Iterator[TensorInfo]:
        """A row for each layer in the place of its codes, and for every other tensor."""
        stored = {info.name: info for info in self._raw.infos}
        places = {layer.place: layer for layer in layers}
        hidden = frozenset[str]().union(*(layer.uses for layer in layers))
        for info in self._raw.infos:
            if info.name in places:
                row = places[info.name].row(stored)
                self._layers[row.name] = places[info.name]
                yield row
            elif info.name not in hidden:
                yield info

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of the container."""
        return self._raw.files

    def load(self, name: str, rows: slice | None = None) -> np.ndarray | QTensor:
        """See `Checkpoint.load`; FormatError for codes, parameters or levels that cannot be."""
        self.info(name)
        if name not in self._layers:
            return self._raw.load(name, rows)
        try:
            return self._layers[name].load(self._raw, rows)
        except QInspectError as error:
            raise error.within(path=self.path, tensor=name) from None

    def lazy(self, name: str) -> Weights | QTensor:
        """See `Checkpoint.lazy`; of packed layers at least the parameters are held."""
        return self.load(name) if name in self._layers else self._raw.lazy(name)

    def checksums(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Those of the stored arrays."""
        return self._raw.checksums()

    def check(self) -> None:
        """See `Checkpoint.check`."""
        self._raw.check()

    def close(self) -> None:
        """Release the container."""
        self._raw.close()
