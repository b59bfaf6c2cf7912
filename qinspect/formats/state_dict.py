"""Names and tensors in the pickle of a torch file: a state dict, a training checkpoint around one, or a whole module.

The functions that rebuild tensors are those of `torch._utils`; storages are named as `torch.save` names them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from qinspect.errors import FormatError
from qinspect.formats.native import VERSION_KEY
from qinspect.formats.pickles import MAX_OPCODES, PERSISTENT, Global, Key, Object

CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Entries of a training checkpoint that hold the model; the first one found is left out of the tensors' names."""

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "complex128": "C128",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float4_e2m1fn_x2": "F4",
}  # fmt: skip
"""Types by their torch names. An element of the last is two numbers."""

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128",
    "QInt8Storage": "I8", "QUInt8Storage": "U8", "QInt32Storage": "I32", "QUInt4x2Storage": "U4",
    "QUInt2x4Storage": "U2",
}  # fmt: skip
"""Types by the storage class that stands for them; tensors of other types lie in an untyped storage."""

_REBUILDS = ("torch._utils._rebuild_", "torch._tensor._rebuild_")
_SETS = ("builtins.set", "__builtin__.set")
_HARMLESS = (
    *_SETS,
    PERSISTENT,
    "collections.OrderedDict",
    "collections.defaultdict",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.jit._pickle.build_intlist",
)
_DATA = (*_REBUILDS, "__torch__.", "torchao.")
"""What classes and functions that only hold or make data begin with."""
_UNSHOWN = {
    "sparse_tensor": "sparse", "sparse_csr_tensor": "sparse", "meta_tensor_no_storage": "without data",
    "nested_tensor": "nested", "qtensor": "quantized by torch in a way that is not read",
}  # fmt: skip
"""Why a tensor is not shown, by the function that would rebuild it."""
SHARED_BYTES = ("F4", "U4", "U2")
_HOLDERS = (dict, list, tuple, Object)
_DEPTH = 100
_DIMENSIONS = 64
_COUNT_LIMIT = 1 << 63


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the pickle describes it: from element `offset` of the storage `key` on, `strides` in elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    key: str

    @property
    def contiguous(self) -> bool:
        """Whether its elements follow each other in their storage."""
        return self.strides == tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @property
    def reach(self) -> int:
        """Elements of the storage from its first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor that torch or torchao quantized: `(codes − zero)·scale`, in `dtype` once it is decoded.

    `block` are the sides of what shares a scale and a zero point; each of these is a tensor, or a number for all.
    """

    name: str
    dtype: str
    codes: StoredTensor
    scale: StoredTensor | float
    zero: StoredTensor | int | None
    block: tuple[int, ...]

    @property
    def parts(self) -> list[StoredTensor]:
        """The stored tensors that it consists of."""
        return [part for part in (self.codes, self.scale, self.zero) if isinstance(part, StoredTensor)]


@dataclass
class Contents:
    """What a pickle was found to hold.

    `attributes` are what `state_dict()` keeps of each module beside its tensors (`_metadata`), by prefix; `unreadable`
    are names of tensors by the reason why they are not shown.
    """

    tensors: list[StoredTensor | QuantizedTensor] = field(default_factory=list)
    attributes: dict[str, dict[str | Key, Any]] = field(default_factory=dict)
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    optimizers: list[str] = field(default_factory=list)


def contents_of(tree: Any, keys: str = "") -> Contents:
    """The tensors of a pickle's tree, named as the model's state dict names them; FormatError if it is damaged.

    `keys` is put before the keys of storages.
    """
    walk = _Walk(keys)
    walk.visit(tree, "", 0)
    found = walk.found
    ours = VERSION_KEY in found.attributes.get("", {})  # a file that this program wrote has the names that it means
    if found.tensors and not ours and all(tensor.name.startswith("module.") for tensor in found.tensors):
        return _without_module(found)
    return found


def _without_module(found: Contents) -> Contents:
    """Without the prefix that data-parallel training puts before every name."""
    start = len("module.")
    tensors = [_renamed(tensor, tensor.name[start:]) for tensor in found.tensors]
    attributes = {prefix[start:]: held for prefix, held in found.attributes.items() if prefix.startswith("module")}
    return Contents(tensors, attributes, found.unreadable, found.optimizers)


def _renamed(tensor: StoredTensor | QuantizedTensor, name: str) -> StoredTensor | QuantizedTensor:
    return replace(tensor, name=name)


