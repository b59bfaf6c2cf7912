"""The arithmetic of the C runtime, function by function, against numpy and Python's integers."""

import ctypes
import shutil
import zlib

import numpy as np
import pytest
from c_tools import library, needs_gcc, pointer

from qinspect.assets import resource
from qinspect.targets.mcu.golden import int8_inputs

pytestmark = needs_gcc


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    shutil.copy(resource("c/qinspect.h"), folder)
    (folder / "numbers.c").write_text(
        '#include "qinspect.h"\n'
        "void halves(const uint16_t *h, float *out, uint32_t n)\n"
        "{ for (uint32_t i = 0; i < n; i++) out[i] = qi_half(h[i]); }\n"
        "void roots(const float *v, float *out, uint32_t n)\n"
        "{ for (uint32_t i = 0; i < n; i++) out[i] = qi_sqrt(v[i]); }\n"
        "float rounded(const float *x, uint32_t n, int8_t *q) { return qi_quantize_i8(x, n, q); }\n"
        "void digits(uint32_t base, uint32_t reciprocal, uint32_t shift, uint32_t word, uint32_t *out,\n"
        "            uint32_t n)\n"
        "{ qi_matrix m; m.bits = 0; m.base = base; m.reciprocal = reciprocal; m.shift = shift;\n"
        "  for (uint32_t i = 0; i < n; i++) out[i] = qi_digit(&m, &word); }\n"
        "int32_t nine(uint32_t word, const int8_t *x)\n"
        "{ qi_matrix m; m.digits = 9; return qi_base11_i8(&m, &word, x, 9); }\n"
        "uint32_t crc(const uint32_t *w, uint32_t n) { return qi_crc32(w, n); }\n"
    )
    return library(folder, folder / "numbers.c")


def test_all_halves(lib):
    halves = np.arange(1 << 16, dtype=np.uint16)
    out = np.empty(halves.size, np.float32)
    lib.halves(pointer(halves), pointer(out), halves.size)
    np.testing.assert_array_equal(out, halves.view(np.float16).astype(np.float32))
    assert np.signbit(out[0x8000])


def test_square_roots_are_right_to_the_last_place(lib):
    rng = np.random.default_rng(0)
    v = np.exp(rng.uniform(-87, 88, 200_000)).astype(np.float32)
    v = np.concatenate([v, np.float32([0, 1, 4, 1e-5, 3.4e38, 2**-126])])
    out = np.empty_like(v)
    lib.roots(pointer(v), pointer(out), v.size)
    exact = np.sqrt(v)
    assert (np.abs(out.view(np.int32) - exact.view(np.int32)) <= 1).all()
    assert out[-6] == 0


@pytest.mark.parametrize("short", [0, 1])
def test_upper_halves_of_products(tmp_path, short):
    folder = tmp_path / "m"
    folder.mkdir()
    shutil.copy(resource("c/qinspect.h"), folder)
    (folder / "m.c").write_text(
        '#include "qinspect.h"\nvoid upper(const uint32_t *a, const uint32_t *b, uint32_t *out, uint32_t n)\n'
        "{ for (uint32_t i = 0; i < n; i++) out[i] = qi_mulhi(a[i], b[i]); }\n"
    )
    lib = library(folder, folder / "m.c", flags=[f"-DQI_SHORT_MULTIPLY={short}"])
    rng = np.random.default_rng(0)
    edges = np.array([0, 1, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x80000000], np.uint32)
    a, b = (rng.integers(0, 1 << 32, 100_000, np.uint32) for _ in range(2))
    a, b = np.concatenate([a, np.repeat(edges, 6)]), np.concatenate([b, np.tile(edges, 6)])
    out = np.empty_like(a)
    lib.upper(pointer(a), pointer(b), pointer(out), a.size)
    np.testing.assert_array_equal(out, (a.astype(np.uint64) * b >> np.uint64(32)).astype(np.uint32))


def test_digits_of_every_base(lib):
    rng = np.random.default_rng(0)
    for base in sorted({*range(3, 256)} - {1 << bits for bits in range(9)}):
        count = max(n for n in range(1, 33) if base**n <= 1 << 32)
        shift = base.bit_length() - 1
        reciprocal = (1 << (32 + shift)) // base
        for word in [0, 1, base - 1, base, base**count - 1, *rng.integers(0, base**count, 20).tolist()]:
            out = np.empty(count, np.uint32)
            lib.digits(base, reciprocal, shift, word, pointer(out), count)
            assert out.tolist() == [word // base**k % base for k in range(count)], (base, word)


def test_nine_digits_at_once(lib):
    """Each place is weighed alone, so that a wrong digit cannot hide; all numbers of three digits in each third."""
    rng = np.random.default_rng(0)
    words = [a * 1331**k for a in range(1331) for k in range(3)] + rng.integers(0, 11**9, 3000).tolist()
    for word in [*words, 11**9 - 1]:
        x = rng.integers(-127, 128, 9).astype(np.int8)
        meant = sum(int(x[k]) * (word // 11**k % 11) for k in range(9))
        assert lib.nine(ctypes.c_uint32(word), pointer(x)) == meant, word


def test_rounded_inputs_are_those_that_the_self_test_expects(lib):
    rng = np.random.default_rng(0)
    lib.rounded.restype = ctypes.c_float
    for x in (rng.standard_normal(1000, np.float32), np.zeros(5, np.float32), np.float32([1e-30, -1e-30, 2e-31])):
        q = np.empty(x.size, np.int8)
        step = lib.rounded(pointer(x), x.size, pointer(q))
        np.testing.assert_array_equal(q * np.float32(step), int8_inputs(x[None])[0])
        assert np.abs(q * step - x).max() <= 0.5001 * step


def test_inputs_that_are_no_numbers_are_no_undefined_behaviour(lib):
    lib.rounded.restype = ctypes.c_float
    for bad in (np.inf, np.nan):
        x = np.float32([1, bad, -2])
        q = np.empty(3, np.int8)
        assert not np.isfinite(lib.rounded(pointer(x), 3, pointer(q)))


def test_crc32_is_that_of_zlib(lib):
    words = np.random.default_rng(0).integers(0, 1 << 32, 1000, np.uint32)
    lib.crc.restype = ctypes.c_uint32
    assert lib.crc(pointer(words), words.size) == zlib.crc32(words.tobytes())
