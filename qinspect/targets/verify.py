"""Verification: the originals quantized once more, and every stored code and parameter compared.

What is stored in a form that can be read and not made is compared as it decodes (`verify_decoded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from qinspect.errors import FormatError, QInspectError, printable
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.quant.schemes.base_n import BaseN
from qinspect.recipe import Recipe
from qinspect.targets.choice import same_scheme
from qinspect.targets.read_back import Content, crc32, describe
from qinspect.targets.verify_decoded import Decoded, compared_decoded, equivalent
from qinspect.task import Token

TIE = 1e-4
"""Of a step: a weight this near to the boundary of two base-N levels may have either code (others round so)."""


_SHAPE = "_qinspect_shape"
"""Beside a kernel that an ONNX export holds as a matrix, what it is turned into."""

NO_RULES = Recipe(())

_NOTHING_PACKED = (
    "nothing in this file is packed, so there is nothing to verify: name the packed file first and its originals with "
    "--against, or say with --scheme or --recipe what decoded weights were made with"
)
_UNKNOWN = (
    "is stored as {}, which can be read and not made, and no scheme that was tried makes the same weights of the "
    "original; say with --scheme or --recipe what it was made with, or let `qinspect compare` say how far it is from it"
)


@dataclass(frozen=True)
class Mismatch:
    """A tensor, or stored array, that is not what it should be, and how."""

    name: str
    text: str


@dataclass(frozen=True)
class Verification:
    """What does not match, and what was compared as it decodes."""

    mismatches: tuple[Mismatch, ...]
    decoded: tuple[Decoded, ...] = ()


def verify(
    packed: Checkpoint,
    against: Checkpoint,
    token: Token | None = None,
    *,
    importance: Mapping[str, np.ndarray] = MappingProxyType({}),
    recipe: Recipe = NO_RULES,
) -> Verification:
    """Where `packed` is not what its own schemes make of `against`; without mismatches if it is.

    `importance` is what the errors of input channels of some tensors counted when these were packed. `recipe` says the
    schemes of tensors that do not tell theirs: other programs' layers, and decoded weights. What is not packed is
    compared byte by byte. Raises FormatError where there is nothing to verify, SchemeError where an original cannot be
    quantized.
    """
    if not any(info.qtype or recipe.scheme_for(info) for info in packed.infos):
        raise FormatError(_NOTHING_PACKED, path=packed.path)
    if not {info.name for info in packed.infos} & {info.name for info in against.infos}:
        text = f"no tensor has a name that is in {printable(str(against.path))}: choose the checkpoint it was made from"
        raise FormatError(text, path=packed.path)
    return _Comparison(packed, against, importance, recipe).run(token or Token())


class _Comparison:
    """One run of `verify`, and what it has learned about the schemes of layers that do not tell theirs."""

    def __init__(
        self, packed: Checkpoint, against: Checkpoint, importance: Mapping[str, np.ndarray], recipe: Recipe
    ) -> None:
        self.packed = packed
        self.against = against
        self.importance = importance
        self.recipe = recipe
        self.decoded: list[Decoded] = []
        self.schemes: dict[str, Scheme | None] = {}
        """What was found to make layers of each label; None where nothing was."""

    def run(self, token: Token) -> Verification:
        """Every tensor of both files."""
        infos = self.packed.infos
        originals, stored = ({info.name for info in side.infos} for side in (self.against, self.packed))
        found = [*_damaged(self.packed, token.part(0, 0.1))]
        found += [Mismatch(i.name, "is not in the packed file") for i in self.against.infos if i.name not in stored]
        for number, info in enumerate(infos):
            step = token.part(0.1 + 0.9 * number / len(infos), 0.1 + 0.9 * (number + 1) / len(infos))
            if info.name.endswith(_SHAPE) and info.name.removesuffix(_SHAPE) in stored:
                continue
            if info.name not in originals:
                found.append(Mismatch(info.name, "is not among the originals"))
            elif text := self._compared(info, step):
                found.append(Mismatch(info.name, text))
            step.check(1.0)
        return Verification(tuple(found), tuple(self.decoded))

    def _compared(self, info: TensorInfo, token: Token) -> str:
        """How a tensor differs from its original, in words; empty if it does not."""
        try:
            stored = self.packed.load(info.name)
        except FormatError as error:
            return error.message
        original = self.against.load(info.name)
        foreign = isinstance(stored, QTensor) and stored.scheme.decode_only
        if foreign and not isinstance(original, QTensor) and matrix_shape(stored.shape) == matrix_shape(original.shape):
            original = original.reshape(stored.shape)  # kernels may be held as the matrices that they are
        if stored.shape != original.shape:
            return f"has shape {list(stored.shape)}, the original {list(original.shape)}"
        try:
            return self._differs(info, stored, original, token)
        except FormatError as error:
            return error.message  # of what is stored: its parameters stand for no numbers
        except QInspectError as error:
            raise error.within(path=self.against.path, tensor=info.name) from None

    def _differs(self, info: TensorInfo, stored: Content, original: Content, token: Token) -> str:
        scheme = self.recipe.scheme_for(info)
        if isinstance(stored, QTensor):
            if not stored.scheme.decode_only:
                return _compared_packed(stored, original, self.importance.get(info.name), token)
            if isinstance(original, QTensor) and original.scheme == stored.scheme:
                return _differences(stored, original, None)
            return self._decodes(info, stored, original, scheme, token)
        if scheme is not None:
            return self._decodes(info, stored, original, scheme, token)
        if isinstance(original, QTensor):
            return f"is {describe(stored)}, the original {describe(original)}"
        if stored.dtype != original.dtype:
            same = self.packed.format != self.against.format and _same_values(stored, original)
            return "" if same else f"is {describe(stored)}, the original {describe(original)}"
        return "" if crc32([stored], token) == crc32([original], token) else "holds other bytes than the original"

    def _decodes(
        self, info: TensorInfo, stored: Content, original: Content, scheme: Scheme | None, token: Token
    ) -> str:
        """How a tensor decodes to other weights than a scheme makes of the original."""
        weights = _weights(original, token)
        held = stored if isinstance(stored, QTensor) else np.asarray(stored)
        if scheme is not None:
            found = compared_decoded(info.name, held, weights, scheme, self.importance.get(info.name), token)
        else:
            assert isinstance(held, QTensor)
            label = held.scheme.label
            if self.schemes.get(label, held) is None:
                return _UNKNOWN.format(label)
            best = equivalent(info.name, held, weights, self.schemes.get(label), token)
            self.schemes[label] = best.scheme if best else None
            if best is None:
                return _UNKNOWN.format(label)
            found = best
        if found.wrong:
            by = f"{found.scheme.label} makes of the original"
            return f"{found.wrong} of {found.size} weights decode to others than {by}, by up to {found.difference:.3g}"
        self.decoded.append(found)
        return ""


def _damaged(packed: Checkpoint, token: Token) -> list[Mismatch]:
    """Stored arrays whose bytes do not have the CRC-32 that the file keeps of them."""
    found = []
    for name, crc, data in packed.checksums():
        if crc32([data], token) != [crc]:
            found.append(Mismatch(name, f"is corrupt: its bytes do not have the CRC-32 {crc:08x} that the file states"))
    return found


def _same_values(a: Weights, b: Weights) -> bool:
    """Whether tensors of two types hold the same numbers: other containers may hold half precision in single."""
    return bool(np.array_equal(np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64), equal_nan=True))


def _weights(original: Content, token: Token) -> np.ndarray:
    """The original as numbers."""
    if isinstance(original, QTensor):
        return original.scheme.dequantize(original, token=token)
    return np.asarray(original)


def _compared_packed(stored: QTensor, original: Content, importance: np.ndarray | None, token: Token) -> str:
    scheme = stored.scheme
    if isinstance(original, QTensor) and same_scheme(original.scheme, scheme):
        return _differences(stored, original, None)
    weights = _weights(original, token)
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
