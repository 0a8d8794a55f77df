"""Thresholds: stored at export, used by `accepted`, in Python and from a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import onnxpress
from onnxpress.artifacts.manifest import read_manifest
from onnxpress_export import export
from tests.conftest import MANY_LABELS

TEXTS = ["good film", "bad plot and a dull end", "you"]


def accepted(path: Path) -> list[list[str]]:
    with onnxpress.load(path) as classifier:
        return [[prediction.label for prediction in row] for row in classifier.accepted(TEXTS)]


def test_many_labels_are_accepted_from_one_half_or_their_threshold(many_labels: Path, tmp_path: Path) -> None:
    assert read_manifest(many_labels).thresholds is None
    with onnxpress.load(many_labels) as classifier:
        scores = classifier.probabilities(TEXTS)
    by_half = [{MANY_LABELS[i] for i in range(3) if row[i] >= 0.5} for row in scores]
    assert [set(row) for row in accepted(many_labels)] == by_half

    checkpoint = many_labels.with_name("checkpoint")
    manifest = export(checkpoint, tmp_path / "set", thresholds={"glad": 0.0, "sad": 1.0}).manifest
    assert manifest.thresholds == (0.5, 0.0, 1.0)
    for row, half in zip(accepted(tmp_path / "set"), by_half, strict=True):
        assert set(row) == {"glad"} | (half & {"calm"})


def test_a_single_label_model_accepts_its_best_label(artifact: Path) -> None:
    with onnxpress.load(artifact) as classifier:
        assert classifier.accepted(TEXTS) == [[best] for best in classifier(TEXTS)]


def test_a_regression_accepts_nothing(ranker: Path, tmp_path: Path) -> None:
    with onnxpress.load(ranker) as classifier, pytest.raises(onnxpress.ConfigError, match="regression"):
        classifier.accepted(TEXTS)
    with pytest.raises(onnxpress.ConfigError, match="regression"):
        export(ranker.with_name("checkpoint"), tmp_path / "other", thresholds={"relevance": 0.5})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ({"merry": 0.5}, "'merry', which is no label of this model (negative, positive)"),
        ({"positive": 1.5}, "must be from 0 to 1, got 1.5"),
        ({"positive": float("nan")}, "must be from 0 to 1, got nan"),
        ({"positive": 0.7}, "never accepts more than one label"),
        ({"positive": 0.5}, "Pass --problem-type multi_label_classification"),
    ],
)
def test_thresholds_that_cannot_be(checkpoint: Path, tmp_path: Path, thresholds: dict[str, float], says: str) -> None:
    with pytest.raises(onnxpress.ConfigError) as caught:
        export(checkpoint, tmp_path / "artifact", thresholds=thresholds)
    assert says in str(caught.value) and not (tmp_path / "artifact").exists()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxpress", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_from_a_shell(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"positive": 0.0, "negative": 1.0}')
    options = ["--thresholds", tmp_path / "t.json", "--labels", "negative, positive"]
    assert run("export", checkpoint, tmp_path / "artifact", *options).returncode == 0
    done = run("predict", tmp_path / "artifact", "good film", "--accepted")
    assert [p["label"] for p in json.loads(done.stdout)["predictions"]] == ["positive"]
    done = run("predict", tmp_path / "artifact", "good film", "--accepted", "--top-k", "1")
    assert done.returncode == 2 and "pass one of them" in done.stderr


@pytest.mark.parametrize(("content", "says"), [("[1]", "must hold a JSON object"), (None, "cannot be read")])
def test_a_thresholds_file_that_cannot_be_used(
    checkpoint: Path, tmp_path: Path, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "t.json").write_text(content)
    done = run("export", checkpoint, tmp_path / "artifact", "--thresholds", tmp_path / "t.json")
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1
