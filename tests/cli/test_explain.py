"""`onnxpress explain`: a JSON object a text, a page, and one line where something is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import onnxpress
from tests.cli.test_commands import answers, refusal, run

TEXTS = ["a good film, but 这 dull", "", "-5 <b>"]


def test_it_prints_what_the_engine_says(artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    found = answers("explain", artifact, "--label", "positive", "--html", target, "--", *TEXTS)
    with onnxpress.load(artifact, optimize_for="throughput") as classifier:
        wanted = classifier.explain(TEXTS, label="positive")
    assert [one["text"] for one in found] == TEXTS
    for one, other in zip(found, wanted, strict=True):
        assert (one["label"], one["method"], one["mask"]) == ("positive", "occlusion", "[MASK]")
        assert one["score"] == pytest.approx(other.score, abs=1e-5)
        words = one["words"]
        assert isinstance(words, list)
        assert [(word["text"], word["start"], word["end"], word["part"]) for word in words] == [
            (word.text, word.start, word.end, word.part) for word in other
        ]
        assert [word["share"] for word in words] == pytest.approx([word.share for word in other], abs=2e-5)
    page = target.read_text(encoding="utf-8")
    assert page.count("<section") == 3 and "&lt;" in page and "<b>" not in page


@pytest.mark.skipif(importlib.util.find_spec("shap") is None, reason="needs the extra explain")
def test_shap_adds_up_and_prints_nothing_of_its_own(artifact: Path) -> None:
    done = run("explain", artifact, "a good film, but dull", "--method", "shap", "--evaluations", 50)
    assert (done.returncode, done.stderr) == (0, b"")
    (found,) = answers("explain", artifact, "a good film, but dull", "--method", "shap", "--evaluations", 50)
    assert sum(word["share"] for word in found["words"]) == pytest.approx(found["score"] - found["base"], abs=1e-6)  # type: ignore[attr-defined,operator]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("good", "--label", "neutral"), "label must be one of the model's 2 (negative, positive), got 'neutral'"),
        (("good", "--method", "lime"), "method must be occlusion or shap, got 'lime'"),
        (("good", "--evaluations", 1), "evaluations must be at least 2, got 1"),
        (("good", "x" * 100_001), "text 1 has 100,001 characters; the limit is 100,000"),
        (("good", "--html", "/nowhere/page.html"), "/nowhere/page.html"),
    ],
)
def test_bad_input_is_one_line(artifact: Path, options: tuple[object, ...], says: str) -> None:
    assert says in refusal("explain", artifact, *options)


def test_no_artifact_is_told(tmp_path: Path) -> None:
    assert "onnxpress.json" in refusal("explain", tmp_path, "good")
