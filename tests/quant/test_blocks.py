"""Blocks of rows over threads: order, errors, progress, cancelling, and memory that is used again."""

import os
import threading
import tracemalloc

import numpy as np
import pytest

from qinspect.quant import engine
from qinspect.quant.blocks import BLOCK_WEIGHTS, map_blocks, scratch
from qinspect.quant.scheme import make_scheme
from qinspect.task import Cancelled, Token

SHARED = make_scheme("symmetric")
LOCAL = make_scheme("base11")
BIG = (11 * BLOCK_WEIGHTS // 2048 + 1, 2048)
"""Twelve blocks."""


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(0).standard_normal(BIG).astype(np.float32)


class TestMapBlocks:
    @pytest.mark.parametrize(("rows", "cols", "multiple"), [(301, 4096, 1), (301, 4096, 8), (5, 1 << 20, 1), (7, 3, 4)])
    def test_every_row_once_and_in_order(self, rows, cols, multiple):
        spans = map_blocks(lambda start, stop: (start, stop), rows, cols, multiple=multiple)
        assert [row for start, stop in spans for row in range(start, stop)] == list(range(rows))
        assert all(start % multiple == 0 for start, _ in spans)
        assert all((stop - start) * cols <= max(BLOCK_WEIGHTS, multiple * cols) for start, stop in spans)

    @pytest.mark.parametrize(("rows", "cols"), [(0, 5), (5, 0), (0, 0)])
    def test_no_weights_no_blocks(self, rows, cols):
        assert map_blocks(lambda start, stop: 1, rows, cols) == []

    def test_the_error_of_the_earliest_block_is_raised(self):
        second_waits = threading.Event()

        def work(start, stop):
            if start == 3:
                second_waits.wait(2)  # the later block fails first
                raise ValueError("early")
            if start == 4:
                second_waits.set()
                raise ValueError("late")

        with pytest.raises(ValueError, match="early"):
            map_blocks(work, 100, BLOCK_WEIGHTS)

    def test_an_error_ends_the_work(self):
        seen = []

        def work(start, stop):
            seen.append(start)
            raise ValueError

        with pytest.raises(ValueError):
            map_blocks(work, 1000, BLOCK_WEIGHTS)
        assert len(seen) < 1000


ACTS = {
    "quantize": lambda scheme, w, q, token: scheme.quantize(w, token=token),
    "measure": lambda scheme, w, q, token: scheme.measure(w, token=token),
    "compare": lambda scheme, w, q, token: scheme.compare(w, q, token=token),
    "dequantize": lambda scheme, w, q, token: scheme.dequantize(q, token=token),
    "count": lambda scheme, w, q, token: scheme.count(q, token=token),
    "extremes": lambda scheme, w, q, token: engine.extremes(w, token),
}


@pytest.mark.parametrize("scheme", [SHARED, LOCAL], ids=["shared", "local"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
class TestToken:
    def test_progress_goes_once_from_start_to_end(self, act, scheme, w, monkeypatch):
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        told = []
        act(scheme, w, scheme.quantize(w), Token(told.append))
        assert told == sorted(told)
        assert told[0] == 0
        assert 0.9 < told[-1] <= 1

    @pytest.mark.parametrize("when", [0, 0.5])
    def test_cancel(self, act, scheme, w, when):
        q = scheme.quantize(w)
        told = []

        def stop(fraction):
            told.append(fraction)
            if fraction >= when:
                token.cancel()

        token = Token(stop)
        with pytest.raises(Cancelled):
            act(scheme, w, q, token)
        assert max(told) < when + 0.3

    def test_cancelled_before(self, act, scheme, w):
        q = scheme.quantize(w)
        token = Token()
        token.cancel()
        with pytest.raises(Cancelled):
            act(scheme, w, q, token)


class TestScratch:
    def test_is_used_again(self):
        first = scratch("test", 1000, np.float32)
        assert np.shares_memory(first, scratch("test", 500, np.float32))
        assert not np.shares_memory(first, scratch("other", 500, np.float32))

    def test_has_the_type_asked_for(self):
        scratch("test", 1000, np.uint8)
        assert scratch("test", 10, np.uint16).dtype == np.uint16

    def test_is_a_threads_own(self):
        mine, theirs = scratch("test", 100, np.float32), []
        thread = threading.Thread(target=lambda: theirs.append(scratch("test", 100, np.float32)))
        thread.start()
        thread.join()
        assert not np.shares_memory(mine, theirs[0])

    def test_what_one_huge_row_needs_is_given_back(self):
        size = 128 * BLOCK_WEIGHTS + 1
        assert not np.shares_memory(scratch("test", size, np.uint8), scratch("test", size, np.uint8))


def test_threads_do_not_disturb_each_other(w):
    """Two lanes quantize, decode and measure at once, on one pool."""
    schemes = [LOCAL, SHARED, make_scheme("symmetric", bits=16), make_scheme("asymmetric", bits=3, granularity="group")]
    expected = {scheme: scheme.measure(w).to_json() for scheme in schemes}
    wrong = []

    def lane(order):
        for scheme in order:
            q = scheme.quantize(w)
            if scheme.compare(w, q).to_json() != expected[scheme] or scheme.measure(w).to_json() != expected[scheme]:
                wrong.append(scheme)

    threads = [threading.Thread(target=lane, args=(order,)) for order in (schemes, schemes[::-1], schemes[2:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "scheme",
    [LOCAL, make_scheme("symmetric", bits=16), make_scheme("symmetric", granularity="channel", axis=1)],
    ids=lambda scheme: scheme.label,
)
def test_measuring_takes_little_memory(scheme, monkeypatch):
    """Some blocks for each thread, whatever the number of weights."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    w = np.ones((32 * BLOCK_WEIGHTS // 2048, 2048), np.float32)
    scheme.measure(w)
    tracemalloc.start()
    scheme.measure(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < w.nbytes / 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    w = np.random.default_rng(0).standard_normal((2048, 512)).astype(np.float32)
    scheme = make_scheme("base11")
    expected = scheme.quantize(w).data
    child = os.fork()
    if child == 0:  # an exception here must not run pytest a second time
        try:
            same = np.array_equal(scheme.quantize(w).data, expected)
        finally:
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
