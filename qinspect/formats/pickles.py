"""Reads a pickle as data: nothing in it is imported, called or built, it only becomes a tree to look at.

Where `pickle` would call a function or make an instance, the tree has an `Object` that tells which and with what. The
opcodes are those of Python's `pickletools`, up to protocol 5.
"""

from __future__ import annotations

import functools
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qinspect.errors import FormatError
from qinspect.formats.pickle_arguments import READERS, Reader

MAX_BYTES = 1 << 28
MAX_OPCODES = 2_000_000
"""A state dict needs about thirty a tensor."""
_STOP = ord(".")


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle names."""

    name: str


@dataclass(frozen=True)
class Key:
    """A key of a dictionary that is no text. Told apart by its text, so that no crafted number can clash in a hash."""

    text: str


@dataclass(eq=False)
class Object:
    """What calling `origin` with `args` would give, what state it would be set to and what entries it would get.

    `called` is True where the pickle asks for any call, False where it makes an instance of a class (NEWOBJ).
    """

    origin: str
    args: tuple[Any, ...]
    called: bool = True
    state: Any = None
    items: dict[str | Key, Any] = field(default_factory=dict)


PERSISTENT = "persistent id"
"""Origin of an `Object` for something that is stored outside of the pickle; its single argument says what."""


def parse(data: bytes) -> tuple[Any, list[Object]]:
    """The tree of a pickle, and every `Object` in it; FormatError if it is damaged or too large."""
    if len(data) > MAX_BYTES:
        raise FormatError(f"its pickle has {len(data)} bytes, more than the {MAX_BYTES} that are read")
    try:
        return parse_at(data, 0)[:2]
    except EOFError as error:
        raise damaged(error) from error


def parse_at(data: bytes, start: int) -> tuple[Any, list[Object], int]:
    """The same of the pickle that begins at `start`, and where it ends; EOFError where `data` ends before."""
    machine = _Machine()
    try:
        tree, stop = machine.run(data, start)
    except (IndexError, struct.error) as error:
        raise EOFError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise damaged(error) from error
    return tree, machine.objects, stop


def damaged(error: Exception) -> FormatError:
    """What to say of a pickle in which this went wrong."""
    return FormatError(f"its pickle is damaged ({error})")


class _Machine:
    """The pickle machine: a stack, marks on it, and a memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.objects: list[Object] = []

    def run(self, data: bytes, at: int) -> tuple[Any, int]:
        """The tree, and where its pickle ends."""
        steps = _steps()
        for _ in range(MAX_OPCODES):
            code = data[at]
            at += 1
            read, act = steps[code]
            argument = None
            if read is not None:
                argument, at = read(data, at)
            if act is not None:
                act(self, argument)
            elif read is not None:
                self.stack.append(argument)
            elif code == _STOP:
                return self.pop(1)[0], at
            else:
                name = next((op.name for op in pickletools.opcodes if ord(op.code) == code), f"{code:#04x}")
                raise FormatError(f"its pickle has an operation {name} that no checkpoint needs")
        raise FormatError(f"its pickle has more than {MAX_OPCODES} operations")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def top(self) -> Any:
        """The topmost value, which stays."""
        if not self.stack:
            raise ValueError("its stack is empty")
        return self.stack[-1]

    def pop(self, count: int) -> list[Any]:
        """The topmost `count` values."""
        if len(self.stack) < count:
            raise ValueError("its stack is empty")
        taken, self.stack[-count:] = self.stack[-count:], []
        return taken

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """All values above the last mark."""
        if not self.marked:
            raise ValueError("there is no mark on its stack")
        taken, self.stack = self.stack, self.marked.pop()
        return taken

    def make(self, origin: Any, args: Any, *, called: bool) -> None:
        if isinstance(origin, Object) and origin.origin == PERSISTENT and origin.args[:1] == ("module",):
            origin = origin.args[1]  # before torch 1.6, classes of modules came with their source
        name = origin.name if isinstance(origin, Global) else "something computed"
        made = Object(name, args if isinstance(args, tuple) else (args,), called)
        self.objects.append(made)
        self.stack.append(made)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Object) else target
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            items[_key(key, len(items))] = value

    def extend(self, values: list[Any]) -> None:
        """Lists and sets; what is added to any other object does not matter to weights."""
        target = self.top()
        if isinstance(target, list):
            target.extend(values)

    def build(self, state: Any) -> None:
        target = self.top()
        if isinstance(target, Object):
            target.state = state


def _key(key: Any, count: int) -> str | Key:
    if isinstance(key, str):
        return key
    if isinstance(key, bool | float | None) or (isinstance(key, int) and abs(key) < 1 << 64):
        return Key(repr(key))
    return Key(f"entry {count}")


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _dictionary(machine: _Machine) -> None:
    pairs = machine.since_mark()
    machine.push({})
    machine.set_items(pairs)


def _instance(machine: _Machine, name: str) -> None:
    args = machine.since_mark()
    machine.make(Global(name.replace(" ", ".")), tuple(args), called=True)


def _object(machine: _Machine) -> None:
    taken = machine.since_mark()
    machine.make(taken[0] if taken else None, tuple(taken[1:]), called=True)


_CONSTANTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Operations whose argument is what they put on the stack."""

_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop(1) if m.stack else m.since_mark(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_SET": lambda m, _: m.push([]),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "FROZENSET": lambda m, _: m.push(m.since_mark()),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.since_mark()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "DICT": lambda m, _: _dictionary(m),
    "SETITEM": lambda m, _: m.set_items(m.pop(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda m, _: _put(m, len(m.memo)),
    "GET": lambda m, index: m.push(m.memo[index]),
    "BINGET": lambda m, index: m.push(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.push(m.memo[index]),
    "GLOBAL": lambda m, name: m.push(Global(name.replace(" ", "."))),
    "STACK_GLOBAL": lambda m, _: m.push(Global(".".join(m.pop(2)))),
    "REDUCE": lambda m, _: m.make(*m.pop(2), called=True),
    "NEWOBJ": lambda m, _: m.make(*m.pop(2), called=False),
    "NEWOBJ_EX": lambda m, _: m.make(*m.pop(3)[:2], called=False),
    "INST": _instance,
    "OBJ": lambda m, _: _object(m),
    "BUILD": lambda m, _: m.build(m.pop(1)[0]),
    "PERSID": lambda m, pid: m.make(Global(PERSISTENT), pid, called=False),
    "BINPERSID": lambda m, _: m.make(Global(PERSISTENT), m.pop(1)[0], called=False),
}


@functools.cache
def _steps() -> list[tuple[Reader | None, Callable[[_Machine, Any], object] | None]]:
    """For each byte how its argument is read and what is done; nothing for one that is no operation of ours."""
    steps: list[tuple[Reader | None, Callable[[_Machine, Any], object] | None]] = [(None, None)] * 256
    for opcode in pickletools.opcodes:
        if opcode.name in _CONSTANTS or opcode.name in _ACTIONS:
            read = None if opcode.arg is None else READERS[opcode.arg.name]
            steps[ord(opcode.code)] = read, _ACTIONS.get(opcode.name)
    return steps
