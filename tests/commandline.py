"""The command line as a process of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

from qinspect.cli import main


def run(*arguments, **environment):
    """The finished process `qinspect arguments`."""
    return subprocess.run(
        [sys.executable, "-m", "qinspect", *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", timeout=120,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONIOENCODING": "utf-8", **environment},
    )  # fmt: skip


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


def call(*arguments):
    """What `run` gives, without a process of its own, which takes a second to start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def answer(*arguments):
    """What `results` gives, without a process of its own."""
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
