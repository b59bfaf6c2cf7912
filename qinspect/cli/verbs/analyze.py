"""`qinspect analyze`."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from typing import ClassVar

from qinspect import report, scheme_flags
from qinspect.cli.checkpoints import importance_for, measured, named_like, open_session, recipe_for, scheme_for
from qinspect.cli.verb import Verb, add_file, add_importance, add_json, add_layers, add_recipe, add_reference
from qinspect.formats.checkpoint import Checkpoint
from qinspect.quant.scheme import Scheme
from qinspect.recipe import Recipe
from qinspect.session import LayerReport, Request, Session, total


class Analyze(Verb):
    """Measures layers."""

    name: ClassVar[str] = "analyze"
    summary: ClassVar[str] = "Measure what quantization does to every layer."
    order: ClassVar[int] = 30
    examples: ClassVar[tuple[str, ...]] = (
        "qinspect analyze model.safetensors --scheme symmetric --bits 4 --group-size 64",
        "qinspect analyze packed.safetensors --reference model.safetensors",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """FILE, which of its tensors, what to compare them with, and a scheme or a recipe."""
        add_file(parser)
        add_json(parser)
        scheme_flags.add(parser)
        add_layers(parser)
        add_reference(parser)
        add_recipe(parser)
        add_importance(parser)

    def run(self, args: argparse.Namespace) -> int:
        """1 if a layer could not be measured."""
        with contextlib.closing(Session()) as session:
            checkpoint = open_session(args, session)
            recipe = None if args.recipe is None else recipe_for(args, checkpoint)
            scheme = scheme_for(args, checkpoint)
            reports = measured(_weighed(args, checkpoint, _requests(args, session, scheme, recipe)))
            _warn_of_unknown(args, reports)
            if args.json:
                _print_reports(scheme, recipe, reports)
            else:
                how = scheme.label if scheme else "as stored"
                report.print_analysis("by the recipe" if recipe else how, reports)
        return int(any(one.error for one in reports))


def _requests(
    args: argparse.Namespace, session: Session, scheme: Scheme | None, recipe: Recipe | None
) -> list[Request]:
    """The layers, or what `--layers` names; under a recipe those of them that it does not leave alone."""
    named = None if args.layers is None else {info.name for info in named_like(session.infos, args)}
    if recipe is not None or named is None:
        every = session.layers(recipe or Recipe.of(scheme))
        return [request for request in every if named is None or request.info.name in named]
    return [session.request(info, scheme) for info in session.infos if info.name in named]


def _weighed(args: argparse.Namespace, checkpoint: Checkpoint, requests: list[Request]) -> list[Request]:
    """The requests, with what errors of input channels count."""
    schemes = [(request.info, request.scheme) for request in requests if request.scheme is not None]
    vectors = importance_for(args.importance, checkpoint, schemes)
    return [replace(request, importance=vectors.get(request.info.name)) for request in requests]


def _warn_of_unknown(args: argparse.Namespace, reports: list[LayerReport]) -> None:
    unknown = [one.info.name for one in reports if one.metrics is not None and one.metrics.exact is None]
    if args.reference and unknown:
        names = report.some_names(unknown)
        report.remark(f"{args.reference}: has no tensor of the name and shape of {names}")


def _print_reports(scheme: Scheme | None, recipe: Recipe | None, reports: list[LayerReport]) -> None:
    """As JSON. Under a recipe each layer says its own scheme."""
    layers = [one.to_json() for one in reports]
    if recipe is not None:
        for layer, one in zip(layers, reports, strict=True):
            layer["scheme"] = one.scheme and one.scheme.to_json()
    stated = scheme.to_json() if scheme and not recipe else None
    more = {"recipe": recipe.to_json()} if recipe else {}
    report.print_json({"scheme": stated, **more, "layers": layers, "total": total(reports).to_json()})
