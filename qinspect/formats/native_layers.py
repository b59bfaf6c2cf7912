"""Packed layers of our own layout among the stored arrays of any container.

Layers with a record in the file's metadata are what the record says. Base-N layers are recognised without one, by
their arrays; then the words of a group tell how many weights it has, up to a few, and the likeliest number is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from qinspect.errors import FormatError, SchemeError, UnsupportedError, printable
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.dtypes import dtype_name
from qinspect.formats.layer import PackedLayer, Stored
from qinspect.formats.native import LayerRecord, array_names, codebook_name, records_of, stored_name
from qinspect.quant.packing import DigitPacking
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.quant.schemes.base_n import BaseN, codebook

_PARAM_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


@dataclass(frozen=True)
class NativeLayer(PackedLayer):
    """A packed layer: what it is, and the names of its arrays; `assumed` if the file does not tell.

    `levels` are the entries of the stored codebook; None where there is none.
    """

    prefix: str
    record: LayerRecord
    levels: int | None
    assumed: bool = False

    @cached_property
    def arrays(self) -> dict[str, str]:
        """The stored arrays: `data`, then the parameters."""
        return array_names(self.prefix, self.record.scheme)

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """All arrays, and the codebook."""
        return frozenset((*self.arrays.values(), *([codebook_name(self.prefix)] if self.levels else ())))

    @property
    def place(self) -> str:  # type: ignore[override]
        """The codes."""
        return self.arrays["data"]

    def row(self, stored: Stored) -> TensorInfo:
        """As the record has it."""
        record = self.record
        nbytes = sum(stored[name].nbytes for name in self.arrays.values())
        told = MappingProxyType({"prefix": self.prefix, "assumed": self.assumed})
        return TensorInfo(record.name, record.shape, record.dtype, nbytes, record.scheme.label, told)

    def load(self, raw: Checkpoint, rows: slice | None) -> QTensor:
        """Checked: FormatError for codes, parameters or levels that cannot be."""
        scheme, shape = self.record.scheme, self.record.shape
        part = shape if rows is None else _part(shape, rows)
        whole, taken = scheme.stored(shape), scheme.stored(part)
        arrays = {}
        for key, name in self.arrays.items():
            array = raw.load(name, rows if whole[key] != taken[key] else None)
            assert isinstance(array, np.ndarray)
            arrays[key] = array
        data = arrays.pop("data")
        _check_parameters(arrays)
        if isinstance(scheme, BaseN):
            self._check_levels(raw, scheme.levels, data)
        return QTensor(scheme, part, data, arrays)

    def _check_levels(self, raw: Checkpoint, levels: int, data: np.ndarray) -> None:
        """FormatError if the codebook is not the one that is decoded with, or words are above what digits can give."""
        if self.levels:
            stored = raw.load(codebook_name(self.prefix))
            if not np.allclose(np.asarray(stored), codebook(levels), rtol=0, atol=1e-6):
                raise FormatError(f"its codebook is not linspace(-1, 1, {levels}): it was packed with other levels")
        packing = DigitPacking(levels)
        bad = int(np.count_nonzero(np.ascontiguousarray(data).view("<u4") > packing.top_word))
        if bad:
            raise FormatError(
                f"{bad} packed words are above {levels}^{packing.digits}−1 = {packing.top_word}: the file is corrupt; "
                "copy or export it again"
            )


def native_layers(raw: Checkpoint, group_size: int | None = None) -> tuple[list[NativeLayer], list[str]]:
    """The layers, and notes on them. `group_size` is that of layers without a record.

    FormatError where records and arrays contradict each other.
    """
    stored = {info.name: info for info in raw.infos}
    layers = [_layer(stored, prefix, record) for prefix, record in records_of(raw.metadata).items()]
    for layer in layers:
        _check(layer, stored)
    notes: list[str] = []
    for prefix in _unrecorded(stored, {layer.prefix for layer in layers}):
        try:
            layers.append(_layer(stored, prefix, _assumed(prefix, stored, group_size), assumed=True))
        except UnsupportedError as error:
            notes.append(f"{printable(stored_name(prefix, 'quant_packed'))} is shown as it is stored: {error.message}.")
    return layers, [*notes, *_assumptions(layers)]


def _layer(stored: Stored, prefix: str, record: LayerRecord, assumed: bool = False) -> NativeLayer:
    levels = record.scheme.levels if isinstance(record.scheme, BaseN) and codebook_name(prefix) in stored else None
    return NativeLayer(prefix, record, levels, assumed)


def _check(layer: NativeLayer, stored: Mapping[str, TensorInfo]) -> None:
    """FormatError unless the arrays that the record speaks of are all there, in the right types and shapes."""
    try:
        kinds = layer.record.scheme.stored(layer.record.shape)
    except SchemeError as error:
        raise FormatError(f"its record contradicts itself: {error.message}", tensor=layer.record.name) from error
    wanted = {layer.arrays[key]: (dtype_name(dtype), shape) for key, (dtype, shape) in kinds.items()}
    if layer.levels:
        wanted[codebook_name(layer.prefix)] = ("F32", (layer.levels,))
    for name, (dtype, shape) in wanted.items():
        if name not in stored:
            raise FormatError(f"the array {printable(name)} of this packed layer is missing", tensor=layer.record.name)
        found = stored[name]
        if (found.dtype, found.shape) != (dtype, shape):
            text = f"is {found.dtype} {list(found.shape)}, its record asks for {dtype} {list(shape)}"
            raise FormatError(f"the array {printable(name)} of this packed layer {text}", tensor=layer.record.name)


def _unrecorded(stored: Mapping[str, TensorInfo], recorded: set[str]) -> Iterator[str]:
    """Prefixes of what looks like base-N layers."""
    for name in stored:
        prefix, dot, part = name.rpartition(".")
        if part == "quant_packed" and prefix not in recorded and (prefix or not dot):
            yield prefix


def _assumed(prefix: str, stored: Mapping[str, TensorInfo], group_size: int | None) -> LayerRecord:
    """What a layer without a record most likely is; UnsupportedError where its arrays are not those of one."""
    data, minimum, scale, book = (
        stored.get(name)
        for name in (
            *(stored_name(prefix, part) for part in ("quant_packed", "min_val", "scale")),
            codebook_name(prefix),
        )
    )
    if data is None or minimum is None or scale is None:
        raise UnsupportedError("its min_val or scale is missing")
    levels = book.size if book else 11
    fits = data.dtype == "U8" and len(data.shape) == 3 and data.shape[2] and data.shape[2] % 4 == 0
    if not fits or not 2 <= levels <= 256 or (minimum.dtype, minimum.shape) != (scale.dtype, data.shape[:2]):
        raise UnsupportedError("its type or shape is not that of base-N digits")
    if minimum.shape != scale.shape or scale.dtype not in _PARAM_DTYPES:
        raise UnsupportedError("its min_val and scale are not alike")
    name = stored_name(prefix, "weight")
    if name in stored:
        raise UnsupportedError(f"there is a tensor {printable(name)} beside it")
    rows, groups, nbytes = data.shape
    group, cols = _group(nbytes // 4, groups, DigitPacking(levels).digits, group_size)
    name_of_scheme, more = ("base11", {}) if levels == 11 else ("base_n", {"levels": levels})
    scheme = make_scheme(name_of_scheme, group_size=group, param_dtype=_PARAM_DTYPES[scale.dtype], **more)
    return LayerRecord(name, (rows, cols), "F32", scheme)


def _group(words: int, groups: int, digits: int, asked: int | None) -> tuple[int, int]:
    """Size of a group, and weights in a row; FormatError if groups of `asked` weights take another number of words."""
    least, most = digits * (words - 1) + 1, digits * words
    power = 1 << (most.bit_length() - 1)
    likely = power if power >= least else most
    if asked is None or (groups == 1 and asked > most):
        return asked or likely, groups * likely
    if not least <= asked <= most:
        raise FormatError(f"a group size of {asked} does not fit: its records hold {least} to {most} weights")
    return asked, groups * asked


def _part(shape: tuple[int, ...], rows: slice) -> tuple[int, ...]:
    """The shape of some rows."""
    if len(shape) < 2 or rows.step not in (None, 1):
        raise UnsupportedError("rows are taken one after another, from a packed tensor of two dimensions or more")
    start, stop, _ = rows.indices(shape[0])
    return max(0, stop - start), *shape[1:]


def _check_parameters(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise FormatError(f"{bad} values of its {name} are NaN or infinite: the file is corrupt")


def _assumptions(layers: Iterable[NativeLayer]) -> Iterator[str]:
    """What was assumed of layers without a record, in one sentence a group size."""
    assumed: dict[str, list[NativeLayer]] = {}
    for layer in layers:
        if layer.assumed:
            assumed.setdefault(layer.record.scheme.label, []).append(layer)
    for label, found in assumed.items():
        names = ", ".join(printable(layer.record.name) for layer in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield (
            f"The file does not tell how {names}{more} were packed: {label} is assumed, and rows of whole groups; "
            "say otherwise with a group size."
        )
