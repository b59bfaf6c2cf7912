"""What tensors of GGUF files are called elsewhere: names by architecture, rows of attention heads, experts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from qinspect.formats.checkpoint import Place

_EXPERT = re.compile(r"(.*\.experts)\.(\d{1,5})\.(.*)")
_PARTS = (".weight", ".bias")


_BLOCK = re.compile(r"\.(\d{1,5})\.")
"""The number of a block within a name."""


def names_in_gguf(names: Iterable[str]) -> dict[str, str]:
    """What tensors of a model will be called once it is a GGUF file, as far as llama.cpp knows its architecture.

    The architecture is that of whose names most are known; Llama's, where several are alike.
    """
    import gguf

    # Blocks are alike: it is enough to know the names in the first.
    blocks = {name: found[1] if (found := _BLOCK.search(name)) else "" for name in names}
    first = {name: _BLOCK.sub(".0.", name, count=1) for name in blocks}
    best: dict[str, str] = {}
    wanted = dict.fromkeys(first.values())
    for architecture in (gguf.MODEL_ARCH.LLAMA, *gguf.MODEL_ARCH):
        known = gguf.get_tensor_name_map(architecture, 1)
        called = {name: str(new) for name in wanted if (new := known.get_name(name, try_suffixes=_PARTS))}
        if len(called) > len(best):
            best = called
        if len(best) == len(wanted):
            break
    placed = {name: best[plain] for name, plain in first.items() if plain in best}
    return {name: new.replace("blk.0.", f"blk.{blocks[name]}.", 1) for name, new in placed.items()}


class GGUFNaming:
    """The names of one architecture, from the metadata of its file.

    The converter of llama.cpp puts the rows of query and key weights of Llama and its kin in another order: pairs of
    a rotary embedding side by side, where others have them in the two halves of a head.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._architecture = metadata.get("general.architecture", "")
        self._metadata = metadata

    def place(self, name: str) -> Place | None:
        """Where a tensor that is called `name` elsewhere stands in the file; None if nothing is known of it."""
        expert = _EXPERT.fullmatch(name)
        plain = f"{expert[1]}.{expert[3]}" if expert else name
        found = None if self._map is None else self._map.get_name(plain, try_suffixes=_PARTS)
        if found is None:
            return None
        return Place(str(found), self._heads(str(found)), int(expert[2]) if expert else None)

    def _heads(self, name: str) -> int:
        """The heads whose rows may be in another order."""
        stem = name.rpartition(".")[0]
        if not stem.endswith((".attn_q", ".attn_k")):
            return 0
        every = self._number("attention.head_count")
        return self._number("attention.head_count_kv", every) if stem.endswith("k") else every

    def _number(self, key: str, default: int = 0) -> int:
        text = self._metadata.get(f"{self._architecture}.{key}", "")
        return int(text) if text.isdecimal() and len(text) < 9 else default

    @cached_property
    def _map(self) -> Any:
        import gguf

        architectures = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
        if self._architecture not in architectures:
            return None
        blocks = min(self._number("block_count"), 1024)
        return gguf.get_tensor_name_map(architectures[self._architecture], blocks)
