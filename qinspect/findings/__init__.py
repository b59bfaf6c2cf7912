"""What is wrong with a layer, in plain words, with the number and the remedy. One small rule each."""

from qinspect.findings import codes, group_size, ranges, weights  # noqa: F401 - importing registers their rules
from qinspect.findings.codes import overflow
from qinspect.findings.rule import RULES, SEVERITIES, Case, Finding, Place, find

__all__ = ["RULES", "SEVERITIES", "Case", "Finding", "Place", "find", "overflow"]
