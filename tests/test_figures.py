"""Numbers as window and terminal write them."""

from __future__ import annotations

import math

import pytest

from qinspect import figures as fmt


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (0.0085, "0.00850"), (-0.25, "−0.250"), (3.14159, "3.14"), (1234.5, "1234"), (1.234e-5, "1.23e−5")],
)
def test_magnitudes_have_three_digits_wherever_they_stand(value, written):
    assert fmt.magnitude(value) == written


def test_what_is_not_known_or_not_finite():
    assert {write(None) for write in (fmt.decibels, fmt.magnitude, fmt.nbytes, fmt.bits, fmt.percent)} == {"–"}
    assert {write(math.nan) for write in (fmt.decibels, fmt.magnitude, fmt.nbytes, fmt.bits, fmt.percent)} == {"–"}
    assert [fmt.decibels(value) for value in (math.inf, -math.inf, -0.1)] == ["exact", "−∞ dB", "−0.1 dB"]
    assert [fmt.decimal(value, 2) for value in (math.inf, -math.inf, -1 / 3)] == ["∞", "−∞", "−0.33"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (2.25e6, "2.25 MB"),
     (1e9, "1 GB"), (3e12, "3 TB"), (4e15, "4e+03 TB")],
)  # fmt: skip
def test_sizes_are_decimal(value, written):
    assert fmt.nbytes(value) == written


def test_words():
    assert [fmt.counted(n, "tensor") for n in (0, 1, 2000)] == ["0 tensors", "1 tensor", "2,000 tensors"]
    assert [fmt.shape(dims) for dims in ((), (3,), [1536, 384])] == ["scalar", "3", "1536 × 384"]


@pytest.mark.parametrize(
    ("value", "write", "written"),
    [(1.25, fmt.decibels, "+1.2 dB"), (-4.3, fmt.decibels, "−4.3 dB"), (-0.04, fmt.decibels, "0.0 dB"),
     (0.0, fmt.nbytes, "0 B"), (-73_728, fmt.nbytes, "−73.7 kB"), (0.004, fmt.bits, "0.00"),
     (3e-9, fmt.magnitude, "+3.00e−9"),
     (math.nan, fmt.bits, "–"), (math.inf, fmt.decibels, "–")],
)  # fmt: skip
def test_changes_have_a_sign_as_far_as_there_is_one(value, write, written):
    assert fmt.change(value, write) == written
