"""From slowdowns, one a repetition, to a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.statistics import LEAST_PAIRS, Ratio, mean_ratio, shared_confidence

__all__ = ["EXIT_STATUS", "Finding", "GateResult", "Verdict", "judge", "look", "overall", "verdict_of"]

Verdict = Literal["pass", "regression", "inconclusive"]

EXIT_STATUS: Final[dict[Verdict, int]] = {"pass": 0, "regression": 1, "inconclusive": 3}

_LOOK_EVERY: Final = 4
_EARLY_CONFIDENCE: Final = 0.99
_CONFIDENCE: Final = 0.95


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

    A regression when the whole interval is above `limit`, a pass when none of it is; of fewer than 8 repetitions
    neither.
    """
    slowdown = mean_ratio(logs, confidence)
    return Finding(metric=metric, slowdown=slowdown, verdict=verdict_of(slowdown, limit))


def verdict_of(slowdown: Ratio, limit: float) -> Verdict:
    """What an interval says about `limit`; one of fewer than 8 repetitions says nothing."""
    if slowdown.low is None or slowdown.high is None or slowdown.pairs < LEAST_PAIRS:
        return "inconclusive"
    return "regression" if slowdown.low > limit else "pass" if slowdown.high <= limit else "inconclusive"


def look(logs: Mapping[str, Sequence[float]], limit: float, *, is_last: bool) -> list[Finding] | None:
    """The findings after some repetitions, by metric; None when it is not yet the time to look.

    Looks come at the 8th repetition and at every 4th after it, and at the end. The more often one looks, the more often
    chance decides: early looks take 99 % intervals, the last one 95 %, each for all metrics together.
    """
    count = min(map(len, logs.values()))
    if not is_last and (count < LEAST_PAIRS or (count - LEAST_PAIRS) % _LOOK_EVERY):
        return None
    confidence = shared_confidence(_CONFIDENCE if is_last else _EARLY_CONFIDENCE, len(logs))
    return [judge(metric, np.asarray(found), limit, confidence) for metric, found in logs.items()]


def overall(findings: Sequence[Finding]) -> Verdict:
    """A regression in any metric is one; all must pass to pass."""
    verdicts = {finding.verdict for finding in findings}
    return "regression" if "regression" in verdicts else "pass" if verdicts == {"pass"} else "inconclusive"
