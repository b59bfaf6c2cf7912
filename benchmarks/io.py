"""Opening and reading checkpoints: time, memory and bytes, of files as large as people have them.

`make bench-io` prints the tables of `docs/benchmarks.md`. The files are sparse (all weights are 0, as good as any for
reading); each is opened in processes of its own, whose memory is asked of Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.page import Both, processor, write
from benchmarks.timing import medians_ms
from qinspect.quant.scheme import make_scheme

RUNS = 3
LARGE = (4096, 14336)
BOUNDS = {"one file of 5 GB": "0.2 s, 60 MB", "20 shards of 5 GB": "0.2 s, 60 MB", "vocabulary of 128k tokens": "0.3 s"}

_BEGIN = """
import json, os, sys, time
def status(entry):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(entry))
def begun():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is that from here on
    return status("VmRSS")
from qinspect.formats.open import open_checkpoint
"""

OPEN = (
    _BEGIN
    + """
import numpy as np
from PySide6.QtCore import QCoreApplication
from qinspect.formats.checkpoint import registry
from qinspect.gui.layer_model import DISPLAY, LayerModel
list(registry)
app = QCoreApplication([])
def filled(path):
    model = LayerModel()
    checkpoint = open_checkpoint(path)
    model.show_infos(checkpoint.infos)
    for row in range(min(60, model.rowCount())):
        for column in range(model.columnCount()):
            model.data(model.index(row, column), DISPLAY)
    return model, checkpoint
kept = [filled(sys.argv[1])]
before, begin, used = begun(), time.perf_counter(), time.process_time()
kept.append(filled(sys.argv[2]))
took, used = time.perf_counter() - begin, time.process_time() - used
print(json.dumps([took, used, status("VmRSS") - before, status("VmHWM") - before, kept[1][0].rowCount()]))
"""
)
"""Opens a small file, so that all is imported, then the one that counts, into the table of the window."""

VIEW = (
    _BEGIN
    + """
from qinspect.quant.scheme import make_scheme
from qinspect.session import Request, inspect
checkpoint = open_checkpoint(sys.argv[1])
info = checkpoint.info(sys.argv[2])
scheme = None if info.qtype else make_scheme("base11")
preadv, places = os.preadv, []
def watched(number, buffers, offset):
    places.append((offset, offset + buffers[0].nbytes))
    return preadv(number, buffers, offset)
os.preadv = watched
found = [info.nbytes]
for preview in (True, False):
    places.clear()
    inspect(Request(checkpoint, info, scheme), preview=preview)
    distinct, end = 0, 0
    for begin, stop in sorted(places):
        distinct += max(0, stop - max(begin, end))
        end = max(end, stop)
    found += [distinct, sum(stop - begin for begin, stop in places)]
print(json.dumps(found))
"""
)

WHOLE = (
    _BEGIN
    + """
from qinspect.quant.scheme import make_scheme
from qinspect.session import Request, measure
checkpoint = open_checkpoint(sys.argv[1])
scheme = make_scheme("base11")
measure(Request(checkpoint, checkpoint.info("warm"), scheme))
before, begin = begun(), time.perf_counter()
for info in checkpoint.infos:
    report = measure(Request(checkpoint, info, scheme))
    assert report.error is None, report.error
