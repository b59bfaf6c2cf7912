"""Opens and reads files in processes of their own, with little memory: what was said, and what it cost.

Reads paths from standard input, a line each; writes a line of JSON for each. Run by `test_hostile.py`.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
import traceback

import numpy as np

from qinspect.cli import main
from qinspect.errors import QInspectError
from qinspect.formats.checkpoint import registry
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor, make_scheme

MEMORY = 200 << 20
TOGETHER = 6
"""Files that a process looks at; the first of them is given to the command line too."""
SECONDS = 30
"""Of the processor; files that take so long hang, whatever the machine."""


def look(path):
    """Open a file and a row of each of its tensors; the errors of opening and of reading."""
    errors = {"open": None, "read": None}
    try:
        with open_checkpoint(path) as checkpoint:
            for info in checkpoint.infos[:50]:
                try:
                    held = checkpoint.lazy(info.name)
                    if isinstance(held, QTensor):
                        held.scheme.dequantize(held, rows=slice(0, 1) if len(held.shape) > 1 else None)
                    else:
                        np.asarray(held[:1] if held.ndim else held)
                except QInspectError as error:
                    errors["read"] = str(error)
    except QInspectError as error:
        errors["open"] = str(error)
    return errors


def timed(path):
    """The errors, and seconds of the processor."""
    started = time.process_time()
    return look(path), time.process_time() - started


def command_line(path):
    """What `qinspect info` prints and returns."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["info", path])
    return {"code": code, "stderr": err.getvalue()}


def child(paths, stream):
    """Look at some files with a limit of memory for them all; a line for each."""
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for number, path in enumerate(paths):
        before = resource.getrusage(resource.RUSAGE_SELF)
        found, seconds = timed(path)
        after = resource.getrusage(resource.RUSAGE_SELF)
        if seconds > 1:  # others may have been at work
            seconds = min(seconds, timed(path)[1], timed(path)[1])
        found |= {"seconds": seconds, "grown": (after.ru_maxrss - before.ru_maxrss) << 10}
        stream.write(json.dumps(found | ({} if number else command_line(path))).encode() + b"\n")
        stream.flush()


def in_child(paths):
    """Lines of JSON for some files; for those that a process did not live to see, how it ended."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        with os.fdopen(write, "wb") as stream:
            try:
                child(paths, stream)
            except BaseException:
                stream.write(json.dumps({"crash": traceback.format_exc()[-2000:]}).encode() + b"\n")
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        lines = stream.read().splitlines()
    status = os.waitpid(pid, 0)[1]
    return lines + [json.dumps({"crash": f"its process ended with status {status}"})] * (len(paths) - len(lines))


if __name__ == "__main__":
    list(registry)
    command_line("/no such file")  # what it imports is there before memory is counted
    scheme = make_scheme("asymmetric")
    scheme.dequantize(scheme.quantize(np.ones((2, 64), np.float32)))  # kernels too
    waiting = sys.stdin.read().splitlines()
    for start in range(0, len(waiting), TOGETHER):
        print("\n".join(in_child(waiting[start : start + TOGETHER])), flush=True)
