"""What verbs do with the checkpoint that they are given: open it, choose schemes, measure, write."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path

from qinspect import figures as fmt
from qinspect import report, scheme_flags
from qinspect.errors import FormatError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.recipe import Recipe
from qinspect.session import LayerReport, Request, Session, measure_all
from qinspect.targets.target import Plan, Report
from qinspect.targets.target import registry as targets
from qinspect.targets.verify import verify


def open_file(args: argparse.Namespace) -> Checkpoint:
    """FILE. A group size is that of its packed layers, should it not say so itself, unless it belongs to a scheme."""
    named = getattr(args, "named", False)
    checkpoint = open_checkpoint(args.file, group_size=None if named else scheme_flags.given(args).get("group_size"))
    for note in checkpoint.notes:
        report.remark(f"{checkpoint.path}: {note}")
    return checkpoint


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
    rules = Recipe.load(args.recipe).rules
    return Recipe((*rules, *Recipe.of(args.scheme).rules))


def named_like(checkpoint: Checkpoint, pattern: str) -> list[TensorInfo]:
    """The tensors whose names fit a glob; FormatError if there are none."""
    named = [info for info in checkpoint.infos if fnmatchcase(info.name, pattern)]
    if not named:
        raise FormatError(f"no tensor has a name like {pattern}; `qinspect info` lists them", path=checkpoint.path)
    return named


def measured(session: Session, scheme: Scheme | None, layers: str | None = None) -> list[LayerReport]:
    """Reports of the layers, or of what a glob names; what could not be measured is also said on stderr."""
    requests = _requests(session, scheme, layers)
    with report.progress("analysing") as token:
        reports = list(measure_all(requests, token))
    for one in reports:
        if one.error:
            report.complain(one.error)
    return reports


def _requests(session: Session, scheme: Scheme | None, layers: str | None) -> list[Request]:
    if layers is None or session.checkpoint is None:
        return session.layers(Recipe.of(scheme))
    return [session.request(info, scheme) for info in named_like(session.checkpoint, layers)]


def write(checkpoint: Checkpoint, to: str, recipe: Recipe, out: Path) -> tuple[Plan, Report]:
    """Export to a target of this name."""
    target = targets[to]()
    with report.progress("exporting") as token:
        plan = target.plan(checkpoint, recipe, token.part(0, 0.1))
        return plan, target.write(checkpoint, plan, out, token.part(0.1, 1))


def verified(packed: Checkpoint, against: Checkpoint) -> int:
    """Compare a packed checkpoint with what it was made from, say what differs, and return the exit code."""
    with report.progress("verifying") as token:
        mismatches = verify(packed, against, token)
    for mismatch in mismatches:
        report.complain(f"{mismatch.name}: {mismatch.text}")
    if not mismatches:
        print(f"{fmt.counted(len(packed.infos), 'tensor')}: every code, parameter and other value matches")
    return int(bool(mismatches))
