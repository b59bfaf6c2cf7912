"""Exported C on emulated Cortex-M processors: the sample's self-test, and instructions a weight.

`make qemu` prints the tables of `docs/targets.md`. Needs arm-none-eabi-gcc, its newlib and qemu-system-arm. QEMU is
told to let one nanosecond pass an instruction, so that the processor's timer counts instructions, not cycles.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qinspect.assets import resource
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.c import C
from qinspect.targets.target import Plan

HERE = Path(__file__).parent
ROWS, COLS = 64, 1008
"""All groups below divide a row."""
INT = {"granularity": "group", "group_size": 112, "param_dtype": "float16"}
SCHEMES = (
    make_scheme("base11", group_size=36),
    make_scheme("base11", group_size=63),
    make_scheme("base11", group_size=126),
    make_scheme("symmetric", bits=4, **INT),
    make_scheme("symmetric", bits=8, **INT),
    make_scheme("symmetric", bits=3, **INT),
    make_scheme("base_n", levels=6, group_size=144),
    make_scheme("ternary", **INT),
    make_scheme("sentinel"),
)
SHARED = ("-O2", "-mthumb", "-ffunction-sections", "-Wl,--gc-sections", "--specs=rdimon.specs", f"-T{HERE}/link.ld")


@dataclass(frozen=True)
class Core:
    """A processor, the board of QEMU that has it, and instructions a tick of its timer."""

    title: str
    board: str
    flags: tuple[str, ...]
    tick: float

    def built(self, folder: Path, main: Path, *flags: str) -> Path:
        """A program from an export and a main function."""
        program = folder / "program.elf"
        sources = [str(HERE / "start.c"), str(folder / "model.c"), str(main)]
        command = ["arm-none-eabi-gcc", *SHARED, *self.flags, *flags, f"-I{folder}", *sources, "-o", str(program)]
        subprocess.run(command, check=True)
        return program

    def output(self, program: Path) -> str:
        """What the emulated program prints."""
        machine = ["qemu-system-arm", "-M", self.board, "-semihosting", "-nographic", "-monitor", "none"]
        clock = ["-serial", "none", "-icount", "shift=0", "-kernel", str(program)]
        done = subprocess.run([*machine, *clock], capture_output=True, text=True, timeout=120, check=False)
        return done.stdout or done.stderr


CORES = (
    Core("Cortex-M0", "microbit", ("-mcpu=cortex-m0",), 62.5),
    Core("Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3",), 40.0),
    Core("Cortex-M4F", "mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), 40.0),
)


def export(source: Path, scheme: Scheme, folder: Path) -> Plan:
    """`source` as a folder of C."""
    with open_checkpoint(source) as checkpoint:
        plan = C().plan(checkpoint, Recipe.of(scheme))
        C().write(checkpoint, plan, folder)
    return plan


def self_tests(work: Path) -> bool:
    """Run the sample network's self-test on every core; whether all pass."""
    print("| the digits network, base-11 g64 | self-test |\n|---|---|")
    folder = work / "digits"
    export(resource("samples/digits.safetensors"), make_scheme("base11", group_size=64), folder)
    passed = True
    for core in CORES:
        said = core.output(core.built(folder, folder / "main_test.c"))
        passed &= said.endswith("PASS\n")
        print(f"| {core.title} | {said.splitlines()[-1] if said else 'nothing'} |")
    return passed


def instructions(work: Path) -> None:
    """A table of instructions a weight."""
    print(f"\n| {ROWS} × {COLS} | bits a weight | {' | '.join(f'{c.title} i8 | f32' for c in CORES)} |")
    print(f"|---|---|{'---|---|' * len(CORES)}")
    source = work / "layer.npz"
    np.savez(source, **{"fc.weight": np.random.default_rng(0).standard_normal((ROWS, COLS), np.float32)})
    for number, scheme in enumerate(SCHEMES):
        bpw = export(source, scheme, work / str(number)).bpw
        cells = [f"{count:.1f}" for core in CORES for count in measured(core, work / str(number))]
        print(f"| {scheme.label} | {bpw:.2f} | {' | '.join(cells)} |")


def measured(core: Core, folder: Path) -> tuple[float, float]:
    """Instructions a weight with 8-bit and with float inputs."""
    sizes = (f"-DMEASURED_ROWS={ROWS}", f"-DMEASURED_COLS={COLS}")
    f32, i8 = core.output(core.built(folder, HERE / "measure.c", *sizes)).split()
    return int(i8) * core.tick / (ROWS * COLS), int(f32) * core.tick / (ROWS * COLS)


def code(work: Path) -> None:
    """Bytes of code of the sample network's forward pass."""
    print("\n| code of `model_forward_i8`, -Os | bytes |\n|---|---|")
    for core in CORES:
        command = ["arm-none-eabi-gcc", "-Os", "-mthumb", *core.flags, "-ffunction-sections", "-c"]
        target = work / "model.o"
        subprocess.run([*command, str(work / "digits" / "model.c"), "-o", str(target)], check=True)
        said = subprocess.run(["arm-none-eabi-size", "-A", str(target)], capture_output=True, text=True, check=True)
        sizes = {line.split()[0]: int(line.split()[1]) for line in said.stdout.splitlines() if line.startswith(".text")}
        print(f"| {core.title} | {sum(size for name, size in sizes.items() if name != '.text.model_forward')} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        passed = self_tests(Path(name))
        instructions(Path(name))
        code(Path(name))
    sys.exit(not passed)
