"""Texts that prove bad only once they are tokenized make their own rows bad, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

import onnxpress
from onnxpress.answers.answered import Answered
from onnxpress.classifier import Classifier
from onnxpress.errors import TextError
from onnxpress.inputs.encoder import Text, TokenRows

BAD = {3, 4, 700, 4_095, 4_096, 9_000}


class EmptyTextError(TextError, ValueError):
    """What a classifier raises for a text without tokens."""

    def _problem(self) -> str:
        return "becomes no tokens"


class RunError(TextError, RuntimeError):
    """What a classifier raises when its session fails."""

    def _problem(self) -> str:
        return "cannot be answered"


@pytest.fixture
def classifier_without_special_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that refuses empty texts when it tokenizes, with what follows begun already."""
    encode, stream, rejected = Classifier.encode, Classifier.stream_answered, Classifier.rejected

    def require(texts: Sequence[Text]) -> None:
        for index, text in enumerate(texts):
            if text == "":
                raise EmptyTextError(index)

    def checked_encode(self: Classifier, texts: Sequence[Text]) -> TokenRows:
        require(texts)
        return encode(self, texts)

    def checked_stream(self: Classifier, chunks: Iterable[Sequence[Text]]) -> Iterator[Sequence[Answered]]:
        before: Sequence[Text] | None = None
        for chunk in chunks:
            if before is not None:
                require(before)
                yield from stream(self, [before])
            before = chunk
        if before is not None:
            require(before)
            yield from stream(self, [before])

    monkeypatch.setattr(Classifier, "encode", checked_encode)
    monkeypatch.setattr(Classifier, "stream_answered", checked_stream)
    assert rejected is Classifier.rejected


def write(path: Path, bad: set[int]) -> list[str]:
    texts = ["" if row in bad else f"good film {row % 7}" for row in range(10_000)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return texts


@pytest.mark.usefixtures("classifier_without_special_tokens")
@pytest.mark.parametrize("choice", ["null", "skip"])
def test_their_rows_are_bad_and_their_neighbours_answered(artifact: Path, tmp_path: Path, choice: str) -> None:
    texts = write(tmp_path / "in.jsonl", BAD)
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_bad_row=choice)  # type: ignore[arg-type]
    assert (summary.rows, summary.scored) == (10_000, 10_000 - len(BAD))
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    answered = [row for row in found if row["label"] is not None]
    assert [row["text"] for row in answered] == [text for text in texts if text]
    assert len(found) == (10_000 if choice == "null" else len(answered))
    scores = {text: {row["score"] for row in answered if row["text"] == text} for text in {*texts} - {""}}
    assert all(max(values) - min(values) < 1e-5 for values in scores.values())
    rejected = [json.loads(line) for line in (tmp_path / "out.jsonl.rejected.jsonl").read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == [row + 1 for row in sorted(BAD)]
    assert {row["reason"] for row in rejected} == {"becomes no tokens"}


@pytest.mark.usefixtures("classifier_without_special_tokens")
def test_the_first_is_told_where_none_may_be(artifact: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", {9_000, 9_001})
    with pytest.raises(onnxpress.BadRowError, match="row 9,001 becomes no tokens"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_bad_row="skip").resumed == 8_192


def test_an_error_of_the_run_is_no_rows(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Classifier, chunks: Iterable[Sequence[Text]]) -> Iterator[Sequence[Answered]]:
        raise RunError(0)

    write(tmp_path / "in.jsonl", set())
    monkeypatch.setattr(Classifier, "stream_answered", fail)
    with pytest.raises(RunError):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_bad_row="skip")