print(json.dumps([time.perf_counter() - begin, status("VmHWM") - before]))
"""
)


def safetensors(path: Path, tensors: Iterable[tuple[str, str, tuple[int, ...], int]]) -> None:
    """A sparse file of tensors: name, type, shape, bytes."""
    header, at = {}, 0
    for name, dtype, shape, nbytes in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def blocks(count: int, width: int = 2560) -> list[tuple[str, str, tuple[int, ...], int]]:
    """The layers of a language model in bfloat16, about 210 MB a block."""
    sides = {"q_proj": 1, "k_proj": 1, "v_proj": 1, "o_proj": 1, "gate_proj": 4, "up_proj": 4, "down_proj": 4}
    return [
        (f"model.layers.{block}.{part}.weight", "BF16", (width * side, width), 2 * width * width * side)
        for block in range(count)
        for part, side in sides.items()
    ]


def sharded(folder: Path, shards: int, each: int) -> Path:
    """An index, and so many files of so many blocks."""
    folder.mkdir()
    tensors = blocks(shards * each)
    size = len(tensors) // shards
    places = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = tensors[number * size : (number + 1) * size]
        safetensors(folder / name, part)
        places |= {tensor: name for tensor, *_ in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return index


def vocabulary(path: Path, tokens: int) -> None:
    """A GGUF file of a model with so many tokens and twice as many merges."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{number}" for number in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_token_merges([f"to ken{number}" for number in range(2 * tokens)])
    w = np.zeros((256, 256), np.float32)
    for number in range(32):
        writer.add_tensor(f"blk.{number}.attn_q.weight", gguf.quants.quantize(w, gguf.GGMLQuantizationType.Q4_0),
                          raw_dtype=gguf.GGMLQuantizationType.Q4_0)  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lite(path: Path, tensors: int) -> None:
    """A TFLite file of so many layers, quantized by channel."""
    import flatbuffers

    b = flatbuffers.Builder(1 << 20)

    def table(fields: dict[int, tuple[str, int]], size: int) -> int:
        b.StartObject(size)
        for slot, (kind, value) in fields.items():
            if kind == "offset":
                b.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "byte":
                b.PrependInt8Slot(slot, value, 0)
            else:
                b.PrependUint32Slot(slot, value, 0)
        return int(b.EndObject())

    def vector(offsets: list[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    scale = b.CreateNumpyVector(np.full(8, 0.5, np.float32))
    zero = b.CreateNumpyVector(np.zeros(8, np.int64))
    shape = b.CreateNumpyVector(np.array([8, 16], np.int32))
    data = np.zeros(128, np.uint8)
    buffers, made = [table({}, 3)], []
    for number in range(tensors):
        buffers.append(table({0: ("offset", b.CreateNumpyVector(data))}, 3))
        name = b.CreateString(f"model/block_{number}/dense/MatMul")
        quantized = table({2: ("offset", scale), 3: ("offset", zero)}, 7)
        fields = {0: ("offset", shape), 1: ("byte", 9), 2: ("number", number + 1), 3: ("offset", name)}
        made.append(table({**fields, 4: ("offset", quantized)}, 5))
    graph = table({0: ("offset", vector(made))}, 5)
    graphs, held = vector([graph]), vector(buffers)
    b.Finish(table({0: ("number", 3), 2: ("offset", graphs), 4: ("offset", held)}, 5), file_identifier=b"TFL3")
    path.write_bytes(bytes(b.Output()))


def child(program: str, *arguments: Path | str) -> list[float]:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    return list(json.loads(done.stdout))


def opening(folder: Path) -> None:
    """Time and memory from a path to a table that shows its first page."""
    small = folder / "small.safetensors"
    safetensors(small, [("w", "F32", (8, 8), 256)])
    safetensors(folder / "one.safetensors", blocks(24))
    safetensors(folder / "many.safetensors", [(f"experts.{n}.weight", "F32", (8, 8), 256) for n in range(30_000)])
    vocabulary(folder / "words.gguf", 128_000)
    lite(folder / "many.tflite", 10_000)
    files = {
        "one file of 5 GB": folder / "one.safetensors",
        "20 shards of 5 GB": sharded(folder / "sharded", 20, 24),
        "vocabulary of 128k tokens": folder / "words.gguf",
        "safetensors of 30,000 tensors": folder / "many.safetensors",
        "TFLite of 10,000 quantized tensors": folder / "many.tflite",
    }
    print("\n| opened into the window's table | tensors | s | of the processor | more memory | at most | bound |")
    print("|---|---|---|---|---|---|---|")
    for title, path in files.items():
        runs = [child(OPEN, small, path) for _ in range(RUNS)]
        took, used, more, most, rows = (statistics.median(values) for values in zip(*runs, strict=True))
        bound = BOUNDS.get(title, "")
        print(
            f"| {title} | {rows:,.0f} | {took:.3f} | {used:.3f} | {more / 1e6:.1f} MB | {most / 1e6:.1f} MB | {bound} |"
        )


def reading(folder: Path) -> None:
    """Bytes that are read to show one tensor of a large file."""
    print("\n| one tensor, MB | in the file | read of it for a preview | read of it for all figures | with repeats |")
    print("|---|---|---|---|---|")
    shown = {
        folder / "one.safetensors": "model.layers.9.gate_proj.weight",
        folder / "sharded" / "model.safetensors.index.json": "model.layers.300.q_proj.weight",
        folder / "words.gguf": "blk.7.attn_q.weight",
    }
    for path, name in shown.items():
        size, preview, _, exact, repeated = (f"{nbytes / 1e6:.2f}" for nbytes in child(VIEW, path, name))
        print(f"| {path.name}: {name} | {size} | {preview} | {exact} | {repeated} |")


def whole(folder: Path) -> None:
    """Memory while a file of several large tensors is analysed."""
    path = folder / "whole.safetensors"
    tensors = [(f"layer{n}.weight", "BF16", LARGE, 2 * LARGE[0] * LARGE[1]) for n in range(4)]
    big = ("embedding.weight", "F32", (32_768, 4096), 4 << 27)
    safetensors(path, [("warm", "F32", (4096, 1024), 4 << 22), *tensors, big])
    took, most = child(WHOLE, path)
    held = f"{len(tensors) + 2} tensors of {path.stat().st_size / 1e9:.1f} GB"
    print("\n| analysis of a whole file | s | its largest tensor | more memory at most |")
    print("|---|---|---|---|")
    print(f"| {held} | {took:.1f} | {big[3] / 1e6:.0f} MB | {most / 1e6:.0f} MB |")


def lazily(folder: Path) -> None:
    """Quantizing from a file that the system has in memory, against from an array."""
    from qinspect.formats.open import open_checkpoint

    path = folder / "lazy.safetensors"
    w = np.random.default_rng(0).standard_normal(LARGE, dtype=np.float32)
    safetensors(path, [("w", "F32", LARGE, w.nbytes)])
    with path.open("r+b") as file:
        file.seek(-w.nbytes, os.SEEK_END)
        w.tofile(file)
    print(f"\n| {LARGE[0]} × {LARGE[1]} float32 | of the speed in memory |")
    print("|---|---|")
    with open_checkpoint(path) as checkpoint:
        for scheme in (make_scheme("base11"), make_scheme("symmetric", bits=4, granularity="group", group_size=32)):
            held = checkpoint.lazy("w")
            for title, work in (("quantize", scheme.quantize), ("measure", scheme.measure)):
                there, here = medians_ms(lambda work=work: work(w), lambda work=work, held=held: work(held))
                print(f"| {title} from the file, {scheme.label} | {there / here:.2f} |")


if __name__ == "__main__":
    with contextlib.redirect_stdout(Both()) as told, tempfile.TemporaryDirectory() as made:
        print(f"{processor()}, {os.cpu_count()} cores")
        for table in (opening, reading, whole, lazily):
            table(Path(made))
    write(told.getvalue(), "bench-io")
