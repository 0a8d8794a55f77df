"""Splitting the user's texts: no text twice, none on both sides, whatever its label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress_export.checkpoint import Checkpoint, load_checkpoint
from onnxpress_export.precision.sample import Sample, read_sample, without_repeats
from tests.conftest import MakeCheckpoint


def loaded(path: Path) -> Checkpoint:
    return load_checkpoint(str(path), revision=None, labels=None, allow_pickle=False, trust_remote_code=False)


def written(path: Path, rows: list[tuple[str, object]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def numbered(count: int) -> list[str]:
    letters = "abcdefghij"
    return [" ".join(letters[int(digit)] for digit in f"{number:04}") for number in range(count)]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Checkpoint:
    return loaded(checkpoint)


@pytest.fixture(scope="module")
def sample(model: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path = tmp_path_factory.mktemp("sample") / "s.jsonl"
    return read_sample(written(path, [(text, n % 2) for n, text in enumerate(numbered(201))]), model)


def test_what_the_model_cannot_tell_apart_is_one_text(model: Checkpoint, sample: Sample) -> None:
    """This tokenizer lowers case, and drops what is beyond the model's length."""
    long = "good " * model.max_length
    texts = ["Good film", "good  FILM", "bad", long + "yes", long + "no", ("good", "film"), ("good", "film")]
    labels = ["positive", "positive", None, "negative", "positive", None, "negative"]
    examples = [Example(text, label) for text, label in zip(texts, labels, strict=True)]
    found = without_repeats(examples, sample.encoder.encode([example.text for example in examples]))
    assert [example.text for example in found] == ["Good film", "bad", long + "yes", ("good", "film")]
    assert [example.label for example in found] == ["positive", None, None, "negative"]  # where they disagree: none


def test_repeats_are_no_texts_of_their_own(model: Checkpoint, tmp_path: Path) -> None:
    texts = numbered(120)
    rows = [(text, n % 2) for n, text in enumerate([*texts, *(text.upper() for text in texts)])]
    found = read_sample(written(tmp_path / "s.jsonl", rows), model)
    assert (len(found.seen), len(found.unseen)) == (60, 60)


def test_more_texts_are_seen_from_the_unseen_ones(sample: Sample) -> None:
    later = sample.with_more_seen(50)
    assert list(later.seen) == [*sample.seen, *sample.unseen[:50]] and list(later.unseen) == list(sample.unseen[50:])
    assert later.unseen_rows.lengths.tolist() == sample.unseen_rows.lengths[50:].tolist()


@pytest.mark.parametrize(
    ("labels", "settings", "values"),
    [
        (("joy", "anger"), {"problem_type": "multi_label_classification"}, [["joy"], "joy;anger", [], None]),
        (("score",), {"problem_type": "regression"}, [1, 2.5, "3", None]),
        (("first", "second"), {"problem_type": "regression"}, [[1, 2], "3;4", None]),
    ],
)
def test_labels_of_every_kind_of_model_are_taken(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    labels: tuple[str, ...],
    settings: dict[str, object],
    values: list[object],
) -> None:
    rows = [(text, values[n % len(values)]) for n, text in enumerate(numbered(100))]
    found = read_sample(written(tmp_path / "s.jsonl", rows), loaded(make_checkpoint(labels, **settings)))
    kinds = {type(example.label) for example in (*found.seen, *found.unseen)}
    assert kinds == {tuple, type(None)}


def test_more_texts_teach_and_the_others_are_measured_on(model: Checkpoint, tmp_path: Path) -> None:
    texts = numbered(3_000)
    small = read_sample(written(tmp_path / "small.jsonl", [(text, None) for text in texts[:1_001]]), model)
    more = [Example(text) for text in (*texts[900:], *texts[2_000:])]
    found = small.with_lesson(more)
    measured = {example.text for example in (*found.held, *found.unseen)}
    assert len(found.held) == len(found.unseen) == 250 and len(measured) == 500
    taught = [example.text for example in found.taught]
    assert len(taught) == len(set(taught)) == 501 + 1_999 and not measured & set(taught)
    assert set(texts[1_001:]) < set(taught) and {example.text for example in small.seen} < set(taught)
    with pytest.raises(ConfigError, match=r"1,999 different texts; a first stage is taught on at least 2,000"):
        small.with_lesson([Example(text) for text in texts[:1_999]])
    tiny = read_sample(written(tmp_path / "tiny.jsonl", [(text, None) for text in texts[:790]]), model)
    with pytest.raises(ConfigError, match=r"790 different texts; beside --first-stage-sample at least 800"):
        tiny.with_lesson(more)


def test_texts_come_as_often_as_the_file_holds_them(model: Checkpoint, tmp_path: Path) -> None:
    rows = [(text, None) for text in numbered(120)] + [("a a a a", None)] * 3 + [("A  a a A", None)]
    found = read_sample(written(tmp_path / "s.jsonl", rows), model)
    assert sorted(map(str, found.as_in_the_file(without_taught=False))) == sorted([*numbered(120), *["a a a a"] * 4])
