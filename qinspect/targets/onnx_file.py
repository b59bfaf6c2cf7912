"""ONNX: a user's model with its weights quantized in place, or the graph of a network that the checkpoint describes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from qinspect.errors import ExportError, FormatError, UnsupportedError
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.onnx_file import OnnxCheckpoint
from qinspect.network import Network
from qinspect.quant.layout import matrix_shape
from qinspect.quant.lazy import Weights
from qinspect.quant.scheme import QTensor, Scheme
from qinspect.targets.blueprint import Stored
from qinspect.targets.choice import Choice, more_than_packed, with_note
from qinspect.targets.graph import runtime, sequential
from qinspect.targets.graph.dequantize import Dequantize
from qinspect.targets.graph.digits import Digits
from qinspect.targets.graph.forms import Form, Site, form_of
from qinspect.targets.graph.layout import OnnxLayout
from qinspect.targets.graph.nbits import NBits
from qinspect.targets.graph.rewriting import UserGraph
from qinspect.targets.packed import converted, packed
from qinspect.targets.program import compiled, inputs_for
from qinspect.targets.read_back import Content
from qinspect.targets.sources import kept_metadata
from qinspect.targets.target import PlanRow, ReportRow
from qinspect.targets.tensor_file import Contents, TensorFile, Written
from qinspect.task import Token

UNCHANGED = "unchanged"
LEFT_OUT = "left out"

TOLERANCE = 2e-6
"""Of a tensor's largest weight: what a zero point in float32 in place of a minimum may change."""


@dataclass(frozen=True)
class _Plain:
    """A tensor of a network that is stored as float32."""

    stored: Stored


