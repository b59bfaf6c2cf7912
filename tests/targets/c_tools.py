"""A C compiler, for tests that run what was exported."""

import ctypes
import shutil
import subprocess

import pytest

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
GCC, GXX = shutil.which("gcc"), shutil.which("g++")

needs_gcc = pytest.mark.skipif(GCC is None or GXX is None, reason="needs gcc and g++")


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def library(folder, *sources, flags=()):
    """C of the folder, callable from here."""
    target = folder.parent / f"{folder.name}.so"
    run(GCC, "-std=c99", "-O2", "-shared", "-fPIC", *flags, f"-I{folder}", *sources, "-o", target)
    return ctypes.CDLL(str(target))


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
