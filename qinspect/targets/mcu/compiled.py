"""An export compiled and run on this machine, where it has a C compiler: the self-test, and every weight decoded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import IO

import numpy as np

from qinspect.assets import resource
from qinspect.errors import ExportError
from qinspect.formats.dtypes import numpy_dtype
from qinspect.quant.layout import matrix_shape
from qinspect.targets.mcu.device_file import DeviceFile, Entry
from qinspect.targets.mcu.literals import identifiers
from qinspect.targets.mcu.parsed import BLOCK
from qinspect.task import Token

FLAGS = ("-std=c99", "-O2")
LARGEST = 64 << 20
"""Bytes of `model.c` from which compiling here would take more than a minute."""

_POLL_S = 0.05


@dataclass(frozen=True)
class Compiler:
    """A C compiler that works, and how it introduces itself."""

    command: str
    version: str


def find_compiler(token: Token) -> Compiler | None:
    """That of the environment variable CC, or the system's; None if there is none or it cannot make a program."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    command = next((found for name in names if (found := shutil.which(name))), None)
    if command is None or sys.platform == "win32":  # where a program's output is text unless it says otherwise
        return None
    with tempfile.TemporaryDirectory(prefix="qinspect-") as work:
        source = Path(work, "empty.c")
        source.write_text("int main(void) { return 0; }\n", encoding="ascii")
        if _run([command, str(source), "-o", str(source.with_suffix(""))], token)[0]:
            return None
    return Compiler(command, _run([command, "--version"], token)[1].partition("\n")[0].strip())


class Dump:
    """All weights of an export, one tensor after the other, as its own runtime decodes them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, nbytes: int) -> bytes:
        """The next bytes; ExportError if the program ended."""
        data = self._stream.read(nbytes)
        if len(data) != nbytes:
            raise ExportError("the exported program ended before it had decoded all weights")
        return data

    def blocks(self, entry: Entry) -> Iterator[np.ndarray]:
        """The next tensor, in the order of the file, some rows at a time."""
        if entry.matrix is None:
            stored = entry.stored["values"]
            data = self.read(-(-stored.nbytes // 4) * 4)
            yield np.frombuffer(data[: stored.nbytes], numpy_dtype(stored.dtype)).reshape(matrix_shape(entry.shape))
            return
        rows, cols = entry.matrix.rows, entry.matrix.cols
        step = max(1, BLOCK // cols)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            yield np.frombuffer(self.read(4 * count * cols), np.float32).reshape(count, cols)


@contextmanager
def running(compiler: Compiler, folder: Path, file: DeviceFile, token: Token) -> Iterator[Dump]:
    """Compile the C in `folder`, run its self-test, and decode all weights while the block reads them."""
    with tempfile.TemporaryDirectory(prefix="qinspect-") as name:
        work = Path(name)
        (work / "dump.c").write_text(_dump_source(file), encoding="ascii")
        build = [compiler.command, *FLAGS, f"-I{folder}"]
        _build([*build, "-c", str(folder / "model.c"), "-o", str(work / "model.o")], token)
        for source in (folder / "main_test.c", work / "dump.c"):
            _build([*build, str(source), str(work / "model.o"), "-o", str(work / source.stem)], token)
        code, said = _run([str(work / "main_test")], token)
        if code or not said.endswith("PASS\n"):
            raise ExportError(f"the exported self-test failed on this machine: {_first_line(said, 'WRONG')}")
        with subprocess.Popen([str(work / "dump")], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield Dump(process.stdout)
            finally:
                process.kill()


def _build(command: Sequence[str], token: Token) -> None:
    code, said = _run(command, token)
    if code:
        raise ExportError(f"the exported C does not compile here: {_first_line(said, 'error')}")


def _first_line(text: str, word: str) -> str:
    """The first line with `word` in it, or the first."""
    lines = text.splitlines() or ["it said nothing"]
    return next((line for line in lines if word in line), lines[0])


def _run(command: Sequence[str], token: Token) -> tuple[int, str]:
    """Exit code and output; the program is stopped when the token is."""
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            while process.poll() is None:
                token.check()
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
        said.seek(0)
        return process.returncode, said.read().decode(errors="replace")


def _dump_source(file: DeviceFile) -> str:
    """A program that writes the data, and then every tensor decoded."""
    names = identifiers(entry.name for entry in file.entries)
    cols = max([1, *(entry.matrix.cols for entry in file.entries if entry.matrix)])
    calls = []
    for entry in file.entries:
        if entry.matrix is not None:
            calls.append(f"    matrix(&model_{names[entry.name]});")
        else:
            calls.append(f"    words({file.places(entry)['values']}u, {-(-entry.stored['values'].nbytes // 4)}u);")
    template = (resource("c") / "dump.c").read_text(encoding="ascii")
    return Template(template).substitute(cols=cols, calls="\n".join(calls))
