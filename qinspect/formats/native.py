"""Packed layers inside any container: several stored arrays that are one quantized tensor.

A tensor `<prefix>.weight` packed with base-N digits is stored as `<prefix>.quant_packed`, `.min_val`, `.scale` and
`<prefix>.quantizer.codebook`; with any other scheme as `<prefix>.codes` and one array a parameter. A tensor of another
name is its own prefix. What the arrays do not tell stands in the file's metadata, one `LayerRecord` a layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from qinspect.errors import FormatError, SchemeError
from qinspect.formats.checkpoint import FLOATING, is_unicode
from qinspect.quant.layout import matrix_shape
from qinspect.quant.scheme import Scheme, scheme_from_json
from qinspect.quant.schemes.base_n import BaseN

VERSION = 1

RECORD_KEY = "qinspect"
"""A layer's record in a `.pt` file is `_metadata[prefix][RECORD_KEY]` of the state dict."""

VERSION_KEY = "qinspect.version"
LAYERS_KEY = "qinspect.layers"
"""In the metadata of a `.safetensors` file: JSON of `{prefix: record}`. A `.pt` file is read as if it had it too."""

_SAID_TWICE = ("in_features", "group_size")
"""Entries of a record that follow from others, for readers that know no more than one layout."""

CRC_KEY = "qinspect.crc32"
"""In the metadata of a `.safetensors` file: JSON of `{stored array: eight hexadecimal digits}`."""


@dataclass(frozen=True)
class LayerRecord:
    """What a file says of one packed layer: the original tensor's name, shape and type, and the scheme."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scheme: Scheme

    def to_json(self) -> dict[str, Any]:
        """As files hold it."""
        return {
            "version": VERSION,
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "in_features": matrix_shape(self.shape)[1],
            "group_size": getattr(self.scheme, "group_size", None),
            "scheme": self.scheme.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The record that `to_json` wrote; FormatError if it is none."""
        match value:
            case {"version": int(version)} if version > VERSION:
                raise FormatError(f"its record has version {version}, this program reads {VERSION}: take a newer one")
            case {"version": 1, "name": str(name), "shape": list(shape), "dtype": str(dtype), "scheme": dict(scheme)}:
                if not all(type(n) is int and 0 <= n < 1 << 63 for n in shape) or not is_unicode(name):
                    raise FormatError("the name or the shape in its record is none")
                try:
                    record = cls(name, tuple(shape), dtype, scheme_from_json(scheme))
                except SchemeError as error:
                    raise FormatError(f"the scheme in its record is not valid: {error.message}") from error
                said = record.to_json()
                if dtype in FLOATING and all(value.get(key, said[key]) == said[key] for key in _SAID_TWICE):
                    return record
                raise FormatError("its record contradicts itself: the file is corrupt; copy or export it again")
        raise FormatError(f"its record is not one of a packed layer: {json.dumps(value, default=str)[:80]}")


def prefix_of(name: str) -> str:
    """What the stored arrays of tensor `name` begin with: `fc1` for `fc1.weight`, `""` for `weight`, else the name."""
    if name == "weight":
        return ""
    return name.removesuffix(".weight") or name


def stored_name(prefix: str, part: str) -> str:
    """The full name of the array `part` of the layer `prefix`."""
    return f"{prefix}.{part}" if prefix else part


def array_names(prefix: str, scheme: Scheme) -> dict[str, str]:
    """The stored arrays of a layer: `data` and each of the scheme's parameters, to their full names."""
    data = "quant_packed" if isinstance(scheme, BaseN) else "codes"
    return {"data": stored_name(prefix, data)} | {name: stored_name(prefix, name) for name in scheme.param_names}


def codebook_name(prefix: str) -> str:
    """The array that holds the levels of a base-N layer, float32 `[levels]`."""
    return stored_name(prefix, "quantizer.codebook")


def records_of(metadata: Mapping[str, str]) -> dict[str, LayerRecord]:
    """The records in a file's metadata by prefix; FormatError if they are damaged."""
    try:
        found = json.loads(metadata.get(LAYERS_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the metadata entry {LAYERS_KEY} is not JSON") from error
    if not isinstance(found, dict):
        raise FormatError(f"the metadata entry {LAYERS_KEY} does not map layers to records")
    records = {}
    for prefix, value in found.items():
        try:
            records[prefix] = LayerRecord.from_json(value)
        except FormatError as error:
            raise error.within(tensor=prefix) from None
    return records
