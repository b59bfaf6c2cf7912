"""What the views draw: questions to a layer, answered together in one pass over its weights, off the GUI thread."""

from __future__ import annotations

from qinspect.analysis.codes import CodeMap, CodeUsage, GroupCodes, GroupUsage, RowCodes
from qinspect.analysis.errors import GroupErrors, GroupQuality, Marginals, MarginalSums
from qinspect.analysis.histogram import (
    BINS,
    CodeCounts,
    ErrorCounts,
    Histogram,
    ValuePatterns,
    WeightCounts,
    WeightPatterns,
)
from qinspect.analysis.pyramid import PYRAMID_CELLS, Pooled, Pooling, Pyramid, Quantity
from qinspect.analysis.question import Question, Subject, answer
from qinspect.analysis.sample import numbered_rows, sample_rows
from qinspect.analysis.scales import ScaleMap, scale_map

__all__ = [
    "BINS", "EVERYTHING", "PYRAMID_CELLS",
    "CodeCounts", "CodeMap", "CodeUsage", "ErrorCounts", "GroupCodes", "GroupErrors", "GroupQuality", "GroupUsage",
    "Histogram", "MarginalSums", "Marginals", "Pooled", "Pooling", "Pyramid", "Quantity", "Question", "RowCodes",
    "ScaleMap", "Subject", "ValuePatterns", "WeightCounts", "WeightPatterns", "answer", "numbered_rows",
    "sample_rows", "scale_map",
]  # fmt: skip

EVERYTHING: tuple[Question, ...] = (
    WeightCounts(), WeightPatterns(), CodeCounts(), ErrorCounts(), ErrorCounts(steps=True), Marginals(), GroupErrors(),
    GroupCodes(), RowCodes(), RowCodes(groups=True),
    *(Pooled(quantity, pooling) for quantity in Quantity for pooling in Pooling),
)  # fmt: skip
"""All questions there are, as plainly asked: what kernels are tried on."""
