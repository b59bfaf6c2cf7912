"""Verification: the originals quantized once more, and every stored code and parameter compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from qinspect.errors import FormatError, QInspectError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.quant.scheme import QTensor
from qinspect.quant.schemes.base_n import BaseN
from qinspect.targets.choice import same_scheme
from qinspect.targets.read_back import Content, crc32, describe
from qinspect.task import Token

TIE = 1e-4
"""Of a step: a weight this near to the boundary of two base-N levels may have either code (others round so)."""


@dataclass(frozen=True)
class Mismatch:
    """A tensor, or stored array, that is not what it should be, and how."""

    name: str
    text: str


def verify(
    packed: Checkpoint,
    against: Checkpoint,
    token: Token | None = None,
    *,
    importance: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> list[Mismatch]:
    """Where `packed` is not what its own schemes make of `against`; nothing if it is.

    `importance` is what the errors of input channels of some tensors counted when these were packed. What is not packed
    is compared byte by byte. Raises SchemeError where an original cannot be quantized.
    """
    token = token or Token()
    originals = {info.name for info in against.infos}
    stored = {info.name for info in packed.infos}
    found = [*_damaged(packed, token.part(0, 0.1))]
    found += [Mismatch(info.name, "is not in the packed file") for info in against.infos if info.name not in stored]
    for number, info in enumerate(packed.infos):
        step = token.part(0.1 + 0.9 * number / len(packed.infos), 0.1 + 0.9 * (number + 1) / len(packed.infos))
        if info.name not in originals:
            found.append(Mismatch(info.name, "is not among the originals"))
        elif text := _compared(packed, against, info.name, importance.get(info.name), step):
            found.append(Mismatch(info.name, text))
        step.check(1.0)
    return found


def _damaged(packed: Checkpoint, token: Token) -> list[Mismatch]:
    """Stored arrays whose bytes do not have the CRC-32 that the file keeps of them."""
    found = []
    for name, crc, data in packed.checksums():
        if crc32([data], token) != [crc]:
            found.append(Mismatch(name, f"is corrupt: its bytes do not have the CRC-32 {crc:08x} that the file states"))
    return found


def _compared(packed: Checkpoint, against: Checkpoint, name: str, importance: np.ndarray | None, token: Token) -> str:
    """How a tensor differs from its original, in words; empty if it does not."""
    try:
        stored = packed.load(name)
    except FormatError as error:
        return error.message
    original = against.load(name)
    if stored.shape != original.shape:
        return f"has shape {list(stored.shape)}, the original {list(original.shape)}"
    try:
        if isinstance(stored, QTensor):
            return _compared_packed(stored, original, importance, token)
        if isinstance(original, QTensor) or describe(stored) != describe(original):
            return f"is {describe(stored)}, the original {describe(original)}"
        return "" if crc32([stored], token) == crc32([original], token) else "holds other bytes than the original"
    except QInspectError as error:
        raise error.within(path=against.path, tensor=name) from None


def _compared_packed(stored: QTensor, original: Content, importance: np.ndarray | None, token: Token) -> str:
    scheme = stored.scheme
    if isinstance(original, QTensor) and same_scheme(original.scheme, scheme):
        return _differences(stored, original, None)
    weights = (
        original.scheme.dequantize(original, token=token) if isinstance(original, QTensor) else np.asarray(original)
    )
    return _differences(stored, scheme.quantize(weights, importance=importance, token=token), weights)


def _differences(stored: QTensor, meant: QTensor, weights: np.ndarray | None) -> str:
    """Parameters and codes that differ, counted."""
    texts = []
    for name, array in stored.params.items():
        if wrong := int(np.count_nonzero(array != meant.params[name])):
            texts.append(f"{wrong} of {array.size} values of {name} differ")
    if not np.array_equal(stored.data, meant.data):
        wrong = _wrong_codes(stored, meant, weights)
        texts += [f"{wrong} of {math.prod(stored.shape)} codes differ"] if wrong else []
    return "; ".join(texts)


def _wrong_codes(stored: QTensor, meant: QTensor, weights: np.ndarray | None) -> int:
    """Codes that differ, without those base-N codes that are right too: the neighbour of a weight near a boundary."""
    scheme = stored.scheme
    found, expected = scheme.codes(stored), scheme.codes(meant)
    wrong = found != expected
    if isinstance(scheme, BaseN) and weights is not None:
        a, b = scheme.dequantize(stored)[wrong], scheme.dequantize(meant)[wrong]
        w = weights[wrong].astype(np.float32)
        neighbours = np.maximum(found[wrong], expected[wrong]) - np.minimum(found[wrong], expected[wrong]) == 1
        wrong[wrong] = ~(neighbours & (np.abs(np.abs(w - a) - np.abs(w - b)) <= 2 * TIE * np.abs(a - b)))
    return int(np.count_nonzero(wrong))
