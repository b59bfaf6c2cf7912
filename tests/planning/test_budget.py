"""Budget: the choice of points against every other choice, limits that are kept, and those that cannot be."""

import itertools
import math

import numpy as np
import pytest

from qinspect.errors import BudgetError
from qinspect.planning.budget import Budget, Limit, hull
from qinspect.quant.scheme import make_scheme
from qinspect.quant.sweep import SweepPoint

SIZE = 1000
"""Weights of every layer here."""


def point(layer, at, nbytes, noise, signal=100.0):
    scheme = make_scheme("base11", group_size=at + 1)
    sqnr = 10 * math.log10(signal / noise) if noise else math.inf
    return SweepPoint(layer, scheme, 8 * nbytes / SIZE, sqnr, math.sqrt(noise / SIZE), 1.0, nbytes, signal, noise)


def layers(*shapes, seed=0):
    """Layers with random points: more bytes, by and large less error."""
    rng = np.random.default_rng(seed)
    found = {}
    for number, count in enumerate(shapes):
        name = f"layer{number}"
        nbytes = rng.choice(np.arange(100, 1000), count, replace=False)
        noise = rng.uniform(0.2, 5) * np.exp(-nbytes / 300) * rng.uniform(0.5, 2, count)
        found[name] = [point(name, at, int(b), float(e)) for at, (b, e) in enumerate(zip(nbytes, noise, strict=True))]
    return found


def combinations(points):
    """Bytes and error of every choice there is."""
    for chosen in itertools.product(*points.values()):
        yield sum(p.nbytes for p in chosen), sum(p.noise for p in chosen), chosen


def error_of(allocation):
    return sum(p.noise for p in allocation.points.values())


def test_the_hull_by_hand():
    #  bytes 1 2 3 4 5, error 10 8 3 2.5 2: the second lies above the line from the first to the third.
    assert hull(np.array([1, 2, 3, 4, 5]), np.array([10, 8, 3, 2.5, 2.0])) == [0, 2, 3, 4]
    assert hull(np.array([3, 1, 2]), np.array([1.0, 1.0, 5.0])) == [1]
    assert hull(np.array([2, 2]), np.array([5.0, 4.0])) == [1]


@pytest.mark.parametrize("seed", range(8))
def test_at_every_step_of_the_front_no_choice_is_better(seed):
    points = layers(5, 4, 6, 5, seed=seed)
    budget = Budget(points)
    every = list(combinations(points))
    for nbytes in budget.front.nbytes.tolist():
        found = budget.plan(Limit("bytes", nbytes))
        least = min(error for size, error, _ in every if size <= nbytes)
        assert error_of(found) == pytest.approx(least)
        smallest = min(size for size, error, _ in every if error <= error_of(found) * (1 + 1e-12))
        assert found.nbytes == smallest


@pytest.mark.parametrize("seed", range(4))
def test_between_steps_the_limit_is_kept_and_the_rest_of_it_used(seed):
    points = layers(5, 4, 6, 5, seed=seed)
    budget = Budget(points)
    front = budget.front
    errors = []
    for limit in range(int(front.nbytes[0]), int(front.nbytes[-1]) + 50, 7):
        found = budget.plan(Limit("bytes", limit))
        assert found.nbytes <= limit
        step = budget.plan(Limit("bytes", int(front.nbytes[front.nbytes <= limit][-1])))
        assert error_of(found) <= error_of(step)
        errors.append(error_of(found))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_a_floor_is_kept_with_few_bytes(seed):
    points = layers(5, 4, 6, 5, seed=seed)
    budget = Budget(points)
    sizes = []
    for floor in np.linspace(budget.front.sqnr_db[0], budget.front.sqnr_db[-1], 60):
        found = budget.plan(Limit("sqnr", float(floor)))
        assert found.sqnr_db >= floor - 1e-6
        sizes.append(found.nbytes)
    assert sizes == sorted(sizes)
    for nbytes, sqnr_db in zip(budget.front.nbytes, budget.front.sqnr_db, strict=True):
        assert budget.plan(Limit("sqnr", float(sqnr_db))).nbytes == nbytes


def test_a_mean_of_bits_is_that_of_the_planned_layers():
    points = layers(6, 6)
    found = Budget(points, rest=12345).plan(Limit("bpw", 4.0))
    planned = sum(p.nbytes for p in found.points.values())
    assert found.bpw == pytest.approx(8 * planned / (2 * SIZE))
    assert found.bpw <= 4.0
    assert found.nbytes == planned + 12345
    assert found.points == Budget(points).plan(Limit("bytes", 4.0 * 2 * SIZE / 8)).points


def test_totals():
    points = layers(4, 4, 4)
    found = Budget(points).plan(Limit("bpw", 8.0))
    noise = sum(p.noise for p in found.points.values())
    assert found.sqnr_db == pytest.approx(10 * math.log10(300 / noise))
    assert found.weighted_sqnr_db == found.sqnr_db
    assert found.choice == {name: p.scheme for name, p in found.points.items()}


