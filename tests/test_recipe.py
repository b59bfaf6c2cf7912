"""Recipes: which rule decides, and what a recipe file may hold."""

import json

import pytest

from qinspect.errors import ExportError, SchemeError
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

BASE11 = make_scheme("base11", group_size=126)
INT4 = make_scheme("symmetric", bits=4, granularity="group", group_size=64)


def info(name: str, shape: tuple[int, ...] = (8, 8), dtype: str = "F32", qtype: str | None = None) -> TensorInfo:
    return TensorInfo(name, shape, dtype, 0, qtype)


def test_first_rule_that_applies_wins():
    recipe = Recipe((Rule("*.attn*", BASE11), Rule("head.weight", None), Rule("*", INT4)))
    assert recipe.scheme_for(info("h.0.attn.weight")) == BASE11
    assert recipe.scheme_for(info("head.weight")) is None
    assert recipe.scheme_for(info("head.weight.2")) == INT4


def test_no_rule_leaves_alone():
    assert Recipe((Rule("a*", INT4),)).scheme_for(info("b")) is None
    assert Recipe(()).rule_for(info("b")) is None


def test_globs_are_case_sensitive_and_span_dots():
    recipe = Recipe((Rule("Enc*.w[12]", INT4),))
    assert recipe.scheme_for(info("Enc.0.x.w1")) == INT4
    assert recipe.scheme_for(info("enc.0.x.w1")) is None
    assert recipe.scheme_for(info("Enc.0.x.w3")) is None


@pytest.mark.parametrize(
    "tensor",
    [info("norm", (8,)), info("ids", dtype="I64"), info("none", (0, 4)), info("mask", dtype="BOOL"), info("s", ())],
)
def test_a_glob_takes_only_what_is_quantizable(tensor):
    assert Recipe.of(BASE11).scheme_for(tensor) is None


def test_an_exact_name_insists_on_a_vector_but_not_on_integers():
    recipe = Recipe((Rule("*", BASE11), Rule("norm", INT4), Rule("ids", INT4), Rule("none", INT4)))
    assert recipe.scheme_for(info("norm", (8,))) == INT4
    assert recipe.scheme_for(info("ids", dtype="I64")) is None
    assert recipe.scheme_for(info("none", (0,))) is None


def test_a_name_with_glob_characters_names_itself():
    assert Recipe((Rule("blocks[0].w", INT4),)).scheme_for(info("blocks[0].w")) == INT4


def test_a_packed_tensor_is_a_candidate_too():
    assert Recipe.of(INT4).scheme_for(info("fc.weight", qtype="base11 g128")) == INT4


def test_the_documented_json():
    text = '{"version":1,"rules":[{"match":"*.attn*","scheme":"base11","group_size":126},{"match":"*","scheme":null}]}'
    recipe = Recipe.from_json(json.loads(text))
    assert recipe == Recipe((Rule("*.attn*", BASE11), Rule("*", None)))


def test_save_and_load(tmp_path):
    recipe = Recipe((Rule("a", BASE11), Rule("ж*", INT4), Rule("*", None)))
    recipe.save(tmp_path / "r.json")
    assert Recipe.load(tmp_path / "r.json") == recipe
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a recipe is written"),
        ('{"version": 1}', "a recipe is written"),
        ('{"version": 1, "rules": {}}', "a recipe is written"),
        ('{"version": 1, "rules": [], "more": 1}', "a recipe is written"),
        ('{"version": 1, "version": 1, "rules": []}', "written twice"),
        ('{"version": 2, "rules": []}', "version 2"),
        ('{"version": true, "rules": []}', "version True"),
        ('{"version": 1, "rules": [7]}', "rule 1"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": null}, {"match": "*"}]}', "rule 2"),
        ('{"version": 1, "rules": [{"scheme": null}]}', "rule 1"),
        ('{"version": 1, "rules": [{"match": "", "scheme": null}]}', "rule 1"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": null, "bits": 4}]}', "rule 1"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": "base12"}]}', "base12"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": "base11", "bits": 4}]}', "bits"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": "base11", "group_size": 0}]}', "group_size"),
        ('{"version": 1, "rules": [{"match": "*", "scheme": "base11", "name": "x"}]}', "name"),
    ],
)
def test_a_bad_file_is_named_with_its_rule(tmp_path, text, said):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SchemeError, match=said) as caught:
        Recipe.load(path)
    assert caught.value.path == path
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SchemeError, match="cannot be read"):
        Recipe.load(tmp_path / "r.json")
    with pytest.raises(ExportError, match="cannot be written"):
        Recipe.of(None).save(tmp_path / "no" / "r.json")
