"""Files scored by labels that come with the job: what `Classifier.zero_shot` says of each row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import onnxpress
from onnxpress.errors import BadRowError, ConfigError, JobChangedError, JobStoppedError
from onnxpress.watching.profile import read_profile
from tests.cli.test_commands import run

LABELS = ["fun", "sad story", "plot"]
TEXTS = ["a film with heart", "", "the worst plot", "good " * 300, "the worst plot"]
ATOL = 2e-5  # other blockings of the same sums

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def nli(bert_nli: Path) -> onnxpress.Classifier:
    return onnxpress.load(bert_nli, threads=1, spinning=False)


@pytest.fixture
def rows(bert_nli: Path, tmp_path: Path) -> Rows:
    def score(texts: list[str | None] = TEXTS, **options: Any) -> list[dict[str, Any]]:  # type: ignore[assignment]
        source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        options = {"zero_shot_labels": LABELS, "threads": 1, **options}
        onnxpress.score(bert_nli, source, output, **options)
        return [json.loads(line) for line in output.read_text().splitlines()]

    return score


@pytest.mark.parametrize("multi_label", [False, True])
def test_columns_are_of_the_chosen_labels(rows: Rows, nli: onnxpress.Classifier, multi_label: bool) -> None:
    columns = ["label", "score", "probabilities", "top2"]
    found = rows(columns=columns, template="It is {}.", multi_label=multi_label)
    wanted = nli.zero_shot(TEXTS, LABELS, template="It is {}.", multi_label=multi_label)
    for row, one in zip(found, wanted, strict=True):
        scores = dict(zip(one.labels, one.scores, strict=True))
        assert row["label"] == row["label_top1"] == one.labels[0] and row["label_top2"] == one.labels[1]
        found_scores = [row["score"], *(row[f"probability_{label}"] for label in LABELS)]
        np.testing.assert_allclose(
            found_scores, [one.scores[0], *(scores[label] for label in LABELS)], rtol=0, atol=ATOL
        )


def test_accepted_labels_are_those_from_one_half_on(rows: Rows, nli: onnxpress.Classifier) -> None:
    found = rows(columns=["accepted"], multi_label=True)
    for row, one in zip(found, nli.zero_shot(TEXTS, LABELS, multi_label=True), strict=True):
        assert row["accepted"] == [label for label, score in zip(one.labels, one.scores, strict=True) if score >= 0.5]


def test_bad_rows_are_told_by_their_own_number(rows: Rows) -> None:
    found = rows(["good", None, "film"], on_bad_row="null")
    assert [row["label"] is None for row in found] == [False, True, False]


def test_a_bad_row_ends_the_job(rows: Rows) -> None:
    with pytest.raises(BadRowError, match="row 2"):
        rows(["good", None])


def test_a_profile_is_of_the_chosen_labels(rows: Rows, tmp_path: Path) -> None:
    rows(profile=tmp_path / "profile.json")
    profile = read_profile(tmp_path / "profile.json")
    assert list(profile.labels) == LABELS


def test_another_template_is_another_job(rows: Rows) -> None:
    stop = Event()
    texts: list[str | None] = ["good"] * 20_000
    with pytest.raises(JobStoppedError):
        rows(texts, stop=stop, on_progress=lambda _: stop.set())
    with pytest.raises(JobChangedError, match=r"template was None, is 'It is {}\.'"):
        rows(texts, template="It is {}.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"zero_shot_labels": []}, "labels is empty"),
        ({"zero_shot_labels": None, "template": "{}"}, "pass these too"),
        ({"zero_shot_labels": None, "multi_label": True}, "pass these too"),
        ({"pair_column": "other"}, "leave pair_column out"),
        ({"template": "no"}, "has no {}"),
        ({"columns": ["accepted"]}, "accepts one label"),
        ({"zero_shot_labels": ["good " * 200]}, "leave a text no token of the 140"),
    ],
)
def test_what_cannot_be_asked(rows: Rows, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rows(**options)


def test_the_command(bert_nli: Path, nli: onnxpress.Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a film with heart\nthe worst plot\n")
    options = ["--zero-shot-labels", "fun, sad story ,plot", "--template", "It is {}.", "--multi-label"]
    done = run("score", bert_nli, tmp_path / "in.txt", tmp_path / "out.csv", *options)
    assert done.returncode == 0, done.stderr
    wanted = nli.zero_shot(["a film with heart", "the worst plot"], LABELS, template="It is {}.", multi_label=True)
    assert [line.split(",")[1] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]] == [
        one.labels[0] for one in wanted
    ]
