"""The pickle machine: the same data as Python's own unpickler has, and nothing ever run."""

import collections
import os
import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.errors import FormatError
from qinspect.formats import pickles
from qinspect.formats.pickles import Global, Key, Object, parse

# Python's own tool for pickles warns of backslashes in the text of protocol 0.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
DATA = st.recursive(
    SCALARS | st.binary().map(bytearray),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)


@given(DATA, st.integers(0, 5))
def test_plain_data_is_what_pickle_itself_reads(value, protocol):
    data = pickle.dumps(value, protocol)
    tree, objects = parse(data)
    # Before protocol 3 there was no bytes type: they are text that is encoded by a call.
    if not any(o.called for o in objects):
        assert tree == pickle.loads(data)


def test_shared_and_circular_parts_stay_so():
    shared = [1]
    ring = [shared, shared]
    ring.append(ring)
    tree, _ = parse(pickle.dumps(ring))
    assert tree[0] is tree[1]
    assert tree[2] is tree


def test_keys_that_are_no_text_are_told_apart_from_text():
    tree, _ = parse(pickle.dumps({0: "number", "0": "text", (1, 2): "tuple", None: "none"}))
    assert tree[Key("0")] == "number"
    assert tree["0"] == "text"
    assert list(tree.values()) == ["number", "text", "tuple", "none"]


class Instance:
    def __init__(self):
        self.value = [1, 2]


def test_instances_and_calls_become_objects_that_tell_what_they_would_be():
    ordered = collections.OrderedDict(a=1)
    ordered.extra = 5
    for protocol in range(6):
        tree, _ = parse(pickle.dumps([ordered, {3}, frozenset("x"), 1j], protocol))
        first, second, third, fourth = tree
        assert (first.origin, first.state, first.items) == ("collections.OrderedDict", {"extra": 5}, {"a": 1})
        assert fourth.args == (0.0, 1.0)
        if protocol >= 4:
            assert (second, third) == ([3], ["x"])
    for protocol in (2, 4):
        tree, _ = parse(pickle.dumps(Instance(), protocol))
        assert (tree.origin.rpartition(".")[2], tree.called, tree.state) == ("Instance", False, {"value": [1, 2]})


def test_older_ways_to_make_objects():
    assert parse(b"(I7\niposix\nsystem\n.")[0].args == (7,)
    made = parse(b"(cposix\nsystem\nI7\no.")[0]
    assert (made.origin, made.args, made.called) == ("posix.system", (7,), True)
    assert parse(b"cposix\nsystem\n.")[0] == Global("posix.system")
    assert parse(b"Psome id\n.")[0].args == ("some id",)


class Payload:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_payloads_never_run(tmp_path):
    witness = tmp_path / "ran"
    data = pickle.dumps(
        [Payload(os.system, f"touch {witness}"), Payload(eval, f"__import__('os').mkdir({str(tmp_path / 'too')!r})")]
    )
    _, objects = parse(data)
    assert list(tmp_path.iterdir()) == []
    assert [o.origin for o in objects] == [f"{os.system.__module__}.system", "builtins.eval"]
    pickle.loads(data)
    assert len(list(tmp_path.iterdir())) == 2  # so they would have run


def long_binput(index):
    return b"\x80\x02]r" + struct.pack("<I", index) + b"."


BAD = {
    "empty": b"",
    "no end": b"\x80\x02N",
    "unknown operation": b"\xff.",
    "stack is empty": b"\x80\x02.",
    "tuple of nothing": b"\x80\x02\x87.",
    "no mark": b"\x80\x02t.",
    "memo is empty": b"\x80\x02h\x07.",
    "text is cut": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "bytes of 2^60": b"\x80\x05\x8e" + struct.pack("<Q", 1 << 60) + b".",
    "bytearray of 2^60": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "text is not UTF-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "number is no number": b"Iseven\n.",
    "number of 10^5 digits": b"L" + b"9" * 100_000 + b"L\n.",
    "items of a number": b"\x80\x02K\x01X\x01\x00\x00\x00aNs.",
    "odd count of items": b"\x80\x02}(Nu.",
    "out of band buffer": b"\x80\x05\x97.",
    "extension registry": b"\x80\x02\x82\x01.",
    "global without text": b"\x80\x04K\x01K\x02\x93.",
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_pickles_are_refused(case):
    with pytest.raises(FormatError, match="pickle"):
        parse(BAD[case])


def test_huge_memo_numbers_cost_nothing():
    assert parse(long_binput(2**32 - 1))[0] == []


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"N", b"\x85"), (b"(" * 300_000 + b"N", b"l"), (b"]" * 300_001, b"a")]
)
def test_deep_nesting_neither_recurses_nor_crashes(opening, closing):
    tree, _ = parse(b"\x80\x02" + opening + closing * 300_000 + b".")
    depth = 0
    while tree:
        tree, depth = tree[0], depth + 1
    assert depth == 300_000


def test_a_deep_tuple_as_a_key_is_not_hashed():
    assert len(parse(b"\x80\x02}N" + b"\x85" * 300_000 + b"Ns.")[0]) == 1


def test_too_many_operations_and_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPCODES", 1000)
    with pytest.raises(FormatError, match="1000 operations"):
        parse(b"N" * 2000 + b".")
    monkeypatch.setattr(pickles, "MAX_BYTES", 10)
    with pytest.raises(FormatError, match="10 that are read"):
        parse(b"N" * 11)


@given(st.binary(max_size=200), st.data())
def test_any_bytes_give_a_tree_or_a_format_error(noise, data):
    sample = pickle.dumps([collections.OrderedDict(a=1.5), {"x": (1, b"y")}, Instance()], data.draw(st.integers(0, 5)))
    at = data.draw(st.integers(0, len(sample)))
    for candidate in (noise, sample[:at] + noise + sample[at:], sample[:at] + noise):
        try:
            tree = parse(candidate)
        except FormatError as error:
            assert str(error).isprintable()
        else:
            assert not callable(tree)


def test_every_opcode_is_handled_or_refused_on_purpose():
    refused = {op.name for op in pickletools.opcodes} - pickles._CONSTANTS - pickles._ACTIONS.keys()
    assert refused == {"STOP", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


def test_objects_are_told_apart_by_what_they_are_not_by_what_they_hold():
    a, b = Object("x", ()), Object("x", ())
    assert a != b
    assert len({a, b}) == 2
