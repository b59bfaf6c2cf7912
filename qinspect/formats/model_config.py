"""What a Hugging Face folder says of its model beside the weights: how it was quantized, and from what type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qinspect.errors import QInspectError
from qinspect.formats.stored import WatchedFile

_FILES = ("config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""The model's own, and those of older programs that quantize, which say the same by themselves."""
_LIMIT = 1 << 24
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class ModelConfig:
    """What is said of `quantization`, in the words of the program that did it, and the `dtype` of the weights before.

    Empty where nothing is said. All values come from a file and may be of any kind.
    """

    quantization: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    dtype: str | None = None

    @property
    def method(self) -> str:
        """The name of the way of quantizing, as Hugging Face writes it; empty if it is not told."""
        found = self.quantization.get("quant_method", "")
        return found if isinstance(found, str) else ""

    def number(self, key: str, default: int | None = None) -> int | None:
        """A whole number that `quantization` has."""
        found = self.quantization.get(key, default)
        return found if type(found) is int else default

    def text(self, key: str, default: str = "") -> str:
        """A word that `quantization` has."""
        found = self.quantization.get(key, default)
        return found if isinstance(found, str) else default


def config_beside(path: Path) -> ModelConfig:
    """What the folder of a checkpoint says; nothing where there is no such file, or it is none."""
    quantization: dict[str, Any] = {}
    dtype = None
    for name in _FILES:
        said = json_of(path.parent / name)
        nested = said.get("text_config")
        for values in (said, nested if isinstance(nested, dict) else {}):
            dtype = dtype or _DTYPES.get(str(values.get("dtype") or values.get("torch_dtype")))
            for key in ("quantization_config", "quantization"):
                if not quantization and isinstance(values.get(key), dict):
                    quantization = values[key]
        if not quantization and name != "config.json":
            quantization = said
    return ModelConfig(MappingProxyType(quantization), dtype)


def json_of(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; empty where there is no such file, or it is none."""
    if not path.is_file():
        return {}
    try:
        file = WatchedFile(path)
        if file.nbytes > _LIMIT:
            return {}
        found = json.loads(file.at(0, file.nbytes).tobytes())
    except (QInspectError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
