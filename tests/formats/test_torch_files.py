"""The torch reader against torch itself, and against archives and pickles that lie."""

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from handmade import Zip, legacy_bytes, tensor_pickle, torch_bytes

from qinspect.errors import FormatError, UnsupportedError
from qinspect.formats.open import open_checkpoint


@pytest.fixture
def saved(tmp_path):
    """Opens what `torch.save` makes of an object, or bytes as they are."""
    made = []

    def save(value):
        path = tmp_path / f"{len(made)}.pt"
        path.write_bytes(value) if isinstance(value, bytes) else torch.save(value, path)
        made.append(open_checkpoint(path))
        return made[-1]

    yield save
    for checkpoint in made:
        checkpoint.close()


def names(checkpoint):
    return [info.name for info in checkpoint.infos]


def raw(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "C64": torch.complex64, "C128": torch.complex128, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu, "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip


def test_every_type(saved):
    tensors = {name: torch.tensor([[0, 1, 1], [2, 4, 0.5]]).to(dtype) for name, dtype in TYPES.items()}
    checkpoint = saved(tensors)
    assert names(checkpoint) == list(TYPES)
    for name, tensor in tensors.items():
        info, loaded = checkpoint.info(name), checkpoint.load(name)
        assert (info.dtype, info.shape, info.nbytes) == (name, (2, 3), tensor.nbytes)
        assert loaded.tobytes() == raw(tensor)
        assert not loaded.flags.writeable
        assert checkpoint.load(name, slice(1, 2)).tobytes() == raw(tensor[1:2])


def test_four_bit_floats_are_two_to_an_element(saved):
    pairs = torch.tensor([[0x72, 0x09, 0x00]], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    checkpoint = saved({"w": pairs})
    assert (checkpoint.info("w").dtype, checkpoint.info("w").shape, checkpoint.info("w").nbytes) == ("F4", (1, 6), 3)
    np.testing.assert_array_equal(checkpoint.load("w").astype(np.float32), [[1, 6, -0.5, 0, 0, 0]])


def test_views_are_read_as_torch_reads_them(saved):
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    views = {
        "transposed": base[0].T,
        "permuted": base.permute(2, 0, 1),
        "strided": base[:, ::2, 1:],
        "row": base[1, 2],
        "expanded": base[0, 0].expand(4, 5),
        "scalar": base[2, 3, 4],
        "empty": base[:0],
        "column": base[:, :1],
    }
    checkpoint = saved(views)
    for name, view in views.items():
        np.testing.assert_array_equal(checkpoint.load(name), view.numpy())
        if view.ndim:
            np.testing.assert_array_equal(checkpoint.load(name, slice(1, 3)), view[1:3].numpy())
    assert checkpoint.info("expanded").nbytes == 20
    assert sum("transposed" in note and "share one storage" in note for note in checkpoint.notes) == 1


def test_tied_weights_are_both_listed_and_noted_once(saved):
    weight = torch.randn(4, 3)
    checkpoint = saved({"embed.weight": weight, "head.weight": weight, "other": torch.ones(2)})
    assert names(checkpoint) == ["embed.weight", "head.weight", "other"]
    assert checkpoint.load("embed.weight").tobytes() == checkpoint.load("head.weight").tobytes() == raw(weight)
    assert list(checkpoint.notes) == ["embed.weight, head.weight share one storage."]


class TestNesting:
    W = torch.ones(2, 2)

    @pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "module", "net"])
    def test_known_containers_lend_no_name(self, saved, key):
        optimizer = torch.optim.Adam([torch.nn.Parameter(self.W.clone())])
        optimizer.param_groups[0]["params"][0].sum().backward()
        optimizer.step()
        state = {"epoch": 3, key: {"fc.weight": self.W}, "optimizer": optimizer.state_dict(), "loss": 0.5}
        checkpoint = saved(state)
        assert names(checkpoint) == ["fc.weight"]
        assert any("optimizer" in note for note in checkpoint.notes)

    def test_containers_in_containers_and_the_prefix_of_parallel_training(self, saved):
        checkpoint = saved({"model": {"state_dict": {"module.fc.weight": self.W, "module.fc.bias": self.W[0]}}})
        assert names(checkpoint) == ["fc.weight", "fc.bias"]

    def test_other_dictionaries_and_lists_give_dotted_names(self, saved):
        checkpoint = saved({"encoder": {"w": self.W}, "layers": [self.W, (self.W, {"deep": self.W})], 3: self.W})
        assert names(checkpoint) == ["encoder.w", "layers.0", "layers.1.0", "layers.1.1.deep", "3"]

    def test_a_second_model_keeps_its_name(self, saved):
        checkpoint = saved({"model": {"w": self.W}, "ema": {"w": self.W * 2}})
        assert names(checkpoint) == ["w", "ema.w"]
        assert checkpoint.load("ema.w")[0, 0] == 2

    def test_names_that_come_out_the_same_are_refused(self, saved):
        with pytest.raises(FormatError, match=r"a\.b: two tensors have this name"):
            saved({"a.b": self.W, "a": {"b": self.W}})

    def test_a_prefix_that_not_all_names_have_stays(self, saved):
        assert names(saved({"module.a": self.W, "b": self.W})) == ["module.a", "b"]

    def test_names_are_kept_as_they_are(self, saved):
        odd = ["../../etc", "a\x00b\x1b[31m", "‮desrever", "x" * 100_000, ""]
        checkpoint = saved(dict.fromkeys(odd, self.W))
        assert names(checkpoint) == odd
        checkpoint.close()
        with pytest.raises(FormatError) as caught:
            checkpoint.load(odd[1])
        assert str(caught.value).isprintable()


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("temporary", torch.ones(2), persistent=False)
        self.register_parameter("absent", None)

    def forward(self, x):
        return self.model(x)


