"""Which weights share parameters, against a count by index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.errors import SchemeError
from qinspect.quant.layout import matrix_shape, per_channel, per_group, per_tensor
from qinspect.quant.scheme import make_scheme

SHAPES = st.lists(st.integers(0, 6), max_size=4).map(tuple)


def sets_of(layout):
    """The parameter set of every weight in memory order, as the module's docstring defines it."""
    sets, run = [], 0
    for _ in range(layout.rows * layout.cols // layout.line if layout.line else 0):
        for start in range(0, layout.line, layout.run):
            sets += [run % layout.sets] * (min(start + layout.run, layout.line) - start)
            run += 1
    return sets


def check_counts(layout, sets):
    """What the layout says of itself agrees with the list of sets."""
    assert len(sets) == layout.rows * layout.cols
    for row in range(layout.rows):
        mine = sets[row * layout.cols : (row + 1) * layout.cols]
        if mine:
            first = layout.first_run(row) % layout.sets
            begin = layout.sets_of(row, row + 1).indices(layout.sets)[0]
            assert mine[0] == begin + first
    if layout.local and sets:
        assert sorted(set(sets)) == list(range(layout.sets))
        assert sets == sorted(sets)


@given(SHAPES)
def test_matrix(shape):
    rows, cols = matrix_shape(shape)
    assert rows * cols == np.prod(shape, dtype=int)
    assert rows == (shape[0] if len(shape) > 1 else 1)


@given(SHAPES)
def test_tensor(shape):
    layout = per_tensor(shape)
    sets = sets_of(layout)
    assert layout.sets_shape == (1,)
    assert set(sets) <= {0}
    check_counts(layout, sets)


@given(SHAPES.filter(len), st.integers(0, 3))
def test_channel(shape, axis):
    axis %= len(shape)
    layout = per_channel(shape, axis)
    sets = sets_of(layout)
    assert layout.sets_shape == (shape[axis],)
    assert sets == np.indices(shape)[axis].reshape(-1).tolist()
    check_counts(layout, sets)
    assert per_channel(shape, axis - len(shape)) == layout


@given(SHAPES, st.integers(1, 40))
def test_group(shape, group):
    layout = per_group(shape, group)
    rows, cols = matrix_shape(shape)
    sets = sets_of(layout)
    groups = -(-cols // group)
    assert layout.sets_shape == (rows, groups)
    assert sets == [row * groups + col // group for row in range(rows) for col in range(cols)]
    assert layout.ragged == (cols % group if cols > group else 0)
    check_counts(layout, sets)


@pytest.mark.parametrize(("shape", "axis"), [((), 0), ((3,), 1), ((3, 4), 2), ((3, 4), -3)])
def test_an_axis_that_does_not_exist(shape, axis):
    with pytest.raises(SchemeError, match=f"axis {axis} does not exist in a tensor of shape"):
        per_channel(shape, axis)


@pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("shape", [(7, 13), (300, 5), (3, 1), (1, 9), (700, 1003)])
def test_channels_along_the_last_axis_are_those_of_the_turned_matrix(name, shape):
    w = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    along, across = (make_scheme(name, bits=5, granularity="channel", axis=axis) for axis in (1, 0))
    q, turned = along.quantize(w), across.quantize(np.ascontiguousarray(w.T))
    np.testing.assert_array_equal(along.codes(q), across.codes(turned).T)
    np.testing.assert_array_equal(along.dequantize(q), across.dequantize(turned).T)
    assert all(np.array_equal(q.params[key], turned.params[key]) for key in q.params)
