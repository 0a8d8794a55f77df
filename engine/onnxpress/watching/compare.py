"""Do two profiles differ by more than chance, and by more than matters?

Two measures of how far two distributions p and q are apart, both 0 where they are the same:

- the population stability index, the sum of (p - q) ln(p / q) over all groups. It has customary limits: below 0.1
  little has changed, above 0.25 much. Half a text is added to every group, so that an empty one is not infinite.
- the Jensen-Shannon distance, the root of a divergence in bits: from 0 to 1.

Both are above 0 by chance alone, the more the fewer texts there are. So each comes with an interval: both profiles are
drawn again from themselves many times (multinomial bootstrap), and what the drawing adds on average is taken off the
figure. The intervals hold together: each figure has its share of what may go wrong (Bonferroni). Texts are taken as
drawn one by one; those of one author or one hour are alike, and say less than their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from onnxpress.errors import ConfigError
from onnxpress.watching.grouping import group_categories, group_histogram, groups_for
from onnxpress.watching.profile import Histogram, Profile

__all__ = ["Comparison", "Estimate", "Figure", "Group", "Verdict", "compare_profiles", "scored_alike"]

Verdict = Literal["no drift", "drift", "not to be told"]

_DRAWS: Final = 4_000
_SEED: Final = 22
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Values that are compared as one, and the share of texts that have one, in both profiles."""

    name: str
    baseline: float
    current: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How far one figure of two profiles is apart.

    Attributes:
        name: What it is, such as "score".
        psi: The population stability index.
        distance: The Jensen-Shannon distance.
        groups: What was compared.
        verdict: "drift" where the index's whole interval is above the limit, "no drift" where none of it is.
    """

    name: str
    psi: Estimate
    distance: Estimate
    groups: tuple[Group, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far two profiles are apart.

    Attributes:
        baseline, current: The profiles.
        limit: The population stability index from which it is drift.
        confidence: Of the intervals, all together.
        figures: One for each thing that both profiles tell.
        verdict: Drift in one figure is drift; without it, all must be told apart from it for "no drift".
    """

    baseline: Profile
    current: Profile
    limit: float
    confidence: float
    figures: tuple[Figure, ...]
    verdict: Verdict


def compare_profiles(baseline: Profile, current: Profile, *, limit: float, confidence: float) -> Comparison:
    """Compare two profiles of one model.

    Args:
        baseline: What the answers looked like.
        current: What they look like now.
        limit: The population stability index that still is no drift, above 0.
        confidence: That all intervals hold at once, from 0.5 to below 1.

    Raises:
        ConfigError: They are of different models, or a setting is outside its range.
    """
    if not 0 < limit < np.inf:
        raise ConfigError(f"--limit must be above 0, got {limit:g}")
    if not _HALF <= confidence < 1:
        raise ConfigError(f"--confidence must be from 0.5 to below 1, got {confidence:g}")
    _require_same_model(baseline, current)
    told = list(_told(baseline, current))
    chance = (1 - confidence) / len(told)
    generator = np.random.default_rng(_SEED)
    figures = tuple(_figure(pair, limit, chance, generator) for pair in told)
    return Comparison(
        baseline=baseline,
        current=current,
        limit=limit,
        confidence=confidence,
        figures=figures,
        verdict=_overall([figure.verdict for figure in figures]),
    )


