"""The command `qinspect`: each verb does what the window does, on the same core, and prints it.

Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong usage, 130 interrupted. See `docs/command-line.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

from qinspect import __version__, report, scheme_flags
from qinspect.assets import resource
from qinspect.errors import FormatError, QInspectError, UnsupportedError, printable
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe
from qinspect.reproduce import RECIPES
from qinspect.session import LayerReport, Request, Session, evaluate, measure_all, total
from qinspect.targets.target import Plan, Report
from qinspect.targets.target import registry as targets
from qinspect.targets.unpack import unpack
from qinspect.targets.verify import verify

Verb = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a code page without "∞" must not end the program
    args = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        code: int = args.verb(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has seen enough; what Python flushes at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except QInspectError as error:
        report.complain(error)
    except OSError as error:
        report.complain(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError as error:
        report.complain(f"there is not enough memory: {error}")
    return 1


# The grammar.


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; of scheme flags become `scheme`, None if there are none, and whether it was `named`."""
    parser = argparse.ArgumentParser(
        "qinspect",
        description="Show what quantization does to every weight of a checkpoint, and write the packed model.",
        epilog="`qinspect [FILE]` alone opens the window.",
    )
    parser.add_argument("--version", action="version", version=f"qinspect {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_verbs(lambda name, verb, help: _verb(verbs, name, verb, help))
    if not argv or (argv[0] not in verbs.choices and not argv[0].startswith("-")):
        argv = ["gui", *argv]
    args = parser.parse_args(argv)
    if hasattr(args, "scheme"):
        args.named, args.scheme = args.scheme is not None, scheme_flags.scheme_of(args)
    return args


def _verb(verbs: Any, name: str, verb: Verb, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=help, allow_abbrev=False)
    parser.set_defaults(verb=verb, parser=parser)
    return parser


_ASSUMED = "of packed layers, where the file does not tell"


def _add_verbs(add: Callable[[str, Verb, str], argparse.ArgumentParser]) -> None:
    gui = add("gui", _gui, "Open the window.")
    gui.add_argument("file", nargs="?", metavar="FILE", help="a checkpoint to begin with")

    info = add("info", _info, "List the tensors of a checkpoint, from its headers alone.")
    analyze = add("analyze", _analyze, "Measure what quantization does to every layer.")
    export = add("export", _export, "Write a packed checkpoint, read it back and compare.")
    verify_ = add("verify", _verify, "Quantize the originals again and compare every code and parameter.")
    unpack_ = add("unpack", _unpack, "Decode a packed checkpoint; names, shapes and types are the original ones again.")
    shot = add("screenshot", _screenshot, "Draw the window with a checkpoint into a PNG file; needs no display.")
    for parser in (info, analyze, export, shot):
        parser.add_argument("file", metavar="FILE", help="a checkpoint")
    for parser in (info, analyze, export):
        parser.add_argument("--json", action="store_true", help="print JSON")
    for parser in (gui, analyze, export, shot):
        scheme_flags.add(parser)
    for parser in (verify_, unpack_):
        parser.add_argument("file", metavar="PACKED", help="a packed checkpoint")
    for parser in (info, verify_, unpack_):
        parser.add_argument("--group-size", dest="scheme.group_size", type=int, metavar="SIZE", help=_ASSUMED)

    analyze.add_argument("--layers", metavar="GLOB", help="measure the tensors of these names; by default the layers")
    analyze.add_argument("--reference", metavar="FILE", help="the originals of a packed FILE")
    written = " ".join(f"{target.name}: {target.summary}" for target in targets)
    export.add_argument("--to", choices=targets.names(), required=True, help=written.replace("%", "%%"))
    export.add_argument("--recipe", metavar="JSON", help="rules a tensor; --scheme gets what they do not mention")
    verify_.add_argument("--against", metavar="FILE", required=True, help="the checkpoint that PACKED was made from")
    for parser in (export, unpack_, shot):
        parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the file to write")
    shot.add_argument("--layer", metavar="NAME", help="the tensor to show; by default the worst")
    shot.add_argument("--size", type=_size, default=(1600, 1000), metavar="WxH", help="in pixels (default 1600x1000)")
    shot.add_argument("--theme", choices=("dark", "light"), default="dark", help="(default dark)")

    reproduce = add("reproduce", _reproduce, "Print the published demonstrations' tables, computed anew.")
    reproduce.add_argument(
        "recipe", nargs="?", choices=[*RECIPES], metavar="RECIPE", help=f"one of {', '.join(RECIPES)}; by default all"
    )
    reproduce.add_argument("--json", action="store_true", help="print JSON")

    demo = add("demo", _demo, "Show a small network trained on handwritten digits.")
    demo.add_argument("--output", metavar="DIR", type=Path, default=Path("out"), help="for files, without a display")


def _size(text: str) -> tuple[int, int]:
    """`1600x1000` as two numbers."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 200):
        raise argparse.ArgumentTypeError(f"a size is written 1600x1000, each at least 200, not {text!r}")
    return int(width), int(height)


# Verbs.


def _open(args: argparse.Namespace) -> Checkpoint:
    """FILE. A group size is that of its packed layers, should it not say so itself, unless it belongs to a scheme."""
    named = getattr(args, "named", False)
    checkpoint = open_checkpoint(args.file, group_size=None if named else scheme_flags.given(args).get("group_size"))
    for note in checkpoint.notes:
        report.remark(f"{checkpoint.path}: {note}")
    return checkpoint


def _info(args: argparse.Namespace) -> int:
    with _open(args) as checkpoint:
        if args.json:
            keys = ("name", "shape", "dtype", "nbytes", "qtype")
            tensors = [{key: getattr(info, key) for key in keys} for info in checkpoint.infos]
            report.print_json({"path": str(checkpoint.path), "format": checkpoint.format, "tensors": tensors})
        else:
            report.print_infos(checkpoint)
    return 0


def _analyze(args: argparse.Namespace) -> int:
    with contextlib.closing(Session()) as session:
        checkpoint = _open(args)
        session.open(checkpoint)
        if args.reference:
            session.attach(open_checkpoint(args.reference))
        scheme = _scheme_for(args, checkpoint)
        reports = _measured(session, scheme, args.layers)
        unknown = [one.info.name for one in reports if one.metrics is not None and one.metrics.exact is None]
        if args.reference and unknown:
            report.remark(f"{args.reference}: has no tensor of the same name and shape as {report.some_names(unknown)}")
        if args.json:
            layers = [one.to_json() for one in reports]
            stated = scheme.to_json() if scheme else None
            report.print_json({"scheme": stated, "layers": layers, "total": total(reports).to_json()})
        else:
            report.print_analysis(scheme, reports)
    return int(any(one.error for one in reports))


def _scheme_for(args: argparse.Namespace, checkpoint: Checkpoint) -> Scheme | None:
    """The scheme to look through; None, where nobody named one, for a packed checkpoint as it is stored."""
    if not args.named and any(info.qtype for info in checkpoint.infos):
        return None
    scheme: Scheme = args.scheme or make_scheme("base11")
    return scheme


def _measured(session: Session, scheme: Scheme | None, layers: str | None = None) -> list[LayerReport]:
    """Reports of the layers, or of what a glob names; what could not be measured is also said on stderr."""
    requests = _requests(session, scheme, layers)
    with report.progress("analysing") as token:
        reports = list(measure_all(requests, token))
    for one in reports:
        if one.error:
            report.complain(one.error)
    return reports


def _requests(session: Session, scheme: Scheme | None, layers: str | None) -> list[Request]:
    checkpoint = session.checkpoint
    if layers is None or checkpoint is None:
        return session.layers(scheme)
    named = [info for info in checkpoint.infos if fnmatchcase(info.name, layers)]
    if not named:
        raise FormatError(f"no tensor has a name like {layers}; `qinspect info` lists them", path=checkpoint.path)
    return [session.request(info, scheme) for info in named]


def _export(args: argparse.Namespace) -> int:
    with _open(args) as checkpoint:
        plan, written = _write(checkpoint, args.to, _recipe(args, checkpoint), args.output)
    if args.json:
        report.print_json(report.export_json(args.to, plan, written))
    else:
        report.print_export(plan, written)
    return 0


def _write(checkpoint: Checkpoint, to: str, recipe: Recipe, out: Path) -> tuple[Plan, Report]:
    target = targets[to]()
    with report.progress("exporting") as token:
        plan = target.plan(checkpoint, recipe, token.part(0, 0.1))
        return plan, target.write(checkpoint, plan, out, token.part(0.1, 1))


def _recipe(args: argparse.Namespace, checkpoint: Checkpoint) -> Recipe:
    """The recipe file; what none of its rules mentions gets the scheme, if one is named."""
    if args.recipe is None:
        return Recipe.of(_scheme_for(args, checkpoint))
    rules = Recipe.load(args.recipe).rules
    return Recipe((*rules, *Recipe.of(args.scheme).rules))


def _verify(args: argparse.Namespace) -> int:
    with _open(args) as packed, open_checkpoint(args.against) as against:
        return _compare(packed, against)


def _compare(packed: Checkpoint, against: Checkpoint) -> int:
    with report.progress("verifying") as token:
        mismatches = verify(packed, against, token)
    for mismatch in mismatches:
        report.complain(f"{mismatch.name}: {mismatch.text}")
    if not mismatches:
        print(f"{report.counted(len(packed.infos), 'tensor')}: every code, parameter and other value matches")
    return int(bool(mismatches))


def _unpack(args: argparse.Namespace) -> int:
    with _open(args) as checkpoint, report.progress("unpacking") as token:
        written = unpack(checkpoint, args.output, token)
    tensors = report.counted(len(written.rows), "tensor")
    print(f"wrote {printable(str(args.output))}: {tensors}, {report.size_text(written.nbytes)}")
    return 0


def _gui(args: argparse.Namespace) -> int:
    if args.file is not None and not Path(args.file).exists():
        raise FormatError("there is no such file, and no such verb; `qinspect --help` lists the verbs", path=args.file)
    if not _has_display() and not os.environ.get("QT_QPA_PLATFORM"):
        raise UnsupportedError("there is no display for a window; use analyze, or screenshot to draw one into a file")
    return int(_window().run(args.file, scheme=args.scheme))


def _screenshot(args: argparse.Namespace) -> int:
    with open_checkpoint(args.file) as checkpoint:
        if args.layer is not None:
            checkpoint.info(args.layer)
    _draw(args.file, args.output, layer=args.layer, size=args.size, theme=args.theme, scheme=args.scheme)
    return 0


def _draw(file: str, out: Path, **choices: Any) -> None:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    _window().screenshot(file, out, **choices)
    print(f"wrote {printable(str(out))}, a picture of the window")


def _reproduce(args: argparse.Namespace) -> int:
    shown = [RECIPES[name]() for name in ([args.recipe] if args.recipe else RECIPES)]
    if args.json:
        report.print_json({"demonstrations": [one.to_json() for one in shown]})
    else:
        report.print_demonstrations(shown)
    return 0


def _demo(args: argparse.Namespace) -> int:
    sample = resource("samples/digits.safetensors")
    if _has_display():
        return int(_window().run(str(sample), scheme=None))
    print("There is no display for the window, so its analysis, an export and a picture of it follow.\n")
    args.output.mkdir(parents=True, exist_ok=True)
    scheme, out = make_scheme("base11"), args.output / "digits.packed.safetensors"
    with contextlib.closing(Session()) as session:
        original = open_checkpoint(sample)
        session.open(original)
        report.print_analysis(scheme, _measured(session, scheme))
        found = evaluate(original, scheme)
        print(f"\nOf {found.samples} test digits it reads {found.before:.1%} right, quantized {found.after:.1%}.\n")
        report.print_export(*_write(original, "safetensors", Recipe.of(scheme), out))
        with open_checkpoint(out) as packed:
            code = _compare(packed, original)
    _draw(str(sample), args.output / "digits.png", scheme=scheme)
    return code


def _has_display() -> bool:
    """Whether a window can be seen; Qt itself ends the process where none can even be made."""
    if platform := os.environ.get("QT_QPA_PLATFORM"):
        return platform != "offscreen"
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _window() -> ModuleType:
    """The window's code, imported only here: Qt takes its time, and a server may not have it."""
    try:
        from qinspect.gui import app
    except ImportError as error:
        raise UnsupportedError(f"the window lacks a system library, install it: {error.msg}") from error
    return app
