"""Looks for what pip cannot install: a Python that makes environments, the libraries that Qt loads, an emulator.

`prepare.py python`, `qt` and `qemu` install what is missing where that is possible (root on Debian or Ubuntu), and
otherwise say in one line what to do. Written for any Python 3, since an old one must be able to say that it is too old.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
}


EMULATOR = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}


def loads(soname):
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def install(packages, needs):
    """Whether the Debian `packages` were installed; says what to do if not."""
    if not shutil.which("apt-get"):
        print(needs + "; install it with the system's package manager.", file=sys.stderr)
        return False
    if os.geteuid() != 0:
        print(needs + "; run: sudo apt-get install " + " ".join(packages), file=sys.stderr)
        return False
    print(needs + "; installing " + " ".join(packages), flush=True)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.call(["apt-get", "update", "-qq"], env=quiet)
    return subprocess.call(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=quiet) == 0


def python():
    version = "%d.%d" % sys.version_info[:2]
    if sys.version_info < (3, 11):
        print(
            "qinspect needs Python 3.11 or newer, this is " + version + "; run: make PYTHON=python3.12", file=sys.stderr
        )
        return False
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return True
    return install(["python" + version + "-venv"], "This Python cannot make a virtual environment")


def qt():
    missing = [soname for soname in QT_LIBRARIES if not loads(soname)] if sys.platform == "linux" else []
    return not missing or install([QT_LIBRARIES[s] for s in missing], "The window needs " + ", ".join(missing))


def qemu():
    missing = [program for program in EMULATOR if not shutil.which(program)]
    packages = " ".join(EMULATOR[program] for program in missing).split()
    return not missing or install(packages, "Running exported C on emulated processors needs " + ", ".join(missing))


if __name__ == "__main__":
    sys.exit(not {"python": python, "qt": qt, "qemu": qemu}[sys.argv[1]]())
