"""Tensors that somebody else packed: whatever the layout in the file, they decode to their formula, by any rows."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from qinspect import analysis
from qinspect.errors import FormatError, SchemeError
from qinspect.quant import e2m1, engine
from qinspect.quant.decode_only import Blocked
from qinspect.quant.scheme import registry

RNG = np.random.default_rng(5)


def stream(codes, bits, row_bits=None):
    """Codes `[rows, cols]` as bytes, low bits first, by way of single bits."""
    single = (codes.astype(np.int64)[..., None] >> np.arange(bits)) & 1
    single = single.reshape(len(codes), -1)
    if row_bits is not None:
        single = np.pad(single, ((0, 0), (0, row_bits - single.shape[1])))
    return np.packbits(single.reshape(-1).astype(np.uint8), bitorder="little")


def blocked(codes, bits, block, scale, *, zero=None, minimum=None, shape=None, row_bits=None, **more):
    """The tensor of unsigned `codes` `[rows, cols]`."""
    found = {"data": stream(codes, bits, row_bits), "scale": scale, "zero_point": zero, "minimum": minimum}
    arrays = {name: array for name, array in found.items() if array is not None}
    held = tuple((name, array.dtype, array.shape) for name, array in arrays.items())
    nbytes = sum(array.nbytes for array in arrays.values())
    scheme = Blocked(
        kind="test", whole=shape or codes.shape, stored_bytes=nbytes, bits=bits, block=block, held=held,
        row_bits=row_bits, **more,
    )  # fmt: skip
    return scheme, arrays


def spread(parameter, block, shape):
    """The parameter of every weight."""
    rows, cols = np.indices(shape)
    return np.asarray(parameter, np.float32)[rows // block[0], cols // block[1]]


BLOCKS = [(6, 45), (1, 45), (6, 1), (1, 9), (1, 7), (4, 16), (3, 1), (6, 15)]


KINDS = [(bits, block, padded) for bits in (1, 3, 4, 8, 16) for block in BLOCKS for padded in (False, True)]


@pytest.mark.parametrize(("bits", "block", "padded"), KINDS[::3])
class TestFormula:
    SHAPE = (6, 45)

    @pytest.fixture
    def held(self, bits, block, padded):
        codes = RNG.integers(0, 1 << bits, self.SHAPE)
        blocks = -(-6 // block[0]), -(-45 // block[1])
        scale = RNG.standard_normal(blocks).astype(np.float16)
        zero = RNG.integers(0, 1 << min(bits, 8), blocks).astype(np.uint8)
        minimum = RNG.standard_normal(blocks).astype(np.float32)
        row_bits = -(-45 * bits // 32) * 32 if padded else None
        q = blocked(codes, bits, block, scale, zero=zero, minimum=minimum, row_bits=row_bits)
        s, z, o = (spread(p, block, self.SHAPE) for p in (scale, zero, minimum))
        return *q, codes, (codes.astype(np.float32) - z) * s + o

    def test_decodes_to_it_bit_for_bit(self, held):
        scheme, arrays, codes, weights = held
        q = scheme.tensor(arrays)
        assert np.array_equal(scheme.codes(q), codes)
        assert np.array_equal(scheme.dequantize(q), weights)
        assert np.array_equal(scheme.count(q), np.bincount(codes.reshape(-1), minlength=scheme.n_codes))
        assert scheme.compare(weights, q).exact

    def test_any_rows(self, held):
        scheme, arrays, codes, weights = held
        whole = scheme.tensor(arrays)
        for start, stop in itertools.combinations(range(7), 2):
            part = scheme.tensor(arrays, slice(start, stop))
            assert part.shape == (stop - start, 45)
            assert np.array_equal(part.scheme.codes(part), codes[start:stop])
            assert np.array_equal(part.scheme.dequantize(part), weights[start:stop])
            assert np.array_equal(scheme.dequantize(whole, rows=slice(start, stop)), weights[start:stop])
            again = part.scheme.dequantize(part, rows=slice(1, None))
            assert np.array_equal(again, weights[start + 1 : stop])

    def test_scale_map_and_levels(self, held):
        scheme, arrays, codes, weights = held
        q = scheme.tensor(arrays)
        layout = scheme.layout(q.shape)
        shown = analysis.scale_map(q)
        assert shown.values["scale"].size == layout.sets
        line = np.arange(layout.line) // layout.run
        sets = (line + np.arange(6)[:, None] * layout.runs_per_row) % layout.sets
        levels = np.stack([scheme.level_values(q, i) for i in range(layout.sets)])
        assert np.array_equal(levels[sets, codes], weights)
        assert np.array_equal(shown.values["minimum"].reshape(-1), levels.min(axis=1))


def test_signed_codes_are_twos_complement():
    codes = RNG.integers(-8, 8, (3, 10))
    scheme, arrays = blocked(codes & 15, 4, (3, 10), np.array([0.5], np.float32), signed=True)
    q = scheme.tensor(arrays)
    assert np.array_equal(scheme.codes(q), codes)
    assert np.array_equal(scheme.dequantize(q), codes * np.float32(0.5))


def test_tables_of_floats():
    patterns = np.arange(256).reshape(2, 128)
    values = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    table = np.unique(values[np.isfinite(values)])
    of = tuple(int(np.searchsorted(table, v)) if np.isfinite(v) else -1 for v in values)
    scale = np.array([[2.0]], np.float32)
    scheme, arrays = blocked(patterns, 8, (2, 128), scale, table=tuple(table.tolist()), patterns=of)
    with pytest.raises(FormatError, match=r"2 of its codes stand for no number"):
        scheme.dequantize(scheme.tensor(arrays))
    arrays["data"] = np.where(np.isfinite(values), arrays["data"], np.uint8(0))
    assert np.array_equal(scheme.dequantize(scheme.tensor(arrays)).reshape(-1), np.nan_to_num(values, nan=0) * 2)


def test_four_bit_floats_two_a_byte():
    codes = RNG.integers(0, 16, (4, 64))
    scale = np.exp2(RNG.integers(-3, 3, (4, 2))).astype(ml_dtypes.float8_e8m0fnu)
    scheme, arrays = blocked(
        codes, 4, (1, 32), scale, table=tuple(e2m1.TABLE.tolist()), patterns=tuple(e2m1.CODE_OF_PATTERN.tolist())
    )
    expected = codes.astype(np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32) * spread(scale, (1, 32), (4, 64))
    assert np.array_equal(scheme.dequantize(scheme.tensor(arrays)), expected)


def test_dimensions_beyond_two_are_part_of_the_row():
    codes = RNG.integers(0, 16, (4, 18))
    scale = RNG.standard_normal((1, 2)).astype(np.float32)
    scheme, arrays = blocked(codes, 4, (4, 9), scale, shape=(4, 2, 3, 3))
    q = scheme.tensor(arrays, slice(1, 3))
    assert q.shape == (2, 2, 3, 3)
    expected = (codes * spread(scale, (4, 9), (4, 18))).astype(np.float32).reshape(4, 2, 3, 3)
    assert np.array_equal(q.scheme.dequantize(q), expected[1:3])


def test_a_vector_is_one_row():
    codes = RNG.integers(0, 256, (1, 10))
    scheme, arrays = blocked(codes, 8, (1, 5), np.array([1, -2], np.float32), shape=(10,))
    q = scheme.tensor(arrays)
    assert q.shape == (10,)
    assert np.array_equal(scheme.dequantize(q), codes[0] * np.repeat(np.float32([1, -2]), 5))


def test_size_counts_all_that_is_stored_and_of_some_rows_their_share():
    scheme, arrays = blocked(np.zeros((4, 32), int), 4, (1, 32), np.ones((4, 1), np.float32))
    q = scheme.tensor(arrays)
    assert q.nbytes == 4 * 16 + 4 * 4
    assert q.bpw == 5.0
    assert scheme.tensor(arrays, slice(1, 2)).bpw == 5.0


def test_views_of_negative_and_zero_scales():
    codes = RNG.integers(0, 16, (3, 64))
    scheme, arrays = blocked(codes, 4, (1, 64), np.array([[-0.5], [0], [2]], np.float32), minimum=np.ones((3, 1), "f4"))
    q = scheme.tensor(arrays)
    w = scheme.dequantize(q)
    assert scheme.compare(w, q).clipped == 0
    questions = analysis.CodeCounts(), analysis.ErrorCounts()
    answers = analysis.answer(analysis.Subject(q, w, engine.level_span(q), 0.0), questions)
    shown, errors = (answers[question] for question in questions)
    for name in ("original", "decoded"):
        centres = (shown.edges[1:] + shown.edges[:-1]) / 2
        position = np.rint(centres[np.repeat(np.arange(centres.size), shown.counts[name])])
        known = np.sort(np.delete(codes, 1, axis=0).reshape(-1))  # a scale of 0 has no positions
        assert np.array_equal(np.sort(position), known)
    assert errors.std == 0


def test_spans_are_found_by_blocks():
    codes = RNG.integers(0, 16, (3, 64))
    scheme, arrays = blocked(codes, 4, (1, 64), np.array([[-0.5], [0], [2]], np.float32))
    assert engine.level_span(scheme.tensor(arrays)) == (-7.5, 30.0)


def test_nothing_can_be_quantized_so():
    assert not any(cls.decode_only for cls in registry)
    scheme, _ = blocked(np.zeros((4, 32), int), 4, (1, 32), np.ones((4, 1), np.float32))
    for work in (scheme.quantize, scheme.measure):
        with pytest.raises(SchemeError, match="test can be read and not made"):
            work(np.zeros((4, 32), np.float32))


def test_arrays_of_other_sizes_are_refused():
    codes, scale = np.zeros((4, 32), int), np.ones((4, 1), np.float32)
    with pytest.raises(FormatError, match="cannot hold 4-bit codes of shape"):
        blocked(codes, 4, (1, 32), scale, shape=(4, 33))
    with pytest.raises(FormatError, match="scale has 4 entries; there are 8 blocks"):
        blocked(codes, 4, (1, 16), scale)
    scheme, arrays = blocked(codes, 4, (1, 32), scale)
    with pytest.raises(FormatError, match="scale is float32"):
        scheme.tensor({**arrays, "scale": scale[:2]})


def test_parameters_that_cannot_be_are_told_when_they_are_looked_at():
    scale = np.ones((4, 1), np.float32)
    scale[2] = np.nan
    scheme, arrays = blocked(np.zeros((4, 32), int), 4, (1, 32), scale)
    q = scheme.tensor(arrays)
    assert not scheme.dequantize(q, rows=slice(0, 2)).any()
    with pytest.raises(FormatError, match="scale holds values that cannot be"):
        scheme.dequantize(q)
