"""Opening by content: every format, folders, shards, foreign files, files that change, and how little is read."""

import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from handmade import Zip, entry, safetensors_bytes, tensor_pickle, tflite_bytes

import qinspect
from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats.checkpoint import registry
from qinspect.formats.open import open_checkpoint
from qinspect.formats.stored import unreadable

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def save(path, w=W):
    """`w` under the name `w`, in the container that the suffix names, by the reference library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".safetensors":
            safetensors.numpy.save_file({"w": w}, path)
        case ".npz":
            (np.savez_compressed if "small" in path.name else np.savez)(path, w=w)
        case ".npy":
            np.save(path, w)
        case ".gguf":
            writer = gguf.GGUFWriter(path, "none")
            writer.add_tensor("w", w)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        case ".tflite":
            path.write_bytes(tflite_bytes([{"name": "w", "shape": w.shape, "data": w.tobytes()}]))
        case ".onnx":
            graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(w, "w")])
            onnx.save(onnx.helper.make_model(graph), path)
        case ".json":
            save(path.parent / "one.safetensors", w)
            path.write_text(json.dumps({"weight_map": {"w": "one.safetensors"}}))
        case _:
            torch.save({"w": torch.from_numpy(w)}, path)
    return path


FILES = [f"w{suffix}" for reader in registry for suffix in reader.suffixes] + ["small.npz"]


@pytest.mark.parametrize("file", FILES)
class TestEveryFormat:
    def test_opens_lists_loads_and_closes(self, tmp_path, file):
        path = save(tmp_path / file)
        with qinspect.open_checkpoint(str(path)) as checkpoint:
            assert checkpoint.path == path
            assert path in checkpoint.files
            assert checkpoint.format
            (info,) = checkpoint.infos
            assert (info.name, info.shape, info.dtype, info.nbytes) == ("w", (4, 3), "F32", W.nbytes)
            assert info.quantizable
            for rows in (None, slice(1, 3), slice(-1, None), slice(3, 100), slice(2, 2), slice(None), slice(0, 4, 1)):
                loaded = checkpoint.load("w", rows)
                np.testing.assert_array_equal(loaded, W if rows is None else W[rows])
                assert not loaded.flags.writeable
                with pytest.raises(ValueError, match="read-only"):
                    loaded[...] = 1
            with pytest.raises(UnsupportedError, match="one after another"):
                checkpoint.load("w", slice(0, 4, 2))
            with pytest.raises(FormatError, match="no tensor of this name"):
                checkpoint.load("v")
            kept = checkpoint.load("w")
        np.testing.assert_array_equal(kept, W)
        with pytest.raises(FormatError, match="closed; open it again"):
            checkpoint.load("w")
        checkpoint.close()

    def test_many_threads_load_at_once(self, tmp_path, file):
        with open_checkpoint(save(tmp_path / file)) as checkpoint, ThreadPoolExecutor(8) as pool:
            for loaded in pool.map(lambda _: checkpoint.load("w"), range(64)):
                np.testing.assert_array_equal(loaded, W)

    @pytest.mark.parametrize("change", ["shrunk", "emptied", "rewritten", "replaced", "removed"])
    def test_a_file_that_changes_is_an_error_and_not_the_end(self, tmp_path, file, change):
        path = save(tmp_path / file)
        data = tmp_path / "one.safetensors" if file.endswith(".json") else path
        with open_checkpoint(path) as checkpoint:
            match change:
                case "shrunk":
                    os.truncate(data, data.stat().st_size // 2)
                case "emptied":
                    data.write_bytes(b"")
                case "rewritten":
                    os.utime(data, ns=(1, 1))
                case "replaced":
                    (tmp_path / "new").write_bytes(data.read_bytes())
                    (tmp_path / "new").replace(data)
                case "removed":
                    data.unlink()
            for rows in (None, slice(0, 1)):
                with pytest.raises(FormatError, match="has changed on disk; open it again"):
                    checkpoint.load("w", rows)

    def test_lazy_rows_are_those_of_the_array(self, tmp_path, file):
        w = np.random.default_rng(0).standard_normal((700, 600)).astype(np.float32)
        with open_checkpoint(save(tmp_path / file, w)) as checkpoint:
            lazy = checkpoint.lazy("w")
            assert (lazy.shape, lazy.dtype, lazy.ndim, lazy.size, len(lazy)) == (w.shape, w.dtype, 2, w.size, 700)
            for rows in (
                slice(None),
                slice(3, 9),
                slice(690, 800),
                slice(9, 3),
                slice(None, None, 7),
                slice(5, 650, 90),
            ):
                np.testing.assert_array_equal(lazy[rows], w[rows])
            np.testing.assert_array_equal(np.asarray(lazy), w)

    def test_the_name_does_not_decide(self, tmp_path, file):
        if file.endswith(".json"):
            return  # an index is known by its name: JSON holds anything
        path = save(tmp_path / file).rename(tmp_path / "model.weights")
        with open_checkpoint(path) as checkpoint:
            assert [info.shape for info in checkpoint.infos] == [W.shape]

    def test_half_a_file_is_an_error_that_says_so(self, tmp_path, file):
        path = save(tmp_path / file, np.ones((100, 30), np.float32))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(FormatError, match=r"truncated|not JSON") as caught:
            open_checkpoint(path)
        assert str(path) in str(caught.value)


def test_no_reader_takes_a_file_for_its_own_that_holds_nothing():
    assert registry.names()
    assert not any(reader.recognises(Path("a"), head) for reader in registry for head in (b"", bytes(4096)))


def test_a_file_without_tensors_opens_and_says_so(tmp_path):
    torch.save({"epoch": 1}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert checkpoint.infos == ()
        assert "There are no tensors in this file." in checkpoint.notes


class TestFolders:
    def test_the_only_checkpoint_is_opened(self, tmp_path):
        save(tmp_path / "model.bin")
        (tmp_path / "README.md").write_text("hello")
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.path == tmp_path / "model.bin"

    def test_safetensors_go_before_others_and_an_index_before_its_shards(self, tmp_path):
        for name in ("optimizer.pt", "training_args.bin", "model.safetensors"):
            save(tmp_path / name)
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.path.name == "model.safetensors"
        save(tmp_path / "model.safetensors.index.json")
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.path.name == "model.safetensors.index.json"

    @pytest.mark.parametrize(("name", "text"), [("saved_model.pb", "SavedModel"), ("Manifest.json", "Core ML")])
    def test_folders_of_other_formats_are_called_by_their_name(self, tmp_path, name, text):
        (tmp_path / name).write_bytes(b"\x08\x01")
        with pytest.raises(UnsupportedError, match=text):
            open_checkpoint(tmp_path)

    def test_several_or_none_are_an_error(self, tmp_path):
        with pytest.raises(FormatError, match="no checkpoint"):
            open_checkpoint(tmp_path)
        save(tmp_path / "a.pt")
        save(tmp_path / "b.pt")
        with pytest.raises(FormatError, match=r"several.*a\.pt, b\.pt"):
            open_checkpoint(tmp_path)


class TestShards:
    def index(self, tmp_path, weight_map, **more):
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": weight_map} | more))
        return path

    @pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
    def test_tensors_come_from_the_shard_that_the_index_names(self, tmp_path, suffix):
        for number in range(3):
            arrays = {f"layer.{number}": np.full((2, 2), number, np.float32), "both": np.full(1, number, np.float32)}
            if suffix == ".bin":
                torch.save(
                    {name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / f"{number}.bin"
                )
            else:
                safetensors.numpy.save_file(arrays, tmp_path / f"{number}.safetensors", {"format": "pt"})
        places = {f"layer.{number}": f"{number}{suffix}" for number in range(3)} | {"both": f"1{suffix}"}
        with open_checkpoint(self.index(tmp_path, places, metadata={"total_size": 48})) as checkpoint:
            assert {info.name for info in checkpoint.infos} == places.keys()
            assert checkpoint.load("layer.2").tolist() == [[2, 2], [2, 2]]
            assert checkpoint.load("both").tolist() == [1]
            assert len(checkpoint.files) == 4
            assert "3 files" in checkpoint.format

    @pytest.mark.parametrize(
        "shard",
        [
            "../w.safetensors",
            "/etc/passwd",
            "a/w.safetensors",
            "a\\w",
            "C:w",
            "..",
            ".",
            "",
            "x\x00",
            "i.json",
            5,
            None,
        ],
    )
    def test_shards_elsewhere_are_refused(self, tmp_path, shard):
        save(tmp_path / "w.safetensors")
        (tmp_path / "in").mkdir()
        with pytest.raises(FormatError, match="not a checkpoint file beside it"):
            open_checkpoint(self.index(tmp_path / "in", {"w": shard}))

    def test_missing_shards_and_tensors_are_named(self, tmp_path):
        save(tmp_path / "w.safetensors")
        with pytest.raises(FormatError, match=r"other\.safetensors: there is no such file"):
            open_checkpoint(self.index(tmp_path, {"w": "w.safetensors", "v": "other.safetensors"}))
        with pytest.raises(FormatError, match=r"v: the shard w\.safetensors does not hold"):
            open_checkpoint(self.index(tmp_path, {"w": "w.safetensors", "v": "w.safetensors"}))

    def test_packed_layers_may_be_spread_over_shards(self, tmp_path):
        arrays = {"quant_packed": np.zeros((2, 1, 60), np.uint8)}
        arrays |= {name: np.ones((2, 1), np.float16) for name in ("min_val", "scale")}
        for name, array in arrays.items():
            safetensors.numpy.save_file({f"fc.{name}": array}, tmp_path / f"{name}.safetensors")
        places = {f"fc.{name}": f"{name}.safetensors" for name in arrays}
        with open_checkpoint(self.index(tmp_path, places)) as checkpoint:
            assert checkpoint.load("fc.weight").shape == (2, 128)

    @pytest.mark.parametrize(
        "text", ["{", "{}", '{"weight_map": []}', "[" * 100_000, '{"weight_map": ' + "[" * 100_000]
    )
    def test_other_json_is_no_index(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(FormatError):
            open_checkpoint(tmp_path / "config.json")


FOREIGN = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 file .Keras .h5.; save its weights.*numpy.savez"),
    "keras": (Zip().add("config.json", b"{}").add("model.weights.h5", b"").bytes(), "Keras model; save its weights"),
    "export": (Zip().add("a/models/model.json", b"{}").bytes(), "torch.export; save the weights: torch.save"),
    "executorch": (b"\x20\x00\x00\x00ET12" + bytes(100), "ExecuTorch program; open the torch file"),
    "ort": (b"\x20\x00\x00\x00ORTM" + bytes(100), r"\.ort form.*open the \.onnx"),
    "tensorrt": (b"ptrt" + bytes(100), "TensorRT engine; open the ONNX file"),
    "openvino": (b'<?xml version="1.0"?><net name="a">', "OpenVINO"),
    "ncnn": (b"7767517\n10 11\n", "ncnn model"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(200), "tar archive; unpack it first"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(100), "no description|damaged"),
    "zip": (Zip().add("readme.txt", b"hello").bytes(), "zip archive holds no data.pkl"),
    "empty zip": (Zip().bytes(), "zip archive is empty"),
    "program": (b"\x7fELF\x02\x01" + bytes(100), "ELF"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "unpack it first"),
    "pickle": (b"\x80\x04\x95\x00", "Python pickle"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "page": (b"<!DOCTYPE html><html>", "web page"),
    "page with a space": (b"\n<!doctype HTML>", "web page"),
    "our export of C": (b"QINS\x01\0\0\0" + bytes(40), "export of qinspect.*main_test.c.*self-test"),
    "text": (b"Hello, this is no model.\nSecond line\n", "text file.*Hello, this is no model"),
    "escape codes": (b"\x1b[31mred\x1b[0m" + bytes(3), "begins with bytes 1b 5b 33 31"),
    "noise": (bytes(range(128, 256)), "begins with bytes 80 81"),
    "one byte": (b"\x00", "begins with bytes 00"),
    "zeros": (bytes(5000), "begins with bytes 00 00 00 00 00 00 00 00"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_files_are_called_by_their_name(tmp_path, case):
    content, text = FOREIGN[case]
    for name in ("some file", "model.pt", "model.gguf"):
        path = tmp_path / name
        path.write_bytes(content)
        if name == "some file" or case not in ("escape codes", "noise", "one byte", "zeros"):
            with pytest.raises(QInspectError, match=text) as caught:
                open_checkpoint(path)
        else:
            with pytest.raises(QInspectError) as caught:
                open_checkpoint(path)
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "text"), [("a.mlmodel", "Core ML"), ("graph.pb", "TensorFlow"), ("a.MNN", "MNN")])
def test_formats_that_only_their_name_tells(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\x77\x08\x01\xff")
    with pytest.raises(UnsupportedError, match=f"by its name this is .*{text}.*; save its weights"):
        open_checkpoint(tmp_path / name)


class TestPlaces:
    def test_missing(self, tmp_path):
        with pytest.raises(FormatError, match=r"no\.pt: there is no such file"):
            open_checkpoint(tmp_path / "no.pt")

    def test_empty(self, tmp_path):
        (tmp_path / "a.safetensors").write_bytes(b"")
        with pytest.raises(FormatError, match="the file is empty"):
            open_checkpoint(tmp_path / "a.safetensors")

    def test_beneath_a_file(self, tmp_path):
        save(tmp_path / "a.pt")
        with pytest.raises(FormatError, match="cannot be read"):
            open_checkpoint(tmp_path / "a.pt" / "b.pt")

    @pytest.mark.parametrize("name", ["a\x00b", "x" * 5000])
    def test_names_that_no_system_has(self, name):
        with pytest.raises(FormatError):
            open_checkpoint(name)

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FormatError, match="not a regular file"):
            open_checkpoint(tmp_path / "pipe")

    def test_a_forbidden_file_is_explained(self):
        error = unreadable("a.pt", PermissionError(13, "Permission denied"))
        assert "may not be read" in str(error)

    def test_links_are_followed(self, tmp_path):
        save(tmp_path / "blobs" / "w.safetensors").rename(tmp_path / "blobs" / "0123")
        (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / "0123")
        with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
            np.testing.assert_array_equal(checkpoint.load("w"), W)


GIB = 1 << 30


def huge(path):
    """A file with one tensor of more than two gigabytes, `[2^19 + 2^18, 1024]` of zeros that take no room on disk."""
    rows = (1 << 19) + (1 << 18)
    match path.suffix:
        case ".safetensors":
            header = json.dumps({"w": entry("F32", [rows, 1024], 0, 3 * GIB)})
            path.write_bytes(safetensors_bytes(header + " " * (-len(header) % 8)))
            os.truncate(path, path.stat().st_size + 3 * GIB)
        case ".pt":
            pickle = tensor_pickle((rows, 1024), (1024, 1), numel=rows * 1024)
            Zip().add("a/data.pkl", pickle).add_hole("a/data/0", 3 * GIB).write(path)
        case _:
            header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 1024)}}".encode().ljust(118)
            begin = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
            if path.suffix == ".npz":
                Zip().add_hole("w.npy", 3 * GIB + len(begin), begin).write(path)
            else:
                path.write_bytes(begin)
                os.truncate(path, len(begin) + 3 * GIB)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npy", ".npz"])
def test_opening_reads_headers_and_loading_reads_what_is_asked(tmp_path, suffix):
    path = huge(tmp_path / f"w{suffix}")
    code = f"""
