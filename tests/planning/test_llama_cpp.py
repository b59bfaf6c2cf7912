"""Recipes for `llama-quantize`: only what is truly the same type, bits and blocks held against ggml's own table."""

import re

import gguf
import pytest

from qinspect.formats.checkpoint import TensorInfo
from qinspect.planning.llama_cpp import ggml_type, tensor_types
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

BLOCK = {"granularity": "group", "group_size": 32, "param_dtype": "float16"}
SAME = {
    "q4_0": make_scheme("symmetric", bits=4, **BLOCK),
    "q4_1": make_scheme("asymmetric", bits=4, offset="minimum", **BLOCK),
    "q5_0": make_scheme("symmetric", bits=5, **BLOCK),
    "q5_1": make_scheme("asymmetric", bits=5, offset="minimum", **BLOCK),
    "q8_0": make_scheme("symmetric", bits=8, **BLOCK),
    "mxfp4": make_scheme("mxfp4"),
}


def info(name, shape=(64, 512), dtype="F32", qtype=None):
    return TensorInfo(name, shape, dtype, 0, qtype)


@pytest.mark.parametrize(("name", "scheme"), SAME.items())
def test_a_type_takes_the_bytes_that_the_scheme_takes(name, scheme):
    block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]]
    assert scheme.nbytes((64, 512)) == 64 * 512 // block * nbytes
    assert ggml_type(info("a"), scheme) == (name, "")


def test_ternary_words_of_other_bytes_are_the_same_codes():
    """Five digits a byte there, twenty a word here: 1.69 and 1.66 bits."""
    assert ggml_type(info("a"), make_scheme("ternary", **(BLOCK | {"group_size": 256}))) == ("tq1_0", "")


def test_how_parameters_were_found_does_not_matter():
    assert ggml_type(info("a"), make_scheme("symmetric", bits=4, calibration="mse", **BLOCK))[0] == "q4_0"
    scheme = make_scheme("symmetric", bits=8, calibration="percentile", percentile=99.0, **BLOCK)
    assert ggml_type(info("a"), scheme)[0] == "q8_0"


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (make_scheme("base11"), "no type like base11 g128"),
        (make_scheme("symmetric", bits=4, **(BLOCK | {"group_size": 64})), "no type"),
        (make_scheme("symmetric", bits=4, **(BLOCK | {"param_dtype": "float32"})), "no type"),
        (make_scheme("asymmetric", bits=4, offset="zero_point", **BLOCK), "no type"),
        (make_scheme("normal_float", group_size=32), "no type"),
        (make_scheme("mxfp4", group_size=64), "no type"),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_what_is_not_the_same_has_no_type(scheme, reason):
    found, said = ggml_type(info("a"), scheme)
    assert found is None
    assert reason in said


def test_rows_that_blocks_do_not_divide():
    assert ggml_type(info("a", (8, 100)), SAME["q4_0"]) == (
        None, "q4_0 has blocks of 32, which do not divide rows of 100"
    )  # fmt: skip


def test_what_is_left_alone_keeps_its_type():
    assert ggml_type(info("a", dtype="BF16"), None) == ("bf16", "")
    assert ggml_type(info("a", qtype="base11 g128"), None)[0] is None


NAMES = [f"blk.{block}.{kind}.weight" for block in range(12) for kind in ("attn_q", "ffn_down")]
INFOS = [
    *map(info, NAMES), info("output.weight"), info("blk.0.attn_norm.weight", (512,)), info("token_embd.weight", (8, 30))
]  # fmt: skip


def test_every_tensor_is_matched_by_its_own_type_alone():
    """llama-quantize looks for the expression anywhere in a name."""
    recipe = Recipe(
        (
            Rule("blk.[0-3].ffn_down.weight", SAME["q8_0"]),
            Rule("blk.11.ffn_down.weight", make_scheme("base11")),
            Rule("output.weight", None),
            Rule("*", SAME["q4_0"]),
        )
    )
    found = tensor_types(recipe, INFOS)
    patterns = [value.rsplit("=", 1) for option, value in found.arguments if option == "--tensor-type"]
    assert len(patterns) == 4
    for tensor in INFOS[:-2]:
        types = {name for pattern, name in patterns if re.search(pattern, tensor.name)}
        assert types == ({ggml_type(tensor, recipe.scheme_for(tensor))[0]} - {None})
    assert dict(found.without) == {
        "blk.11.ffn_down.weight": "GGML has no type like base11 g128",
        "token_embd.weight": "q4_0 has blocks of 32, which do not divide rows of 30",
    }
    assert "--tensor-type '^blk\\.[0-9]+\\.attn_q\\.weight$=q4_0'" in found.lines()


def test_names_are_those_of_the_gguf_file_to_be():
    names = [f"model.layers.{n}.mlp.up_proj.weight" for n in (0, 1, 10)] + ["lm_head.weight", "mystery.weight"]
    recipe = Recipe((Rule("model.layers.10.*", SAME["q4_1"]), Rule("*", SAME["q8_0"])))
    found = tensor_types(recipe, map(info, names))
    assert found.lines() == [
        "--tensor-type '^blk\\.(0|1)\\.ffn_up\\.weight$=q8_0'",
        "--tensor-type '^blk\\.10\\.ffn_up\\.weight$=q4_1'",
        "--tensor-type '^output\\.weight$=q8_0'",
    ]
    assert found.without == (("mystery.weight", "it has no name in GGUF files"),)


def test_a_network_that_nobody_knows_keeps_its_names():
    found = tensor_types(Recipe.of(SAME["q8_0"]), [info("mystery.weight")])
    assert found.lines() == ["--tensor-type '^mystery\\.weight$=q8_0'"]
