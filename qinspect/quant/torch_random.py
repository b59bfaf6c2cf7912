"""The random numbers that torch makes on a CPU from a seed, without torch: published tables are drawn from them.

They are the same to the last bit as those of torch on a processor with AVX2, whose logarithm, sine and cosine are the
single precision ones of the Cephes library in fused multiply-adds: one ulp can move a weight across a rounding boundary
and change a printed digit. Source: torch's `DistributionTemplates.h`, `DistributionsHelper.h` and `avx_mathfun.h`.
"""

from __future__ import annotations

import math

import numpy as np

VECTOR = 16
"""From this size on, torch draws normal numbers in blocks of as many; fewer are drawn one after another."""

_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2 = 0.693359375, -2.12194440e-4
_COS = 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2
_SIN = -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1
_QUARTER_PI = -0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8
"""Constants in parts have a short first one, whose products are exact."""


class TorchRandom:
    """What follows `torch.manual_seed(seed)`."""

    def __init__(self, seed: int) -> None:
        self._twister = np.random.RandomState(seed)
        self._spare = np.empty(0)

    def randn(self, *shape: int) -> np.ndarray:
        """`torch.randn`: standard normal, float32."""
        size = math.prod(shape)
        return (self._few(size) if size < VECTOR else self._many(size)).reshape(shape)

    def uniform(self, *shape: int, bound: float) -> np.ndarray:
        """`torch.empty(shape).uniform_(-bound, bound)`, float32."""
        low, high = np.float32(-bound), np.float32(bound)
        return _fma(self._unit(math.prod(shape)), high - low, low).reshape(shape)

    def randint(self, high: int, size: int) -> np.ndarray:
        """`torch.randint(high, (size,))` for a `high` under 2³²."""
        return self._words(size).astype(np.int64) % high

    def _words(self, size: int) -> np.ndarray:
        return self._twister.randint(0, 1 << 32, size, np.uint32)

    def _unit(self, size: int) -> np.ndarray:
        """24 random bits in 0…1, float32."""
        return (self._words(size) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    def _many(self, size: int) -> np.ndarray:
        """Whole blocks; what is left over is drawn anew together with the end of the last one."""
        uniform, whole = self._unit(size), size - size % VECTOR
        values = np.empty(size, np.float32)
        values[:whole] = _box_muller(uniform[:whole])
        if whole < size:
            values[-VECTOR:] = _box_muller(self._unit(VECTOR))
        return values

    def _few(self, size: int) -> np.ndarray:
        """Pairs, each from twice 53 random bits, in float64; an odd one's partner is kept for the next few."""
        pairs = -(-(size - self._spare.size) // 2)
        halves = self._words(4 * pairs).astype(np.uint64).reshape(-1, 2, 2)
        bits = (halves[..., 0] << np.uint64(32) | halves[..., 1]) & np.uint64((1 << 53) - 1)
        turn, away = (bits * 2.0**-53).T
        radius, angle = np.sqrt(-2 * np.log1p(-away)), 2 * np.pi * turn
        drawn = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        values, self._spare = np.split(np.concatenate([self._spare, drawn]), [size])
        return values.astype(np.float32)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    """Blocks of 16 uniform numbers made normal: the first eight give distances, the others directions."""
    away, turn = uniform.reshape(-1, 2, VECTOR // 2).transpose(1, 0, 2)
    radius = np.sqrt(np.float32(-2) * _log(np.float32(1) - away))
    sine, cosine = _sine_cosine(np.float32(2 * np.pi) * turn)
    return np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)


def _fma(a: np.ndarray, b: np.ndarray | np.float32, c: np.ndarray | np.float32) -> np.ndarray:
    """`a·b + c` rounded once to float32: in float64 the product is exact."""
    return (a.astype(np.float64) * b + c).astype(np.float32)


def _polynomial(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Horner's rule, the highest power first."""
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fma(value, x, np.float32(coefficient))
    return value


def _log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of positive, normal float32."""
    fraction, exponent = np.frexp(x)
    small = fraction < np.float32(math.sqrt(0.5))
    exponent = exponent.astype(np.float32) - small
    rest = np.where(small, fraction + fraction, fraction) - np.float32(1)
    square = rest * rest
    value = _fma(_polynomial(rest, _LOG) * rest, square, exponent * np.float32(_LN2[1]))
    return _fma(exponent, np.float32(_LN2[0]), rest + _fma(square, np.float32(-0.5), value))


def _sine_cosine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine of float32 from 0 to 2π."""
    octant = ((x * np.float32(4 / math.pi)).astype(np.int32) + 1) & ~1
    for part in _QUARTER_PI:
        x = _fma(octant.astype(np.float32), np.float32(part), x)
    square = x * x
    sine = _fma(_polynomial(square, _SIN) * square, x, x)
    cosine = _fma(_polynomial(square, _COS) * square, square, np.float32(-0.5) * square) + np.float32(1)
    swapped = octant & 2 != 0
    sign = np.where(octant & 4, np.float32(-1), np.float32(1))
    return sign * np.where(swapped, cosine, sine), np.where(swapped, -sign * sine, sign * cosine)
