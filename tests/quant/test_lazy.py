"""Arrays that stay in their file: sliced, reshaped and viewed as numpy would, reading nothing else."""

import numpy as np
import pytest

from qinspect.quant.decode_only import Blocked
from qinspect.quant.lazy import LazyArray
from qinspect.quant.scheme import make_scheme

A = np.random.default_rng(0).standard_normal((50, 6, 4)).astype(np.float32)


@pytest.fixture
def lazy():
    """`A`, and the byte ranges that were read of it."""
    data, read = A.tobytes(), []

    def fetch(offset, nbytes):
        read.append((offset, nbytes))
        return np.frombuffer(data, np.uint8, nbytes, offset)

    return LazyArray(A.shape, A.dtype, fetch), read


def test_slices_read_their_rows_alone(lazy):
    array, read = lazy
    np.testing.assert_array_equal(array[3:5], A[3:5])
    assert read == [(3 * 96, 2 * 96)]
    for rows in (slice(None), slice(-2, None), slice(7, 3), slice(90, 99), slice(1, 40, 6), slice(None, None, 49)):
        np.testing.assert_array_equal(array[rows], A[rows])
    np.testing.assert_array_equal(np.asarray(array), A)
    assert np.asarray(array, np.float64).dtype == np.float64


def test_far_rows_are_read_one_by_one_and_near_ones_together():
    wide = np.arange(40 * 20_000, dtype=np.float32).reshape(40, 20_000)
    data, read = wide.tobytes(), []

    def fetch(offset, nbytes):
        read.append(nbytes)
        return np.frombuffer(data, np.uint8, nbytes, offset)

    np.testing.assert_array_equal(LazyArray(wide.shape, wide.dtype, fetch)[::4], wide[::4])
    assert read == [80_000] * 10
    read.clear()
    narrow = wide.reshape(-1, 20)
    np.testing.assert_array_equal(LazyArray(narrow.shape, narrow.dtype, fetch)[::4], narrow[::4])
    assert max(read) <= 1 << 20
    assert len(read) == 4


def test_shapes_and_types_are_other_looks_at_the_same_bytes(lazy):
    array, read = lazy
    flat = array.reshape(-1)
    assert (flat.shape, flat.size, flat.nbytes, len(flat)) == ((1200,), 1200, 4800, 1200)
    assert array.reshape(25, -1).shape == (25, 48)
    assert array.view(np.uint8).shape == (50, 6, 16)
    assert not read
    np.testing.assert_array_equal(flat.view(np.uint8)[100:150], A.reshape(-1).view(np.uint8)[100:150])
    assert read == [(100, 50)]
    with pytest.raises(ValueError, match="other elements"):
        array.reshape(7, 3)
    with pytest.raises(ValueError, match="are no"):
        LazyArray((3, 3), np.dtype(np.uint8), lambda *_: A).view(np.float32)


def test_the_engine_reads_weights_block_by_block_and_computes_the_same():
    w = np.random.default_rng(1).standard_normal((1000, 1024)).astype(np.float32)
    data, read = w.tobytes(), []

    def fetch(offset, nbytes):
        read.append(nbytes)
        return np.frombuffer(data, np.uint8, nbytes, offset)

    scheme = make_scheme("symmetric", granularity="channel", axis=0)
    q, expected = scheme.quantize(LazyArray(w.shape, w.dtype, fetch)), scheme.quantize(w)
    assert q.data.tobytes() == expected.data.tobytes()
    assert max(read) <= 1 << 20
    assert sum(read) in (w.nbytes, 2 * w.nbytes)


def test_a_packed_tensor_may_stay_in_its_file():
    codes = np.random.default_rng(2).integers(0, 256, (700, 500), np.uint8)
    read = []

    def fetch(offset, nbytes):
        read.append(nbytes)
        return np.frombuffer(codes.tobytes(), np.uint8, nbytes, offset)

    held = (("data", codes.dtype, codes.shape), ("scale", np.dtype(np.float32), (700, 1)))
    scheme = Blocked(kind="x", whole=codes.shape, stored_bytes=9, bits=8, block=(1, 500), held=held, signed=True)
    scale = np.ones((700, 1), np.float32)
    q = scheme.tensor({"data": LazyArray(codes.shape, codes.dtype, fetch), "scale": scale})
    np.testing.assert_array_equal(scheme.dequantize(q, rows=slice(5, 9)), codes[5:9].view(np.int8))
    assert sum(read) == 4 * 500
    np.testing.assert_array_equal(scheme.dequantize(q), codes.view(np.int8))