def test_a_whole_module_gives_its_state_dict(saved):
    module = Block()
    for checkpoint in (saved(module), saved({"model": module, "epoch": 1}), saved(torch.nn.DataParallel(module))):
        expected = module.state_dict()
        assert sorted(names(checkpoint)) == sorted(expected)
        for name, tensor in expected.items():
            assert checkpoint.load(name).tobytes() == raw(tensor)
        assert any("Block" in note and "not loaded" in note for note in checkpoint.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_gives_the_constants_of_its_code(tmp_path):
    constant = torch.arange(6.0).reshape(2, 3)

    class Adds(torch.nn.Module):
        def forward(self, x):
            return x + constant

    torch.jit.save(torch.jit.trace(Adds(), torch.ones(1, 3)), tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert checkpoint.format == "TorchScript"
        assert names(checkpoint) == ["CONSTANTS.c0"]
        np.testing.assert_array_equal(checkpoint.load("CONSTANTS.c0"), constant)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_gives_its_parameters(tmp_path):
    module = Block()
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(module.eval(), torch.ones(1, 3)), path)
    with open_checkpoint(path) as checkpoint:
        expected = module.state_dict()
        assert expected.keys() <= set(names(checkpoint))
        for name, tensor in expected.items():
            assert checkpoint.load(name).tobytes() == raw(tensor)
        assert not any("refused" in note for note in checkpoint.notes)


class Tagged(torch.Tensor):
    pass


def test_parameters_subclasses_and_foreign_objects_do_no_harm(saved):
    checkpoint = saved(
        {
            "p": torch.nn.Parameter(torch.ones(2, 2)),
            "tagged": torch.ones(3).as_subclass(Tagged),
            "args": argparse.Namespace(lr=1, path=pathlib.PurePosixPath("a/b")),
            "scalar": np.float64(1.5),
            "array": np.ones(3),
            "rng": torch.get_rng_state(),
            "device": torch.device("cpu"),
            "size": torch.Size([1, 2]),
            "default": collections.defaultdict(list, a=[torch.zeros(1)]),
        }
    )
    assert names(checkpoint) == ["p", "tagged", "rng", "default.a.0"]
    assert checkpoint.load("tagged").tolist() == [1, 1, 1]
    (refused,) = [note for note in checkpoint.notes if "refused" in note]
    assert "pathlib" in refused
    assert "torch." not in refused


class Wrapper(torch.Tensor):
    """A tensor made of others, as torchao's quantized ones are."""

    @staticmethod
    def __new__(cls, qdata, scale, **more):
        return torch.Tensor._make_wrapper_subclass(cls, qdata.shape, dtype=torch.bfloat16)

    def __init__(self, qdata, scale, **more):
        self.qdata = qdata
        self.scale = scale
        for key, value in more.items():
            setattr(self, key, value)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return args[0]


def test_tensors_made_of_others_give_their_parts(saved):
    checkpoint = saved({"fc.weight": Wrapper(torch.ones(2, 2, dtype=torch.int8), torch.ones(2))})
    assert names(checkpoint) == ["fc.weight.qdata", "fc.weight.scale"]


class TestQuantizedTensors:
    @pytest.mark.parametrize(
        ("block", "sets"), [((6, 8), ()), ((1, 8), (6, 1)), ((1, 4), (6, 2)), ((6, 1), (1, 8)), ((3, 1), (2, 8))]
    )
    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
    def test_those_of_torchao_are_decoded(self, saved, block, sets, dtype):
        codes = torch.randint(0, 100, (6, 8)).to(dtype)
        scale = torch.rand(sets) + 0.1
        zero = None if dtype.is_floating_point else torch.randint(-5, 5, sets).to(torch.int8)
        checkpoint = saved({"w": Wrapper(codes, scale, zero_point=zero, block_size=list(block))})
        (info,) = checkpoint.infos
        assert (info.name, info.shape, info.dtype) == ("w", (6, 8), "BF16")
        assert info.nbytes == codes.nbytes + scale.nbytes + (0 if zero is None else zero.nbytes)
        steps, low = (
            torch.ones(1) * part
            if part.ndim == 0
            else part.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
            for part in (scale, torch.zeros(sets) if zero is None else zero.float())
        )
        expected = (codes.float() - low) * steps
        loaded = checkpoint.load("w")
        np.testing.assert_array_equal(loaded.scheme.dequantize(loaded), expected.numpy())

    def test_what_cannot_be_decoded_gives_its_parts(self, saved):
        tiles = Wrapper(torch.ones(4, 4, dtype=torch.int8), torch.ones(2, 2), block_size=[2, 2])
        assert names(saved({"w": tiles})) == ["w.qdata", "w.scale"]

    def test_scales_that_are_too_few_are_an_error(self, saved):
        with pytest.raises(FormatError, match=r"w: its scale has shape \[3\] where \[4\]"):
            saved({"w": Wrapper(torch.ones(4, 4, dtype=torch.int8), torch.ones(3), block_size=[1, 4])})

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("legacy", [False, True])
    def test_those_of_torch_are_decoded(self, tmp_path, legacy):
        w = torch.randn(6, 8)
        scales, zeros = torch.rand(6) / 10 + 0.01, torch.randint(0, 9, (6,))
        tensors = {
            "int8": torch.quantize_per_tensor(w, 0.03, 4, torch.qint8),
            "uint8": torch.quantize_per_tensor(w, 0.03, 120, torch.quint8),
            "rows": torch.quantize_per_channel(w, scales, zeros, 0, torch.qint8),
            "columns": torch.quantize_per_channel(w, torch.rand(8) / 9 + 0.01, torch.arange(8), 1, torch.quint8),
            "nibbles": torch.quantize_per_channel(w, scales * 9, zeros.float() + 0.5, 0, torch.quint4x2),
            "turned": torch.quantize_per_tensor(w, 0.03, 4, torch.qint8).T,
        }
        torch.save(tensors, tmp_path / "q.pt", _use_new_zipfile_serialization=not legacy)
        with open_checkpoint(tmp_path / "q.pt") as checkpoint:
            assert names(checkpoint) == list(tensors)
            for name, tensor in tensors.items():
                loaded = checkpoint.load(name)
                np.testing.assert_allclose(
                    loaded.scheme.dequantize(loaded), tensor.dequantize().numpy(), rtol=1e-6, atol=1e-7, err_msg=name
                )
            assert checkpoint.load("nibbles").scheme.n_codes == 16

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
    def test_layers_that_torch_quantized_keep_their_names(self, saved):
        module = torch.nn.Sequential(torch.nn.Linear(4, 3))
        quantized = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)
        checkpoint = saved(quantized.state_dict())
        assert {"0.weight", "0.bias"} <= set(names(checkpoint))
        loaded = checkpoint.load("0.weight")
        np.testing.assert_allclose(loaded.scheme.dequantize(loaded), module[0].weight.detach().numpy(), atol=0.01)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_plain_weights_are_named(saved):
    checkpoint = saved(
        {
            "sparse": torch.eye(3).to_sparse(),
            "compressed": torch.eye(3).to_sparse_csr(),
            "meta": torch.empty(3, device="meta"),
            "half complex": torch.zeros(2, dtype=torch.complex32),
            "plain": torch.ones(1),
        }
    )
    assert names(checkpoint) == ["plain"]
    (note,) = checkpoint.notes
    assert note == ("Not shown: sparse, compressed (sparse); meta (without data); half complex (of an unread type).")


