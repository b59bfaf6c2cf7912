"""What verbs do with the checkpoint that they are given: open it, choose schemes, measure, write."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.errors import FormatError, SchemeError, printable
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.importance import Importance
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe
from qinspect.session import LayerReport, Request, Session, measure_all
from qinspect.targets.choice import stored_scheme
from qinspect.targets.target import Plan, Report
from qinspect.targets.target import registry as targets
from qinspect.targets.verify import NO_RULES, verify
from qinspect.targets.verify_decoded import Decoded


def open_file(args: argparse.Namespace) -> Checkpoint:
    """FILE. A group size is that of its packed layers, should it not say so itself, unless it belongs to a scheme."""
    named = getattr(args, "named", False)
    checkpoint = open_checkpoint(args.file, group_size=None if named else scheme_flags.given(args).get("group_size"))
    for note in checkpoint.notes:
        report.remark(f"{checkpoint.path}: {note}")
    return checkpoint


def open_session(args: argparse.Namespace, session: Session) -> Checkpoint:
    """Open FILE, and what it is compared with, in a session."""
    checkpoint = open_file(args)
    session.open(checkpoint)
    if args.reference:
        session.attach(open_checkpoint(args.reference))
    return checkpoint


def weigh(args: argparse.Namespace, session: Session, checkpoint: Checkpoint) -> None:
    """Let errors count by `--importance`, if there is one; layers without a vector are named."""
    if args.importance is None:
        return
    session.weigh(Importance.load(args.importance).known(checkpoint))
    report.remark(f"SQNR counts errors of each input channel by {args.importance}")
    without = [info.name for info in checkpoint.infos if info.quantizable and info.name not in session.importance]
    if without:
        names = report.some_names(without, 10)
        report.remark(f"{args.importance}: has no vector of {names}; there all input channels count alike")


def scheme_for(args: argparse.Namespace, checkpoint: Checkpoint) -> Scheme | None:
    """The scheme to look through; None, where nobody named one, for a packed checkpoint as it is stored."""
    if not args.named and any(info.qtype for info in checkpoint.infos):
        return None
    scheme: Scheme = args.scheme or make_scheme("base11")
    return scheme


def recipe_for(args: argparse.Namespace, checkpoint: Checkpoint) -> Recipe:
    """The recipe file; what none of its rules mentions gets the scheme, if one is named."""
    if args.recipe is None:
        return Recipe.of(scheme_for(args, checkpoint))
    rest = Recipe.of(args.scheme).rules if args.named else ()
    return Recipe((*load_recipe(args.recipe, checkpoint).rules, *rest))


def load_recipe(path: str, checkpoint: Checkpoint) -> Recipe:
    """A recipe file for a checkpoint; rules that match nothing in it are named."""
    recipe = Recipe.load(path)
    for number, rule in recipe.idle(checkpoint.infos):
        report.remark(f"{path}: rule {number} ({rule.match}) matches no tensor of {checkpoint.path}")
    return recipe


def named_like(infos: Sequence[TensorInfo], args: argparse.Namespace) -> list[TensorInfo]:
    """The tensors whose names fit `--layers`; FormatError if there are none."""
    named = [info for info in infos if fnmatchcase(info.name, args.layers)]
    if not named:
        raise FormatError(f"no tensor has a name like {args.layers}; `qinspect info` lists them", path=args.file)
    return named


def measured(requests: list[Request]) -> list[LayerReport]:
    """Reports of layers; what could not be measured is also said on stderr.

    Raises SchemeError, once, where their schemes fit the shape of none of them.
    """
    misfits = [error for request in requests if (error := _misfit(request)) is not None]
    if misfits and len(misfits) == len(requests):
        raise misfits[0]
    with report.progress("analysing") as token:
        reports = list(measure_all(requests, token))
    for one in reports:
        if one.error:
            report.complain(one.error)
    return reports


def _misfit(request: Request) -> SchemeError | None:
    """Why the scheme of a layer cannot have its shape."""
    try:
        if request.scheme is not None:
            request.scheme.layout(request.info.shape)
    except SchemeError as error:
        return error.within(path=request.checkpoint.path, tensor=request.info.name)
    return None


def importance_for(
    path: str | None, checkpoint: Checkpoint, schemes: Iterable[tuple[TensorInfo, Scheme]]
) -> dict[str, np.ndarray]:
    """The vectors of an importance file for these layers; those that would heed one and have none are named."""
    if path is None:
        return {}
    schemes = list(schemes)
    found = Importance.load(path).of(checkpoint, schemes)
    without = [info.name for info, scheme in schemes if scheme.heeds_importance and info.name not in found]
    if without:
        names = report.some_names(without, 10)
        report.remark(f"{path}: has no vector of {names}; there all input channels count alike")
    return found


def write(
    checkpoint: Checkpoint, to: str, recipe: Recipe, out: Path, importance: str | None = None, *, dry: bool = False
) -> tuple[Plan, Report | None]:
    """Export to a target of this name, or only plan it; `importance` is a file of it."""
    target = targets[to]()
    with report.progress("planning" if dry else "exporting") as token:
        plan = target.plan(checkpoint, recipe, token.part(0, 0.1))
        if dry:
            return plan, None
        planned = ((checkpoint.info(row.name), row.scheme) for row in plan.rows if row.scheme is not None)
        plan = plan.weighed(importance_for(importance, checkpoint, planned))
        return plan, target.write(checkpoint, plan, out, token.part(0.1, 1))


def verified(packed: Checkpoint, against: Checkpoint, importance: str | None = None, recipe: Recipe = NO_RULES) -> int:
    """Compare a packed checkpoint with what it was made from, say what differs, and return the exit code."""
    stored = [(info, stored_scheme(packed, info)) for info in packed.infos]
    schemes = [(info, recipe.scheme_for(info) if held is None or held.decode_only else held) for info, held in stored]
    vectors = importance_for(importance, against, [(info, scheme) for info, scheme in schemes if scheme is not None])
    with report.progress("verifying") as token:
        found = verify(packed, against, token, importance=vectors, recipe=recipe)
    by_text: dict[str, list[str]] = defaultdict(list)
    for mismatch in found.mismatches:
        by_text[mismatch.text].append(mismatch.name)
    path = printable(str(packed.path))
    for text, names in by_text.items():
        report.complain(f"{path}: {report.some_names(names, 5)}: {text}")
    _print_decoded(found.decoded)
    count = fmt.counted(len(packed.infos), "tensor")
    if found.mismatches:
        wrong = {mismatch.name for mismatch in found.mismatches}
        right = sum(info.name not in wrong for info in packed.infos)
        report.complain(f"{path}: {right} of {count} match {printable(str(against.path))}")
    elif found.decoded:
        print(f"{count} match, {len(found.decoded)} of them as they decode: codes of that form are not made here")
    else:
        print(f"{count}: every code, parameter and other value matches")
    return int(bool(found.mismatches))


def _print_decoded(decoded: Sequence[Decoded]) -> None:
    """Which tensors were compared as they decode, and with what."""
    by_scheme: dict[Scheme, list[Decoded]] = defaultdict(list)
    for one in decoded:
        by_scheme[one.scheme].append(one)
    for scheme, ones in by_scheme.items():
        most = max(one.difference for one in ones)
        apart = f"up to {most:.3g} from" if most else "exactly"
        names = report.some_names([one.name for one in ones], 5)
        print(
            report.wrapped(f"{names}: decoded weights are {apart} what {scheme.label} makes of the originals", "", "  ")
        )
