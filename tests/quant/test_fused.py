"""The short way through the engine gives what the general way gives: bytes, parameters, figures and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qinspect.errors import SchemeError
from qinspect.quant import engine
from qinspect.quant.blocks import BLOCK_WEIGHTS
from qinspect.quant.fused import Fused
from qinspect.quant.scheme import make_scheme, registry

GROUP = {"granularity": "group", "group_size": 32}
SCHEMES = [
    make_scheme("base11"),
    make_scheme("base11", group_size=126, param_dtype="float32"),
    make_scheme("base_n", levels=16, group_size=7, param_dtype="bfloat16"),
    make_scheme("base_n", levels=84, group_size=33),
    make_scheme("base_n", levels=2, group_size=1),
    make_scheme("symmetric", bits=8, **GROUP),
    make_scheme("symmetric", bits=4, param_dtype="float16", **GROUP),
    make_scheme("symmetric", bits=3, granularity="channel", param_dtype="bfloat16"),
    make_scheme("asymmetric", bits=4, **GROUP),
    make_scheme("asymmetric", bits=8, param_dtype="float16", **GROUP),
    make_scheme("asymmetric", bits=5, offset="minimum", param_dtype="float16", granularity="group", group_size=50),
    make_scheme("asymmetric", bits=2, offset="minimum", granularity="channel"),
]
EACH = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)


def outcome(scheme, w):
    """The tensor and its metrics, or why there are none."""
    try:
        return scheme.quantize(w), scheme.measure(w)
    except SchemeError as error:
        return str(error)


def assert_same(scheme, w, monkeypatch):
    """The general way and the short one give the same."""
    assert Fused.takes(scheme, scheme.layout(w.shape))
    short = outcome(scheme, w)
    with monkeypatch.context() as patch:
        patch.setattr(Fused, "takes", staticmethod(lambda *_: False))
        general = outcome(scheme, w)
    if isinstance(general, str):
        assert short == general
        return
    (q, m), (other, others) = general, short
    np.testing.assert_array_equal(other.data, q.data)
    for name, array in q.params.items():
        np.testing.assert_array_equal(other.params[name].view(np.uint8), array.view(np.uint8))
        np.testing.assert_array_equal(others.params[name].view(np.uint8), array.view(np.uint8))
    assert others.to_json() == m.to_json()
    assert (others.signal, others.noise) == (m.signal, m.noise)
    np.testing.assert_array_equal(others.counts, m.counts)


@EACH
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 400),
    seed=st.integers(0, 1 << 20),
    exponent=st.integers(-12, 4),
    offset=st.sampled_from([0.0, 1.0, -30.0]),
)
@example(rows=3, cols=1, seed=0, exponent=0, offset=0.0)
@example(rows=1, cols=9, seed=0, exponent=-30, offset=0.0)
def test_any_shape_and_size(scheme, rows, cols, seed, exponent, offset):
    rng = np.random.default_rng(seed)
    w = np.float32(rng.standard_normal((rows, cols)) * 10.0**exponent + offset)
    w[rng.random((rows, cols)) < 0.1] = 0
    with pytest.MonkeyPatch.context() as patch:
        assert_same(scheme, w, patch)


@EACH
def test_many_blocks_and_any_number_of_threads(scheme, monkeypatch):
    w = np.random.default_rng(0).standard_normal((3 * BLOCK_WEIGHTS // 1000 + 1, 1003)).astype(np.float32)
    assert_same(scheme, w, monkeypatch)
    expected, figures = scheme.quantize(w), scheme.measure(w).to_json()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = scheme.quantize(w)
    np.testing.assert_array_equal(alone.data, expected.data)
    assert all(np.array_equal(alone.params[name], expected.params[name]) for name in expected.params)
    assert scheme.measure(w).to_json() == figures == scheme.compare(w, expected).to_json()


@EACH
def test_rows_wider_than_a_block(scheme, monkeypatch):
    assert_same(
        scheme, np.random.default_rng(0).standard_normal((3, BLOCK_WEIGHTS + 5)).astype(np.float32), monkeypatch
    )


@EACH
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_what_is_not_finite_is_counted(scheme, value):
    w = np.ones((500, 300), np.float32)
    w[[3, 499], [7, 299]] = value
    for act in (scheme.quantize, scheme.measure):
        with pytest.raises(SchemeError, match=r"2 .* of 150000 weights"):
            act(w)


def test_parameters_that_overflow_are_named():
    w = np.ones((500, 256), np.float32)
    w[311, 200] = 1e5
    for act in ("quantize", "measure"):
        with pytest.raises(SchemeError, match="scale does not fit float16 in row 311, group 1"):
            getattr(make_scheme("base11"), act)(w)
    w[311, 200] = 3.4e38
    w[311, 201] = -3.4e38
    with pytest.raises(SchemeError, match="overflow float32 in row 311, group 6"):
        make_scheme("asymmetric", bits=4, **GROUP).quantize(w)


def test_which_schemes_go_this_way():
    """The standard groups do; what shares parameters across rows or looks for its range does not."""
    shape = (64, 256)
    taken = {cls.name for cls in registry if Fused.takes(cls(), cls().layout(shape))}
    assert {"base11", "base_n"} <= taken
    for scheme in (
        make_scheme("symmetric"),
        make_scheme("base11", calibration="mse"),
        make_scheme("symmetric", bits=16, **GROUP),
        make_scheme("symmetric", granularity="channel", axis=1),
        make_scheme("normal_float"),
    ):
        assert not Fused.takes(scheme, scheme.layout(shape))
        assert scheme.quantize(np.ones(shape, np.float32)).shape == shape


def test_without_weights():
    q = make_scheme("base11").quantize(np.zeros((0, 8), np.float32))
    assert (q.nbytes, engine.count(q).sum()) == (0, 0)
