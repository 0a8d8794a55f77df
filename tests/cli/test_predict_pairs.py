"""`onnxpress predict` of pairs, of labels that come with the question, and of rankings."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnxpress
from onnxpress.cli.asking import Wishes
from onnxpress.errors import ConfigError
from tests.cli.test_commands import answers, refusal, run
from tests.conftest import Exported

TEXTS = ["a film with heart", "the worst plot"]


def test_pairs_come_two_by_two_or_with_a_tab(artifact: Path) -> None:
    with onnxpress.load(artifact) as classifier:
        wanted = classifier([("good", "bad"), ("film", "")])
    for found in (
        answers("predict", artifact, "--pair", "good", "bad", "film", ""),
        answers("predict", artifact, "--pair", stdin=b"good\tbad\r\nfilm\t\n"),
    ):
        assert [(one["text"], one["text_pair"]) for one in found] == [("good", "bad"), ("film", "")]
        assert [one["label"] for one in found] == [one.label for one in wanted]
        assert [one["score"] for one in found] == pytest.approx([one.score for one in wanted], abs=1e-5)


def test_raw_is_another_name_of_logits(artifact: Path) -> None:
    wanted = answers("predict", artifact, "--logits", *TEXTS)
    assert answers("predict", artifact, "--raw", *TEXTS) == wanted and len(wanted[0]["logits"]) == 2  # type: ignore[arg-type]


def test_labels_that_come_with_the_question(bert_nli: Path) -> None:
    with onnxpress.load(bert_nli) as classifier:
        wanted = classifier.zero_shot(TEXTS, ["fun", "sad"], template="It is {}.", multi_label=True)
    options = ["--labels", "fun, sad", "--template", "It is {}.", "--multi-label"]
    for found in (
        answers("predict", bert_nli, *options, *TEXTS),
        answers("predict", bert_nli, *options, stdin="\n".join(TEXTS).encode()),
    ):
        assert [one["labels"] for one in found] == [one.labels for one in wanted]
        assert found[0]["scores"] == pytest.approx(wanted[0].scores, abs=1e-5)


def test_a_ranking_is_of_all_lines(reranker: Exported) -> None:
    documents = ["fun", "the worst plot of all", "sad story"]
    with onnxpress.load(reranker.artifact) as classifier:
        wanted = classifier.rank("a film", documents, top_k=2)
    for found in (
        answers("predict", reranker.artifact, "--query", "a film", "--top-k", 2, *documents),
        answers("predict", reranker.artifact, "--query", "a film", "--top-k", 2, stdin="\n".join(documents).encode()),
    ):
        assert [(one["index"], one["text"]) for one in found] == [(one.index, one.text) for one in wanted]


def test_lines_before_one_that_is_no_pair_are_answered(artifact: Path) -> None:
    done = run("predict", artifact, "--pair", stdin=b"a\tb\nc\nd\te\n")
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 1
    assert b"line 2 of standard input has no tab" in done.stderr
    assert "line 1 of standard input has more tabs" in refusal("predict", artifact, "--pair", stdin=b"a\tb\tc\n")


def test_a_model_that_cannot_is_told_in_one_line(artifact: Path) -> None:
    assert "begins with 'entail'" in refusal("predict", artifact, "--labels", "a,b", "text")
    assert "a ranking needs one score" in refusal("predict", artifact, "--query", "a", "text")


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"top_k": 0}, "--top-k must be at least 1"),
        ({"top_k": 2, "accepted": True}, "--top-k and --accepted ask for different answers"),
        ({"logits": True, "labels": "a"}, "--logits and --labels"),
        ({"labels": "a", "query": "b"}, "--labels and --query"),
        ({"template": "{}"}, "pass these too"),
        ({"multi_label": True}, "pass these too"),
        ({"pair": True, "labels": "a"}, "leave --pair out"),
        ({"pair": True, "query": "a"}, "leave --pair out"),
    ],
)
def test_wishes_that_contradict_each_other(wishes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Wishes(**wishes)  # type: ignore[arg-type]


def test_an_odd_text_is_no_pair() -> None:
    with pytest.raises(ConfigError, match="two by two, got 3"):
        Wishes(pair=True).of_arguments(["a", "b", "c"])
