"""What a file that no reader takes seems to be, told from its first bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats import archive

_SAVE = "save its weights as safetensors or with numpy.savez"
_KERAS = f"{_SAVE}: numpy.savez(out, **{{v.path: v for v in model.weights}})"
_EXPORTED = "a program of torch.export; save the weights: torch.save(program.state_dict, out)"

_UNREAD = {
    0: {
        **dict.fromkeys(
            (b"lmgg", b"fmgg", b"tjgg", b"algg"), "a GGML file from before GGUF; convert it with llama.cpp"
        ),
        b"\x89HDF\r\n\x1a\n": f"an HDF5 file (Keras .h5); {_KERAS}",
        b"\x93NUMPY": "a version of the .npy format that is too new; save it with numpy.save",
        b"7767517": "an ncnn model; open the ONNX or torch file that it was made from",
        b"QINS": (
            "an export of qinspect for microcontrollers, which devices read: main_test.c beside it is its self-test; "
            "open the checkpoint that it was made from"
        ),
        b"RKNN": "a model compiled for Rockchip devices; open the ONNX file that it was made from",
        b"ptrt": "a TensorRT engine; open the ONNX file that it was made from",
        b"ftrt": "a TensorRT engine; open the ONNX file that it was made from",
        b"<?xml": "an XML file; of an OpenVINO model open the ONNX or torch file that it was made from",
    },
    4: {
        b"ORTM": "onnxruntime's own .ort form of a model; open the .onnx that it was made from",
        b"ET12": "an ExecuTorch program; open the torch file that it was made from",
        b"ET13": "an ExecuTorch program; open the torch file that it was made from",
    },
    257: {b"ustar": "a tar archive; unpack it first"},
}
"""Formats of weights that are not read, with a remedy, by how their files begin, or what they have at a byte."""

_NAMED = {
    ".pb": "a TensorFlow graph",
    ".mlmodel": "a Core ML model",
    ".msgpack": "a Flax checkpoint",
    ".mnn": "an MNN model",
    ".caffemodel": "a Caffe model",
    ".hef": "a model compiled for Hailo devices",
    ".engine": "a TensorRT engine",
    ".plan": "a TensorRT engine",
    ".xmodel": "a model compiled for AMD devices",
}
"""Formats that only a file's name tells."""

_IN_ZIPS = {
    "model.weights.h5": f"a Keras model; {_KERAS}",
    "models/model.json": _EXPORTED,
    "serialized_exported_program.json": _EXPORTED,
}
"""What zip archives are, by a file in them."""

_FOLDERS = {
    "saved_model.pb": f"a TensorFlow SavedModel; {_SAVE}, or convert it to TFLite or ONNX",
    "Manifest.json": "a Core ML package; open the model that it was converted from",
    "_CHECKPOINT_METADATA": f"an Orbax checkpoint; {_SAVE}",
    "checkpoint": f"a TensorFlow checkpoint; {_SAVE}",
}
"""What folders without a file that can be read are, by a file in them."""

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
}

_TEXT = 64
"""Bytes by which a text is known."""
_FEW = 8
"""Fewer bytes may be the beginning of anything."""
_PAGES = (b"<!doctype", b"<html")
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def foreign(path: Path, head: bytes) -> QInspectError | None:
    """What to say of a file that begins with `head`; None where its bytes tell nothing."""
    for at, kinds in _UNREAD.items():
        for magic, sentence in kinds.items():
            if head[at:].startswith(magic):
                return UnsupportedError(f"this is {sentence}", path=path)
    names = archive.names(path, head)
    for inside, sentence in _IN_ZIPS.items():
        if any(name == inside or name.endswith(f"/{inside}") for name in names):
            return UnsupportedError(f"this is {sentence}", path=path)
    for magic, sentence in _FOREIGN.items():
        if head.startswith(magic):
            return FormatError(sentence, path=path)
    if head.lstrip().lower().startswith(_PAGES):
        return FormatError("this is a web page, not a checkpoint: the download went wrong", path=path)
    if head.startswith(_PICKLES):
        return UnsupportedError("this is a Python pickle, not a torch file; save it with torch.save", path=path)
    return None


def text(path: Path, head: bytes) -> QInspectError | None:
    """What to say of a file that begins with characters that people write; None of any other."""
    if len(head) < _FEW:
        return None
    try:
        # The last character may be cut in half.
        found = head.decode() if len(head) < _TEXT else head[:_TEXT].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    if not found.strip() or not all(char.isprintable() or char in "\t\n\r\f" for char in found):
        return None
    begin = printable(found.strip(), 40)
    return FormatError(f"this is a text file, not a checkpoint; it begins with: {begin}", path=path)


def foreign_folder(path: Path, names: Iterable[str]) -> QInspectError:
    """What to say of a folder in which no reader finds a file."""
    for inside, sentence in _FOLDERS.items():
        if inside in names:
            return UnsupportedError(f"this folder is {sentence}", path=path)
    return FormatError("this folder holds no checkpoint", path=path)


def unknown(path: Path, head: bytes) -> QInspectError:
    """What to say of a file of which nothing is known but its name and how it begins."""
    if kind := _NAMED.get(path.suffix.lower()):
        return UnsupportedError(f"by its name this is {kind}, which is not read; {_SAVE}", path=path)
    return FormatError(
        f"this is not a checkpoint that can be read; it begins with bytes {head[:8].hex(' ')}", path=path
    )
