"""Conversions to and from float16 against numpy's own."""

from __future__ import annotations

import numpy as np

from qinspect.quant.half_kernels import narrow, widen


def test_every_half_is_widened_as_numpy_does():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(widen(halves), halves.astype(np.float32))


def test_halves_and_their_neighbours_and_midpoints_are_narrowed_as_numpy_does():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float32)
    middle = (np.sort(exact)[:-1] + np.sort(exact)[1:]) / 2
    values = np.concatenate([exact, middle])
    values = np.concatenate(
        [values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))]
    )
    expected = values.astype(np.float16)
    np.testing.assert_array_equal(narrow(values).view(np.uint16), expected.view(np.uint16))


def test_any_pattern_is_narrowed_as_numpy_does():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate(
        [bits.view(np.float32), np.float32([0, -0.0, np.inf, -np.inf, 65504, 65519.99, 65520, 1e38])]
    )
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    found = narrow(values)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    fine = ~np.isnan(expected)
    np.testing.assert_array_equal(found[fine].view(np.uint16), expected[fine].view(np.uint16))
