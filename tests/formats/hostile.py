"""Files that mean harm, or are broken, of every format: what each is, and what is to be said of it.

Most are those of the formats' own tests; here are those besides that need room, other files beside them, or time.
"""

import json
import os
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import handmade_gguf
import numpy as np
import onnx
import test_gguf
import test_numpy_files
import test_opening
import test_safetensors
import test_tflite
import test_torch_files
from handmade import Zip, entry, legacy_bytes, safetensors_bytes, tensor_pickle, tflite_bytes, torch_bytes
from onnx import TensorProto, helper

W = np.ones((4, 4), np.float32)


@dataclass(frozen=True)
class Case:
    """A file, and a pattern of what is said when it is opened (or, if `late`, when its tensors are read)."""

    path: Path
    text: str = ""
    late: bool = False


def field(number, payload, kind=2):
    """A field of a protocol buffer."""
    return varint(number << 3 | kind) + (varint(len(payload)) + payload if kind == 2 else payload)


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found) + bytes([value])


def onnx_bytes(tensor=None, nodes=(), graph=b""):
    """A model around a tensor, nodes, or the bytes of a graph."""
    tensors = [] if tensor is None else [tensor]
    made = helper.make_graph(list(nodes), "g", [], [], tensors)
    return field(1, varint(8), 0) + field(2, b"tests") + field(7, made.SerializeToString() + graph)


def external(location, **more):
    tensor = TensorProto(name="w", dims=[4, 4], data_type=1, data_location=1)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return onnx_bytes(tensor)


def named(name):
    return onnx_bytes(onnx.numpy_helper.from_array(W, name))


def dims(*sides):
    made = onnx.numpy_helper.from_array(W, "w")
    made.dims[:] = sides
    return onnx_bytes(made)


def nested(depth):
    graph = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    return field(1, varint(8), 0) + field(2, b"t") + field(7, graph.SerializeToString())


ONNX = {
    "external data above the folder": (external("../secret"), "no file below the model's folder"),
    "external data anywhere": (external("/etc/passwd"), "no file below the model's folder"),
    "external data by a drive": (external("C:\\w.bin"), "no file below the model's folder"),
    "external data by backslashes": (external("a\\..\\..\\secret"), "no file below the model's folder"),
    "external data through a link": (external("link.bin"), "a link out of the model's folder"),
    "external data through a linked folder": (external("linked/secret"), "a link out of the model's folder"),
    "external data that are a folder": (external("sub"), "not a regular file|cannot be read"),
    "external data that are a pipe": (external("pipe"), "not a regular file"),
    "external data that are missing": (external("none.bin"), "missing: put that file beside the model"),
    "external offset below zero": (external("w.bin", offset=-64), "no count"),
    "external offset beyond": (external("w.bin", offset=1 << 40), "truncated"),
    "external offset that wraps": (external("w.bin", offset=(1 << 64) - 64), "truncated"),
    "external length that is too short": (external("w.bin", length=16), "16 bytes are kept for it"),
    "external length that is too long": (external("w.bin", length=1 << 50), "bytes are kept for it"),
    "negative dimension": (dims(-4, -4), "no short list of counts"),
    "2^62 rows": (dims(1 << 62, 4), "do not hold"),
    "a thousand dimensions": (dims(*[1] * 1000), "no short list of counts"),
    "no data": (onnx_bytes(TensorProto(name="w", dims=[4], data_type=1)), "0 bytes do not hold"),
    "no name": (named(""), "has no name"),
    "a name of 2 MB": (named("n" * 2_000_000), "more than the 1048576 read"),
    "a name that is no text": (onnx_bytes(graph=field(5, field(8, b"\xff\xfe"))), "not UTF-8"),
    "an integer of eleven bytes": (onnx_bytes(graph=field(5, b"\x08" + b"\xff" * 10 + b"\x01")), "more than ten bytes"),
    "a group": (onnx_bytes(graph=b"\x0b"), "no field of a protocol buffer"),
    "a field beyond its message": (
        onnx_bytes(graph=field(5, b"\x4a\x7f12")) + field(14, bytes(300)),
        "lies in a message that ends",
    ),
    "fields without end": (onnx_bytes(graph=b"\x1a\x00" * 700_000), "more than 600000 fields"),
    "tensors without end": (onnx_bytes(graph=field(5, b"\x10\x01" * 30) * 30_000), "has no name"),
    "graphs in graphs": (nested(25), "nests more than 16 graphs"),
}


