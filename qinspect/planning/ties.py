"""Ties: layers that a runtime fuses into one product, and that so must have the same type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

FUSED = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("attn_q", "attn_k", "attn_v"),
    ("gate_proj", "up_proj"),
    ("ffn_gate", "ffn_up"),
    ("w1", "w3"),
    ("wi_0", "wi_1"),
)
"""Words of names that runtimes fuse: the inputs of attention, the two branches of a gated layer."""


def fused(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in words of one row of `FUSED`, in their order; two members or more."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    rows = {word: row for row in FUSED for word in row}
    for name in names:
        words = name.split(".")
        for at, word in enumerate(words):
            if word in rows:
                groups[(*words[:at], rows[word][0], *words[at + 1 :])].append(name)
                break
    return [tuple(group) for group in groups.values() if len(group) > 1]
