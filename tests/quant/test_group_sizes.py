"""Group sizes: which suit a row, and what one costs that does not divide it."""

import math

import pytest

from qinspect.quant.group_sizes import fit, resized, suiting_sizes, useful_sizes
from qinspect.quant.scheme import make_scheme

BASE11 = make_scheme("base11")
INT4 = make_scheme("symmetric", bits=4, granularity="group", param_dtype="float16")


def base11_padding(size: int, cols: int) -> float:
    """By the layout of the records: four bytes for nine digits, four bytes of parameters, the last record in full."""
    size = min(size, cols)
    stored = math.ceil(cols / size) * (32 * math.ceil(size / 9) + 32)
    return stored / cols - (32 / 9 + 32 / size)


@pytest.mark.parametrize("cols", [384, 1000, 1024, 1536, 4096, 50])
@pytest.mark.parametrize("size", [32, 63, 64, 126, 128, 171, 252, 256])
def test_padding_is_what_the_records_hold_beside_weights(size, cols):
    found = fit(resized(BASE11, size), cols)
    assert found.padding == pytest.approx(base11_padding(size, cols), abs=1e-6)
    assert found.ragged == cols % min(size, cols)


def test_what_a_size_costs_is_said():
    # Rows of 384 take four records of fourteen words and two parameters: 5.00 bits, of which 1.19 are for nothing.
    assert fit(resized(BASE11, 126), 384).sentence == (
        "Groups of 126 do not divide rows of 384: the last holds 6, which costs 1.19 bits a weight."
    )
    assert "digits that no weight uses: 0.19 bits" in fit(BASE11, 4096).sentence
    assert fit(resized(BASE11, 126), 126 * 32).sentence == ""
    assert "the last holds 104, which costs next to nothing" in fit(INT4, 1000).sentence
    assert fit(INT4, 4096).sentence == ""


def test_parameters_that_no_group_shares_have_no_fit():
    assert fit(make_scheme("symmetric"), 4096) is None
    assert fit(make_scheme("sentinel"), 4096) is None
    assert fit(BASE11, 0) is None


def test_a_codebook_is_no_padding():
    found = fit(make_scheme("learned", levels=16, granularity="group", group_size=64), 4096)
    assert found.padding == 0


def test_sizes_offered_are_powers_of_two_whole_words_and_what_suits_the_row():
    sizes = useful_sizes(BASE11, 4096)
    assert {32, 63, 64, 126, 128, 252, 256} <= set(sizes)
    assert list(sizes) == sorted(set(sizes))
    assert useful_sizes(INT4, 1000) == (32, 50, 64, 125, 128, 250, 256)
    assert useful_sizes(INT4, 100) == (32, 50, 64, 100, 128, 256)
    assert useful_sizes(BASE11, 20) == (32, 63, 64, 126, 128, 252, 256)


@pytest.mark.parametrize("cols", [384, 1000, 1024, 1536, 14336])
def test_each_octave_has_the_size_that_pads_least(cols):
    sizes = useful_sizes(BASE11, cols)
    for power in (64, 128):
        octave = range(math.ceil(power / math.sqrt(2)), math.floor(power * math.sqrt(2)) + 1)
        least = min(base11_padding(n, cols) for n in octave if n % 9 == 0 or cols % n == 0)
        assert min(base11_padding(n, cols) for n in sizes if n in octave) == pytest.approx(least, abs=1e-6)


def test_sizes_that_suit_are_divisors_and_whole_words():
    assert suiting_sizes(BASE11, 384, 96, 160) == [96, 99, 108, 117, 126, 128, 135, 144, 153]
    assert suiting_sizes(INT4, 600, 96, 160) == [100, 120, 150]
