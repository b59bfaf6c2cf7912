"""Names, remarks and numbers as C source has them; numbers of one kind are always equally long."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from qinspect.errors import printable

_RESERVED = ("data", "scratch", "forward", "forward_i8", "words", "layout", "crc32", "inputs", "outputs", "h")
_WORDS_A_LINE = 8


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A C identifier for each name, lower case and different from all others."""
    found: dict[str, str] = {}
    taken = set(_RESERVED)
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower())[:60].strip("_") or "tensor"
        free = plain
        for number in range(2, 1 << 31):
            if free not in taken:
                break
            free = f"{plain}_{number}"
        taken.add(free)
        found[name] = free
    return found


def comment(text: str) -> str:
    """`text` safe within a C comment and a cell of a table: printable ASCII that neither ends nor begins one."""
    ascii_only = printable(text, 120).encode("ascii", "backslashreplace").decode()
    return re.sub(r"[*/?`|\\$]", "_", ascii_only)


def literal(value: float) -> str:
    """A float constant that reads back as the same float32."""
    return f"{np.float32(value):.8e}f"


def floats(name: str, values: np.ndarray) -> str:
    """A constant array, each number equally long, four a line."""
    texts = [f"{value:+.8e}f," for value in np.asarray(values, np.float32).tolist()]
    lines = [" ".join(texts[at : at + 4]) for at in range(0, len(texts), 4)]
    return f"static const float {name}[{len(texts)}] = {{\n    " + "\n    ".join(lines) + "\n};\n"


def words_nbytes(count: int) -> int:
    """Size of `words_text`."""
    return 12 * count + 4 * -(-count // _WORDS_A_LINE)


_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)


def words_text(words: np.ndarray) -> bytes:
    """`0x01234567,` for each word, eight a line."""
    shifts = np.arange(28, -1, -4, dtype=np.uint32)
    cells = np.empty((len(words), 12), np.uint8)
    cells[:, :2] = np.frombuffer(b"0x", np.uint8)
    cells[:, 2:10] = _HEX[(words[:, None] >> shifts) & 15]
    cells[:, 10], cells[:, 11] = ord(","), ord(" ")
    whole = len(words) // _WORDS_A_LINE * _WORDS_A_LINE
    cells[_WORDS_A_LINE - 1 : whole : _WORDS_A_LINE, 11] = ord("\n")
    lines = cells[:whole].reshape(-1, 12 * _WORDS_A_LINE)
    indent = np.full((len(lines), 4), ord(" "), np.uint8)
    text = np.concatenate([indent, lines], axis=1).tobytes()
    rest = cells[whole:].tobytes()
    return text + (b"    " + rest[:-1] + b"\n" if rest else b"")