class Payload:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def test_code_in_a_pickle_is_named_and_never_run(tmp_path):
    witness, path = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save({"w": torch.ones(2, 2), "code": Payload(witness)}, path)
    with open_checkpoint(path) as checkpoint:
        assert names(checkpoint) == ["w"]
        assert checkpoint.load("w").tolist() == [[1, 1], [1, 1]]
        assert any(note.startswith(f"{os.system.__module__}.system was refused") for note in checkpoint.notes)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists()  # so it would have run


def test_reading_imports_neither_torch_nor_pickle_code(tmp_path):
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "a.pt")
    code = (
        "import sys; from qinspect import open_checkpoint; "
        f"print(open_checkpoint({str(tmp_path / 'a.pt')!r}).load('w').sum(), 'torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["4.0", "False"]


def test_checksums_are_those_of_the_archive(saved, tmp_path):
    state = {"a": torch.randn(4, 4), "b": torch.randn(3)}
    state["tied"] = state["a"]
    checkpoint = saved(state)
    with zipfile.ZipFile(checkpoint.path) as archive:
        (pickle,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert {name: crc for name, crc, _ in checkpoint.checksums()} == {
        "data.pkl": zlib.crc32(pickle),
        "a": zlib.crc32(raw(state["a"])),
        "b": zlib.crc32(raw(state["b"])),
    }
    assert all(zlib.crc32(data) == crc for _, crc, data in checkpoint.checksums())


def test_notes_stay_few(saved):
    bases = [torch.zeros(4) for _ in range(30)]
    checkpoint = saved({f"{part}{i}": base[part:] for i, base in enumerate(bases) for part in (0, 1)})
    assert len(checkpoint.notes) == 9
    assert "22 more storages" in checkpoint.notes[-1]


def test_records_of_packed_layers_become_metadata(saved):
    state = collections.OrderedDict(w=torch.ones(2))
    state._metadata = {"": {"qinspect.network": "[1]", "version": 1}, "fc": {"qinspect": {"version": 0}}, "x": 5}
    with pytest.raises(FormatError, match="fc: its record"):
        saved(state)
    del state._metadata["fc"]
    assert saved({"module": state}).metadata == {"qinspect.network": "[1]"}


class TestOlderFiles:
    @pytest.fixture
    def legacy(self, tmp_path):
        """Saves an object as torch before 1.6 did."""

        def save(value):
            torch.save(value, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
            return tmp_path / "old.pth"

        return save

    def test_the_first_format_is_recognised_with_a_remedy(self, tmp_path):
        with tarfile.open(tmp_path / "old.pth", "w") as archive:
            archive.addfile(tarfile.TarInfo("storages"))
        with pytest.raises(UnsupportedError, match=r"torch 0\.1; save it again"):
            open_checkpoint(tmp_path / "old.pth")

    def test_every_type(self, legacy):
        tensors = {name: torch.tensor([[0, 1, 1], [2, 4, 0.5]]).to(dtype) for name, dtype in TYPES.items()}
        with open_checkpoint(legacy(tensors)) as checkpoint:
            assert names(checkpoint) == list(TYPES)
            for name, tensor in tensors.items():
                assert (checkpoint.info(name).dtype, checkpoint.info(name).nbytes) == (name, tensor.nbytes)
                assert checkpoint.load(name).tobytes() == raw(tensor)

    def test_views_ties_containers_and_modules(self, legacy):
        base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
        module = Block()
        state = {"base": base, "turned": base[0].T, "part": base[1, 1:3], "tied": base, "block": module}
        with open_checkpoint(legacy({"state_dict": state, "epoch": 1})) as checkpoint:
            expected = {"base": base, "turned": base[0].T, "part": base[1, 1:3], "tied": base}
            expected |= {f"block.{name}": tensor for name, tensor in module.state_dict().items()}
            assert set(names(checkpoint)) == expected.keys()
            for name, tensor in expected.items():
                assert checkpoint.load(name).tobytes() == raw(tensor)
            assert any("Block" in note and "not loaded" in note for note in checkpoint.notes)

    def test_a_storage_that_is_part_of_another(self, tmp_path):
        w = tensor_pickle((2,), (1,), numel=4).replace(b"I4\nt", b"I4\n(Vroot\nI1\nI2\ntt")
        path = tmp_path / "old.pth"
        path.write_bytes(legacy_bytes(w, ["0"], [np.arange(4, dtype="<f4")]))
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.load("w").tolist() == [1, 2]

    def test_code_is_named_and_never_run(self, legacy, tmp_path):
        witness = tmp_path / "ran"
        with open_checkpoint(legacy({"w": torch.ones(2), "code": Payload(witness)})) as checkpoint:
            assert checkpoint.load("w").tolist() == [1, 1]
            assert any("system was refused" in note for note in checkpoint.notes)
        assert not witness.exists()

    def test_every_beginning_of_a_file_is_refused(self, legacy):
        path = legacy({"w": torch.ones(4), "v": torch.ones(2)})
        data = path.read_bytes()
        for length in range(1, len(data)):
            path.write_bytes(data[:length])
            with pytest.raises((FormatError, UnsupportedError)) as caught:
                open_checkpoint(path)
            assert str(path) in str(caught.value)
        assert "truncated: expected" in str(caught.value)

    @pytest.mark.parametrize(
        ("keys", "arrays", "text"),
        [
            (["0", "1"], [np.zeros(4, "<f4")] * 2, "storage 1 is not described"),
            ([], [], "storage 0 is not in the file"),
            (["0"], [np.zeros(3, "<f4")], "needs 16 bytes of a storage that has 12"),
            ([5], [np.zeros(4, "<f4")], "no list of keys"),
        ],
    )
    def test_lies_are_refused(self, tmp_path, keys, arrays, text):
        path = tmp_path / "old.pth"
        path.write_bytes(legacy_bytes(tensor_pickle((2, 2), (2, 1)), keys, arrays))
        with pytest.raises(FormatError, match=text):
            open_checkpoint(path)

    @pytest.mark.parametrize("count", [-1, 1 << 62])
    def test_storages_without_bounds_are_refused(self, tmp_path, count):
        path = tmp_path / "old.pth"
        path.write_bytes(legacy_bytes(tensor_pickle((2, 2), (2, 1)), ["0"], [np.zeros(4, "<f4")], count=count))
        with pytest.raises(FormatError, match=f"says that it has {count}|truncated: expected 1844674407370955"):
            open_checkpoint(path)

    def test_big_endian_is_refused(self, saved, tmp_path):
        made = Zip().add("a/data.pkl", b"N.").add("a/byteorder", b"big")
        with pytest.raises(UnsupportedError, match="big-endian"):
            saved(made.bytes())


W = tensor_pickle((2, 2), (2, 1))
DATA = np.arange(4, dtype="<f4").tobytes()


def test_long_lists_of_numbers_are_no_matter(saved):
    assert names(saved({"w": torch.ones(1), "losses": [0.5] * 1_200_000})) == ["w"]


def test_the_handmade_file_is_good(saved):
    checkpoint = saved(torch_bytes(W, [DATA]))
    assert checkpoint.load("w").tolist() == [[0, 1], [2, 3]]
    assert not checkpoint.notes


def zipped(**changes):
    return Zip().add("a/data.pkl", W).add("a/data/0", DATA, **changes)


BAD = {
    "no storage": torch_bytes(W),
    "storage too small": torch_bytes(W, [DATA[:15]]),
    "offset beyond": torch_bytes(tensor_pickle((2, 2), (2, 1), 1), [DATA]),
    "negative offset": torch_bytes(tensor_pickle((2, 2), (2, 1), -1), [DATA]),
    "negative stride": torch_bytes(tensor_pickle((2, 2), (-2, 1), 2), [DATA]),
    "negative size": torch_bytes(tensor_pickle((-2, -2), (2, 1)), [DATA]),
    "stride beyond": torch_bytes(tensor_pickle((2, 2), (3, 1)), [DATA]),
    "2^64 + 4 elements": torch_bytes(tensor_pickle((2**62 + 1, 4), (4, 1)), [DATA]),
    "reach wraps at 64 bits": torch_bytes(tensor_pickle((3, 2), (2**63 - 1, 1)), [DATA]),
    "counts of 10^20": torch_bytes(tensor_pickle((10**20,), (0,)), [DATA]),
    "more strides than sizes": torch_bytes(tensor_pickle((2,), (2, 1)), [DATA]),
    "hundred dimensions": torch_bytes(tensor_pickle((1,) * 100, (1,) * 100), [DATA]),
    "size is text": torch_bytes(W.replace(b"(I2\nI2\nt", b"V2\n"), [DATA]),
    "size is a list": torch_bytes(W.replace(b"(I2\nI2\nt", b"(I2\nI2\nl"), [DATA]),
    "storage is a number": torch_bytes(W.replace(b"tQ", b"t0I7\n"), [DATA]),
    "storage has another kind of id": torch_bytes(W.replace(b"Vstorage", b"Vmodule"), [DATA]),
    "two pickles": Zip().add("a/data.pkl", W).add("b/data.pkl", W).add("a/data/0", DATA).bytes(),
    "no pickle": Zip().add("a/data/0", DATA).bytes(),
    "compressed pickle": torch_bytes(W, [DATA], method=8),
    "compressed storage": zipped(method=8).bytes(),
    "stored, with another size": zipped(size=20).bytes(),
    "longer than the file": zipped(size=2**31, stored_size=2**31).bytes(),
    "name in two versions": zipped(local_name="a/data/1").bytes(),
    "entry twice": zipped().add("a/data/0", DATA).bytes(),
    "entries overlap": Zip().add("a/data.pkl", W).add("a/data/0", DATA).add("a/data/1", DATA, offset=0).bytes(),
    "entry behind the directory": zipped(offset=10_000).bytes(),
    "entry without a header": zipped(offset=3).bytes(),
    "nested too deep": torch_bytes(b"(V" + b"w\n(V" * 150 + b"w\nN" + b"d" * 151 + b".", [DATA]),
    "nested in itself": torch_bytes(b"(dp0\nVw\ng0\ns.", [DATA]),
    "branches without end": torch_bytes(b"(lp0\n" + b"g0\na" * 50 + b".", [DATA]),
    "a long list many times": torch_bytes(b"((" + b"N" * 10**5 + b"tp0\n" + b"g0\n" * 10**5 + b"l.", [DATA]),
    "not a pickle": torch_bytes(b"hello", [DATA]),
    "empty pickle": torch_bytes(b"", [DATA]),
    "no directory": torch_bytes(W, [DATA])[:-30],
    "half of the file": torch_bytes(W, [DATA])[:300],
    "directory of nonsense": torch_bytes(W, [DATA]).replace(b"PK\x01\x02", b"PK\x09\x09"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_lie_are_refused_in_one_sentence(saved, tmp_path, case):
    with pytest.raises(FormatError) as caught:
        saved(BAD[case])
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()


def test_encrypted_entries_are_refused(saved):
    with pytest.raises(UnsupportedError, match="encrypted"):
        saved(zipped(flags=1).bytes())


def test_a_truncated_file_says_so(saved):
    whole = torch_bytes(W, [DATA])
    with pytest.raises(FormatError, match=f"truncated or damaged: its {len(whole) - 40} bytes"):
        saved(whole[:-40])


def test_views_that_claim_terabytes_are_listed_and_refused_when_loaded(saved):
    checkpoint = saved(torch_bytes(tensor_pickle((2_000_000_000, 1_000_000_000), (0, 0), numel=1), [DATA]))
    info = checkpoint.info("w")
    assert (info.size, info.nbytes) == (2 * 10**18, 4)
    with pytest.raises(UnsupportedError, match=r"w: this view repeats 4 stored bytes"):
        checkpoint.load("w")


def test_an_empty_tensor_may_have_any_other_dimension(saved):
    checkpoint = saved(torch_bytes(tensor_pickle((0, 2**62), (1, 1)), [DATA]))
    with pytest.raises(UnsupportedError, match="cannot be held in memory"):
        checkpoint.load("w")


def test_files_repacked_with_another_layout_still_open(saved, tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("a/", "another root/", 1), old.read(name))
    assert saved((tmp_path / "b.pt").read_bytes()).load("w").tolist() == [1, 1, 1]
