"""Searches for files that a reader does not stand: atheris changes seeds, and keeps what reaches new lines.

`make fuzz` runs every target for half a minute, `fuzz.py --seconds 600 .gguf .pt` two of them for ten minutes each.
What is found is kept under build/fuzz/ and becomes a case of the tests. Only the program's own errors may come out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import safetensors.numpy

import qinspect.quant
from qinspect.errors import QInspectError

HERE = Path(__file__).parent
PACKED = HERE.parent / "data" / "packed"
OUT = HERE.parents[1] / "build" / "fuzz"
LIMITS = ("-timeout=20", "-rss_limit_mb=2000", "-max_len=65536", "-verbosity=0")
FOUND = ("crash-", "timeout-", "oom-")


def targets() -> dict[str, bytes]:
    """A valid file of every container by its ending, and of every packed layout."""
    from test_reader_fuzz import SEEDS

    packed = {folder.name: (folder / "model.safetensors").read_bytes() for folder in sorted(PACKED.iterdir())}
    return SEEDS | packed | {name: seed for name, (seed, _) in texts().items()}


def texts() -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """Files that are no checkpoints, and who reads them."""
    from qinspect.importance import Importance
    from qinspect.network import Network
    from qinspect.quant.scheme import make_scheme
    from qinspect.recipe import Recipe, Rule

    recipe = Recipe((Rule("*.attn*", make_scheme("base11", group_size=126)), Rule("*", None)))
    network = [{"op": "linear", "prefix": "a"}, {"op": "residual", "body": [{"op": "layernorm", "prefix": "n"}]}]
    imatrix = {"a.in_sum2": np.ones((1, 4), np.float32), "a.counts": np.ones((1, 1), np.float32)}
    return {
        "recipe.json": (json.dumps(recipe.to_json()).encode(), Recipe.load),
        "network.json": (json.dumps(network).encode(), lambda path: Network.parse(path.read_text(errors="replace"))),
        "imatrix.safetensors": (safetensors.numpy.save(imatrix), Importance.load),
    }


def load(package: ModuleType) -> None:
    """Import all of a package."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def attack(name: str, corpus: Path, options: list[str]) -> None:
    """Change the seeds of one target until the time is over, or something is found."""
    import atheris

    load(qinspect.quant)  # what is imported later is changed, which no compiled kernel stands
    with atheris.instrument_imports(include=["qinspect"]):
        load(importlib.import_module("qinspect.formats"))
        import test_reader_fuzz

        read = texts()[name][1] if name in texts() else test_reader_fuzz.read_everything
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp())
    path = folder / (name if "." in name else "model.safetensors")
    if "." not in name and (PACKED / name / "config.json").exists():
        shutil.copy(PACKED / name / "config.json", folder)

    def one(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except QInspectError as error:
            assert str(error).isprintable()

    atheris.Setup([sys.argv[0], str(corpus), *LIMITS, f"-artifact_prefix={OUT / name}-", *options], one)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run targets one after another; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all without")
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if args.one:
        attack(args.targets[0], OUT / f"corpus{args.targets[0]}", [f"-max_total_time={args.seconds}"])
        return 0
    failed = []
    for name, seed in targets().items():
        if args.targets and name not in args.targets:
            continue
        corpus = OUT / f"corpus{name}"
        corpus.mkdir(exist_ok=True)
        (corpus / "seed").write_bytes(seed)
        print(f"{name}: {args.seconds} s", flush=True)
        command = [sys.executable, __file__, "--one", name, "--seconds", str(args.seconds)]
        if subprocess.run(command).returncode:
            failed.append(name)
    found = sorted(str(path) for path in OUT.iterdir() if any(kind in path.name for kind in FOUND))
    print("\n".join([f"failed: {', '.join(failed)}" if failed else "nothing was found", *found]))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
