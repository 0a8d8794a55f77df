"""Shared by the tests of profiles: seeded texts of two kinds, and their profiles."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.watching.observe import observer_of
from onnxpress.watching.profile import Profile, profile_of
from tests.conftest import WORDS

Draw = Callable[[str, int, int], list[str]]
Profiled = Callable[[Sequence[str]], Profile]

_KINDS = {"reviews": (WORDS[:45], 4, 30, 0.02), "posts": (WORDS[25:], 2, 14, 0.12)}
"""Words, fewest and most of them in a text, and the share of those that no vocabulary has."""


def draw_texts(kind: str, count: int, seed: int) -> list[str]:
    generator = random.Random(f"{kind} {seed}")
    words, fewest, most, strange = _KINDS[kind]
    return [
        " ".join(
            "§" if generator.random() < strange else generator.choice(words)
            for _ in range(generator.randint(fewest, most))
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def bulk(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1, optimize_for="throughput", spinning=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def profiled(bulk: onnxpress.Classifier, artifact: Path) -> Profiled:
    """The profile of texts."""
    manifest = open_artifact(artifact).manifest

    def make(texts: Sequence[str]) -> Profile:
        (parts,) = bulk.stream_answered([texts])
        return profile_of(manifest, observer_of(bulk).counts(parts))

    return make
