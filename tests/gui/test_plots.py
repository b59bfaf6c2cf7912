"""The plot toolkit: ticks, numbers in words, pooling and cropping, held against plain numpy and arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QRectF

from qinspect.gui import theme as themes
from qinspect.gui.axes import Axis, beside, nice_step, number, plain, short, signed_log, steps_within
from qinspect.gui.bins import bulk
from qinspect.gui.colours import COLOURS, Kind, Look, Norm, Rule, Spread, spread, table_of, tables_for
from qinspect.gui.pooling import Pool, crop, pooled


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0431, "−0.0431"), (1.2e-5, "1.20e−5"), (123456, "1.23e5"), (1, "1.00"), (250, "250"), (-7, "−7.00")],
)
def test_numbers_have_three_digits_and_a_true_minus_sign(value, text):
    assert number(value) == text


def test_a_mean_is_rounded_to_the_digits_of_its_spread():
    assert beside(4.4e-6, 0.0472) == "0"
    assert beside(-0.02131, 0.984) == "−0.021"
    assert beside(3.0, 0.0) == "3.00"


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [(0.25, 0.05, "0.25"), (-0.2, 0.1, "−0.2"), (1e-17, 0.1, "0"), (2e-5, 1e-5, "2e−5"), (1.5e-4, 1e-5, "1.5e−4")],
)
def test_ticks_show_as_many_decimals_as_their_distance_needs(value, step, text):
    assert plain(value, step) == text


def test_counts_are_short():
    assert [short(v, 1) for v in (5, 1000, 20_000, 1_500_000, 2e9)] == ["5", "1k", "20k", "1.5M", "2G"]


@given(st.floats(1e-12, 1e12), st.floats(1, 30))
def test_steps_are_one_two_or_five_and_no_more_than_asked(span, parts):
    step = nice_step(span, parts)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-6
    assert span / step <= parts * (1 + 1e-6)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(1, 20))
def test_ticks_lie_in_the_range_and_miss_none(low, span, parts):
    step = nice_step(span, parts)
    ticks = steps_within(low, low + span, step)
    assert all(low - 1e-6 * step <= t <= low + span + 1e-6 * step for t in ticks)
    assert len(ticks) >= math.floor(span / step)


def test_an_axis_of_decades_labels_powers_of_ten_and_below_one_decade_1_2_5(qapp):
    axis = Axis("left")
    axis.describe("count", short, decades=True)
    (step, values), *_ = axis.tickValues(-0.2, 6.1, 200.0)
    assert [10**v for v in values] == pytest.approx([10.0**k for k in range(7) if k % step == 0])
    (_, values), *_ = axis.tickValues(0.1, 0.8, 200.0)
    assert [10**v for v in values] == pytest.approx([2, 5])
    assert axis.tickStrings(values, 1.0, 1.0) == ["2", "5"]


def test_counts_of_either_sign_have_a_logarithm(qapp):
    assert signed_log(np.array([-1000, -1, 0, 1, 10])).tolist() == [-4, -1, 0, 1, 2]
    axis = Axis("left")
    axis.describe("count, A − B", short, decades=True, signed=True)
    assert axis.tickStrings([-5, -1, 0, 1, 3], 1.0, 1.0) == ["−10k", "−1", "0", "1", "100"]


def test_the_bulk_of_differences_leaves_out_a_few_far_ones():
    counts = np.zeros(1000, np.int64)
    counts[100:110], counts[990] = 50_000, -2
    assert bulk(counts).tolist() == [100, 109]
    assert bulk(counts[:50]).size == 0


def test_an_integer_axis_never_ticks_between_rows(qapp):
    axis = Axis("bottom", integer=True)
    assert axis.tickValues(2.6, 5.4, 900.0)[0][1] == [3, 4, 5]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 100), st.integers(1, 100), st.integers(0, 9))
def test_pooling_keeps_of_every_cell_what_it_says(m, n, rows, cols, seed):
    x = np.random.default_rng(seed).standard_normal((m, n)).astype(np.float32)
    expected = {
        Pool.LARGEST: lambda cell: cell[np.argmax(np.abs(cell))],
        Pool.LEAST: np.min,
        Pool.MEAN: lambda cell: cell.mean(dtype=np.float64),
        Pool.RMS: lambda cell: np.sqrt(np.mean(np.square(cell, dtype=np.float64))),
    }
    for pool, of_cell in expected.items():
        found = pooled(x, rows, cols, pool)
        assert found.shape == (math.ceil(m / rows), math.ceil(n / cols))
        for i in range(found.shape[0]):
            for j in range(found.shape[1]):
                cell = x[i * rows : (i + 1) * rows, j * cols : (j + 1) * cols].ravel()
                assert found[i, j] == pytest.approx(of_cell(cell), rel=1e-4, abs=1e-6)


@given(st.floats(0, 90), st.floats(0, 70), st.floats(0.5, 60), st.floats(0.2, 9), st.sampled_from([1, 2, 4]))
def test_a_crop_covers_the_view_with_cells_no_smaller_than_pixels_in_their_own_place(
    left, top, width, per_pixel, factor
):
    x = np.random.default_rng(0).standard_normal((100 // factor, 120 // factor)).astype(np.float32)
    view = QRectF(left - 0.5, top - 0.5, min(width, 120 - left), min(width, 100 - top))
    found = crop(x, view, (per_pixel, per_pixel), factor=(factor, factor))
    assert min(found.cell) >= per_pixel
    rect = found.rect
    assert rect.left() <= view.left() + 1e-9 and rect.top() <= view.top() + 1e-9
    assert rect.right() >= view.right() - 1e-9 and rect.bottom() >= view.bottom() - 1e-9
    rows, cols = found.cell[0] // factor, found.cell[1] // factor
    i0, j0 = round((rect.top() + 0.5) / factor), round((rect.left() + 0.5) / factor)
    for i, j in ((0, 0), (found.values.shape[0] - 1, found.values.shape[1] - 1)):
        cell = x[i0 + i * rows : i0 + (i + 1) * rows, j0 + j * cols : j0 + (j + 1) * cols].ravel()
        assert found.values[i, j] == cell[np.argmax(np.abs(cell))]


def test_rows_of_a_sample_are_stretched_over_the_whole():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = crop(x, QRectF(-0.5, -0.5, 3, 40), (0.1, 0.1), stretch=10.0)
    assert found.rect == QRectF(-0.5, -0.5, 3, 40)
    np.testing.assert_array_equal(found.values, x)


def test_the_range_of_colours_leaves_out_the_outermost_and_what_is_not_finite():
    x = np.append(np.linspace(-1, 1, 10_001), [1e6, np.nan, np.inf])
    low, high = spread(x, 99.0)
    assert (low, high) == pytest.approx((-0.98, 0.98), abs=1e-3)
    assert spread(np.full(3, np.nan)) == (0.0, 0.0)


@pytest.mark.parametrize("theme", themes.THEMES.values(), ids=lambda theme: theme.name)
def test_signed_colours_are_neutral_at_zero_and_told_apart_at_the_ends(theme):
    table = table_of("neutral", theme).astype(int)
    assert table.shape == (COLOURS + 1, 3)
    assert np.ptp(table[COLOURS // 2]) < 12  # grey
    # Blue against yellow or orange: the difference lies in blue minus red, which colour-blind people see too.
    assert table[0, 2] - table[0, 0] > 60
    assert table[-2, 0] - table[-2, 2] > 60


@pytest.mark.parametrize("kind", Kind)
def test_every_table_offered_is_there_and_its_last_colour_is_for_no_number(kind):
    for name in tables_for(kind):
        for theme in themes.THEMES.values():
            table = table_of(name, theme)
            assert len({tuple(colour) for colour in table[:-1]}) > 100
            red, green, blue = table[-1]
            assert f"#{red:02x}{green:02x}{blue:02x}" == theme.unused


VALUES = np.append(np.random.default_rng(3).standard_normal(20_000), 50.0).astype(np.float32)


def test_rules_find_the_ends_that_they_name():
    look = Look("viridis")
    assert replace(look, rule=Rule.EXTREMES).range_of(VALUES) == pytest.approx((VALUES.min(), 50.0))
    low, high = replace(look, rule=Rule.SIGMA).range_of(VALUES)
    width = 3 * VALUES.std(dtype=np.float64)
    assert (low, high) == pytest.approx((VALUES.mean() - width, VALUES.mean() + width), rel=1e-3)
    assert replace(look, percent=99.0).range_of(VALUES) == pytest.approx(np.percentile(VALUES, (1, 99)))
    assert look.fixed(3.0, -2.0).range_of(VALUES) == (-2.0, 3.0)


def test_signed_values_have_zero_in_the_middle_and_magnitudes_begin_there():
    low, high = Look("neutral", Kind.SIGNED, Rule.EXTREMES).range_of(np.array([-1.0, 3.0]))
    assert (low, high) == (-3.0, 3.0)
    assert Look("inferno", Kind.MAGNITUDE, Rule.EXTREMES).range_of(np.array([1.0, 3.0])) == (0.0, 3.0)
    assert Norm.LOG not in Look("neutral", Kind.SIGNED).norms
    assert Norm.LOG in Look("inferno", Kind.MAGNITUDE).norms


@pytest.mark.parametrize("norm", Norm)
def test_every_spread_rises_from_the_low_end_to_the_high_one(norm):
    spread_ = Spread.over(0.01, 5.0, norm)
    x = np.geomspace(0.01, 5.0, 300).astype(np.float32)
    places = spread_.places(x)
    assert places[[0, -1]] == pytest.approx([0, 1], abs=1e-5)
    assert (np.diff(places) > 0).all()
    half = {Norm.LINEAR: 2.505, Norm.LOG: math.sqrt(0.05), Norm.SQRT: 0.01 + 4.99 / 4}
    if norm in half:
        assert spread_.places(np.array([half[norm]]))[0] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("norm", [Norm.LINEAR, Norm.SQRT, Norm.ARCSINH])
def test_spreads_of_signed_values_are_odd(norm):
    places = Spread.over(-2.0, 2.0, norm).places(np.array([-1.0, 0.0, 1.0]))
    assert places[1] == pytest.approx(0.5)
    assert places[0] + places[2] == pytest.approx(1)
    assert places[2] >= 0.75  # small values are told apart at least as well


def test_colours_of_values_out_of_range_and_of_no_value():
    found = Spread.over(0.0, 1.0, Norm.LINEAR).indices(np.array([-5, 0, 0.5, 1, 9, np.nan, np.inf], np.float32))
    assert found.tolist() == [0, 0, 127, 254, 254, COLOURS, 254]
    assert np.ptp(Spread.over(2.0, 2.0, Norm.LINEAR).indices(np.full(3, 2, np.float32))) == 0
