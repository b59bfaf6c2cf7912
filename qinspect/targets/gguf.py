"""GGUF: a model of llama.cpp with its weights in other blocks, and all else of it byte for byte."""

from __future__ import annotations

import importlib.metadata
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from qinspect.errors import ExportError
from qinspect.formats.checkpoint import FLOATING, Checkpoint, TensorInfo
from qinspect.formats.ggml import TYPES, blocks_of
from qinspect.formats.gguf import NUMBERS
from qinspect.formats.gguf_header import Header, scan
from qinspect.formats.stored import WatchedFile
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.blueprint import Stored
from qinspect.targets.choice import Choice, more_than_packed, with_note
from qinspect.targets.ggml.blocks import blocks_from
from qinspect.targets.ggml.carriers import Carrier, carrier_of
from qinspect.targets.ggml.model import Model
from qinspect.targets.packed import packed
from qinspect.targets.pieces import Pieces, Stretch
from qinspect.targets.read_back import Content
from qinspect.targets.target import PlanRow, ReportRow
from qinspect.targets.tensor_file import Contents, TensorFile, Written
from qinspect.task import Token

COPIED = "copied"

_FLOATS_ONLY = (
    "_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight", "ssm_conv1d.weight",
    "shortconv.conv.weight", "attn_rel_b.weight", "time_mix_first.weight",
)  # fmt: skip
"""Ends of names that llama-quantize leaves alone, since the operators of llama.cpp want them as floats."""

_AT_ONCE = 1 << 20
"""Weights that are decoded at a time."""


class GGUF(TensorFile):
    """A re-quantized model."""

    name: ClassVar[str] = "gguf"
    title: ClassVar[str] = "GGUF for llama.cpp"
    suffix: ClassVar[str] = ".gguf"
    summary: ClassVar[str] = "The model's own .gguf file with its weights in other blocks; metadata and tokenizer stay."
    carries: ClassVar[str] = (
        "Symmetric 2 to 8 bits as Q4_0, Q5_0, Q8_0 or TQ2_0, asymmetric and base-N up to 32 levels as Q4_1 or Q5_1, "
        "ternary as TQ1_0, MXFP4; groups of a multiple of 32 (256 for TQ1_0, TQ2_0), or whole rows."
    )
    order: ClassVar[int] = 55

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """What no block type holds."""
        found = carrier_of(scheme, shape)
        return found if isinstance(found, str) else None

    # Planning.

    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """Blocks, or the bytes of the source."""
        Model(checkpoint)
        return [self._planned(checkpoint, choice) for choice in chosen]

    def _planned(self, checkpoint: Checkpoint, choice: Choice) -> PlanRow:
        info, scheme = choice.info, choice.scheme
        if scheme is None:
            note = f"{info.qtype} in the file already: copied as it is" if info.qtype else choice.note
            return _copied(info, note)
        found = carrier_of(scheme, info.shape) if _takes_blocks(info) else "llama.cpp wants it as floats"
        if isinstance(found, str):
            return replace(_copied(info, f"stays as it is: {found}"), wanted=scheme)
        noted = with_note(choice, _note(scheme, info, found))
        return self.row(checkpoint, noted, found.type.name, found)

    def remark(self, checkpoint: Checkpoint) -> str:
        """What is taken over."""
        metadata = Model(checkpoint).metadata
        old = "; general.file_type still names the old type" if "general.file_type" in metadata else ""
        return f"metadata and tokenizer are copied byte for byte{old}"

    def stored(self, row: PlanRow) -> list[Stored]:
        """Its blocks; nothing of our own for what is copied."""
        return [Stored(row.name, "U8", (row.place.nbytes,))] if isinstance(row.place, Carrier) else []

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """The codes."""
        return packed(row, held, token)

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """The codes and parameters as blocks."""
        assert isinstance(content, QTensor)
        return [blocks_from(content, row.place, token)]

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Pieces:
        """The source with other blocks."""
        blocks = {row.name: (row.stored_as, self.stored(row)[0]) for row in rows if isinstance(row.place, Carrier)}
        kept = {row.name: row.nbytes for row in rows if row.name not in blocks}
        return Model(checkpoint).written(blocks, kept)

    # Proof.

    def read_back(self, written: Written, contents: Contents, token: Token) -> tuple[tuple[ReportRow, ...], str]:
        """Blocks decoded by the gguf package, what is copied compared byte by byte, the header scanned."""
        model, (who, decode) = Model(written.checkpoint), _decoder()
        with closing(WatchedFile(written.path)) as file:
            header = scan(file)
            _check_header(model, file, header, written.rows, token)
            offsets = {entry.name: entry.offset for entry in header.tensors}
            checks = []
            for row, meant, part in contents:
                assert isinstance(meant, QTensor)
                crc = written.crcs[row.name]
                checks.append(_checked(row, meant, _Blocks(file, offsets[row.name], crc, decode), part))
                del meant
            for row in written.rows:
                if not isinstance(row.place, Carrier):
                    source = model.tensors[row.name]
                    begin, copy = source.entry.offset, offsets[row.name]
                    before = Stretch(source.file, begin, begin + row.nbytes)
                    _check_copy(row.name, before, Stretch(file, copy, copy + row.nbytes), token)
        return _report(written.rows, checks), f"{who}, and {_said(checks)}; not run in llama.cpp"


