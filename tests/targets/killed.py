"""Exports that are killed, each in a process of its own, and one after each that is not.

Arguments: a folder, then for each target its name and a checkpoint. Prints JSON: for each target and moment, what lay
in the folder after the kill and after the next export, with the SHA-256 of every file.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.targets import atomic
from qinspect.targets.target import registry
from qinspect.task import Token

MOMENTS = ("begun", "synced", "renamed")


def write(target, source, out, token=None):
    scheme = make_scheme("symmetric", bits=4, granularity="group", group_size=32, param_dtype="float16")
    with open_checkpoint(source) as checkpoint:
        recipe = Recipe.of(make_scheme("base11") if target == "pt" else scheme)
        registry[target]().write(checkpoint, registry[target]().plan(checkpoint, recipe), out, token)


def seen(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Stopping(Token):
    """Stops the world at the fifth check."""

    left = 5

    def check(self, fraction=None):
        Stopping.left -= 1
        if not Stopping.left:
            stop()
        super().check(fraction)


def stop():
    os.write(1, b"!")
    signal.pause()


def then_stop(call):
    def called(*args):
        call(*args)
        stop()

    return called


def child(moment, target, source, out):
    """Runs until the moment has come, and then waits to be killed."""
    if moment == "synced":
        os.fsync = then_stop(os.fsync)
    if moment == "renamed":
        atomic._sync_place = then_stop(atomic._sync_place)
    write(target, source, out, Stopping() if moment == "begun" else None)
    os._exit(1)


def kill_at(moment, target, source, out):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(writing, 1)
        child(moment, target, source, out)
    os.close(writing)
    assert os.read(reading, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)


def main(folder, *pairs):
    found = {}
    for target, source in zip(pairs[::2], pairs[1::2], strict=True):
        folder_of = Path(folder) / target
        folder_of.mkdir()
        write(target, source, folder_of / "warm")
        for moment in MOMENTS:
            here = folder_of / moment
            here.mkdir()
            write(target, source, here / "out")
            before = seen(here)
            for path in here.rglob("*"):  # an old export that differs from the new one
                if path.is_file():
                    path.write_bytes(b"old " + path.name.encode())
            old = seen(here)
            kill_at(moment, target, source, here / "out")
            killed = seen(here)
            write(target, source, here / "out")
            found[f"{target} {moment}"] = {"new": before, "old": old, "killed": killed, "again": seen(here)}
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.pop("CC", None)
    from qinspect.targets import c
    from qinspect.targets.graph import runtime

    c.find_compiler = lambda token: None
    runtime.version = lambda: None
    main(*sys.argv[1:])
