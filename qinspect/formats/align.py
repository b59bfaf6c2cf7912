"""A checkpoint under the names, and in the order of rows, that another one has for the same tensors.

Formats with names of their own say so by `Checkpoint.naming`: then the originals of a packed model can be compared with
it although their tensors are called otherwise, hold the rows of attention heads in another order, or are a stack of
experts that lie apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import Checkpoint, Naming, TensorInfo
from qinspect.formats.stored import readonly
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor

_TRIED = 256
"""Rows that are looked at to tell in which order they are."""


def align(checkpoint: Checkpoint, to: Checkpoint) -> Checkpoint:
    """`checkpoint` as `to` would have it, where just one of them has names of its own; else itself.

    Experts of gpt-oss are turned round where one of them holds them packed and the other does not.
    """
    if (checkpoint.naming is None) == (to.naming is None):
        turned = list(_turned(checkpoint, to))
        return Aligned(checkpoint, {part.info.name: part for part in turned}, None) if turned else checkpoint
    parts = list(_parts_of(checkpoint, to.naming) if to.naming else _parts_for(checkpoint, to))
    if not _interleaved(checkpoint, to, parts):
        parts = [replace(part, heads=0) for part in parts]
    return Aligned(checkpoint, {part.info.name: part for part in parts}, to.naming) if parts else checkpoint


@dataclass(frozen=True)
class Part:
    """A tensor as it is wanted, and of which tensors it is made: one, a stack of several, or one `entry` of a stack.

    `heads` tells that its rows are in another order: in each head, pairs are side by side on one side, and lie in two
    halves on the other. `apart` says that halves are what is wanted. `turned` swaps the last two of three axes.
    """

    info: TensorInfo
    names: tuple[str, ...]
    heads: int = 0
    apart: bool = False
    entry: int | None = None
    turned: bool = False

    def order(self, rows: int) -> np.ndarray:
        """Which row of what is held each wanted row is."""
        if not self.heads or rows % (2 * self.heads):
            return np.arange(rows)
        shape = (self.heads, -1, 2) if self.apart else (self.heads, 2, rows // self.heads // 2)
        return np.arange(rows).reshape(shape).swapaxes(1, 2).reshape(-1)


def _turned(held: Checkpoint, to: Checkpoint) -> Iterator[Part]:
    """The experts that are `[experts, out, in]` in a packed file of gpt-oss, and `[experts, in, out]` in the other."""
    own = {info.name: info for info in held.infos}
    for wanted in to.infos:
        info = own.get(wanted.name)
        packed = info is not None and [one.metadata.get("format") == "gpt-oss" for one in (info, wanted)]
        if info is not None and packed in ([True, False], [False, True]) and len(info.shape) == 3:
            experts, rows, cols = info.shape
            if wanted.shape == (experts, cols, rows):
                yield Part(replace(info, shape=wanted.shape, metadata=wanted.metadata), (info.name,), turned=True)


def _parts_of(held: Checkpoint, naming: Naming) -> Iterator[Part]:
    """The tensors of `held` under the names of a format with its own."""
    stacks: dict[str, dict[int, TensorInfo]] = defaultdict(dict)
    for info in held.infos:
        place = naming.place(info.name)
        if place is None:
            continue
        if place.entry is None:
            yield Part(replace(info, name=place.name), (info.name,), place.heads)
        else:
            stacks[place.name][place.entry] = info
    for name, entries in stacks.items():
        infos = [entries[number] for number in sorted(entries)]
        if sorted(entries) == list(range(len(entries))) and len({info.shape for info in infos}) == 1:
            shape, nbytes = (len(infos), *infos[0].shape), sum(info.nbytes for info in infos)
            info = TensorInfo(name, shape, infos[0].dtype, nbytes, infos[0].qtype)
            yield Part(info, tuple(info.name for info in infos))


def _parts_for(held: Checkpoint, to: Checkpoint) -> Iterator[Part]:
    """The tensors of `held`, which has names of its own, under the names of `to`."""
    assert held.naming is not None
    own = {info.name: info for info in held.infos}
    for wanted in to.infos:
        place = held.naming.place(wanted.name)
        if place is None or place.name not in own:
            continue
        info = own[place.name]
        if place.entry is None:
            yield Part(replace(info, name=wanted.name), (info.name,), place.heads, apart=True)
        elif len(info.shape) > 1 and place.entry < info.shape[0]:
            one = replace(info, name=wanted.name, shape=info.shape[1:], nbytes=info.nbytes // info.shape[0])
            yield Part(one, (info.name,), entry=place.entry)


def _interleaved(held: Checkpoint, to: Checkpoint, parts: list[Part]) -> bool:
    """Whether rows are in another order in fact: it depends on what a model was converted from, so one is looked at."""
    for part in parts:
        if not part.heads or len(part.info.shape) != 2:
            continue
        try:
            there = to.info(part.info.name)
            head = part.info.shape[0] // part.heads
            rows = slice(0, max(1, _TRIED // head) * head)
            if there.shape != part.info.shape:
                continue
            wanted, found = (_decoded(c, name, rows) for c, name in ((to, there.name), (held, part.names[0])))
        except QInspectError:
            continue
        order = replace(part, heads=len(wanted) // head).order(len(wanted))
        plain, ordered = (float(np.square(wanted - some).sum()) for some in (found, found[order]))
        if plain != ordered:
            return ordered < plain
    return True


def _decoded(checkpoint: Checkpoint, name: str, rows: slice | None) -> np.ndarray:
    held = checkpoint.load(name, rows)
    return held.scheme.dequantize(held) if isinstance(held, QTensor) else np.asarray(held, np.float32)


class Aligned(Checkpoint):
    """The tensors of `raw` as `parts` say, and those that no part mentions as they are."""

    def __init__(self, raw: Checkpoint, parts: Mapping[str, Part], naming: Naming | None) -> None:
        self.path: Path = raw.path
        self.format = raw.format
        self.metadata = raw.metadata
        self.notes = raw.notes
        self.naming = naming
        self._raw = raw
        self._parts = parts
        used = {name for part in parts.values() for name in part.names}
        rest = [info for info in raw.infos if info.name not in used and info.name not in parts]
        self.infos = (*(self._told(part) for part in parts.values()), *rest)

    @property
    def decoded(self) -> frozenset[str]:
        """Names of the tensors that are packed in `raw` and handed out decoded."""
        changed = [part for part in self._parts.values() if not self._as_it_is(part)]
        return frozenset(part.info.name for part in changed if any(self._raw.info(name).qtype for name in part.names))

    def _told(self, part: Part) -> TensorInfo:
        """What is put together or reordered is handed out decoded."""
        return part.info if self._as_it_is(part) else replace(part.info, dtype="F32", qtype=None)

    def _as_it_is(self, part: Part) -> bool:
        return len(part.names) == 1 and not part.heads and part.entry is None and not part.turned

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of `raw`."""
        return self._raw.files

    def load(self, name: str, rows: slice | None = None) -> np.ndarray | QTensor:
        """See `Checkpoint.load`."""
        self.info(name)
        part = self._parts.get(name)
        if part is None:
            return self._raw.load(name, rows)
        return self._raw.load(part.names[0], rows) if self._as_it_is(part) else self._made(part, rows)

    def lazy(self, name: str) -> Weights | QTensor:
        """See `Checkpoint.lazy`."""
        self.info(name)
        part = self._parts.get(name)
        if part is not None and not self._as_it_is(part):
            return self._made(part, None)
        return self._raw.lazy(name if part is None else part.names[0])

    def _made(self, part: Part, rows: slice | None) -> np.ndarray:
        some = slice(None) if rows is None else rows
        if part.turned:
            return readonly(np.ascontiguousarray(_decoded(self._raw, part.names[0], rows).swapaxes(1, 2)))
        if part.entry is not None:
            found = _decoded(self._raw, part.names[0], slice(part.entry, part.entry + 1))[0][some]
        elif len(part.names) > 1:
            stacked = [_decoded(self._raw, name, None) for name in part.names[some]]
            found = np.stack(stacked) if stacked else np.empty((0, *part.info.shape[1:]), np.float32)
        elif len(part.info.shape) < 2:
            found = _decoded(self._raw, part.names[0], None)[part.order(part.info.size)]
        else:
            order = part.order(matrix_shape(part.info.shape)[0])[some]
            first = int(order.min(initial=0))
            found = _decoded(self._raw, part.names[0], slice(first, int(order.max(initial=0)) + 1))[order - first]
        return readonly(found)

    def check(self) -> None:
        """See `Checkpoint.check`."""
        self._raw.check()

    def close(self) -> None:
        """Close `raw`."""
        self._raw.close()
