"""A text that becomes no tokens is a bad text: named by its place, and nobody else's answer changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress import NoTokensError
from tests.conftest import edit_json
from tests.engine.test_artifact import sign_again

NOTHING = ["", " ", "\n\t", "\u200b", "\0", ("", ""), (" ", "\n")]


@pytest.fixture(scope="module")
def bare(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose tokenizer adds no tokens of its own."""
    copy = Path(shutil.copytree(artifact, tmp_path_factory.mktemp("bare") / "artifact"))
    edit_json(copy / "tokenizer.json", lambda tokenizer: tokenizer.update(post_processor=None))
    sign_again(copy, "tokenizer.json")
    return copy


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_it_is_refused_by_its_place(bare: Path, nothing: onnxpress.Text, optimize_for: str) -> None:
    with onnxpress.load(bare, threads=2, optimize_for=optimize_for, max_texts=2) as classifier:  # type: ignore[arg-type]
        texts = ["good", "good", "bad", ("", "bad"), nothing, "dull", nothing]
        calls: list[Callable[[], object]] = [
            lambda: classifier(texts),
            lambda: classifier.logits(texts),
            lambda: classifier.probabilities(texts),
            lambda: classifier.accepted(texts),
            lambda: classifier.encode(texts),
            lambda: list(classifier.stream(iter(texts))),
            lambda: list(classifier.stream_probabilities([texts])),
        ]
        for call in calls:
            with pytest.raises(NoTokensError, match="text 4 becomes no tokens") as caught:
                call()
            assert caught.value.index == 4
        with pytest.raises(NoTokensError, match="text 0 becomes"):
            classifier(nothing)
        assert [(type(p), p.index) for p in classifier.rejected(texts)] == [(NoTokensError, 4), (NoTokensError, 6)]
        assert classifier.count_tokens(texts).tolist() == [1, 1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_service_refuses_it_and_answers_its_neighbours(bare: Path, nothing: onnxpress.Text) -> None:
    with onnxpress.load(bare, threads=1) as classifier, onnxpress.ThreadedClassifier(classifier) as service:
        wanted = service.submit("good").result()
        before = service.submit("good")
        with pytest.raises(NoTokensError):
            service.submit(nothing)
        assert np.array_equal(before.result(), wanted)


@pytest.mark.parametrize("choice", ["skip", "null"])
def test_scoring_keeps_it_aside(bare: Path, tmp_path: Path, choice: str) -> None:
    rows = [{"text": text} for text in ("good", "", "bad", "  ", "good")]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    summary = onnxpress.score(bare, tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_bad_row=choice)  # type: ignore[arg-type]
    assert (summary.scored, summary.rejected) == (3, 2)
    rejected = [json.loads(line) for line in Path(str(summary.rejected_file)).read_text().splitlines()]
    assert [(row["row"], row["reason"]) for row in rejected] == [(2, "becomes no tokens"), (4, "becomes no tokens")]
    scores = [row["score"] for row in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())]
    assert [score is None for score in scores] == (
        [False] * 3 if choice == "skip" else [False, True, False, True, False]
    )
    with onnxpress.load(bare, threads=1, optimize_for="throughput") as classifier:
        alone = [answer.score for answer in classifier(["good", "bad", "good"])]
    assert [score for score in scores if score is not None] == pytest.approx(alone, abs=1e-5)


def test_scoring_stops_at_it_by_its_row(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('text\ngood\n""\n')
    with pytest.raises(onnxpress.BadRowError, match="row 2 becomes no tokens"):
        onnxpress.score(bare, tmp_path / "in.csv", tmp_path / "out.csv")


def test_an_empty_text_is_answered_where_the_tokenizer_adds_tokens(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1) as classifier:
        assert classifier.rejected(["", ("", "")]) == []
        assert classifier.count_tokens(["", ("", "")]).tolist() == [2, 3]


def test_too_many_tokens_are_told_beforehand_too(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1, long_text="error", max_texts=2) as classifier:
        texts = ["good", "good", "good", "bad " * 200, "dull"]
        (problem,) = classifier.rejected(texts)
        assert isinstance(problem, onnxpress.TooManyTokensError) and problem.index == 3
        with pytest.raises(onnxpress.TooManyTokensError, match="text 3 has more"):
            classifier.logits(texts)
