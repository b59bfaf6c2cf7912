"""Budgets in the sizes of a target: what is planned is what an export takes, and what the target cannot hold is not."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect.errors import BudgetError
from qinspect.formats.open import open_checkpoint
from qinspect.planning.budget import Limit
from qinspect.planning.compact import compact
from qinspect.planning.prices import Prices
from qinspect.planning.wishes import Wishes
from qinspect.quant.scheme import make_scheme
from qinspect.quant.sweep import SweepGrid, sweep
from qinspect.targets.target import registry

GRID = SweepGrid.of(["base11", "symmetric", "asymmetric", "learned"], {"group_size": [32, 60], "bits": [3, 4, 7, 8]})
TARGETS = ["c", "onnx", "onnxruntime", "safetensors", "pt", "compressed-tensors"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network of three layers, whose rows groups of 60 do not divide."""
    rng = np.random.default_rng(5)
    shapes = {"a": (96, 64), "b": (61, 96), "c": (10, 61)}
    tensors = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    network = [op for name in shapes for op in ({"op": "linear", "prefix": name}, {"op": "relu"})][:-1]
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    save_file(tensors, path, {"qinspect.network": json.dumps(network)})
    with open_checkpoint(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def points(checkpoint):
    infos = [info for info in checkpoint.infos if info.quantizable]
    return {
        info.name: list(sweep(info.name, checkpoint.load(info.name), GRID.schemes_for(info.shape))) for info in infos
    }


def exported(checkpoint, target, allocation):
    return target.plan(checkpoint, compact(allocation.choice, checkpoint.infos))


@pytest.mark.parametrize("name", TARGETS)
def test_a_limit_holds_for_what_is_exported_to_the_byte(checkpoint, points, name):
    target = registry[name]()
    prices = Prices(target, checkpoint)
    priced = prices.priced(points)
    budget = Wishes().budget(priced, prices.rest(priced))
    ends = [exported(checkpoint, target, budget.plan(Limit("bytes", n))) for n in budget.front.nbytes[[0, -1]].tolist()]
    for limit in np.linspace(*(end.budgeted_nbytes for end in ends), 5).astype(int).tolist():
        found = prices.fitted(budget, Limit("bytes", limit))
        plan = exported(checkpoint, target, found)
        assert plan.budgeted_nbytes == found.nbytes <= limit
        rows = {row.name: row for row in plan.rows}
        assert all(rows[layer].nbytes == point.nbytes for layer, point in found.points.items())
        assert all(rows[layer].scheme == point.scheme for layer, point in found.points.items())
        assert found.bpw == pytest.approx(plan.bpw)
    with pytest.raises(BudgetError, match="no choice of points stays within"):
        prices.fitted(budget, Limit("bytes", 3000))


def test_a_size_is_that_of_the_target_and_not_of_the_packed_file(checkpoint):
    """7 bits lie in bytes in C: four a word, 64 weights in 16 words, and two float32 scales a row."""
    scheme = make_scheme("symmetric", bits=7, granularity="group", group_size=32)
    sizes = {name: Prices(registry[name](), checkpoint).sizes({"a.weight": [scheme]}) for name in ("c", "safetensors")}
    assert sizes["c"]["a.weight"][scheme] == 96 * (64 + 8)
    assert sizes["safetensors"]["a.weight"][scheme] == 96 * (56 + 8)


@pytest.mark.parametrize(
    ("target", "bits", "said"),
    [
        ("c", 7, "4 codes of 128 levels to a word: 1 bits a weight more"),
        ("c", 8, ""),
        ("c", 4, ""),
        ("onnxruntime", 3, "held in MatMulNBits: 1.6 bits"),
    ],
)
def test_what_a_target_takes_more_is_remarked(checkpoint, target, bits, said):
    """In onnxruntime 3 bits lie in 4, a scale has 16 bits more, a zero point has 4."""
    scheme = make_scheme("symmetric", bits=bits, granularity="group", group_size=32, param_dtype="float16")
    plan = Prices(registry[target](), checkpoint).plan({"a.weight": scheme})
    (note,) = [row.note for row in plan.rows if row.name == "a.weight"]
    assert (said in note) if said else ("more than" not in note)


def test_what_a_target_cannot_hold_is_left_out(checkpoint, points):
    found = Prices(registry["compressed-tensors"](), checkpoint).priced(points)
    assert found
    for some in found.values():
        assert {(point.scheme.name, point.scheme.bits) for point in some} <= {("symmetric", 4), ("symmetric", 8)}
    assert "b.weight" in found
    assert not any(point.scheme.group_size == 60 and 60 < 96 for point in found["b.weight"])


def test_what_saves_nothing_there_is_left_out(checkpoint, points):
    assert Prices(registry["fp32"](), checkpoint).priced(points) == {}


def test_other_limits_are_of_the_targets_sizes_too(checkpoint, points):
    prices = Prices(registry["c"](), checkpoint)
    priced = prices.priced(points)
    found = prices.fitted(Wishes().budget(priced, prices.rest(priced)), Limit("bpw", 4.5))
    plan = exported(checkpoint, registry["c"](), found)
    assert plan.bpw == pytest.approx(found.bpw)
    assert found.bpw <= 4.5
    assert plan.budgeted_nbytes == found.nbytes
