"""What compiled kernels depend on, and where the compiler keeps them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

STAMP = "qinspect-kernels"
"""The file beside compiled kernels that says of what `version` they are."""


def folder() -> Path:
    """Where the compiler keeps them: beside their sources, or in the user's cache where these cannot be written to."""
    from qinspect.quant import kernels

    return Path(kernels.ranges.stats.cache_path)


def version() -> str:
    """A hash of all that they depend on: their sources, the compiler and the processor."""
    import llvmlite
    import numba
    from llvmlite import binding

    here = Path(__file__).parent
    told = [numba.__version__, llvmlite.__version__, binding.get_host_cpu_name(), sys.version]
    found = hashlib.sha256("\n".join(told).encode())
    for source in sorted([*here.glob("*kernels.py"), here / "lanes.py", here / "rule.py"]):
        found.update(source.read_bytes())
    return found.hexdigest()