import resource, sys, time
import numpy as np
from qinspect.formats.checkpoint import registry
from qinspect.formats.open import open_checkpoint
list(registry)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
checkpoint = open_checkpoint({str(path)!r})
part = checkpoint.load("w", slice(700_000, 700_064))
whole = checkpoint.lazy("w")
seconds = time.perf_counter() - start
total = float(part.sum()) + float(whole[5:6].sum()) + float(whole[5:700_000:100_000].sum())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(whole), part.shape[0], total, int(after - before), int(seconds * 1000))
"""
    found = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split()
    rows, part, total, grown_kb, elapsed_ms = map(float, found)
    assert (rows, part, total) == (786_432, 64, 0)
    assert grown_kb < 16 * 1024
    assert elapsed_ms < 1000


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_cut_short_while_it_is_measured_does_not_end_the_process(tmp_path, suffix):
    path = save(tmp_path / f"w{suffix}", np.ones((1024, 2048), np.float32))
    code = f"""
import os, pathlib, threading
from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme

path, scheme = pathlib.Path({str(path)!r}), make_scheme("base11")
data = path.read_bytes()
for attempt in range(8):
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        weights = checkpoint.lazy("w")
        cut = threading.Timer(attempt * 0.003, os.truncate, (path, 5000))
        cut.start()
        try:
            while True:
                scheme.measure(weights)
        except FormatError as error:
            print("changed on disk" in str(error))
        cut.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["True"] * 8), done.stderr


def test_ten_thousand_tensors_open_quickly_enough_to_be_looked_up(tmp_path):
    safetensors.numpy.save_file({f"t{i}": np.zeros(1, np.uint8) for i in range(10_000)}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert len({checkpoint.info(f"t{i}").name for i in range(10_000)}) == 10_000
