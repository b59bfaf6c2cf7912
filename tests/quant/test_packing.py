"""Packing against plain Python integers, and words that no codes can give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.errors import FormatError
from qinspect.quant.layout import per_group, per_tensor
from qinspect.quant.packing import BitPacking, DigitPacking, digits_per_word

LEVELS = st.integers(2, 256) | st.sampled_from([10, 11])  # nine digits to a word have loops of their own
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 70))


def code_arrays(n_codes, dtype):
    return SHAPES.flatmap(lambda shape: arrays(dtype, shape, elements=st.integers(0, n_codes - 1)))


def packed(packing, codes, layout):
    out = np.full(packing.shape(layout), 0xA5, np.uint8)  # what was there before must not show
    packing.pack(codes, layout, out)
    return out


def unpacked(packing, data, layout, dtype):
    out = np.full((layout.rows, layout.cols), 0x5A, dtype)
    packing.unpack(data, layout, out)
    return out


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
class TestBits:
    @given(data=st.data())
    def test_each_row_is_one_little_endian_number(self, bits, data):
        dtype = np.uint16 if bits > 8 else np.uint8
        codes = data.draw(code_arrays(1 << bits, dtype))
        layout = per_tensor(codes.shape)
        out = packed(BitPacking(bits), codes, layout)
        assert out.shape == (len(codes), -(-codes.shape[1] * bits // 8))
        for row, bytes_ in zip(codes.tolist(), out, strict=True):
            assert int.from_bytes(bytes_.tobytes(), "little") == sum(code << (bits * i) for i, code in enumerate(row))
        assert np.array_equal(unpacked(BitPacking(bits), out, layout, dtype), codes)

    @given(data=st.data())
    def test_any_bytes_unpack(self, bits, data):
        """Codes are whatever the bits say, padding aside: no byte pattern is out of range."""
        rows, cols = data.draw(SHAPES)
        layout = per_tensor((rows, cols))
        stored = data.draw(arrays(np.uint8, BitPacking(bits).shape(layout)))
        codes = unpacked(BitPacking(bits), stored, layout, np.uint16 if bits > 8 else np.uint8)
        for row, bytes_ in zip(codes.tolist(), stored, strict=True):
            number = int.from_bytes(bytes_.tobytes(), "little")
            assert row == [number >> (bits * i) & ((1 << bits) - 1) for i in range(cols)]


class TestDigits:
    @pytest.mark.parametrize("levels", range(2, 257))
    def test_as_many_digits_as_fit(self, levels):
        digits = digits_per_word(levels)
        assert levels**digits <= 2**32 < levels ** (digits + 1)
        assert DigitPacking(levels).top_word == levels**digits - 1

    @given(levels=LEVELS, group=st.integers(1, 40), data=st.data())
    def test_each_word_is_a_number_in_base_n(self, levels, group, data):
        codes = data.draw(code_arrays(levels, np.uint8))
        packing, layout = DigitPacking(levels), per_group(codes.shape, group)
        out = packed(packing, codes, layout)
        run = min(group, codes.shape[1])
        assert out.shape == (len(codes), -(-codes.shape[1] // run), 4 * -(-run // packing.digits))
        words = out.view("<u4").tolist()
        for row, records in zip(codes.tolist(), words, strict=True):
            for start, record in zip(range(0, len(row), run), records, strict=True):
                tail = row[start : start + run]
                expected = [tail[i : i + packing.digits] for i in range(0, run, packing.digits)]
                assert record == [sum(code * levels**i for i, code in enumerate(part)) for part in expected]
        assert np.array_equal(unpacked(packing, out, layout, np.uint8), codes)

    @given(levels=LEVELS, data=st.data())
    def test_all_words_up_to_the_top_unpack(self, levels, data):
        packing = DigitPacking(levels)
        word = data.draw(st.integers(0, packing.top_word) | st.just(packing.top_word))
        layout = per_group((1, packing.digits), packing.digits)
        codes = unpacked(packing, np.array([[[word]]], "<u4").view(np.uint8), layout, np.uint8)
        assert sum(int(code) * levels**i for i, code in enumerate(codes[0])) == word
        assert codes.max() < levels

    @pytest.mark.parametrize("levels", [3, 5, 10, 11, 40, 255])
    def test_words_above_the_top_are_corruption(self, levels):
        packing = DigitPacking(levels)
        layout = per_group((2, 3 * packing.digits), packing.digits)
        words = np.full((2, 3, 1), packing.top_word, "<u4")
        unpacked(packing, words.view(np.uint8), layout, np.uint8)
        words[0, 1], words[1, 2] = packing.top_word + 1, 2**32 - 1
        message = rf"2 packed words are above {levels}\^{packing.digits}−1 = {packing.top_word}: the file is corrupt"
        with pytest.raises(FormatError, match=message):
            unpacked(packing, words.view(np.uint8), layout, np.uint8)

    @pytest.mark.parametrize("levels", [2, 4, 16, 256])
    def test_powers_of_two_fill_the_word(self, levels):
        packing = DigitPacking(levels)
        layout = per_group((1, packing.digits), packing.digits)
        out = packed(packing, np.full((1, packing.digits), levels - 1, np.uint8), layout)
        assert out.tobytes() == b"\xff" * 4

    def test_base_11_by_hand(self):
        codes = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], np.uint8)
        first = 1 + 2 * 11 + 3 * 121 + 4 * 1331 + 5 * 14641 + 6 * 161051 + 7 * 1771561 + 8 * 19487171 + 9 * 214358881
        out = packed(DigitPacking(11), codes, per_group((1, 10), 128))
        assert out.tobytes() == first.to_bytes(4, "little") + (10).to_bytes(4, "little")
        assert 11**9 - 1 == DigitPacking(11).top_word == 2_357_947_690