class _Walk:
    """One pass over a tree, which may share parts and refer to itself."""

    def __init__(self, keys: str) -> None:
        self.keys = keys
        self.found = Contents()
        self.visited = 0

    def visit(self, value: Any, prefix: str, depth: int) -> None:
        """Note the tensors under `value`; `prefix` is its name with a dot, or nothing."""
        if depth > _DEPTH:
            raise FormatError(f"its pickle nests more than {_DEPTH} containers in each other")
        if isinstance(value, Object) and value.origin.startswith(_REBUILDS):
            self.visit_tensor(value, prefix, depth)
            return
        if isinstance(value, list | tuple):
            self.spend(len(value))
            for index, part in enumerate(value):
                if isinstance(part, _HOLDERS):
                    self.visit(part, f"{prefix}{index}.", depth + 1)
            return
        entries = _entries(value)
        self.spend(len(entries))
        if prefix and {"state", "param_groups"} <= entries.keys():
            self.found.optimizers.append(prefix[:-1])
            return
        self.note_attributes(value, prefix)
        wraps = not prefix and not _is_module(value)
        unwrapped = next((key for key in CONTAINERS if wraps and _entries(entries.get(key))), None)
        for key, child in entries.items():
            name = key if isinstance(key, str) else key.text
            if isinstance(child, _HOLDERS):
                self.visit(child, prefix if key == unwrapped else f"{prefix}{name}.", depth + 1)

    def spend(self, parts: int) -> None:
        """Count a container and its parts; only a tree that shares its branches has as many as are refused."""
        self.visited += 4 + parts
        if self.visited > MAX_OPCODES:
            raise FormatError("its pickle branches without end")

    def note_attributes(self, value: Any, prefix: str) -> None:
        if isinstance(value, Object) and isinstance(value.state, dict):
            for key, held in _items(value.state.get("_metadata")).items():
                if isinstance(key, str) and isinstance(held, dict):
                    self.found.attributes[f"{prefix}{key}" if key else prefix.removesuffix(".")] = held

    def visit_tensor(self, call: Object, prefix: str, depth: int) -> None:
        name, kind = _layer_name(prefix.removesuffix(".")), call.origin.partition("._rebuild_")[2]
        match kind, call.args:
            case ("parameter" | "parameter_with_state", (inner, *_)):
                self.visit(inner, prefix, depth + 1)
            case ("from_type_v2", (Global("torch._utils._rebuild_wrapper_subclass"), _, tuple(args), dict(parts))):
                if not self.note_wrapper(name, args, parts):
                    self.visit(parts, prefix, depth + 1)
            case ("from_type_v2", (Global(origin), _, tuple(args), _)):
                self.visit(Object(origin, args), prefix, depth + 1)
            case ("tensor" | "tensor_v2", (storage, offset, size, stride, *_)):
                self.note(self.tensor(name, storage, None, offset, size, stride), name)
            case ("tensor_v3", (storage, offset, size, stride, _, _, Global(dtype), *_)):
                self.note(self.tensor(name, storage, dtype, offset, size, stride), name)
            case ("qtensor", (storage, offset, size, stride, tuple(quantizer), *_)):
                codes = self.tensor(name, storage, None, offset, size, stride)
                self.note(None if codes is None else self.quantized(name, codes, quantizer), name, _UNSHOWN[kind])
            case _:
                self.unshown(name, _UNSHOWN.get(kind, "of a kind that is not read"))

    def unshown(self, name: str, why: str) -> None:
        self.found.unreadable.setdefault(why, []).append(name)

    def note(self, tensor: StoredTensor | QuantizedTensor | None, name: str, why: str = "of an unread type") -> None:
        if tensor is None:
            self.unshown(name, why)
        else:
            self.found.tensors.append(tensor)

    def tensor(
        self, name: str, storage: Any, dtype: str | None, offset: Any, size: Any, stride: Any
    ) -> StoredTensor | None:
        """The tensor that these arguments describe; None for a type that is not read."""
        key, stored_as, first = _storage(storage, name)
        kind = STORAGES.get(stored_as) if dtype is None else DTYPES.get(dtype.removeprefix("torch."))
        if kind is None:
            return None
        shape, strides = _counts(size, name), _counts(stride, name)
        if len(shape) != len(strides):
            raise FormatError("its shape and strides have different lengths", tensor=name)
        tensor = StoredTensor(name, kind, shape, strides, first + _counts((offset,), name)[0], self.keys + key)
        if kind in SHARED_BYTES and not (shape and tensor.contiguous and not tensor.offset):
            return None  # an element is a part of a byte, or two numbers, which no strided view can tell apart
        return tensor

    def part(self, value: Any, name: str) -> StoredTensor | None:
        """A plain tensor that is a part of another."""
        match value:
            case Object(origin=origin, args=(storage, offset, size, stride, *rest)) if origin.startswith(_REBUILDS):
                match origin.partition("._rebuild_")[2], rest:
                    case ("tensor_v2", _):
                        return self.tensor(name, storage, None, offset, size, stride)
                    case ("tensor_v3", [_, _, Global(dtype), *_]):
                        return self.tensor(name, storage, dtype, offset, size, stride)
        return None

    def quantized(self, name: str, codes: StoredTensor, quantizer: tuple[Any, ...]) -> QuantizedTensor | None:
        """A tensor of torch's own quantized types."""
        match quantizer:
            case (Global("torch.per_tensor_affine"), float(scale), int(zero)):
                return QuantizedTensor(name, "F32", codes, scale, zero, codes.shape)
            case (Global(kind), scales, zeros, int(axis)) if kind.startswith("torch.per_channel_affine"):
                parts = self.part(scales, f"{name}.scale"), self.part(zeros, f"{name}.zero_point")
                if parts[0] is not None and 0 <= axis < len(codes.shape):
                    block = tuple(1 if at == axis else side for at, side in enumerate(codes.shape))
                    return QuantizedTensor(name, "F32", codes, parts[0], parts[1], block)
        return None

    def note_wrapper(self, name: str, args: tuple[Any, ...], parts: dict[str | Key, Any]) -> bool:
        """Note a tensor of torchao's; False where it is another kind, whose parts are shown as they are."""
        codes, scale, zero = (self.part(parts.get(key), f"{name}.{key}") for key in ("qdata", "scale", "zero_point"))
        block, dtype = parts.get("block_size"), args[1] if len(args) > 1 else None
        if codes is None or scale is None or not isinstance(block, list | tuple) or not isinstance(dtype, Global):
            return False
        known = DTYPES.get(dtype.name.removeprefix("torch."))
        if known is None or len(block) != len(codes.shape) or not all(type(side) is int for side in block):
            return False
        self.found.tensors.append(QuantizedTensor(name, known, codes, scale, zero, tuple(block)))
        return True


