"""How often is drift seen between two kinds of text, and how often raised where there is none?

    python examples/measure_drift.py ARTIFACT BASELINE CURRENT [TEXTS] [DRAWS]

BASELINE and CURRENT are files of texts, one a line, or JSONL, CSV or Parquet with a field `text`. From CURRENT, TEXTS
texts (500) are drawn DRAWS times (20) and compared with all of BASELINE; then BASELINE is split into random halves as
often, which are compared with each other. Every text is classified once.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxpress
from onnxpress.answers.answered import Answered
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.examples import read_examples
from onnxpress.watching.compare import compare_profiles
from onnxpress.watching.observe import observer_of
from onnxpress.watching.profile import Profile, profile_of


class Corpus:
    """Texts that were answered once, and profiles of some of them."""

    def __init__(self, artifact: Path, classifier: onnxpress.Classifier, texts: Path) -> None:
        """Classify the texts of a file."""
        self._manifest = open_artifact(artifact).manifest
        self._observer = observer_of(classifier)
        self._answered: list[Answered] = []
        for parts in classifier.stream_answered([[example.text for example in read_examples(texts)]]):
            self._answered += parts
        self._starts = np.cumsum([0, *(len(part.logits) for part in self._answered)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def profile(self, chosen: NDArray[np.intp]) -> Profile:
        """The profile of the texts at these places."""
        parts = []
        for part, start in zip(self._answered, self._starts, strict=False):
            inside = chosen[(chosen >= start) & (chosen < start + len(part.logits))] - start
            parts.append(part.only(inside.tolist()))
        return profile_of(self._manifest, self._observer.counts(parts))


def main() -> None:
    """Print both counts."""
    artifact, before, now = map(Path, sys.argv[1:4])
    texts = int(sys.argv[4]) if len(sys.argv) > 4 else 500
    draws = int(sys.argv[5]) if len(sys.argv) > 5 else 20
    generator = np.random.default_rng(22)
    with onnxpress.load(artifact, optimize_for="throughput", spinning=False) as classifier:
        baseline, current = (Corpus(artifact, classifier, path) for path in (before, now))
        whole = baseline.profile(np.arange(len(baseline)))
        seen: Counter[str] = Counter()
        halves: Counter[str] = Counter()
        for _ in range(draws):
            drawn = current.profile(generator.choice(len(current), texts, replace=False))
            seen[compare_profiles(whole, drawn, limit=0.1, confidence=0.95).verdict] += 1
            order = generator.permutation(len(baseline))
            one, two = (baseline.profile(half) for half in np.array_split(order, 2))
            halves[compare_profiles(one, two, limit=0.1, confidence=0.95).verdict] += 1
    print(f"{texts} texts of {now.name} beside {len(baseline):,} of {before.name}: {dict(seen)}")
    print(f"two halves of {before.name}: {dict(halves)}")


if __name__ == "__main__":
    main()