@dataclass(frozen=True)
class _Blocks:
    """Blocks in a file that was written, and who decodes them: bytes `[rows, n]` of a type to weights."""

    file: WatchedFile
    offset: int
    crc: int
    decode: Callable[[np.ndarray, str], np.ndarray]


@dataclass(frozen=True)
class _Check:
    """What was found of one tensor: the largest difference, and the largest in ranges of its group."""

    name: str
    difference: float
    of_range: float


def _takes_blocks(info: TensorInfo) -> bool:
    return (info.qtype is not None or info.dtype in FLOATING) and not info.name.endswith(_FLOATS_ONLY)


def _copied(info: TensorInfo, note: str) -> PlanRow:
    original = info.nbytes if info.qtype is None else 4 * info.size
    return PlanRow(info.name, info.shape, info.dtype, None, info.nbytes, original, note, COPIED)


def _note(scheme: Scheme, info: TensorInfo, carrier: Carrier) -> str:
    """Where the blocks are not just what the scheme is."""
    said = []
    if not carrier.exact:
        which = "step" if carrier.type.name in ("Q4_1", "Q5_1") else "scale"
        near = ", within 4.9e-4 of each group's range" if "offset" in carrier.matrix.arrays else ""
        said.append(f"{which} rounded to float16{near}")
    said += filter(None, [more_than_packed(scheme, info.shape, carrier.nbytes)])
    return f"held in {carrier.type.name}: {', '.join(said)}" if said else ""


def _decoder() -> tuple[str, Callable[[np.ndarray, str], np.ndarray]]:
    """Who decodes blocks once more, in words, and how: the gguf package, else our own reader."""
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError:
        own = "decoded by this program's reader (pip install gguf for a decoder of others)"
        return own, _decoded_here
    version = importlib.metadata.version("gguf")
    return f"decoded by the gguf package {version}", lambda data, kind: quants.dequantize(
        data, GGMLQuantizationType[kind]
    )


