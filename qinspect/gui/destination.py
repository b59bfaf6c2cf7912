"""Where an export goes: a name to begin with, and what has to be said about the one that was chosen."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from qinspect import figures as fmt
from qinspect.assets import resource
from qinspect.targets.target import Target

KNOWN_ENDINGS = (
    ".safetensors.index.json", ".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy", ".gguf", ".onnx", ".packed",
    ".fp32",
)  # fmt: skip


def suggested(source: Path, target: type[Target]) -> Path:
    """A file or folder beside the open file, or at home where that cannot be written; never the open one itself."""
    stem = source.name
    for ending in KNOWN_ENDINGS:
        stem = stem.removesuffix(ending) or stem
    shipped = resource("samples") in source.resolve().parents
    folder = Path.home() if shipped or not os.access(source.parent, os.W_OK) else source.parent
    if target.folder:
        return folder / f"{stem}-{target.name}"
    kind = "fp32" if target.name == "fp32" else "packed"
    first = folder / f"{stem}.{kind}{target.suffix}"
    return folder / f"{stem}.{kind}-2{target.suffix}" if first.resolve() == source.resolve() else first


def hindrance(text: str, source: Path) -> str:
    """Why nothing can ever be written there; empty if it may be."""
    if not text.strip():
        return "Choose a file to write."
    path = Path(text.strip()).expanduser()
    try:
        if path.resolve() == source.resolve():
            return "This is the file that is open; choose another name."
    except (OSError, ValueError):
        pass  # the export will say what is wrong with it
    return ""


def remark(text: str, source: Path) -> str:
    """What a person should know before writing there; empty if nothing."""
    hindered = hindrance(text, source)
    if hindered:
        return hindered
    path = Path(text.strip()).expanduser()
    try:
        if not path.parent.is_dir():
            return "The folder of this destination does not exist; create it or choose another."
        if not path.is_file():
            return ""
        found = path.stat()
    except (OSError, ValueError):
        return ""  # the export will say what is wrong with it
    when = datetime.fromtimestamp(found.st_mtime).strftime("%d %b %Y, %H:%M")
    return f"Replaces a file of this name ({fmt.nbytes(found.st_size)}, {when})."
