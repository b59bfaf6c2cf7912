"""`qinspect evaluate`."""

from __future__ import annotations

import argparse
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import open_file, recipe_for
from qinspect.cli.verb import Verb, add_file, add_json, add_recipe, add_reference
from qinspect.evaluation import Evaluation, evaluate, load_inputs
from qinspect.formats.align import align
from qinspect.formats.checkpoint import Checkpoint
from qinspect.formats.open import open_checkpoint


class Evaluate(Verb):
    """Compares outputs."""

    name: ClassVar[str] = "evaluate"
    summary: ClassVar[str] = "Compare the outputs of layers, and of the whole network, before and after quantization."
    order: ClassVar[int] = 36
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect evaluate model.safetensors --data inputs.npz --scheme symmetric --bits 4",
        "qinspect evaluate packed.safetensors --data inputs.npz --reference model.safetensors",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, inputs, and a scheme or a recipe."""
        add_file(parser)
        help = "inputs: .npz, .pt or .safetensors with x and perhaps labels y; by default the test set beside FILE"
        parser.add_argument("--data", metavar="X", type=Path, help=help)
        add_reference(parser)
        add_recipe(parser)
        add_json(parser)
        scheme_flags.add(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Always 0: how much is too much is for others to say."""
        data = None if args.data is None else load_inputs(args.data)
        with open_file(args) as checkpoint, _reference(args, checkpoint) as reference:
            recipe = recipe_for(args, checkpoint)
            with report.progress("evaluating") as token:
                found = evaluate(checkpoint, recipe, data, token, reference)
        if args.json:
            report.print_json(found.to_json())
        else:
            _print(found)
        return 0


def _reference(args: argparse.Namespace, checkpoint: Checkpoint) -> AbstractContextManager[Checkpoint | None]:
    """The originals; without them a remark, where packed layers are compared with themselves."""
    if args.reference:
        return align(open_checkpoint(args.reference), checkpoint)
    if any(info.qtype for info in checkpoint.infos):
        text = "packed layers are compared with what they decode to; name their originals with --reference"
        report.remark(f"{checkpoint.path}: {text}")
    return nullcontext()


def _print(found: Evaluation) -> None:
    """The layers, the worst first, and the network."""
    ordered = sorted(found.layers, key=lambda one: -math.inf if math.isnan(one.error) else one.error, reverse=True)
    if ordered:
        columns = {
            "tensor": [one.name for one in ordered],
            "stored as": [one.scheme.label for one in ordered],
            "inputs": [str(one.samples or fmt.NONE) for one in ordered],
            "output error": [_percent(one.error) for one in ordered],
        }
        print(report.table(columns, total=False))
    else:
        print("Nothing is quantized, so no output changes.")
    if found.remark:
        print(report.wrapped(found.remark))
    if found.output_error is not None:
        print(f"{fmt.counted(found.samples, 'input')}: the network's outputs differ by {_percent(found.output_error)}")
        print(f"the same largest output for {found.agreement:.2%}")
    if found.before is not None:
        print(f"labels right: {found.before:.2%} before, {found.after:.2%} after")


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if math.isfinite(value) else fmt.NONE