def _storage(value: Any, name: str) -> tuple[str, str, int]:
    """Key of a storage, the name of its class, and the element that it begins with (not 0 only before torch 1.6)."""
    match value:
        case Object(origin=origin, args=("storage", Global(stored_as), str(key), *rest)) if origin == PERSISTENT:
            match rest:
                case [_, _, (str(), int(first), int())]:
                    return key, stored_as.rpartition(".")[2], _counts((first,), name)[0]
            return key, stored_as.rpartition(".")[2], 0
    raise FormatError("its storage is not described as torch.save does", tensor=name)


def _counts(value: Any, name: str) -> tuple[int, ...]:
    """A shape, strides or offset: a tuple, or a `torch.Size` of one."""
    if isinstance(value, Object) and value.origin == "torch.Size" and len(value.args) == 1:
        value = value.args[0]
    if not isinstance(value, tuple) or len(value) > _DIMENSIONS:
        raise FormatError("its shape or strides are no short list of counts", tensor=name)
    if not all(type(count) is int and 0 <= count < _COUNT_LIMIT for count in value):
        raise FormatError("its shape, strides and offset are not all counts", tensor=name)
    return value


def _layer_name(name: str) -> str:
    """The name that a tensor had before torch quantized its layer, which keeps weight and bias as a pair."""
    found = re.fullmatch(r"(.+\.)?_packed_params\._packed_params\.([01])", name)
    return name if found is None else f"{found[1] or ''}{('weight', 'bias')[int(found[2])]}"


def _items(value: Any) -> dict[str | Key, Any]:
    """Entries of a dictionary, plain or of any class."""
    if isinstance(value, Object):
        return value.items
    return value if isinstance(value, dict) else {}


def _is_module(value: Any) -> bool:
    """Whether `value` would be a `torch.nn.Module`, pickled whole or by TorchScript."""
    if not isinstance(value, Object) or not isinstance(value.state, dict):
        return False
    return value.origin.startswith("__torch__.") or {"_parameters", "_buffers", "_modules"} <= value.state.keys()


def _entries(value: Any) -> dict[str | Key, Any]:
    """The named parts of anything that may hold tensors; none of a tensor, a number or an unknown object."""
    if isinstance(value, list | tuple):
        return {str(index): part for index, part in enumerate(value)}
    if not _is_module(value):
        return _items(value)
    state = value.state
    if value.origin.startswith("__torch__."):
        return dict(state)
    kept = {key: part for key, part in _items(state["_buffers"]).items() if key not in _temporary(state)}
    return {**_items(state["_parameters"]), **kept, **_items(state["_modules"])}


def _temporary(state: dict[str | Key, Any]) -> Iterable[Any]:
    """Names of buffers that a state dict leaves out."""
    names = state.get("_non_persistent_buffers_set")
    if isinstance(names, Object) and names.origin in _SETS and names.args:
        names = names.args[0]
    return names if isinstance(names, list) else ()


def is_understood(made: Object) -> bool:
    """Whether a checkpoint may ask for this without being told that it was refused: it only holds data."""
    return made.origin in _HARMLESS or made.origin.startswith(_DATA)