def test_no_error_at_all_is_reached_and_exact():
    points = layers(4, 4)
    for name, some in points.items():
        some.append(point(name, 99, 2000, 0.0))
    found = Budget(points).plan(Limit("sqnr", math.inf))
    assert found.sqnr_db == math.inf
    assert found.nbytes == 4000
    assert Budget(points).front.sqnr_db[-1] == math.inf


def test_weights_say_whose_error_counts():
    points = layers(6, 6)
    middle = sum(Budget(points).front.nbytes[[0, -1]].tolist()) / 2
    first, heavy = (Budget(points, weights={name: 1000.0}).plan(Limit("bytes", middle)) for name in points)
    assert first.points["layer0"].noise < heavy.points["layer0"].noise
    assert first.points["layer1"].noise > heavy.points["layer1"].noise
    p = heavy.points
    weighted = (100 + 1000 * 100) / (p["layer0"].noise + 1000 * p["layer1"].noise)
    assert heavy.weighted_sqnr_db == pytest.approx(10 * math.log10(weighted))


def test_a_locked_layer_keeps_its_point_whatever_it_costs():
    points = layers(5, 5, 5)
    kept = point("layer1", 77, 5000, 1.0)
    budget = Budget(points, locked={"layer1": kept})
    assert all(
        budget.plan(Limit("bytes", int(n))).points["layer1"] is kept for n in (budget.front.nbytes[0], 6000, 10**9)
    )
    free = Budget({name: points[name] for name in ("layer0", "layer2")})
    assert (budget.front.nbytes - 5000 == free.front.nbytes).all()


def test_tied_layers_take_the_same_scheme_and_the_best_one_for_all():
    points = layers(6, 6, 6, seed=3)
    budget = Budget(points, ties=[("layer0", "layer2")])
    together = [
        (sum(p.nbytes for p in chosen), sum(p.noise for p in chosen), chosen)
        for _, _, chosen in combinations(points)
        if chosen[0].scheme == chosen[2].scheme
    ]
    for nbytes in budget.front.nbytes.tolist():
        found = budget.plan(Limit("bytes", nbytes))
        assert found.points["layer0"].scheme == found.points["layer2"].scheme
        assert error_of(found) == pytest.approx(min(error for size, error, _ in together if size <= nbytes))


def test_a_lock_of_one_holds_for_its_tie():
    points = layers(6, 6, 6)
    kept = points["layer0"][3]
    found = Budget(points, locked={"layer0": kept}, ties=[("layer0", "layer2")]).plan(Limit("bpw", 8.0))
    assert found.points["layer2"] is points["layer2"][3]


def test_ties_that_cannot_be_are_named():
    points = {"a": [point("a", 1, 10, 1.0)], "b": [point("b", 2, 10, 1.0)]}
    with pytest.raises(BudgetError, match="a, b have no scheme in common"):
        Budget(points, ties=[("a", "b")])
    with pytest.raises(BudgetError, match="a has no point"):
        Budget({"a": []})
    with pytest.raises(BudgetError, match="a is in two ties"):
        Budget(points, ties=[("a", "b"), ("a", "c")])


def test_ties_of_layers_that_are_not_there_are_none():
    points = layers(4)
    assert Budget(points, ties=[("layer0", "layer9"), ("layer8",)]).plan(Limit("bpw", 8)).points.keys() == {"layer0"}


def test_a_limit_that_cannot_be_kept_says_which_can():
    points = layers(5, 5)
    budget = Budget(points, rest=1000)
    least, best = int(budget.front.nbytes[0]), budget.front.sqnr_db[-1]
    with pytest.raises(BudgetError, match=f"smallest takes {least:,} bytes"):
        budget.plan(Limit("bytes", least - 1))
    with pytest.raises(BudgetError, match=f"best there is reaches {best:.2f} dB"):
        budget.plan(Limit("sqnr", best + 1))
    with pytest.raises(BudgetError, match="bits a weight") as caught:
        budget.plan(Limit("bpw", 0.1))
    said = float(str(caught.value).split("smallest takes ")[1].split()[0])
    assert budget.plan(Limit("bpw", said)).nbytes == least


def test_nothing_to_plan():
    budget = Budget({}, rest=10)
    assert budget.plan(Limit("bytes", 10)).nbytes == 10
    assert budget.front.nbytes.tolist() == [10]
    with pytest.raises(BudgetError):
        budget.plan(Limit("bytes", 9))


def test_the_front_is_convex_and_ends_where_every_layer_is_best():
    points = layers(20, 20, 20, 20)
    budget = Budget(points)
    front = budget.front
    assert (np.diff(front.nbytes) > 0).all()
    noise = 400 / 10 ** (front.sqnr_db / 10)
    assert (np.diff(np.diff(noise) / np.diff(front.nbytes)) > -1e-9).all()
    assert error_of(budget.plan(Limit("bytes", 10**9))) == sum(min(p.noise for p in some) for some in points.values())
