"""A checkpoint in several files, which an index (`….safetensors.index.json`, `….bin.index.json`) names.

The index is JSON, `{"metadata": {…}, "weight_map": {tensor: file}}`; the files lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from qinspect.errors import FormatError, QInspectError, printable
from qinspect.formats.checkpoint import Checkpoint, Reader
from qinspect.formats.open import open_container
from qinspect.formats.stored import WatchedFile
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor

_INDEX_LIMIT = 25_000_000
_SHARDS = 10_000
"""More than any model has."""


class Sharded(Reader):
    """Indexes of shards."""

    name: ClassVar[str] = "sharded"
    title: ClassVar[str] = "shards"
    suffixes: ClassVar[tuple[str, ...]] = (".index.json",)
    order: ClassVar[int] = 40

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """JSON, by its name and its first brace."""
        return path.suffix == ".json" and head.lstrip().startswith(b"{")

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open the index and every shard that it names; only their headers are read."""
        places = _weight_map(path)
        shards: dict[str, Checkpoint] = {}
        try:
            for shard in dict.fromkeys(places.values()):
                shards[shard] = open_container(path.parent / shard)
            return ShardedCheckpoint(path, places, shards)
        except QInspectError:
            for opened in shards.values():
                opened.close()
            raise


class ShardedCheckpoint(Checkpoint):
    """An open index and its shards; `places` names the shard of each tensor."""

    def __init__(self, path: Path, places: Mapping[str, str], shards: Mapping[str, Checkpoint]) -> None:
        self.path = path
        self.format = f"{next(iter(shards.values())).format}, {len(shards)} files" if shards else Sharded.title
        self._places = places
        self._shards = shards
        metadata: dict[str, str] = {}
        for shard in shards.values():
            metadata |= shard.metadata
        self.metadata = MappingProxyType(metadata)
        self.notes = tuple(note for shard in shards.values() for note in shard.notes)
        self.infos = tuple(
            info for name, shard in shards.items() for info in shard.infos if places.get(info.name) == name
        )
        for missing in places.keys() - {info.name for info in self.infos}:
            raise FormatError(
                f"the shard {printable(places[missing])} does not hold this tensor", path=path, tensor=missing
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and all shards."""
        return (self.path, *(file for shard in self._shards.values() for file in shard.files))

    def load(self, name: str, rows: slice | None = None) -> np.ndarray | QTensor:
        """See `Checkpoint.load`."""
        self.info(name)
        return self._shards[self._places[name]].load(name, rows)

    def lazy(self, name: str) -> Weights | QTensor:
        """See `Checkpoint.lazy`."""
        self.info(name)
        return self._shards[self._places[name]].lazy(name)

    def checksums(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Those of all shards."""
        for shard in self._shards.values():
            yield from shard.checksums()

    def check(self) -> None:
        """See `Checkpoint.check`."""
        for shard in self._shards.values():
            shard.check()

    def close(self) -> None:
        """Release all shards."""
        for shard in self._shards.values():
            shard.close()


def _weight_map(path: Path) -> dict[str, str]:
    """The shard of each tensor; only names of files beside the index are taken."""
    file = WatchedFile(path)
    if file.nbytes > _INDEX_LIMIT:
        raise FormatError("this JSON file is too large for an index of shards", path=path)
    try:
        index = json.loads(file.at(0, file.nbytes).tobytes())
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"the index is not JSON ({error})", path=path) from error
    finally:
        file.close()
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise FormatError("this JSON file has no weight_map: it is no index of a checkpoint's shards", path=path)
    shards = {shard if isinstance(shard, str) else repr(shard)[:80] + "/" for shard in places.values()}
    if len(shards) > _SHARDS:
        raise FormatError(f"the index names {len(shards)} files, more than the {_SHARDS} that are read", path=path)
    for shard in shards:
        if not _plain_name(shard):
            text = f"the index names the shard {printable(shard)}, which is not a checkpoint file beside it"
            raise FormatError(text, path=path)
    return places


def _plain_name(shard: str) -> bool:
    """Whether it names a file in the index's own folder that is not itself an index, on any system."""
    if shard in ("", ".", "..") or shard.endswith(".json"):
        return False
    return not any(char in "/\\:" or ord(char) < 32 for char in shard)
