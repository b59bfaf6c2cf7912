"""What holds of every scheme for any parameters and any finite weights, denormal and huge ones among them."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qinspect.errors import SchemeError
from qinspect.quant import codec
from qinspect.quant.layout import Layout
from qinspect.quant.metrics import decibels
from qinspect.quant.scheme import registry

EVERY = pytest.mark.parametrize("cls", list(registry), ids=lambda cls: cls.name)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=24)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
TINY, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def values_of(parameter):
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type is float:
        return st.floats(50, 100)
    return st.integers(int(parameter.low), min(int(parameter.high), 300))


def schemes(cls):
    """With any parameters; channels of an axis that one-dimensional tensors have too."""
    values = {p.name: st.just(0) if p.name == "axis" else values_of(p) for p in cls.parameters()}
    return st.builds(cls, **values)


def sets_of(q):
    layout = q.scheme.layout(q.shape)
    line = np.arange(layout.line) // max(layout.run, 1)
    lines = layout.rows * layout.cols // layout.line
    runs = np.concatenate([line + i * layout.runs_per_line for i in range(lines)])
    return (runs % layout.sets).reshape(layout.rows, layout.cols)


@EVERY
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_finite_weights_are_refused_in_words_or_kept(cls, data):
    scheme = data.draw(schemes(cls))
    kinds = st.sampled_from((np.float32, np.float16, ml_dtypes.bfloat16))
    w = data.draw(hnp.arrays(np.float32, SHAPES, elements=FLOATS))
    with np.errstate(over="ignore"):
        w = w.astype(data.draw(kinds))
    w[~np.isfinite(w)] = 0
    try:
        q = scheme.quantize(w)
    except SchemeError as error:
        assert "float" in error.message and ("choose" in error.message or "scale this tensor" in error.message)
        assert np.abs(w.astype(np.float64)).max() > 60000
        return
    decoded, codes = scheme.dequantize(q), scheme.codes(q)
    assert decoded.shape == w.shape
    assert np.isfinite(decoded).all()
    low, high = scheme.code_range
    assert low <= codes.min() <= codes.max() <= high
    # Decoded weights decode to themselves under the same parameters, also where steps are denormal.
    layout = scheme.layout(q.shape)
    grid, sets = scheme.grid_of(q.params), sets_of(q)
    matrix = decoded.reshape(layout.rows, layout.cols)
    again = np.empty_like(matrix)
    codec.decode(scheme, codec.encode(scheme, matrix, layout, 0, grid), layout, 0, grid, again)
    assert np.array_equal(again, matrix)
    # Codes rise with the weights of a set.
    flat = w.astype(np.float32).reshape(-1)
    order = np.lexsort((flat, sets.reshape(-1)))
    rising = np.diff(codes.astype(np.int64).reshape(-1)[order]), np.diff(sets.reshape(-1)[order]) == 0
    assert (rising[0][rising[1]] >= 0).all()


@EVERY
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_packed_codes_unpack(cls, data):
    scheme = data.draw(schemes(cls))
    shape = data.draw(SHAPES)
    layout: Layout = scheme.layout(shape)
    codes = data.draw(
        hnp.arrays(scheme.code_dtype, (layout.rows, layout.cols), elements=st.integers(0, scheme.n_codes - 1))
    )
    packed = np.empty(scheme.packing.shape(layout), np.uint8)
    scheme.packing.pack(codes, layout, packed)
    out = np.empty_like(codes)
    scheme.packing.unpack(packed, layout, out)
    assert np.array_equal(out, codes)


@EVERY
@pytest.mark.parametrize("value", [TINY, TINY / 8, np.float32(1e-45), LARGEST / 4, LARGEST, 65504.0, 70000.0])
def test_denormal_and_huge_weights(cls, value):
    """They are kept as well as others, or refused with a remedy; nothing decodes to infinity or NaN."""
    w = (np.random.default_rng(0).uniform(-1, 1, (4, 70)) * value).astype(np.float32)
    w[:, 0] = value
    for scheme in (cls(), *(cls(param_dtype=t) for t in ("float32", "bfloat16") if has(cls, "param_dtype"))):
        try:
            q = scheme.quantize(w)
        except SchemeError as error:
            assert value > 60000
            assert "does not fit" in error.message or "overflow float32" in error.message
            continue
        decoded = scheme.dequantize(q).astype(np.float64)
        assert np.isfinite(decoded).all()
        assert scheme.measure(w).to_json() == scheme.compare(w, q).to_json()
        usual = value >= 1e-3 and scheme.name != "sentinel"
        assert not usual or decibels(np.square(w, dtype=np.float64).sum(), np.square(w - decoded).sum()) > 5


def has(cls, name):
    return any(parameter.name == name for parameter in cls.parameters())
