"""An artifact of each task, and what must be known of it to run it through the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpress
from tests.conftest import WORDS


@dataclass(frozen=True)
class Subject:
    """A task, as the contract asks for it.

    Attributes:
        artifact: One of it.
        kind: What `load` gives.
        threaded, asynchronous: Its services.
        ask: The method of these that answers.
        columns: What scoring adds by default.
        lone: Forms of one text that are no str, each with the same in a sequence.
    """

    artifact: Path
    kind: type
    threaded: Callable[..., Any]
    asynchronous: Callable[..., Any]
    ask: str
    columns: tuple[str, ...]
    lone: tuple[tuple[object, object], ...] = ()

    def load(self, **settings: Any) -> Any:
        return onnxpress.load(self.artifact, **settings)


@pytest.fixture(scope="session", params=["text-classification", "token-classification"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "text-classification":
        return Subject(
            artifact=request.getfixturevalue("artifact"),
            kind=onnxpress.Classifier,
            threaded=onnxpress.ThreadedClassifier,
            asynchronous=onnxpress.AsyncClassifier,
            ask="classify",
            columns=("label", "score"),
            lone=((("good film", "bad"), ("good film", "bad")), ({"text": "a film"}, "a film")),
        )
    return Subject(
        artifact=request.getfixturevalue("token_artifact"),
        kind=onnxpress.TokenClassifier,
        threaded=onnxpress.ThreadedTokenClassifier,
        asynchronous=onnxpress.AsyncTokenClassifier,
        ask="tag",
        columns=("entities",),
        lone=(({"text": "a film"}, "a film"),),
    )


@pytest.fixture(scope="session")
def model(subject: Subject) -> Iterator[Any]:
    """Loaded for bulk, with two workers."""
    with subject.load(optimize_for="throughput", threads=2, spinning=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def some() -> list[str]:
    """60 texts of 1 to 40 words, seeded, and some that are no plain words."""
    generator = np.random.default_rng(11)
    plain = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 41, 60)]
    return [*plain, "", "   ", "Zoe\u0308 👩‍👩‍👧", "good film\r\nbad film", plain[0]]


def equal(found: object, wanted: object) -> bool:
    """Bit by bit."""
    if isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray):
        return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()
    if isinstance(found, Sequence) and isinstance(wanted, Sequence) and not isinstance(found, str):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return found == wanted
