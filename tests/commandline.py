"""The command line, called within the tests or, where the process itself matters, as one of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

from qinspect.cli import main


def process(*arguments, **environment):
    """The finished process `qinspect arguments`; it takes a second to start."""
    return subprocess.run(
        [sys.executable, "-m", "qinspect", *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", timeout=120,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONIOENCODING": "utf-8", **environment},
    )  # fmt: skip


def run(*arguments):
    """What `process` gives, without a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def results(*arguments):
    """What a successful `qinspect arguments --json` prints."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("qinspect: note: ") for line in done.stderr.splitlines())
    return json.loads(done.stdout)


def failure(*arguments):
    """The one line on stderr of a command that fails."""
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("qinspect: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
