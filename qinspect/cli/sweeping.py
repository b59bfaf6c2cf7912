"""What the verbs that sweep share: which layers, their points, and how these are printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from qinspect import figures as fmt
from qinspect import report
from qinspect.analysis.sample import SAMPLE
from qinspect.cli.checkpoints import named_like
from qinspect.formats.checkpoint import TensorInfo
from qinspect.planning.points import sweep_layers
from qinspect.quant.scheme import Scheme
from qinspect.quant.sweep import Skipped, SweepPoint, with_pareto
from qinspect.session import Session


def layers_of(args: argparse.Namespace, session: Session) -> list[TensorInfo]:
    """What `--layers` names, or all that can be quantized; of a file that has nothing but packed layers, these."""
    if args.layers is not None:
        return named_like(session.infos, args)
    return [info for info in session.infos if info.quantizable] or [info for info in session.infos if info.qtype]


def swept(
    args: argparse.Namespace,
    session: Session,
    infos: Sequence[TensorInfo],
    schemes_for: Callable[[TensorInfo], Sequence[Scheme]],
) -> tuple[list[SweepPoint], list[Skipped]]:
    """The points of all layers, with their fronts, and what was skipped; layers that failed are also told on stderr."""
    with report.progress("sweeping") as token:
        found = list(sweep_layers(session, infos, schemes_for, sample=SAMPLE if args.sample else None, token=token))
    skipped = [one for one in found if isinstance(one, Skipped)]
    for one in skipped:
        if one.scheme is None:
            report.complain(one.reason)
    return with_pareto(one for one in found if isinstance(one, SweepPoint)), skipped


def skipped_json(one: Skipped) -> dict[str, Any]:
    """An entry of `skipped`; a layer that failed under all schemes has no scheme."""
    scheme = one.scheme
    named = {"scheme": scheme and scheme.name, "params": scheme and asdict(scheme)}
    return {"layer": one.layer, **named, "reason": one.reason}


def point_cells(point: SweepPoint) -> dict[str, str]:
    """The figures of a point as a table shows them."""
    sampled = point.part < 1
    return {
        "bpw": f"{point.bpw:.3f}",
        "SQNR dB": ("≈ " if sampled else "") + ("exact" if point.noise == 0 else fmt.decimal(point.sqnr_db, 2)),
        "max error": ("≥ " if sampled else "") + fmt.magnitude(point.max_error),
        "size": fmt.nbytes(point.nbytes),
    }
