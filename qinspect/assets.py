"""The files that ship beside the code: fonts, icons, the sample model."""

from __future__ import annotations

from pathlib import Path

from qinspect.errors import QInspectError

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries them inside the package, a checkout beside it.
_ROOTS = (_PACKAGE / "resources", _PACKAGE.parent / "resources")


def resource(name: str) -> Path:
    """Path of the shipped file `name`, such as `samples/digits.safetensors`; QInspectError if it is gone."""
    for root in _ROOTS:
        if (root / name).exists():
            return root / name
    raise QInspectError("this part of qinspect is missing; install qinspect again", path=name)
