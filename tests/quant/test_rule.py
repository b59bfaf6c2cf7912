"""Parameters as rules give them, against numpy's and ml_dtypes' own rounding, and half precision read back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from qinspect.quant.half_kernels import widen
from qinspect.quant.rule import RANGE_FLOOR, Rule

TYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def patterns(array):
    return array.view(np.uint32 if array.dtype == np.float32 else np.uint16)


def stored(values, dtype):
    """`values` as a parameter: a minimum is nothing else than the lowest weight, rounded."""
    return Rule("minimum", 1, np.dtype(dtype), "minimum").fit(values, values)["minimum"]


def test_every_half_is_widened_as_numpy_does():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(widen(halves), halves.astype(np.float32))


@pytest.mark.parametrize("dtype", TYPES[1:], ids=str)
class TestRounding:
    def test_every_pattern_its_neighbours_and_midpoints(self, dtype):
        every = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
        exact = np.sort(every[np.isfinite(every)])
        values = np.concatenate([exact, exact[:-1] / 2 + exact[1:] / 2])
        infinity = np.float32(np.inf)
        values = np.concatenate([values, np.nextafter(values, infinity), np.nextafter(values, -infinity)])
        values += np.float32(0)  # weights are so, too
        np.testing.assert_array_equal(patterns(stored(values, dtype)), patterns(values.astype(dtype)))

    def test_any_finite_pattern(self, dtype):
        bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32)
        values = np.append(bits.view(np.float32), np.float32([65504, 65519.99, 65520, 1e38, 3.4e38, -3.4e38]))
        values = values[np.isfinite(values)] + np.float32(0)
        with np.errstate(over="ignore"):
            expected = values.astype(dtype)
        np.testing.assert_array_equal(patterns(stored(values, dtype)), patterns(expected))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
class TestKinds:
    """Each against its formula in numpy."""

    @pytest.fixture
    def ends(self):
        rng = np.random.default_rng(1)
        spread = 10.0 ** rng.uniform(-9, 3, (2, 1000))
        low = np.float32(rng.standard_normal(1000) * spread[0])
        low[:3] = 0, -1, 5
        high = low + np.float32(spread[1])
        high[:3] = 0, -1, 5
        return low, high

    def as_scale(self, span, steps, dtype):
        smallest = np.float32(ml_dtypes.finfo(dtype).smallest_subnormal)
        return np.where(span > 0, np.maximum(span / np.float32(steps), smallest), np.float32(1)).astype(dtype)

    def test_range(self, ends, dtype):
        low, high = ends
        fitted = Rule("range", 10, dtype, "min_val").fit(low, high)
        bottom, top = (end.astype(dtype).astype(np.float32) for end in ends)
        scale = np.maximum(top - bottom, np.float32(RANGE_FLOOR)).astype(dtype)
        np.testing.assert_array_equal(fitted["min_val"], low.astype(dtype))
        np.testing.assert_array_equal(fitted["scale"], scale)

    def test_largest(self, ends, dtype):
        low, high = ends
        fitted = Rule("largest", 7, dtype).fit(low, high)
        np.testing.assert_array_equal(fitted["scale"], self.as_scale(np.maximum(-low, high), 7, dtype))
        assert list(fitted) == ["scale"]

    def test_minimum(self, ends, dtype):
        low, high = ends
        fitted = Rule("minimum", 15, dtype, "minimum").fit(low, high)
        bottom = low.astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(fitted["minimum"], low.astype(dtype))
        np.testing.assert_array_equal(fitted["scale"], self.as_scale(np.maximum(high - bottom, 0), 15, dtype))

    def test_zero_point(self, ends, dtype):
        low, high = np.minimum(ends[0], 0), np.maximum(ends[1], 0)
        fitted = Rule("zero_point", 255, dtype, "zero_point").fit(*ends)
        scale = self.as_scale(high - low, 255, dtype)
        np.testing.assert_array_equal(fitted["scale"], scale)
        zero = np.clip(-np.rint(low / scale.astype(np.float32)), 0, 255)
        np.testing.assert_array_equal(fitted["zero_point"], zero.astype(np.uint8))
        assert fitted["zero_point"].dtype == np.uint8


def test_any_number_of_sets():
    for n in (0, 1, 7, 8, 9):
        assert Rule("largest", 1, np.dtype(np.float32)).fit(-np.ones(n), np.ones(n))["scale"].tolist() == [1] * n
