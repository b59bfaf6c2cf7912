"""Bytes, numbers and digits of single weights, against what the whole tensor unpacks to."""

import numpy as np
import pytest

from qinspect.quant.places import held, parameters
from qinspect.quant.scheme import make_scheme, registry

SCHEMES = [
    make_scheme("base11", group_size=50),
    make_scheme("base_n", levels=5, group_size=20),
    make_scheme("symmetric", bits=3, granularity="group", group_size=20),
    make_scheme("symmetric", bits=4),
    make_scheme("symmetric", bits=5, granularity="channel"),
    make_scheme("asymmetric", bits=7),
    make_scheme("symmetric", bits=16),
    make_scheme("ternary"),
    make_scheme("learned", levels=11),
    *(cls() for cls in registry),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_digits_are_the_codes_and_bytes_are_those_of_the_row(scheme):
    w = np.random.default_rng(0).standard_normal((6, 131)).astype(np.float32)
    q = scheme.quantize(w)
    codes = scheme.codes(q) - scheme.code_range[0]
    for row, start, stop in ((0, 0, 131), (5, 50, 100), (3, 20, 40), (2, 130, 131)):
        covered = {}
        for each in held(q, row, start, stop):
            data = q.data[row].reshape(-1)
            place = each.place
            assert each.raw == data[place.offset : place.offset + place.nbytes].tobytes()
            assert each.number == sum(byte << 8 * i for i, byte in enumerate(each.raw))
            covered |= {place.first + i: digit for i, digit in enumerate(each.digits)}
        assert set(range(start, stop)) <= set(covered)
        if scheme.name not in ("fp4", "mxfp4"):  # which have patterns of their own
            assert all(codes[row, col] == digit for col, digit in covered.items())
        else:
            patterns = {(int(codes[row, col]), digit) for col, digit in covered.items()}
            assert len(patterns) == len({code for code, _ in patterns})


def test_every_byte_of_a_row_is_in_one_place():
    for scheme in SCHEMES:
        q = scheme.quantize(np.random.default_rng(1).standard_normal((2, 131)).astype(np.float32))
        taken = [
            b for each in held(q, 1, 0, 131) for b in range(each.place.offset, each.place.offset + each.place.nbytes)
        ]
        unused = set(range(q.data[1].size)) - set(taken)
        assert len(taken) == len(set(taken))
        assert all(q.data[1].reshape(-1)[b] == 0 for b in unused)  # padding of a short last group


def test_base_11_by_hand():
    """Nine digits, the first weight the least significant: the number is the sum of code times power of 11."""
    w = np.array([[0, 10, 5, 1, 2, 3, 4, 6, 7, 8]], np.float32)
    q = make_scheme("base11").quantize(w)
    first, second = held(q, 0, 0, 10)
    assert first.digits == (0, 10, 5, 1, 2, 3, 4, 6, 7)
    assert first.number == sum(digit * 11**i for i, digit in enumerate(first.digits))
    assert first.raw == first.number.to_bytes(4, "little")
    assert (second.place.offset, second.digits) == (4, (8,))
    minimum, scale = parameters(q, 0)
    assert (minimum.name, minimum.value, minimum.raw) == ("min_val", 0.0, b"\0\0")
    assert (scale.name, scale.value, scale.raw) == ("scale", 10.0, np.float16(10).tobytes())


def test_parameters_are_those_of_the_set():
    w = np.random.default_rng(0).standard_normal((4, 96)).astype(np.float32)
    scheme = make_scheme("symmetric", granularity="group", group_size=32, param_dtype="bfloat16")
    q = scheme.quantize(w)
    (scale,) = parameters(q, 7)  # row 2, group 1
    assert scale.value == float(q.params["scale"].reshape(-1)[7])
    assert (scale.offset, len(scale.raw)) == (14, 2)
