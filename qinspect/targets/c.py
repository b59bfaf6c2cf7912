"""C for microcontrollers: a folder that any C99 compiler builds, and that tests itself on the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from qinspect.errors import ExportError, FormatError, UnsupportedError
from qinspect.formats.checkpoint import FLOATING, Checkpoint
from qinspect.formats.dtypes import numpy_dtype
from qinspect.network import LayerNorm, Linear, Network
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.atomic import durable
from qinspect.targets.blueprint import Stored
from qinspect.targets.choice import Choice, more_than_packed, with_note
from qinspect.targets.matrix import Matrix, device_arrays, float_matrix, matrix_of
from qinspect.targets.mcu import golden
from qinspect.targets.mcu.compiled import LARGEST, find_compiler, running
from qinspect.targets.mcu.device_file import DeviceFile, Entry, seal
from qinspect.targets.mcu.parsed import Parsed
from qinspect.targets.mcu.texts import Texts
from qinspect.targets.packed import converted, packed
from qinspect.targets.program import Program, compiled, inputs_for
from qinspect.targets.read_back import Content, difference_of_blocks
from qinspect.targets.target import Needs, PlanRow, ReportRow
from qinspect.targets.tensor_file import Contents, TensorFile, Written
from qinspect.task import Token

LEFT_OUT = "left out"
ARRAY = "array"
MATRIX = "matrix"
FLOAT = "float32"

_INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")

_DATA = "model.bin"
_SOURCE = "model.c"


class C(TensorFile):
    """Weights as constants, a runtime, the network's forward pass if the checkpoint describes one, and a self-test."""

    name: ClassVar[str] = "c"
    title: ClassVar[str] = "C for microcontrollers"
    suffix: ClassVar[str] = ""
    summary: ClassVar[str] = "A folder of C99 source with the weights, a runtime and a self-test."
    carries: ClassVar[str] = (
        "Every scheme whose parameters belong to one row, group or tensor, any group size; others as float32."
    )
    folder: ClassVar[bool] = True
    order: ClassVar[int] = 40
    tensors_in: ClassVar[str] = _DATA

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """What the runtime cannot hold."""
        found = matrix_of(scheme, shape)
        return found if isinstance(found, str) else None

    # Planning.

    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """With a network, what it needs and nothing else."""
        network = _Runnable(checkpoint).network
        needed = None if network is None else _needed(network)
        return [self.row(checkpoint, *_fate(choice, needed)) for choice in chosen]

    def remark(self, checkpoint: Checkpoint) -> str:
        """Why there is no forward pass, where there is none."""
        return _Runnable(checkpoint).problem

    def stored(self, row: PlanRow) -> list[Stored]:
        """The arrays of a matrix, or the tensor."""
        return [] if row.stored_as == LEFT_OUT else list(_entry(row).stored.values())

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """Codes, or float32 weights where the runtime does not know the scheme."""
        held = packed(row, held, token)
        if row.stored_as == MATRIX:
            return held
        if isinstance(held, QTensor):
            return held.scheme.dequantize(held, token=token)
        return converted(held, numpy_dtype(_entry(row).dtype))

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """In the order of `stored`."""
        if not isinstance(content, QTensor):
            return [content]
        matrix = matrix_of(content.scheme, content.shape)
        assert isinstance(matrix, Matrix)
        return [*device_arrays(content, matrix)]

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> DeviceFile:
        """`model.bin`."""
        network = _Runnable(checkpoint).network
        described = network.to_json() if network else None
        return DeviceFile([_entry(row) for row in rows if row.stored_as != LEFT_OUT], described)

    def needs(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Needs | None:
        """Constants and scratch memory."""
        return self._texts(checkpoint, rows).needs

    def companions(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Mapping[str, int]:
        """The C and what explains it."""
        texts = self._texts(checkpoint, rows)
        vectors = 0 if texts.program is None else len(inputs_for(checkpoint, texts.program.inputs))
        small = texts.small(0, golden.zeros(texts.file, texts.program, vectors))
        return {name: len(text.encode()) for name, text in small.items()} | {_SOURCE: texts.code_nbytes}

    def _texts(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> Texts:
        return Texts(checkpoint.path.name, self.blueprint(checkpoint, rows), _Runnable(checkpoint).program)

    # Writing.

    def complete(self, written: Written, token: Token) -> None:
        """The C, with outputs to compare that are computed from `model.bin`."""
        texts, folder = self._texts(written.checkpoint, written.rows), written.path
        crc = seal(folder / _DATA, texts.file.words)
        parsed = Parsed(folder / _DATA)
        expected = self._golden(written.checkpoint, texts, parsed, token)
        for name, text in texts.small(crc, expected).items():
            with durable(folder / name) as file:
                file.write(text.encode())
        with durable(folder / _SOURCE) as file:
            file.write(texts.code.encode())
            for piece in texts.data(parsed.words):
                token.check()
                file.write(piece)

    def _golden(self, checkpoint: Checkpoint, texts: Texts, parsed: Parsed, token: Token) -> golden.Golden:
        network = _Runnable(checkpoint).network
        if network is None or texts.program is None:
            return golden.of_layers(texts.file, parsed, token)
        rounds = [e.name.removesuffix(".weight") for e in texts.file.entries if e.matrix and e.matrix.takes_int8]
        return golden.of_network(network, inputs_for(checkpoint, texts.program.inputs), parsed, rounds)

    def read_back(self, written: Written, contents: Contents, token: Token) -> tuple[tuple[ReportRow, ...], str]:
        """By the compiled runtime where there is a compiler, else by a reader that shares nothing with the writer."""
        folder, file = written.path, self.blueprint(written.checkpoint, written.rows)
        small = (folder / _SOURCE).stat().st_size <= LARGEST
        compiler = find_compiler(token) if small else None
        parsed = Parsed(folder / _DATA)
        if compiler is None:
            rows = _compared(contents, (parsed.blocks(entry.name) for entry in file.entries))
            why = "no C compiler was found" if small else "it is large"
            return rows, f"read back by a second decoder, and every weight is as it was meant; not compiled: {why}"
        with running(compiler, folder, file, token) as dump:
            if dump.read(parsed.words.nbytes) != parsed.words.tobytes():
                raise ExportError("model.c and model.bin hold different data; the disk may be failing")
            rows = _compared(contents, (dump.blocks(entry) for entry in file.entries))
        return rows, (
            f"compiled with {compiler.version} and run on this machine: the self-test printed PASS, and every weight "
            "decodes to what was meant"
        )


class _Runnable:
    """The network of a checkpoint and its program, or the `problem` that leaves its layers without a forward pass."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.network: Network | None = None
        self.program: Program | None = None
        self.problem = "the checkpoint does not describe a network: its layers are written, and no forward pass"
        try:
            network = Network.of(checkpoint)
            if network is not None:
                self.program = compiled(network, {info.name: info.shape for info in checkpoint.infos})
                self.network, self.problem = network, ""
        except FormatError as error:
            where = f" ({error.tensor})" if error.tensor else ""
            self.problem = f"only the layers are written, and no forward pass: {error.message}{where}"


def _compared(contents: Contents, decoded: Iterable[Iterable[np.ndarray]]) -> tuple[ReportRow, ...]:
    """Each tensor against what a decoder makes of it, which is to be the same."""
    rows = []
    for (row, meant, token), blocks in zip(contents, decoded, strict=True):
        difference = difference_of_blocks(meant, blocks, token)
        if difference:
            text = f"it decodes to weights that are up to {difference:.3g} from what was meant"
            raise ExportError(text, tensor=row.name)
        rows.append(ReportRow(row.name, row.nbytes, difference))
        del meant
    return tuple(rows)


def _needed(network: Network) -> dict[str, str]:
    """The tensors that a network uses: matrices, and vectors, which stay float32."""
    found = {}
    for operator in network.flat():
        if isinstance(operator, Linear | LayerNorm):
            found[f"{operator.prefix}.weight"] = MATRIX if isinstance(operator, Linear) else ARRAY
            found[f"{operator.prefix}.bias"] = ARRAY
    return found


def _fate(choice: Choice, needed: Mapping[str, str] | None) -> tuple[Choice, str]:
    """What becomes of a tensor, with the remark that belongs to it."""
    info, scheme = choice.info, choice.scheme
    if not info.size:
        return replace(choice, note="empty, and C has no empty arrays: left out"), LEFT_OUT
    if needed is not None and info.name not in needed:
        return replace(choice, note="the network does not use it: left out"), LEFT_OUT
    if info.dtype not in FLOATING and info.dtype not in _INTEGERS:
        raise UnsupportedError(f"C source cannot hold {info.dtype} numbers", tensor=info.name)
    if scheme is not None and (needed is None or needed[info.name] == MATRIX):
        reason = matrix_of(scheme, info.shape)
        if isinstance(reason, Matrix):
            return with_note(choice, _cost(scheme, info.shape, reason)), MATRIX
        return with_note(choice, f"{reason}: written decoded, as float32"), FLOAT
    if scheme is not None:
        return with_note(choice, "the network needs it as float32: written decoded"), ARRAY
    note = f"{info.dtype} becomes float32" if info.dtype in FLOATING and info.dtype != "F32" else choice.note
    is_matrix = info.dtype in FLOATING and len(info.shape) > 1
    return replace(choice, note=note), FLOAT if is_matrix else ARRAY


def _cost(scheme: Scheme, shape: tuple[int, ...], matrix: Matrix) -> str:
    """What words of whole codes cost against a stream of bits, where they do."""
    more = more_than_packed(scheme, shape, sum(stored.nbytes for stored in _stored(matrix)))
    return f"{matrix.digits} codes of {scheme.n_codes} levels to a word: {more}" if more else ""


def _stored(matrix: Matrix) -> list[Stored]:
    return [Stored(part, dtype, shape) for part, (dtype, shape) in matrix.arrays.items()]


def _entry(row: PlanRow) -> Entry:
    """The tensor in `model.bin`."""
    dtype = "F32" if row.dtype in FLOATING else row.dtype
    if row.stored_as == ARRAY:
        return Entry(row.name, row.shape, dtype, None, None)
    if row.stored_as == FLOAT or row.scheme is None:
        return Entry(row.name, row.shape, dtype, row.scheme, float_matrix(row.shape))
    matrix = matrix_of(row.scheme, row.shape)
    assert isinstance(matrix, Matrix)
    return Entry(row.name, row.shape, dtype, row.scheme, matrix)
