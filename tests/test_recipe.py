"""Recipes: which rule decides, and what a recipe file may hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.errors import ExportError, SchemeError
from qinspect.formats.checkpoint import TensorInfo
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule, patterns_for

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


NAMES = ["h.0.q", "h.1.q", "h.0.k", "head", "h[0]", "h0", "norm"]
PATTERNS = [*NAMES, "*", "h.*.q", "h.?.k", "h[0]", "*0*", "no.*"]


@given(st.lists(st.sampled_from(PATTERNS), max_size=6), st.sampled_from(NAMES), st.sampled_from(["2d", "1d", "int"]))
def test_the_rule_found_is_the_first_that_applies(patterns, name, kind):
    tensor = info(name, (8,) if kind == "1d" else (8, 8), "I64" if kind == "int" else "F32")
    rules = tuple(Rule(pattern, INT4) for pattern in patterns)
    expected = next((at for at, rule in enumerate(rules) if rule.applies(tensor)), None)
    assert Recipe(rules).position(tensor) == expected


LAYERS = [info(f"h.{n}.{part}.weight") for n in (0, 1, 10) for part in ("q", "k")] + [info("head"), info("norm", (8,))]


def test_a_rule_that_is_put_on_top_takes_the_place_of_those_it_leaves_nothing():
    recipe = Recipe.of(BASE11).put(["head"], None, LAYERS)
    assert recipe == Recipe((Rule("head", None), Rule("*", BASE11)))
    recipe = recipe.put(["h.0.q.weight"], INT4, LAYERS).put(["head"], INT4, LAYERS)
    assert [rule.match for rule in recipe.rules] == ["head", "h.0.q.weight", "*"]
    assert recipe.put(["h.*.q.weight"], BASE11, LAYERS) == Recipe(
        (Rule("h.*.q.weight", BASE11), Rule("head", INT4), Rule("*", BASE11))
    )
    assert recipe.put(["*"], INT4, LAYERS) == Recipe.of(INT4)


def test_a_rule_of_a_vector_and_one_that_never_decided_stay():
    recipe = Recipe((Rule("norm", INT4), Rule("other.*", INT4), Rule("*", BASE11)))
    assert recipe.put(["*"], INT4, LAYERS) == Recipe((Rule("*", INT4), Rule("norm", INT4), Rule("other.*", INT4)))


def test_the_base_stays_below_rules_that_leave_it_nothing():
    recipe = Recipe.of(BASE11).put(["h*"], INT4, LAYERS)
    assert recipe.base == BASE11
    assert Recipe((Rule("h*", INT4),)).base is None


def test_layers_of_one_kind_share_a_pattern_where_all_of_them_are_meant():
    queries = [f"h.{n}.q.weight" for n in (0, 1, 10)]
    assert patterns_for([*queries, "head"], LAYERS) == ("h.*.q.weight", "head")
    assert patterns_for(queries[:2], LAYERS) == tuple(queries[:2])
    nested = [*LAYERS, info("h.0.x.q.weight")]  # a star spans dots
    assert patterns_for(queries, nested) == tuple(queries)
    assert patterns_for(["norm"], LAYERS) == ("norm",)
