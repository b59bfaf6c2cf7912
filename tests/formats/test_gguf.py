"""GGUF: every block type against the gguf package, bit for bit; headers against its writer; hostile headers."""

import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from handmade_gguf import array, entry, header, tensor, text

from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats.ggml import TYPES, blocks_of
from qinspect.formats.gguf import _PACKED, _PLAIN, _UNREAD
from qinspect.formats.open import open_checkpoint
from qinspect.quant.lazy import LazyArray

HALVES = {
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_1": (0, 2), "Q4_K": (0, 2), "Q5_1": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "TQ1_0": (52,), "TQ2_0": (64,), "MXFP4": (), "NVFP4": (), "IQ1_M": (),
}  # fmt: skip
"""Where a block holds float16 numbers that must not be NaN; 0 where nothing is said."""


def blocks(name, rows, cols, seed=0):
    """Any bytes are blocks, but for NaN."""
    rng, kind = np.random.default_rng(seed), TYPES[name]
    made = rng.integers(0, 256, (rows, cols // kind.weights, kind.nbytes), np.uint8)
    for at in HALVES.get(name, (0,)):
        made[..., at : at + 2] = rng.standard_normal(made.shape[:2]).astype("<f2")[..., None].view(np.uint8)
    if name == "MXFP4":
        made[..., 0] = rng.integers(0, 250, made.shape[:2])
    if name == "IQ1_M":
        made[..., 55] = made[..., 55] & 15 | 0x30  # the highest bits of its scattered float16
    return made


def reference(name, made):
    return quants.dequantize(made.reshape(len(made), -1), GGMLQuantizationType[name])


@pytest.mark.parametrize("name", TYPES)
class TestBlockTypes:
    def test_weights_are_those_of_the_gguf_package(self, name):
        made = blocks(name, 7, 1024)
        q = blocks_of(TYPES[name], (7, 1024)).tensor({"data": made})
        np.testing.assert_array_equal(q.scheme.dequantize(q), reference(name, made))
        assert q.nbytes == made.nbytes

    def test_any_rows(self, name):
        made = blocks(name, 7, 512)
        part = blocks_of(TYPES[name], (7, 512)).tensor({"data": made}, slice(2, 5))
        np.testing.assert_array_equal(part.scheme.dequantize(part), reference(name, made)[2:5])

    def test_codes_name_levels(self, name):
        made = blocks(name, 2, 512)
        scheme = blocks_of(TYPES[name], (2, 512))
        q = scheme.tensor({"data": made})
        codes = scheme.codes(q) - scheme.code_range[0]
        levels = np.stack([scheme.level_values(q, i) for i in range(scheme.layout(q.shape).sets)])
        assert levels.shape[1] == scheme.n_codes
        assert np.count_nonzero(scheme.count(q)) > 0.9 * scheme.n_codes
        sets = np.arange(q.scheme.layout(q.shape).sets).repeat(TYPES[name].run).reshape(2, 512)
        np.testing.assert_array_equal(levels[sets, codes], reference(name, made))

    def test_sizes_are_those_of_the_gguf_package(self, name):
        kind = TYPES[name]
        assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType[name]] == (kind.weights, kind.nbytes)


def test_every_type_is_known_by_its_number():
    known = {**_PLAIN, **_PACKED, **_UNREAD}
    assert {number.value: number.name for number in GGMLQuantizationType}.items() <= known.items()
    decoded = {number.name for number in quants._type_traits} - {"BF16"}
    assert decoded == set(_PACKED.values()) == set(TYPES)


# Files.

RNG = np.random.default_rng(3)
TENSORS = {
    "token_embd.weight": ("Q8_0", (40, 64)),
    "blk.0.attn_q.weight": ("Q4_0", (64, 64)),
    "blk.0.ffn_down.weight": ("Q4_K", (8, 512)),
    "blk.0.ffn_gate_exps.weight": ("MXFP4", (3, 8, 64)),
    "blk.0.attn_norm.weight": ("F32", (64,)),
    "output.weight": ("BF16", (8, 64)),
    "half": ("F16", (2, 3, 5)),
    "numbers": ("I32", (6,)),
}


def contents(name):
    kind, shape = TENSORS[name]
    if kind in TYPES:
        rows = np.prod(shape[:-1])
        return blocks(kind, rows, shape[-1]).reshape(*shape[:-1], -1)
    dtype = {"F32": "f4", "F16": "f2", "I32": "i4", "BF16": "u2"}[kind]
    return (100 * RNG.random(shape)).astype(dtype)


def write(path, names=tuple(TENSORS), arch="llama", **split):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(1)
    writer.add_rope_freq_base(500000.5)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_token_list(["<s>", "é", *map(str, range(20))])
    writer.add_array("three", [1, 2, 3])
    for key, value in split.items():
        writer.add_uint16(f"split.{key}", value)
    made = {}
    for name in names:
        kind, made[name] = TENSORS[name][0], contents(name)
        held = made[name].view(np.uint8) if kind == "BF16" else made[name]
        writer.add_tensor(name, held, raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    made = write(path)
    with open_checkpoint(path) as checkpoint:
        yield checkpoint, made


class TestFile:
    def test_lists_what_was_written(self, file):
        checkpoint, made = file
        assert checkpoint.format == "GGUF v3 (llama)"
        for info, (name, (kind, shape)) in zip(checkpoint.infos, TENSORS.items(), strict=True):
            assert (info.name, info.shape, info.nbytes) == (name, shape, made[name].nbytes)
            assert (info.dtype, info.qtype) == (("F32", kind) if kind in TYPES else (kind, None))

    def test_loads_what_was_written(self, file):
        checkpoint, made = file
        for name, (kind, shape) in TENSORS.items():
            for rows in (None, slice(1, 3)) if len(shape) > 1 else (None,):
                loaded = checkpoint.load(name, rows)
                if kind in TYPES:
                    expected = quants.dequantize(made[name], GGMLQuantizationType[kind])
                    loaded = loaded.scheme.dequantize(loaded)
                else:
                    expected = made[name]
                    loaded = loaded.view(np.uint16) if kind == "BF16" else loaded
                np.testing.assert_array_equal(loaded, expected if rows is None else expected[rows])

    def test_tensors_can_stay_in_the_file(self, file):
        checkpoint, made = file
        held = checkpoint.lazy("blk.0.ffn_down.weight")
        assert isinstance(held.data, LazyArray)
        expected = quants.dequantize(made["blk.0.ffn_down.weight"], GGMLQuantizationType.Q4_K)
        np.testing.assert_array_equal(held.scheme.dequantize(held), expected)

    def test_metadata(self, file):
        checkpoint, _ = file
        assert checkpoint.metadata["general.architecture"] == "llama"
        assert checkpoint.metadata["llama.block_count"] == "1"
        assert checkpoint.metadata["llama.rope.freq_base"] == "500000.5"
        assert checkpoint.metadata["tokenizer.ggml.add_bos_token"] == "true"
        assert checkpoint.metadata["tokenizer.ggml.tokens"] == "<s>, é, 0, 1, 2, 3, 4, 5, … (22)"
        assert checkpoint.metadata["three"] == "1, 2, 3"


class TestSplitModels:
    NAMES = tuple(TENSORS)

    def split(self, folder, n=3):
        made = {}
        for i in range(n):
            made |= write(folder / f"m-{i + 1:05}-of-{n:05}.gguf", self.NAMES[i::n], count=n, no=i)
        return made

    def test_any_file_and_the_folder_open_all(self, tmp_path):
        made = self.split(tmp_path)
        for path in (tmp_path, *tmp_path.iterdir()):
            with open_checkpoint(path) as checkpoint:
                assert checkpoint.format == "GGUF v3 (llama), 3 files"
                assert {info.name for info in checkpoint.infos} == set(TENSORS)
                assert set(checkpoint.files) == set(tmp_path.iterdir())
                np.testing.assert_array_equal(checkpoint.load("half"), made["half"])

    def test_a_missing_file_is_named(self, tmp_path):
        self.split(tmp_path)
        (tmp_path / "m-00002-of-00003.gguf").unlink()
        with pytest.raises(FormatError, match=r"m-00002-of-00003\.gguf of this split model is missing"):
            open_checkpoint(tmp_path / "m-00001-of-00003.gguf")

    def test_a_name_that_tells_nothing(self, tmp_path):
        write(tmp_path / "part.gguf", count=2, no=0)
        with pytest.raises(FormatError, match=r"not named …-00001-of-00002\.gguf"):
            open_checkpoint(tmp_path / "part.gguf")

    def test_one_tensor_in_two_files(self, tmp_path):
        for i in (1, 2):
            write(tmp_path / f"m-0000{i}-of-00002.gguf", self.NAMES[:1], count=2, no=i - 1)
        with pytest.raises(FormatError, match="two files of this model hold"):
            open_checkpoint(tmp_path / "m-00001-of-00002.gguf")


# Headers by hand.

GOOD = header([entry("a", 4, struct.pack("<I", 7))], [tensor(), tensor("v", (2, 2), 0, 32)])
TRUNCATED = "the file is truncated: expected"
HOSTILE = {
    "version 0": (header(version=0), "GGUF version 0; versions 2 and 3"),
    "version 1": (header(version=1), "version 1, of August 2023"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(64), "big-endian"),
    "count of tensors": (
        header(n_tensors=1 << 63),
        "claims 9223372036854775808 tensors at byte 8, where at most 3 can be",
    ),
    "count of tensors, all": (header(n_tensors=(1 << 64) - 1), "claims 18446744073709551615 tensors"),
    "count of entries": (header(n_entries=1 << 40), "claims 1099511627776 metadata entries at byte 16"),
    "more entries than there are": (header([entry("a", 4, bytes(4))], n_entries=3), "metadata key  occurs twice"),
    "length of a key": (header([struct.pack("<Q", 1 << 62)]), "a key before byte 32 claims 4611686018427387904 bytes"),
    "length of a key beyond the end": (header([struct.pack("<Q", 9000)]), TRUNCATED + r" 9032 bytes.*a key begins"),
    "key that is no text": (header([entry(b"\xff\xfe", 4, bytes(4))]), "a key at byte 24 is not UTF-8"),
    "key twice": (header([entry("a", 4, bytes(4))] * 2), "the metadata key a occurs twice"),
    "type of a value": (header([entry("a", 13, bytes(8))]), "is of type 13; types are 0 to 12"),
    "length of a text": (header([entry("a", 8, struct.pack("<Q", 1 << 60))]), TRUNCATED),
    "count of numbers": (header([entry("a", 9, array(4, 1 << 60))]), "claims 1152921504606846976 elements of a"),
    "count of texts": (header([entry("a", 9, array(8, 1 << 60))]), "claims 1152921504606846976 elements of a"),
    "text of an array": (header([entry("a", 9, array(8, 9, b"\xff" * 80))]), TRUNCATED),
    "later text of an array": (header([entry("a", 9, array(8, 10, bytes(72) + b"\xff" * 8))]), TRUNCATED),
    "array of arrays": (header([entry("a", 9, array(9, 1, array(9, 1) * 50))]), "an array of arrays before byte 41"),
    "array of nothing": (header([entry("a", 9, array(77, 1))]), "an array of type 77"),
    "alignment 0": (header([entry("general.alignment", 4, bytes(4))]), "general.alignment is 0, where a power of two"),
    "alignment 48": (header([entry("general.alignment", 4, b"\x30\0\0\0")]), "general.alignment is 48"),
    "alignment of text": (header([entry("general.alignment", 8, text("x"))]), "general.alignment is x"),
    "alignment beyond reason": (
        header([entry("general.alignment", 4, b"\0\0\0\x80")]),
        "general.alignment is 2147483648",
    ),
    "name of a tensor": (header(tensors=[tensor(b"\x80")]), "the name of a tensor at byte 24 is not UTF-8"),
    "dimensions": (header(tensors=[tensor(n_dims=5)]), "w: it has 5 dimensions before byte 37"),
    "dimensions, many": (header(tensors=[tensor(n_dims=0xFFFFFFFF)]), "w: it has 4294967295 dimensions"),
    "negative dimension": (header(tensors=[tensor(dims=(-4,))]), r"w: its shape \[-4\] at byte 37 cannot be"),
    "product that wraps": (header(tensors=[tensor(dims=(1 << 32, 1 << 32))]), "w: its shape .* cannot be"),
    "empty with a giant side": (header(tensors=[tensor(dims=(0, 1 << 62))]), "w: its shape .* cannot be"),
    "shape beyond the end": (header(tensors=[tensor(dims=(1 << 40,))]), "w: the file is truncated"),
    "offset beyond the end": (header(tensors=[tensor(offset=1 << 40)]), "w: the file is truncated"),
    "offset that wraps": (header(tensors=[tensor(offset=(1 << 64) - 64)]), "w: the file is truncated"),
    "offset between": (header(tensors=[tensor(offset=8)]), "w: its data begins at 8, which is no multiple"),
    "overlap": (header(tensors=[tensor(dims=(16,)), tensor("v", offset=32)]), "w: its data, from byte .* overlaps"),
    "overlap in one place": (header(tensors=[tensor(), tensor("v")]), "overlaps"),
    "one name twice": (header(tensors=[tensor(), tensor(offset=32)]), "w: two tensors have this name|overlaps"),
    "ragged blocks": (
        header(tensors=[tensor(dims=(33,), kind=2)]),
        "rows of 33 weights are no whole Q4_0 blocks of 32",
    ),
    "packed without dimensions": (header(tensors=[tensor(dims=(), kind=2)]), "Q4_0 without any dimension"),
    "packed beyond the end": (header(tensors=[tensor(dims=(256, 99), kind=12)]), "w: the file is truncated"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_end_in_one_sentence(tmp_path, case):
    content, expected = HOSTILE[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(QInspectError, match=expected) as caught:
            open_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")


def test_cut_anywhere(tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(GOOD)
    with open_checkpoint(path) as checkpoint:
        assert [info.shape for info in checkpoint.infos] == [(4,), (2, 2)]
    for end in range(4, len(GOOD) - 16):
        path.write_bytes(GOOD[:end])
        with pytest.raises(FormatError, match=r"truncated|where at most"):
            open_checkpoint(path)


def test_types_that_cannot_be_decoded_are_called_by_their_name(tmp_path):
    path = tmp_path / "new.gguf"
    path.write_bytes(header(tensors=[tensor("a", (32,), 15, 0), tensor("b", (4,), 99, 32)]))
    with open_checkpoint(path) as checkpoint:
        assert [(info.dtype, info.nbytes) for info in checkpoint.infos] == [("Q8_K", 32), ("type 99", 32)]
        assert "1 of its tensors are Q8_K" in checkpoint.notes[0]
        with pytest.raises(UnsupportedError, match="type Q8_K cannot be read"):
            checkpoint.load("a")


@pytest.mark.parametrize("magic", [b"lmgg", b"tjgg"])
def test_older_files_are_called_by_their_name(tmp_path, magic):
    (tmp_path / "old.bin").write_bytes(magic + bytes(60))
    with pytest.raises(UnsupportedError, match="before GGUF"):
        open_checkpoint(tmp_path / "old.bin")


def test_a_vocabulary_is_stepped_over(tmp_path):
    """Not held: memory is that of what is read at a time."""
    path = tmp_path / "words.gguf"
    path.write_bytes(header([entry("tokens", 9, array(8, 200_000, text("w" * 30) * 200_000))]))
    tracemalloc.start()
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.metadata["tokens"].endswith("… (200000)")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20 < path.stat().st_size / 2
