"""A choice for every layer in few rules: each gets just what was chosen."""

import random

import pytest

from qinspect.formats.checkpoint import TensorInfo
from qinspect.planning.compact import compact
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

A = make_scheme("base11", group_size=126)
B = make_scheme("symmetric", bits=4, granularity="group", group_size=64)
C = make_scheme("ternary")


def info(name, shape=(8, 8), dtype="F32", qtype=None):
    return TensorInfo(name, shape, dtype, 0, qtype)


def network(blocks=24):
    kinds = ("attn.q.weight", "attn.o.weight", "mlp.up.weight", "mlp.down.weight")
    return [info(f"h.{block}.{kind}") for block in range(blocks) for kind in kinds] + [info("head.weight")]


def follows(recipe, choice, infos):
    return {i.name: recipe.scheme_for(i) for i in infos} == {i.name: choice.get(i.name) for i in infos}


def test_one_scheme_is_one_rule():
    infos = network()
    assert compact({i.name: A for i in infos}, infos) == Recipe.of(A)


def test_kinds_are_rules_before_the_base():
    infos = network()
    choice = {i.name: B if "mlp" in i.name else A for i in infos} | {"head.weight": None}
    recipe = compact(choice, infos)
    assert set(recipe.rules[:-1]) == {
        Rule("h.*.mlp.up.weight", B), Rule("h.*.mlp.down.weight", B), Rule("head.weight", None)
    }  # fmt: skip
    assert recipe.rules[-1] == Rule("*", A)
    assert follows(recipe, choice, infos)


def test_neighbouring_blocks_share_a_rule():
    infos = network()
    choice = {i.name: A for i in infos}
    choice |= {f"h.{block}.mlp.down.weight": B for block in (0, 1, 2, 5, 19, 20, 21, 22)}
    recipe = compact(choice, infos)
    assert {rule.match for rule in recipe.rules[:-1]} == {
        "h.[0-25].mlp.down.weight", "h.19.mlp.down.weight", "h.2[0-2].mlp.down.weight"
    }  # fmt: skip
    assert follows(recipe, choice, infos)


@pytest.mark.parametrize("seed", range(6))
def test_any_choice_is_followed_exactly(seed):
    rng = random.Random(seed)
    infos = [
        *network(), info("norm", (8,)), info("ids", dtype="I64"), info("packed.weight", qtype="base11 g128"),
        info("odd[0].weight"), info("odd0.weight"), info("h.x.mlp.up.weight"), info("3"), info("conv.1"),
    ]  # fmt: skip
    choice = {i.name: rng.choice([A, A, A, B, C, None]) for i in infos if i.dtype == "F32"}
    recipe = compact(choice, infos)
    assert follows(recipe, choice, infos)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_what_is_not_named_is_left_alone():
    infos = network(3)
    recipe = compact({"head.weight": A}, infos)
    assert recipe.rules == (Rule("head.weight", A), Rule("*", None))
    assert follows(compact({}, []), {}, [])


def test_a_vector_has_a_rule_of_its_name():
    infos = [info("fc.weight"), info("norm.weight", (64,))]
    choice = {"fc.weight": A, "norm.weight": A}
    assert follows(compact(choice, infos), choice, infos)
