"""What a TokenClassifier alone has, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import onnxpress
from onnxpress.cli.main import app
from tests.conftest import MAX_LENGTH, TOKEN_LABELS, WORDS

TEXT = "great film by a star who was never in love, and Zoë 👩‍👩‍👧\r\nof Oslo"


@pytest.fixture(scope="module")
def tagger(token_artifact: Path) -> Iterator[onnxpress.TokenClassifier]:
    with onnxpress.load(token_artifact, task="token-classification", threads=1) as opened:
        yield opened


def test_entities_are_parts_of_the_callers_own_text(tagger: onnxpress.TokenClassifier) -> None:
    found = tagger(TEXT)
    assert found and all(TEXT[entity.start : entity.end] == entity.text for entity in found)
    assert {entity.label for entity in found} <= {"PER", "LOC"} and all(0 < entity.score <= 1 for entity in found)
    assert found == sorted(found, key=lambda entity: entity.start)
    tokens = tagger(TEXT, aggregation="none", ignore_labels=())
    assert {entity.label for entity in tokens} <= set(TOKEN_LABELS)
    assert len(tokens) == len(tagger.logits([TEXT])[0]) - 2
    assert [e.text for e in tokens[:3]] == ["great", "film", "by"]


def test_every_entity_is_replaced_and_nothing_else(tagger: onnxpress.TokenClassifier) -> None:
    for aggregation in ("simple", "first"):
        entities = tagger(TEXT, aggregation=aggregation)  # type: ignore[call-overload]
        wanted, done = "", 0
        for entity in entities:
            wanted += TEXT[done : entity.start] + f"<{entity.label.lower()}>"
            done = entity.end
        redacted = tagger.redact(TEXT, replace=lambda label: f"<{label.lower()}>", aggregation=aggregation)  # type: ignore[call-overload]
        assert redacted == wanted + TEXT[done:] and redacted != TEXT
    both = tagger.redact([TEXT, ""])
    assert both == [tagger.redact(TEXT), ""] and both[0].count("[") == len(tagger(TEXT))
    assert tagger.redact(TEXT, ignore_labels=("O", "PER", "LOC")) == TEXT
    with pytest.raises(onnxpress.ConfigError, match="redact takes whole entities"):
        tagger.redact(TEXT, aggregation="none")


def test_words_are_tokenized_each_by_itself(tagger: onnxpress.TokenClassifier) -> None:
    words = ["great", "film", "by", "a", "star"]
    text = " ".join(words)
    found = tagger.words(words)
    assert found == tagger(text, aggregation="first") and tagger.words(tuple(words), aggregation="simple") == tagger(
        text
    )
    assert tagger.words([words, [], ["x y"]])[0] == found and tagger.words([words, []])[1] == []
    assert tagger.words([]) == []
    together = ["great", "film-by a", "👩‍👩‍👧"]  # what is no single word for the tokenizer is one for the caller
    for entity in tagger.words(together, ignore_labels=()):
        assert " ".join(together)[entity.start : entity.end] == entity.text


@pytest.mark.parametrize("wrong", ["great film", [["a"], "b"], [["a", 7]], [["a", None]], [7], None, [{"a": "b"}]])
def test_what_are_no_words_is_told(tagger: onnxpress.TokenClassifier, wrong: object) -> None:
    with pytest.raises(onnxpress.WordsTypeError, match="Pass the words of a text") as told:
        tagger.words(wrong)  # type: ignore[call-overload]
    assert "\n" not in str(told.value)


def test_logits_of_long_texts_hold_each_token_once(token_artifact: Path, tagger: onnxpress.TokenClassifier) -> None:
    long = " ".join(np.random.default_rng(4).choice(WORDS, 3 * MAX_LENGTH))
    with onnxpress.load(token_artifact, task="token-classification", threads=1, long_text="windows") as opened:
        short, found, again = opened.logits(["good film", long, long])
        assert len(found) == opened.count_tokens([long])[0] and found.tobytes() == again.tobytes()
        assert short.tobytes() == tagger.logits(["good film"])[0].tobytes()
        tokens = opened(long, aggregation="none", ignore_labels=())
        assert [entity.text for entity in tokens] == long.split()
        assert [entity.label for entity in tokens] == [TOKEN_LABELS[best] for best in found[1:-1].argmax(1)]
        entities = opened(long)
        assert all(one.end <= two.start for one, two in pairwise(entities))
        assert entities[-1].start > len(long) // 2
        assert opened.redact(long).count("[") == len(entities)


def test_what_is_of_another_task_is_refused_in_one_line(tagger: onnxpress.TokenClassifier) -> None:
    for name in ("explain", "accepted", "probabilities", "zero_shot", "rank"):
        with pytest.raises(onnxpress.TaskError, match=f"^{name} is for labels of whole texts; .* Load another for it"):
            getattr(tagger, name)
        assert not hasattr(tagger, name)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        tagger.other  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(onnxpress.PairError, match=r"^text 1 is a pair"):
        tagger(["a", ("a", "b")])  # type: ignore[list-item]
    assert [type(error) for error in tagger.rejected(["a", ("a", "b")])] == [onnxpress.PairError]
    with pytest.raises(
        onnxpress.ConfigError, match="aggregation must be none, simple, first, average or max, got 'all'"
    ):
        tagger("a", aggregation="all")  # type: ignore[call-overload]
    with pytest.raises(onnxpress.ConfigError, match="ignore_labels must be a list of labels, got the str 'O'"):
        tagger("a", ignore_labels="O")


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.stdout, done.stderr


def test_predict_prints_entities(token_artifact: Path, tagger: onnxpress.TokenClassifier) -> None:
    code = [sys.executable, "-m", "onnxpress", "predict", str(token_artifact)]
    done = subprocess.run([*code, "great film", TEXT], capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [line["text"] for line in lines] == ["great film", TEXT]
    for line in lines:
        for found, wanted in zip(line["entities"], tagger(line["text"]), strict=True):
            assert (found["label"], found["start"], found["end"]) == (wanted.label, wanted.start, wanted.end)
            assert found["text"] == wanted.text and found["score"] == pytest.approx(wanted.score)
    done = subprocess.run(
        [*code, "--aggregation", "none"], input="great\n\n", capture_output=True, text=True, timeout=60
    )
    assert [len(json.loads(line)["entities"]) for line in done.stdout.splitlines()] == [
        len(tagger(text, aggregation="none")) for text in ("great", "")
    ]
    done = subprocess.run([*code, "--logits", "great"], capture_output=True, text=True, timeout=60)
    assert np.array(json.loads(done.stdout)["logits"]).shape == (3, len(TOKEN_LABELS))


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["predict", "{tokens}", "a", "--top-k", "2"], "--top-k is for labels of whole texts"),
        (["predict", "{tokens}", "a", "--accepted"], "--accepted is for labels of whole texts"),
        (["predict", "{tokens}", "a", "--aggregation", "all"], "aggregation must be"),
        (["predict", "{texts}", "a", "--aggregation", "first"], "--aggregation is for labels of tokens"),
        (["explain", "{tokens}", "a"], "explain is for labels of whole texts"),
        (["score", "{tokens}", "{rows}", "{out}", "--columns", "label"], "columns must be of entities"),
        (["score", "{tokens}", "{rows}", "{out}", "--pair-column", "text"], "labels the tokens of one text"),
        (["score", "{tokens}", "{rows}", "{out}", "--profile", "{out}.json"], "a profile"),
        (["score", "{texts}", "{rows}", "{out}", "--columns", "entities"], "columns must be of label"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    command: list[str], told: str, artifact: Path, token_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    places = {
        "tokens": token_artifact, "texts": artifact, "rows": tmp_path / "rows.jsonl", "out": tmp_path / "out.jsonl"
    }  # fmt: skip
    asked = [part.format(**places) for part in command]
    done = subprocess.run([sys.executable, "-m", "onnxpress", *asked], capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and told in line and not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("column", ["entities_first", "entities_average", "entities_max", "tokens"])
def test_scoring_has_a_column_for_each_aggregation(
    column: str, tagger: onnxpress.TokenClassifier, token_artifact: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"text": TEXT, column: 1}) + "\n")
    summary = onnxpress.score(token_artifact, source, output, columns=[column], threads=1)
    assert summary.columns == {column: f"{column}_1"}
    aggregation = column.removeprefix("entities_").replace("tokens", "none")
    found = json.loads(output.read_text())[f"{column}_1"]
    wanted = tagger(TEXT, aggregation=aggregation)  # type: ignore[call-overload]
    assert [(e["label"], e["start"], e["end"], e["text"]) for e in found] == [
        (entity.label, entity.start, entity.end, entity.text) for entity in wanted
    ]
    assert sum(summary.labels.values()) == len(tagger.logits([TEXT])[0]) - 2