def _decoded_here(data: np.ndarray, kind: str) -> np.ndarray:
    scheme = blocks_of(TYPES[kind], (len(data), data.shape[1] // TYPES[kind].nbytes * TYPES[kind].weights))
    return scheme.dequantize(scheme.tensor({"data": data.reshape(scheme.arrays()["data"][1])}))


def _checked(row: PlanRow, meant: QTensor, found: _Blocks, token: Token) -> _Check:
    """One tensor as its blocks decode; ExportError if it is more off than rounding to float16 explains."""
    carrier: Carrier = row.place
    m, kind = carrier.matrix, carrier.type
    row_bytes = m.cols // kind.weights * kind.nbytes
    allowed, spans = _allowed(meant, carrier)
    step, crc, worst, of_range = max(1, _AT_ONCE // m.cols), 0, 0.0, 0.0
    for start in range(0, m.rows, step):
        token.check(start / m.rows)
        stop = min(m.rows, start + step)
        data = found.file.at(found.offset + start * row_bytes, (stop - start) * row_bytes)
        crc = zlib.crc32(data.data, crc)
        decoded = found.decode(data.reshape(stop - start, row_bytes), kind.name)
        expected = meant.scheme.dequantize(meant, rows=slice(start, stop)).reshape(decoded.shape)
        apart = np.abs(decoded - expected).reshape(stop - start, -1, kind.weights).max(axis=-1)
        if not (apart <= allowed[start:stop]).all():
            raise _too_far(row, float(np.nanmax(apart)))
        worst = max(worst, float(apart.max()))
        of_range = max(of_range, float((apart / spans[start:stop]).max()))
    if crc != found.crc:
        raise ExportError("its bytes read back differently from what was written; the disk may be failing")
    return _Check(row.name, worst, of_range)


def _too_far(row: PlanRow, apart: float) -> ExportError:
    if not np.isfinite(apart):
        return ExportError("a scale is too large for float16; leave this tensor alone in the recipe", tensor=row.name)
    return ExportError(f"it decodes to weights that are up to {apart:.3g} from what was meant", tensor=row.name)


def _allowed(q: QTensor, carrier: Carrier) -> tuple[np.ndarray, np.ndarray]:
    """How far each block's weights may be off, and the range of its levels: `[rows, blocks]`.

    A float16 is off by 2⁻¹¹ of itself, or by 2⁻²⁵ where it is small.
    """
    if carrier.type.name == "MXFP4":
        exact = np.zeros((carrier.matrix.rows, carrier.matrix.cols // carrier.type.weights), np.float32)
        return exact, exact + 1
    step, low = carrier.grid(q)
    levels = np.float32(carrier.n_codes - 1)
    spans = np.maximum(step * levels, np.float32(1e-30))
    if carrier.exact:
        return np.zeros_like(spans), spans
    largest = np.maximum(np.abs(low), np.abs(low + spans))
    rounded = spans * np.float32(2**-11) + np.abs(low) * np.float32(2**-11) + (levels + 1) * np.float32(2**-25)
    return rounded + largest * np.float32(2**-22), spans


def _check_header(model: Model, file: WatchedFile, header: Header, rows: Sequence[PlanRow], token: Token) -> None:
    """What the header of the file says against what was meant, the metadata byte by byte."""
    kinds = {row.name: NUMBERS[row.stored_as] for row in rows if isinstance(row.place, Carrier)}
    entries = [tensor.entry for tensor in model.tensors.values()]
    meant = [(entry.name, entry.shape, kinds.get(entry.name, entry.type)) for entry in entries]
    found = [(entry.name, entry.shape, entry.type) for entry in header.tensors]
    if [*header.spans] != [*model.metadata] or found != meant:
        raise ExportError("the header reads back differently from what was written; the disk may be failing")
    for key, span in header.spans.items():
        _check_copy(key, Stretch(model.files[0], *model.header.spans[key]), Stretch(file, *span), token)


def _check_copy(name: str, source: Stretch, copy: Stretch, token: Token) -> None:
    for (_, one), (_, other) in zip(source.chunks(), copy.chunks(), strict=True):
        token.check()
        if one != other:
            raise ExportError("its bytes read back differently from what was written", tensor=name)


def _report(rows: Sequence[PlanRow], checks: Sequence[_Check]) -> tuple[ReportRow, ...]:
    found = {check.name: check.difference for check in checks}
    return tuple(ReportRow(row.name, row.nbytes, found.get(row.name, 0.0)) for row in rows)


def _said(checks: Sequence[_Check]) -> str:
    worst = max((check.of_range for check in checks), default=0.0)
    if not worst:
        return "every weight is as it was meant"
    return f"no weight is more than {worst:.2g} of its group's range from what was meant, as scales are float16 there"