def npy_header(shape, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(118)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


PICKLES = {
    "operations without end": (b"\x80\x02(" + b"N" * 2_100_000 + b"l.", "more than 2000000 operations"),
    "a deep tower of tuples": (b"\x80\x02N" + b"\x85" * 500_000 + b".", "nests more than"),
    "one list a million times": (b"(]q\x00(" + b"h\x00" * 600_000 + b"el.", "branches without end|no tensors"),
    "a memo of 2^32 places": (b"\x80\x02]r\xff\xff\xff\xff0.", "stack is empty"),
    "bytes of 2^60": (b"\x80\x05\x8e" + struct.pack("<Q", 1 << 60) + b".", "damaged|within a pickle"),
    "a text of 4 GB": (b"\x80\x02X\xff\xff\xff\xff.", "damaged|within a pickle"),
    "a number of 10^7 digits": (b"L" + b"9" * 10_000_000 + b"L\n.", "digits"),
}


def made(folder):
    """Write every file into `folder`; the cases by name."""
    cases = {}

    def put(name, content, text="", *, late=False, file=None):
        path = folder / f"{len(cases)}" / (file or "w.bin")
        path.parent.mkdir()
        path.write_bytes(content)
        cases[name] = Case(path, text, late)
        return path

    for name, content in test_safetensors.BAD.items():
        put(f"safetensors: {name}", content, file="w.safetensors")
    for name, content in test_torch_files.BAD.items():
        put(f"torch: {name}", content, file="w.pt")
    for name, content in test_numpy_files.BAD.items():
        put(f"npy: {name}", content, file="w.npy")
    for name, (content, text) in test_gguf.HOSTILE.items():
        put(f"gguf: {name}", content, text, file="w.gguf")
    for name, (lying, text) in test_tflite.LIES.items():
        put(f"tflite: {name}", tflite_bytes([lying]), text, file="w.tflite")
    for name, (content, text) in test_opening.FOREIGN.items():
        put(f"foreign: {name}", content, text, file="file")
    for name, (content, text) in ONNX.items():
        beside_onnx(put(f"onnx: {name}", content, text, file="w.onnx").parent)
    for name, (content, text) in PICKLES.items():
        put(f"torch: {name}", torch_bytes(content), text, file="w.pt")
        put(f"old torch: {name}", legacy_bytes(content, [], []), text, file="w.pth")
    _large(put)
    _shards(folder, cases)
    return cases


def beside_onnx(folder):
    """What lies beside a model: its weights, and ways out."""
    (folder / "w.bin").write_bytes(bytes(64))
    secret = folder.parent / "secret"
    secret.write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")


def _large(put):
    """Files that claim to be large, or are, with holes; and what only shows when tensors are read."""
    path = put(
        "safetensors: a header of 99 MB",
        struct.pack("<Q", 99_000_000) + b"{",
        "more than the 12000000",
        file="w.safetensors",
    )
    os.truncate(path, 100_000_000)
    spans = ((f"t{number:06}", number) for number in range(60_000))
    entries = (f'"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{at + 1}]}}' for name, at in spans)
    text = "{" + ",".join(entries) + "}"
    put("safetensors: as many tensors as are read", safetensors_bytes(text, bytes(60_001)), "follow the last tensor")
    more = text[:-1] + "," + text[1:].replace('"t', '"u')
    put("safetensors: more tensors than any model", safetensors_bytes(more, b""), "lists 120000 tensors, more than")
    told = '{"__metadata__":{' + ",".join(f'"{number}":""' for number in range(70_000)) + "}}"
    put("safetensors: metadata without end", safetensors_bytes(told, b""), "70000 entries of metadata")
    many = handmade_gguf.header((), [handmade_gguf.tensor("t")] * 65_536)
    put("gguf: as many tensors as are read", many, "overlaps another", file="w.gguf")
    many = handmade_gguf.header((), [handmade_gguf.tensor("t")] * 65_537)
    put("gguf: more tensors than any model", many, "at most 65536 can be", file="w.gguf")
    files = Zip().add("00000.npy", b"")
    files.records = [files.records[0].replace(b"00000", b"%05d" % number) for number in range(20_001)]
    put("npz: more files than any model", files.bytes(), "more than the 20000 that are read", file="w.npz")
    path = put("shards: an index of 200 MB", b"{", "too large for an index", file="w.index.json")
    os.truncate(path, 200_000_000)
    lies = json.dumps({"w": entry("F32", [1 << 28, 1024], 0, 1 << 40)})
    path = put("safetensors: a terabyte that is not there", safetensors_bytes(lies), "truncated", file="w.safetensors")
    os.truncate(path, 1 << 33)
    bomb, kilo = Zip(), npy_header("(400000000,)") + bytes(1000)
    for number in range(3):
        bomb.add(f"{number}.npy", kilo, method=8, size=1_600_000_128)
    put("npz: a bomb by its directory", bomb.bytes(), "would unpack to 4800000384 bytes", file="w.npz")
    real = Zip().add("w.npy", npy_header("(62500000,)") + bytes(250_000_000), method=8)
    put("npz: 250 megabytes in 250 kilobytes", real.bytes(), "memory", late=True, file="w.npz")
    lying = Zip().add("w.npy", npy_header("(25000000,)") + bytes(1000), method=8)
    put("npz: a deflated shape that lies", lying.bytes(), "do not hold", file="w.npz")
    view = torch_bytes(tensor_pickle((2_000_000_000, 1_000_000_000), (0, 0), numel=1), [bytes(4)])
    put("torch: a view of exabytes", view, "repeats 4 stored bytes", late=True, file="w.pt")
    put("torch: an empty giant", torch_bytes(tensor_pickle((0, 2**62), (1, 1)), [b""]), "held in memory", late=True)
    count = legacy_bytes(tensor_pickle((2, 2), (2, 1)), ["0"], [np.zeros(4, "<f4")], count=1 << 60)
    put("old torch: a storage of exabytes", count, "truncated", file="w.pt")
    put("old torch: an early end", pickle.dumps(0x1950A86A20F9469CFC6C, 2), "end within a pickle", file="w.pt")
    put("tflite: tables without end", tflite_bytes([{"shape": [1]}] * 900)[:-20000], "truncated", file="w.tflite")
    onion = tflite_bytes([test_tflite.GOOD])
    for value in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        put(f"tflite: a root at {value:#x}", struct.pack("<I", value) + onion[4:], file="w.tflite")
    typed = helper.make_tensor("w", TensorProto.INT8, [4], [1, 2, 3, 4])
    typed.dims[0] = 1 << 40
    put("onnx: few values of many", onnx_bytes(typed), "4 values where its shape", late=True, file="w.onnx")
    name = "../../\x1b[31m\u202eetc" + "n" * 1_000_000
    shown = r"\.\./\.\./\\x1b\[31m\\u202eetcn+…n+: its 12 bytes"
    put("safetensors: a name to fear", safetensors_bytes({name: entry("F32", [4], 0, 12)}, bytes(12)), shown)


def _shards(folder, cases):
    def index(name, content, text):
        path = folder / f"{len(cases)}" / "model.safetensors.index.json"
        path.parent.mkdir()
        path.write_text(content)
        cases[f"shards: {name}"] = Case(path, text)

    for shard in ("../w.safetensors", "/etc/passwd", "a/b", "..", "", "x\x00", "i.index.json", 5, None):
        index(f"in {shard!r}", json.dumps({"weight_map": {"w": shard}}), "not a checkpoint file beside it")
    index("one that is missing", json.dumps({"weight_map": {"w": "w.safetensors"}}), "no such file")
    many = json.dumps({"weight_map": {f"{number}": f"{number}.safetensors" for number in range(10_001)}})
    index("more files than any model", many, "more than the 10000 that are read")
    index("deep JSON", '{"weight_map": ' + "[" * 200_000, "not JSON")
    index("no map", '{"weight_map": []}', "no weight_map")
