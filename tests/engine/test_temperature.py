"""An artifact with a temperature: its scores are others, wherever they are made; its labels and margins are not."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import onnxpress
from onnxpress.artifacts.manifest import MANIFEST_NAME, read_manifest
from onnxpress.cli.main import app
from onnxpress.watching.observe import observer_of
from onnxpress.watching.profile import model_of, profile_of
from tests.conftest import edit_json

TEMPERATURE = 2.5


def calibrated(artifact: Path, folder: Path, **fields: object) -> Path:
    """A copy whose logits are divided."""
    counts: dict[str, Any] = {"texts": 9, "decisions": 9, "error": 0.2, "log_loss": 0.7, "right": 5, "surely_wrong": 1}
    found = {**counts, "confidence_right": 0.9, "confidence_wrong": 0.8, "bins": []}
    own = {"temperature": TEMPERATURE, "fitted": 50, "reliability": {**found, "error": 0.1}}
    copy = shutil.copytree(artifact, folder / "artifact")
    edit_json(copy / MANIFEST_NAME, lambda content: content.update(reliability=found, calibration=own, **fields))
    return copy


@pytest.fixture(scope="module")
def warm(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(artifact, tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="module")
def both(artifact: Path, warm: Path) -> Iterator[tuple[onnxpress.Classifier, onnxpress.Classifier]]:
    with onnxpress.load(artifact) as plain, onnxpress.load(warm) as scaled:
        yield plain, scaled


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def test_scores_are_those_of_divided_logits_and_nothing_else_changes(
    both: tuple[onnxpress.Classifier, onnxpress.Classifier], texts: list[str]
) -> None:
    plain, scaled = both
    logits = plain.logits(texts)
    assert logits.tobytes() == scaled.logits(texts).tobytes()
    found = scaled.probabilities(texts)
    np.testing.assert_allclose(found, softmax(logits / TEMPERATURE), rtol=1e-5)
    assert not np.allclose(found, plain.probabilities(texts), atol=0.01)
    assert [one.label for one in plain(texts)] == [other.label for other in scaled(texts)]
    assert [one.score for one in scaled(texts)] == found.max(axis=1).tolist()
    assert np.array_equal(plain.decision.margins(logits), scaled.decision.margins(logits))
    assert [one.score for one in scaled.stream(texts)] == [one.score for one in scaled(texts)]
    assert scaled.explain(texts[0]).score == pytest.approx(scaled(texts[0]).score, rel=1e-6)


def test_accepted_labels_are_those_of_the_scores_without_it(artifact: Path, tmp_path: Path, texts: list[str]) -> None:
    """A threshold means the score that it was set by."""
    for name, fields in (
        ("sigmoid", {"activation": "sigmoid", "problem_type": "multi_label_classification", "thresholds": [0.3, 0.9]}),
        ("softmax", {"thresholds": [0.1, 0.6]}),
    ):
        (tmp_path / name).mkdir()
        copy = calibrated(artifact, tmp_path / name, **fields)
        cold = shutil.copytree(copy, tmp_path / name / "cold")
        edit_json(cold / MANIFEST_NAME, lambda content: content.update(calibration=None))
        with onnxpress.load(cold) as plain, onnxpress.load(copy) as scaled:
            before, after = plain.accepted(texts), scaled.accepted(texts)
            assert [{one.label for one in row} for row in before] == [{one.label for one in row} for row in after]
            assert len({len(row) for row in before}) > 1
            scores = scaled.probabilities(texts)
            assert [one.score for one in after[0]] == sorted(
                (scores[0, scaled.labels.index(one.label)] for one in after[0]), reverse=True
            )


def test_services_and_jobs_have_the_same_scores(warm: Path, texts: list[str], tmp_path: Path) -> None:
    some = texts[:20]
    with onnxpress.load(warm) as classifier:
        wanted = classifier.probabilities(some).max(axis=1)
        with onnxpress.ThreadedClassifier(classifier) as service:
            served = [one.score for one in service.classify(some)]

        async def asked() -> list[float]:
            async with onnxpress.AsyncClassifier(classifier) as service:
                return [one.score for one in await service.classify(some)]

        np.testing.assert_allclose(served, wanted, rtol=1e-5)
        np.testing.assert_allclose(asyncio.run(asked()), wanted, rtol=1e-5)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in some))
    onnxpress.score(warm, tmp_path / "in.jsonl", tmp_path / "out.jsonl", columns=["score", "probabilities"])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([row["score"] for row in rows], wanted, rtol=1e-5)
    np.testing.assert_allclose(
        [max(row["probability_positive"], row["probability_negative"]) for row in rows], wanted, rtol=1e-5
    )


def test_its_profile_is_one_of_its_own_scores(
    both: tuple[onnxpress.Classifier, onnxpress.Classifier], artifact: Path, warm: Path, texts: list[str]
) -> None:
    assert model_of(read_manifest(artifact)) != model_of(read_manifest(warm))
    profiles = []
    for classifier, path in zip(both, (artifact, warm), strict=True):
        (parts,) = classifier.stream_answered([texts])
        profiles.append(profile_of(read_manifest(path), observer_of(classifier).counts(parts)))
    plain, scaled = profiles
    assert plain.label_counts == scaled.label_counts and plain.margins == scaled.margins
    assert plain.scores != scaled.scores


def test_inspect_tells_it(warm: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(warm)], env={"COLUMNS": "400"})
    assert "expected calibration error 10.00% (20.00% without the temperature of 2.5)" in shown.stdout, shown.output


def test_a_temperature_of_a_regression_is_refused(artifact: Path, tmp_path: Path) -> None:
    copy = calibrated(artifact, tmp_path, activation="identity", problem_type="regression")
    with pytest.raises(onnxpress.ArtifactSchemaError, match="a regression has no scores to calibrate"):
        onnxpress.load(copy)
