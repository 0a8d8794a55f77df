"""From slowdowns, one a repetition, to a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.statistics import Ratio, log_ratio_interval

__all__ = ["EXIT_STATUS", "Finding", "GateResult", "Verdict", "judge", "overall", "verdict_of"]

Verdict = Literal["pass", "regression", "inconclusive"]

EXIT_STATUS: Final[dict[Verdict, int]] = {"pass": 0, "regression": 1, "inconclusive": 3}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """How many times as long the candidate takes as the baseline, in one metric, and what follows."""

    metric: str
    slowdown: Ratio
    verdict: Verdict


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says.

    Attributes:
        baseline, candidate: What was compared.
        limit: The largest slowdown that passes.
        findings: One a metric.
        verdict: Of all metrics together.
        seconds: How long it took.
        notes: What is to be known of it.
    """

    baseline: str
    candidate: str
    limit: float
    findings: list[Finding]
    verdict: Verdict
    seconds: float
    notes: list[str]


def judge(metric: str, logs: NDArray[np.float64], limit: float, confidence: float) -> Finding:
    """The finding from logarithms of slowdowns, one a repetition.

    A regression when the whole interval is above `limit`, a pass when none of it is.
    """
    low, high = (float(np.exp(end)) for end in log_ratio_interval(logs, confidence))
    slowdown = Ratio(value=float(np.exp(logs.mean())), low=low, high=high, pairs=len(logs))
    return Finding(metric=metric, slowdown=slowdown, verdict=verdict_of(slowdown, limit))


def verdict_of(slowdown: Ratio, limit: float) -> Verdict:
    """What an interval says about `limit`."""
    return "regression" if slowdown.low > limit else "pass" if slowdown.high <= limit else "inconclusive"


def overall(findings: Sequence[Finding]) -> Verdict:
    """A regression in any metric is one; all must pass to pass."""
    verdicts = {finding.verdict for finding in findings}
    return "regression" if "regression" in verdicts else "pass" if verdicts == {"pass"} else "inconclusive"