class Onnx(TensorFile):
    """With nothing but the standard's operators."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX"
    suffix: ClassVar[str] = ".onnx"
    summary: ClassVar[str] = (
        "The model's own ONNX file with quantized weights, or the graph of a described network, in standard operators."
    )
    carries: ClassVar[str] = (
        "Integers of 4, 8 or 16 bits as DequantizeLinear; every other scheme whose parameters belong to one row, group "
        "or tensor packed as digits."
    )
    order: ClassVar[int] = 50
    forms: ClassVar[tuple[type[Form], ...]] = (Dequantize, Digits)

    def refusal(self, scheme: Scheme, shape: tuple[int, ...]) -> str | None:
        """What no operator decodes."""
        found = form_of(Site("", "F32", shape, False, sequential.OPSET, False), scheme, self.forms)
        return found if isinstance(found, str) else None

    # Planning.

    def plan_rows(self, checkpoint: Checkpoint, chosen: Sequence[Choice]) -> list[PlanRow]:
        """Every weight where the graph wants it; what cannot be replaced stays as it is."""
        with _sites(checkpoint) as sites:
            return [self._planned(checkpoint, choice, sites) for choice in chosen]

    def _planned(self, checkpoint: Checkpoint, choice: Choice, sites: Mapping[str, Site]) -> PlanRow:
        name, site = choice.info.name, sites.get(choice.info.name)
        if isinstance(checkpoint, OnnxCheckpoint):
            return self._in_users_graph(checkpoint, choice, site)
        network = Network.of(checkpoint)
        assert network is not None
        if not sequential.needed(network, choice.info.name):
            return self.row(checkpoint, replace(choice, note="the network does not use it: left out"), LEFT_OUT)
        form: Form | str = "the network needs it as float32" if site is None else ""
        if site is not None and choice.scheme is not None:
            form = form_of(site, choice.scheme, self.forms)
        if isinstance(form, Form):
            return self.row(checkpoint, with_note(choice, _cost(form)), form.name, form)
        note = choice.note if choice.scheme is None else f"{form}: written decoded"
        plain = _Plain(Stored(name, "F32", choice.info.shape))
        return self.row(checkpoint, replace(choice, note=note), "float32", plain)

    def _in_users_graph(self, checkpoint: Checkpoint, choice: Choice, site: Site | None) -> PlanRow:
        form: Form | str = "it is no initializer of the outer graph, or is quantized there already"
        if site is not None and choice.scheme is not None:
            form = form_of(site, choice.scheme, self.forms)
        if isinstance(form, Form):
            return self.row(checkpoint, with_note(choice, _cost(form)), form.name, form)
        stays = choice if choice.scheme is None else replace(choice, scheme=None, note=f"stays as it is: {form}")
        return replace(self.row(checkpoint, stays, UNCHANGED), nbytes=choice.info.nbytes, wanted=choice.scheme)

    def remark(self, checkpoint: Checkpoint) -> str:
        """How much of the graph is new."""
        if isinstance(checkpoint, OnnxCheckpoint):
            return ""
        return f"the graph of the network, operator set {sequential.OPSET}"

    def stored(self, row: PlanRow) -> list[Stored]:
        """The arrays of a form; nothing of our own for what is taken over."""
        match row.place:
            case Form() as form:
                return form.stored
            case _Plain(stored):
                return [stored]
        return []

    def content(self, row: PlanRow, held: Content, token: Token) -> Content:
        """Codes, or float32 weights."""
        held = packed(row, held, token)
        if isinstance(row.place, Form):
            return held
        if isinstance(held, QTensor):
            return held.scheme.dequantize(held, token=token)
        return converted(held, np.dtype(np.float32))

    def arrays(self, row: PlanRow, content: Content, token: Token) -> list[Weights]:
        """As the form lays them out."""
        if isinstance(content, QTensor):
            form: Form = row.place
            return [*form.arrays(content)]
        return [content]

    def blueprint(self, checkpoint: Checkpoint, rows: Sequence[PlanRow]) -> OnnxLayout:
        """The source with other weights, or a new graph."""
        forms = [row.place for row in rows if isinstance(row.place, Form)]
        if isinstance(checkpoint, OnnxCheckpoint):
            return OnnxLayout(UserGraph(checkpoint.path).rewritten({form.site.name: form for form in forms}))
        network = Network.of(checkpoint)
        assert network is not None
        program = compiled(network, {row.name: row.shape for row in rows})
        plain = {row.name: row.place.stored for row in rows if isinstance(row.place, _Plain)}
        named = {form.site.name: form for form in forms}
        ends = program.inputs, program.outputs
        return OnnxLayout(sequential.model(network, *ends, named, plain, kept_metadata(checkpoint)))

    # Proof.

    def read_back(self, written: Written, contents: Contents, token: Token) -> tuple[tuple[ReportRow, ...], str]:
        """Each weight from the bytes of the file, by a decoder of its own and by onnxruntime where it is installed."""
        file = _Reading(written.path, self.blueprint(written.checkpoint, written.rows).offsets)
        version = runtime.version()
        rows = []
        for row, meant, part in contents:
            part.check(0.5)
            rows.append(ReportRow(row.name, row.nbytes, _checked(row, meant, file, version is not None)))
            del meant
        proof = _proof(version, max((row.max_difference for row in rows), default=0.0))
        return tuple(rows), proof if version is None else f"{proof}; {_whole(written, file)}"


@contextlib.contextmanager
def _sites(checkpoint: Checkpoint) -> Iterator[Mapping[str, Site]]:
    """Where the weights of a checkpoint are wanted; UnsupportedError if there is no graph for them."""
    try:
        if isinstance(checkpoint, OnnxCheckpoint):
            graph = UserGraph(checkpoint.path)
            try:
                yield graph.sites(checkpoint)
            finally:
                graph.close()
            return
        network = Network.of(checkpoint)
        if network is None:
            raise UnsupportedError(
                "there is no graph: the checkpoint does not describe its network. Open the model's own .onnx file "
                "and export that, or describe the network in the metadata (qinspect.network)"
            )
        shapes = {info.name: info.shape for info in checkpoint.infos}
        compiled(network, shapes)
        yield sequential.sites(network, shapes)
    except (FormatError, UnsupportedError) as error:
        raise error.within(path=checkpoint.path) from None


def _cost(form: Form) -> str:
    """What a form takes more than packed codes, where it does."""
    more = more_than_packed(form.scheme, form.site.shape, sum(stored.nbytes for stored in form.stored))
    return f"held in {form.name}: {more}" if more else ""


@dataclass(frozen=True)
class _Reading:
    """Arrays of a file that was written, from where they lie in it."""

    path: Path
    offsets: Mapping[str, int]

    def array(self, stored: Stored) -> np.ndarray:
        """One of them."""
        dtype, offset = numpy_dtype(stored.dtype), self.offsets[stored.name]
        return np.fromfile(self.path, dtype, stored.nbytes // dtype.itemsize, offset=offset).reshape(stored.shape)

    def arrays(self, form: Form) -> dict[str, np.ndarray]:
        """Those of a weight."""
        return {key: self.array(stored) for key, stored in zip(form.held(), form.stored, strict=True)}

    def tensor(self, row: PlanRow) -> np.ndarray:
        """A tensor of a network, decoded."""
        if isinstance(row.place, Form):
            return row.place.decoded(self.arrays(row.place))
        return self.array(row.place.stored)


def _whole(written: Written, file: _Reading) -> str:
    """What onnxruntime makes of the whole model, in words; ExportError if it is something else than was meant."""
    if isinstance(written.checkpoint, OnnxCheckpoint):
        problem = runtime.loads(written.path)
        if problem is None:
            return "it loads the whole model"
        if runtime.loads(written.checkpoint.path) is None:
            raise ExportError(f"onnxruntime loads the original, but not what was written: {problem}")
        return "the whole model, as the original, needs operators that it lacks"
    network = Network.of(written.checkpoint)
    assert network is not None
    places = {row.name: row for row in written.rows if row.place is not None}
    x = inputs_for(written.checkpoint, compiled(network, {name: row.shape for name, row in places.items()}).inputs)
    meant = network.forward(x, lambda name: file.tensor(places[name]) if name in places else None)
    found = runtime.outputs(written.path, x)
    apart = float(np.abs(found - meant).max() / max(1e-30, float(np.abs(meant).max())))
    if not apart <= 1e-4:
        raise ExportError(f"the network gives outputs in onnxruntime that are off by {apart:.2g} of the largest")
    return f"the whole network gives the outputs of its decoded weights, within {apart:.1g} of the largest"


def _checked(row: PlanRow, meant: Content, file: _Reading, run: bool) -> float:
    """The largest |difference| of a weight that the file holds; ExportError if it is more than rounding explains."""
    if not isinstance(meant, QTensor):
        if np.asarray(meant).tobytes() != file.tensor(row).tobytes():
            raise ExportError("its bytes read back differently from what was written", tensor=row.name)
        return 0.0
    form: Form = row.place
    arrays = file.arrays(form)
    weights = _as_wanted(meant.scheme.dequantize(meant), form.site)
    difference = float(np.abs(_as_wanted(form.decoded(arrays), form.site) - weights).max(initial=0))
    ran = runtime.difference(form, arrays, weights) if run else 0.0
    limit = TOLERANCE * max(1e-30, float(np.abs(weights).max(initial=0)))
    for found, who in ((difference, "it decodes"), (0.0 if isinstance(form, NBits) else ran, "onnxruntime decodes it")):
        if found > limit:
            raise ExportError(f"{who} to weights that are up to {found:.3g} from what was meant", tensor=row.name)
    if isinstance(form, NBits) and ran > 10 * TOLERANCE:
        raise ExportError(f"onnxruntime's product is up to {ran:.3g} from what was meant", tensor=row.name)
    return difference if isinstance(form, NBits) else max(difference, ran)


def _as_wanted(weights: np.ndarray, site: Site) -> np.ndarray:
    """Weights `[rows, cols]` rounded to the type that the graph has them in, as float32."""
    dtype = numpy_dtype(site.dtype)
    with np.errstate(over="ignore"):
        return weights.reshape(matrix_shape(site.shape)).astype(dtype).astype(np.float32)


def _proof(version: str | None, largest: float) -> str:
    """Who decoded the file."""
    same = "every weight is as it was meant" if not largest else f"no weight is more than {largest:.2g} off"
    if version is None:
        return f"read back by a second decoder, and {same}; not run: onnxruntime is not installed (qinspect[verify])"
    return f"every quantized layer was run from the file in onnxruntime {version} and decoded a second time: {same}"


class OnnxRuntime(Onnx):
    """With the packed products of onnxruntime."""

    name: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX for onnxruntime"
    summary: ClassVar[str] = (
        "As onnx, with packed products (MatMulNBits) that only onnxruntime runs, and runs without unpacking weights."
    )
    carries: ClassVar[str] = (
        "2, 4 or 8 bits, and even levels up to 16 such as base-11, in groups of a power of two from 16 as MatMulNBits; "
        "everything else as onnx does."
    )
    order: ClassVar[int] = 51
    forms: ClassVar[tuple[type[Form], ...]] = (NBits, Dequantize, Digits)
