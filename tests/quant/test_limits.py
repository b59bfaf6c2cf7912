"""Limits: the printed table, divisions found by trying all of them, and layers whose best levels are known."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

from qinspect.quant import limits
from qinspect.quant.scheme import make_scheme

LEVELS = [2, 4, 8, 11, 16, 32, 64, 256]
BEST = ["4.40", "9.30", "14.62", "17.16", "20.22", "26.01", "31.91", "43.85"]
UNIFORM = ["4.40", "9.25", "14.27", "16.60", "19.38", "24.57", "29.83", "40.57"]
BOUND = ["6.02", "12.04", "18.06", "20.83", "24.08", "30.10", "36.12", "48.16"]


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def measured(w, scheme):
    noise = limits.own_noise(w, scheme.n_codes)
    return limits.limits_of(scheme.measure(w), noise, one_set=scheme.layout(w.shape).sets == 1)


def db(w, noise):
    return 10 * math.log10(np.square(w.astype(np.float64)).sum() / noise)


def test_the_published_table():
    assert [f"{limits.gaussian_db(n):.2f}" for n in LEVELS] == BEST
    assert [f"{limits.uniform_db(n):.2f}" for n in LEVELS] == UNIFORM
    assert [f"{limits.DB_PER_BIT * math.log2(n):.2f}" for n in LEVELS] == BOUND


@pytest.mark.parametrize("figure", [limits.gaussian_db, limits.uniform_db])
def test_more_levels_are_better_and_the_asymptotes_join(figure):
    values = [figure(n) for n in (*range(2, 40), 254, 255, 256, 257, 258, 512, 65535, 65536)]
    assert all(a < b for a, b in itertools.pairwise(values))
    before, after = figure(256) - figure(255), figure(257) - figure(256)
    assert after == pytest.approx(before, rel=0.02)


def test_sixteen_bits_are_four_decibels_under_the_bound():
    """Panter and Dite: 10·log10(√3·π/2) = 4.347 dB."""
    assert 20 * math.log10(65536) - limits.gaussian_db(65536) == pytest.approx(4.347, abs=0.001)


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 7])
def test_no_division_of_the_bins_is_better(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        x = np.sort(rng.standard_t(2, 9))
        counts = rng.integers(1, 9, 9)

        def noise(cuts, x=x, counts=counts):
            ends = [0, *cuts, x.size]
            parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
            return sum(float(counts[p] @ np.square(x[p] - np.average(x[p], weights=counts[p]))) for p in parts)

        least = min(map(noise, itertools.combinations(range(1, 9), levels - 1)))
        assert limits.least_noise(counts, x, np.zeros(9), levels) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("levels", [2, 3, 11, 16, 64])
def test_a_histogram_of_gaussian_weights(levels):
    edges = np.linspace(-6, 6, 1025)
    counts = np.diff([math.erf(edge / math.sqrt(2)) for edge in edges])
    assert limits.best_db(counts, edges, levels) == pytest.approx(limits.gaussian_db(levels), abs=0.02)


def test_a_histogram_of_uniform_weights():
    """N even levels leave (width/N)²/12 of width²/12."""
    for levels in (2, 8, 64):
        found = limits.best_db(np.full(1024, 5), np.linspace(-3, 3, 1025), levels)
        assert found == pytest.approx(20 * math.log10(levels), abs=1e-6)


@pytest.mark.parametrize("levels", [2, 11, 16, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_gaussian_weights(levels, dtype):
    w = gaussian(700, 900).astype(dtype)
    assert db(w, limits.own_noise(w, levels)) == pytest.approx(limits.gaussian_db(levels), abs=0.05)


@pytest.mark.parametrize("kind", ["laplace", "uniform", "shifted", "sparse"])
@pytest.mark.parametrize("levels", [4, 11, 64])
def test_at_least_as_good_as_even_levels_and_as_lloyds_iteration(kind, levels):
    rng = np.random.default_rng(5)
    w = {
        "laplace": lambda: rng.laplace(size=50_000),
        "uniform": lambda: rng.uniform(-1, 1, 50_000),
        "shifted": lambda: 1 + 0.001 * rng.standard_normal(50_000),
        "sparse": lambda: rng.standard_normal(50_000) * (rng.random(50_000) < 0.1),
    }[kind]().astype(np.float32)
    even = np.linspace(w.min(), w.max(), 2 * levels + 1)[1::2].astype(np.float64)
    lloyd = np.quantile(w.astype(np.float64), (np.arange(levels) + 0.5) / levels)
    for _ in range(100):
        cells = np.searchsorted((lloyd[1:] + lloyd[:-1]) / 2, w)
        n = np.bincount(cells, minlength=levels)
        lloyd = np.where(n > 0, np.bincount(cells, w, levels) / np.maximum(n, 1), lloyd)
    noise = [np.square(x[np.searchsorted((x[1:] + x[:-1]) / 2, w)] - w.astype(np.float64)).sum() for x in (even, lloyd)]
    assert limits.own_noise(w, levels) <= min(noise) * 1.01


def test_an_outlier_takes_one_level():
    w = gaussian(100, 1000)
    plain = limits.own_noise(w, 11)
    w[3, 3] = 1e6
    assert limits.own_noise(w, 12) == pytest.approx(plain, rel=0.01)


def test_two_values_need_two_levels():
    w = np.where(gaussian(100, 100) > 0, np.float32(0.125), np.float32(-0.125))
    assert db(w, limits.own_noise(w, 2)) > 52  # what patterns of 16 bits leave open


def test_more_levels_than_the_layer_is_asked_for():
    assert limits.own_noise(gaussian(10, 10), 65) is None
    assert limits.own_noise(np.zeros((0, 4), np.float32), 11) == 0


class TestWords:
    def test_a_scheme_for_the_whole_layer(self):
        w = gaussian(256, 512)
        found = measured(w, make_scheme("symmetric", bits=4))
        sqnr = make_scheme("symmetric", bits=4).measure(w).sqnr_db
        assert found.gap_db == pytest.approx(20.22 - sqnr, abs=0.05)
        assert found.sentence == f"{found.gap_db:.1f} dB under the best 16 fixed levels for the whole layer."

    def test_groups_that_do_better(self):
        w = gaussian(256, 512) * np.repeat([0.01, 1], 128)[:, None].astype(np.float32)
        found = measured(w, make_scheme("base11", group_size=32))
        assert found.gap_db < 0
        assert found.sentence.startswith(
            f"{-found.gap_db:.1f} dB above the best 11 fixed levels for the whole layer: so much is gained by"
        )

    def test_many_levels_are_held_against_gaussian_weights(self):
        found = measured(gaussian(64, 64), make_scheme("symmetric"))
        assert found.own_db is None
        assert found.sentence.endswith(" dB under the best 256 levels for Gaussian weights.")

    def test_exact(self):
        found = measured(np.zeros((4, 4), np.float32), make_scheme("symmetric", bits=4))
        assert found.sentence == "Exact: no levels could do better."
        assert found.to_json()["gap_db"] is None

    def test_all_is_lost(self):
        found = measured(np.zeros((4, 4), np.float32), make_scheme("sentinel", bits=4))
        assert found.sentence.startswith("All is lost")

    def test_without_a_reference(self):
        from qinspect.quant import engine

        q = make_scheme("base11").quantize(gaussian(8, 128))
        found = limits.limits_of(engine.stored_metrics(q), None, one_set=False)
        assert found.gap_db is None
        assert found.sentence == "The best 11 levels reach 17.2 dB on Gaussian weights."
        assert found.entropy_bound_db < found.bound_db

    def test_one_scale_is_never_above_its_own_levels(self):
        """A layer that the scheme's own levels fit almost exactly: bins must not claim less."""
        w = (np.arange(-7, 8, dtype=np.float32).repeat(100) * 0.1).reshape(30, 50)
        w[0, 0] += 1e-6
        assert measured(w, make_scheme("symmetric", bits=4)).gap_db >= 0
