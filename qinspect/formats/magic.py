"""What a file that no reader takes seems to be, told from its first bytes."""

from __future__ import annotations

from pathlib import Path

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable

_NOT_YET = {
    **dict.fromkeys(
        (b"lmgg", b"fmgg", b"tjgg", b"algg"), "GGML files from before GGUF (convert them with llama.cpp) are"
    ),
    b"\x89HDF\r\n\x1a\n": "HDF5 files (Keras .h5) are",
    b"\x93NUMPY": "this version of the .npy format is",
}
"""Formats of weights, by how their files begin."""

_FOREIGN = {
    b"version https://git-lfs": "this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    b"\x7fELF": "this is a program (ELF), not a checkpoint",
    b"MZ": "this is a Windows program, not a checkpoint",
    b"PK\x03\x04": "this zip archive holds no data.pkl and no .npy files: it is not a checkpoint",
    b"PK\x05\x06": "this zip archive is empty",
    b"\x1f\x8b": "this is a gzip archive; unpack it first",
    b"BZh": "this is a bzip2 archive; unpack it first",
    b"\xfd7zXZ\x00": "this is an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "this is a zstd archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "this is a 7-Zip archive; unpack it first",
    b"%PDF": "this is a PDF document, not a checkpoint",
    b"\x89PNG": "this is a picture (PNG), not a checkpoint",
    b"\xff\xd8\xff": "this is a picture (JPEG), not a checkpoint",
    b"<!DOCTYPE": "this is a web page, not a checkpoint: the download went wrong",
    b"<html": "this is a web page, not a checkpoint: the download went wrong",
}

_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def foreign(path: Path, head: bytes) -> QInspectError | None:
    """What to say of a file that begins with `head`; None where its bytes tell nothing."""
    for magic, name in _NOT_YET.items():
        if head.startswith(magic):
            return UnsupportedError(f"{name} not read yet", path=path)
    if head[4:8] == b"ORTM":
        return UnsupportedError(
            "this is onnxruntime's own .ort form of a model; open the .onnx it was made from", path=path
        )
    for magic, sentence in _FOREIGN.items():
        if head.startswith(magic):
            return FormatError(sentence, path=path)
    if head.startswith(_PICKLES):
        return UnsupportedError("this is a Python pickle, not a torch file; save it with torch.save", path=path)
    return None


def unknown(path: Path, head: bytes) -> QInspectError:
    """What to say of a file of which nothing is known but its name and how it begins."""
    try:
        # The last character may be cut in half.
        text = head.decode() if len(head) < 64 else head[:64].decode(errors="ignore")
    except UnicodeDecodeError:
        text = ""
    if text and sum(char.isprintable() or char.isspace() for char in text) == len(text):
        begin = printable(text.strip(), 40)
        return FormatError(f"this is a text file, not a checkpoint; it begins with: {begin}", path=path)
    return FormatError(
        f"this is not a checkpoint that can be read; it begins with bytes {head[:8].hex(' ')}", path=path
    )