def scored_alike(baseline: Profile, current: Profile) -> bool:
    """Whether a first stage, whose scores and margins are others than the model's, answered in both, or in neither."""
    return ("first" in baseline.answered) == ("first" in current.answered)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Counts of both profiles, int64 [2, bins], as groups of bins with their names."""

    name: str
    counts: NDArray[np.int64]
    groups: list[NDArray[np.intp]]
    names: list[str]


def _require_same_model(baseline: Profile, current: Profile) -> None:
    if baseline.labels != current.labels:
        missing = [label for label in baseline.labels if label not in current.labels]
        what = f"the label {missing[0]!r} is not among the other's" if missing else "the labels are not the same"
        raise ConfigError(f"the profiles are of different models: {what}. Profile both with one artifact.")
    if (baseline.model, baseline.activation) != (current.model, current.activation):
        raise ConfigError(
            f"the profiles are of different models ({baseline.model[:12]} and {current.model[:12]}): the labels are "
            "the same, but not the weights, the tokenizer or the thresholds. Profile both with one artifact."
        )


def _told(baseline: Profile, current: Profile) -> Iterator[_Pair]:
    """Everything that both profiles tell; but scores and margins where a first stage, whose own differ, ran in one."""
    groups = groups_for(min(baseline.texts, current.texts))
    if baseline.label_counts is not None and current.label_counts is not None:
        counts = np.array([baseline.label_counts, current.label_counts], dtype=np.int64)
        found = group_categories(counts, groups)
        names = [baseline.labels[bins[0]] if len(bins) == 1 else f"{len(bins)} other labels" for bins in found]
        yield _Pair("label", counts, found, names)
    regression = baseline.activation == "identity"
    alike = scored_alike(baseline, current)
    for place, pair in enumerate(zip(baseline.scores, current.scores, strict=True) if alike else ()):
        yield _histograms(f"value of {baseline.labels[place]}" if regression else "score", pair, groups)
    if alike and baseline.margins is not None and current.margins is not None:
        yield _histograms("margin", (baseline.margins, current.margins), groups)
    yield _histograms("tokens", (baseline.lengths, current.lengths), groups)
    if baseline.unknown_shares is not None and current.unknown_shares is not None:
        yield _histograms("unknown tokens", (baseline.unknown_shares, current.unknown_shares), groups)


def _histograms(name: str, pair: tuple[Histogram, Histogram], groups: int) -> _Pair:
    counts = np.array([histogram.counts for histogram in pair], dtype=np.int64)
    found = group_histogram(counts, groups)
    bounds = pair[0].bounds
    tops = [bounds[bins[-1]] if bins[-1] < len(bounds) else None for bins in found[:-1]]
    names = []
    for place in range(len(found)):
        low = f"above {tops[place - 1]:g}" if place else ""
        high = f"up to {tops[place]:g}" if place < len(tops) else ""
        names.append(", ".join(part for part in (low, high) if part) or "all")
    return _Pair(name, counts, found, names)


def _figure(pair: _Pair, limit: float, chance: float, generator: np.random.Generator) -> Figure:
    counts = np.stack([pair.counts[:, bins].sum(axis=1) for bins in pair.groups], axis=1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    totals = counts.sum(axis=1)
    drawn = np.stack([generator.multinomial(total, own, _DRAWS) for total, own in zip(totals, shares, strict=True)])
    psi = _interval(_psi(counts), _psi(drawn), chance)
    divergence = _interval(_divergence(counts), _divergence(drawn), chance)
    verdict: Verdict = "drift" if psi.low > limit else "no drift" if psi.high <= limit else "not to be told"
    return Figure(
        name=pair.name,
        psi=psi,
        distance=Estimate(*(float(np.sqrt(value)) for value in (divergence.value, divergence.low, divergence.high))),
        groups=tuple(Group(name, *own) for name, own in zip(pair.names, shares.T.tolist(), strict=True)),
        verdict=verdict,
    )


def _psi(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The population stability index of counts, int64 [2, ..., groups]: float64 [...]."""
    filled = counts + _HALF
    p, q = filled / filled.sum(axis=-1, keepdims=True)
    return np.asarray((rel_entr(p, q) + rel_entr(q, p)).sum(axis=-1))


def _divergence(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The Jensen-Shannon divergence of counts in bits, int64 [2, ..., groups]: float64 [...]."""
    return np.asarray(jensenshannon(counts[0], counts[1], base=2, axis=-1)) ** 2


def _interval(value: NDArray[np.float64], drawn: NDArray[np.float64], chance: float) -> Estimate:
    """The interval of what is never below 0, missed with about the probability `chance`.

    As far as `drawn` lie above `value` on average, this lies above the truth. Below the corrected value lies what the
    draws do above their mean (the basic bootstrap interval); above it lies the farther of both, since a value that
    came out close to 0 by chance has draws that hardly move downwards.
    """
    mean = float(drawn.mean())
    below, above = mean - np.quantile(drawn, chance / 2), np.quantile(drawn, 1 - chance / 2) - mean
    middle = 2 * float(value) - mean
    return Estimate(float(value), max(0.0, middle - float(above)), max(0.0, middle) + float(max(above, below)))


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    return "drift" if "drift" in verdicts else "no drift" if set(verdicts) == {"no drift"} else "not to be told"
