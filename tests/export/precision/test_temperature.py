"""From a sample with labels to a temperature in the manifest, or to a line that says why there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.artifacts.calibration_record import describe_reliability
from onnxpress.artifacts.manifest import read_manifest
from onnxpress_export import ExportReport, export
from tests.conftest import WORDS, MakeCheckpoint


@pytest.fixture(scope="module")
def calibrated(checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport]:
    """Labels of the sample have nothing to do with the model's answers: it is far too sure."""
    path = tmp_path_factory.mktemp("calibrated") / "artifact"
    return path, export(checkpoint, path, sample=sample, calibrate=True)


def test_the_manifest_holds_one_number_and_what_it_did(calibrated: tuple[Path, ExportReport]) -> None:
    path, report = calibrated
    manifest = read_manifest(path)
    before, found = manifest.reliability, manifest.calibration
    assert manifest == report.manifest and before is not None and found is not None
    assert manifest.temperature == found.temperature > 1 and found.fitted == 350
    assert before.texts == found.reliability.texts == 350
    assert found.reliability.error < before.error and found.reliability.log_loss < before.log_loss
    assert found.reliability.right == before.right
    assert not [note for note in manifest.provenance.notes if "temperature" in note]


def test_the_report_shows_both(calibrated: tuple[Path, ExportReport]) -> None:
    path, report = calibrated
    page = (path / "report.html").read_text(encoding="utf-8")
    found = report.manifest.calibration
    assert found is not None and "How sure, and how right" in page and "<script" not in page and "http" not in page
    assert page.count("<circle") == sum(
        part.decisions > 0 for bins in (report.manifest.reliability, found.reliability) if bins for part in bins.bins
    )
    assert f"{100 * found.reliability.error:.2f} %" in page and "How far each precision" not in page


def test_without_being_asked_it_only_tells(checkpoint: Path, int8_artifact: Path) -> None:
    manifest = read_manifest(int8_artifact)
    assert manifest.reliability is not None and manifest.calibration is None and manifest.temperature == 1
    page = (int8_artifact / "report.html").read_text(encoding="utf-8")
    assert "How sure, and how right" in page and "How far each precision" in page
    assert describe_reliability(manifest.reliability, None).startswith("expected calibration error")


def test_one_that_brings_nothing_is_left_out_with_the_reason(checkpoint: Path, artifact: Path, tmp_path: Path) -> None:
    """The model's own answers as labels: on the seen texts the colder the better, but so are its scores already."""
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 30, 240)]
    with onnxpress.load(artifact) as classifier:
        scores = classifier.probabilities(texts)
    labels = [("negative", "positive")[generator.random() < score] for score in scores[:, 1].tolist()]
    path = tmp_path / "sample.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in zip(texts, labels, strict=True)))
    manifest = export(checkpoint, tmp_path / "out", sample=path, calibrate=True).manifest
    (note,) = [note for note in manifest.provenance.notes if "temperature" in note] or [None]
    assert (note is None) == (manifest.calibration is not None)
    if note is not None:
        assert "was left out" in note and "expected calibration error would go from" in note


def test_what_cannot_be_calibrated_is_refused_before_anything_is_made(
    checkpoint: Path, make_checkpoint: MakeCheckpoint, sample: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(f"{one} {other}" for one in WORDS[:15] for other in WORDS[:15]))
    few = tmp_path / "few.jsonl"
    rows: list[dict[str, str]] = [{"text": f"{one} {other}"} for one in WORDS[:15] for other in WORDS[:15]]
    labelled = [row | {"label": "positive"} for row in rows[:40]] + rows[40:]
    few.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    for given, says in ((plain, "0 texts of --sample have a label"), (few, "40 texts of --sample"), (None, "0 texts")):
        with pytest.raises(onnxpress.ConfigError, match=says) as caught:
            export(checkpoint, tmp_path / "out", sample=given, calibrate=True)
        assert "\n" not in str(caught.value)
    regression = make_checkpoint(("score",), problem_type="regression")
    with pytest.raises(onnxpress.ConfigError, match="a regression has values"):
        export(regression, tmp_path / "out", calibrate=True)
    assert not (tmp_path / "out").exists()
