"""A first stage, from the sample to the answers."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import onnxpress
from onnxpress.answers.budget import clopper_pearson_upper
from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.cascade_record import FIRST_STAGE_NAME, describe
from onnxpress.artifacts.manifest import MANIFEST_NAME, read_manifest
from onnxpress.cli.main import app
from onnxpress.running.first_stage import FirstStage, read_tables, write_tables
from onnxpress_export import export
from onnxpress_export.precision import first_stage
from onnxpress_export.precision.first_stage import least_margin, measure_cascade
from onnxpress_export.precision.student import teach
from tests.conftest import WORDS, MakeCheckpoint, edit_json

DECISION = Decision("softmax")
BUDGET = 0.05


@pytest.fixture(scope="module")
def easy_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 different texts without labels."""
    generator = np.random.default_rng(11)
    texts = {" ".join(generator.choice(WORDS, size)) for size in generator.integers(4, 16, 2_020)}
    path = tmp_path_factory.mktemp("first") / "sample.txt"
    path.write_text("\n".join(sorted(texts)[:2_000]) + "\n")
    return path


@pytest.fixture(scope="module")
def first(checkpoint: Path, easy_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model is so small that a first stage would hardly pay: it is taken for free."""
    path = tmp_path_factory.mktemp("first") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_stage, "relative_cost", lambda *_: 0.01)
        export(checkpoint, path, sample=easy_texts, max_disagreement=BUDGET, first_stage=True)
    return path


def test_the_manifest_says_what_it_does(first: Path) -> None:
    manifest = read_manifest(first)
    cascade = manifest.cascade
    assert cascade is not None and cascade.stages == ("first", "fp32")
    assert cascade.taught == 1_200 and cascade.changed.texts == 400
    assert cascade.answered["first"] >= 0.05 and cascade.changed.changed <= BUDGET * 400
    assert cascade.changed.upper_95 == clopper_pearson_upper(cascade.changed.changed, 400)
    assert 0 < cascade.score_difference_999 <= cascade.score_difference <= 1
    assert "the first stage, taught on 1,200 texts" in describe(cascade)
    assert FIRST_STAGE_NAME in manifest.files
    read_tables((first / FIRST_STAGE_NAME).read_bytes(), labels=2)


def test_it_answers_what_it_is_sure_of_and_fp32_the_rest(first: Path, texts: list[str]) -> None:
    cascade = read_manifest(first).cascade
    assert cascade is not None
    tables = read_tables((first / FIRST_STAGE_NAME).read_bytes(), labels=2)
    with (
        onnxpress.load(first, first_stage=True) as both,
        onnxpress.load(first, first_stage=False) as exact,
    ):
        assert (both.stages, exact.stages) == (("first", "fp32"), ("fp32",))
        easy = FirstStage(tables).logits([row.ids for row in both.encode(texts).encodings])
        sure = DECISION.margins(easy) >= cascade.thresholds["first"]
        assert 0 < sure.mean() < 1
        assert both.logits(texts).tobytes() == np.where(sure[:, None], easy, exact.logits(texts)).tobytes()


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({}, False),
        ({"optimize_for": "throughput"}, True),
        ({"optimize_for": "throughput", "first_stage": False}, False),
        ({"optimize_for": "throughput", "precision": "fp32"}, False),
        ({"precision": "fp32", "first_stage": True}, True),
    ],
)
def test_when_it_is_on(first: Path, settings: dict[str, object], on: bool) -> None:
    with onnxpress.load(first, device="cpu", **settings) as classifier:
        assert classifier.stages == (("first", "fp32") if on else ("fp32",))


@pytest.mark.parametrize("settings", [{}, {"optimize_for": "throughput", "threads": 2}, {"max_texts": 7}])
def test_an_answer_is_the_same_in_any_company(first: Path, texts: list[str], settings: dict[str, object]) -> None:
    some = texts[:60]
    with onnxpress.load(first, first_stage=True, **settings) as classifier:
        together = classifier.logits(some)
        assert together.tobytes() == np.concatenate([classifier.logits([text]) for text in some]).tobytes()
        assert together.tobytes() == classifier.logits(some[::-1])[::-1].tobytes()


def test_services_have_it_too(first: Path, texts: list[str]) -> None:
    some = texts[:30]
    with onnxpress.load(first, first_stage=True) as classifier, onnxpress.ThreadedClassifier(classifier) as service:
        assert classifier.mixed().stages == ("first", "fp32")
        labels = [service.classify(text).label for text in some]
        assert labels == [prediction.label for prediction in classifier(some)]
        assert classifier.mixed().answered["first"] > 0


def test_jobs_tell_which_stage_answered(first: Path, easy_texts: Path, tmp_path: Path) -> None:
    """On texts of the sample the shares are the certified ones, whatever part of it taught."""
    rows = [{"text": text} for text in easy_texts.read_text().splitlines()]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = onnxpress.score(first, tmp_path / "in.jsonl", tmp_path / "out.jsonl", columns=["label", "stage", "score"])
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    counts = Counter(row["stage"] for row in written)
    assert found.answered == {stage: counts[stage] / 2_000 for stage in ("first", "fp32")} and counts["first"] > 0
    onnxpress.score(first, tmp_path / "in.jsonl", tmp_path / "exact.jsonl", columns=["stage"], precision="fp32")
    assert {json.loads(line)["stage"] for line in (tmp_path / "exact.jsonl").read_text().splitlines()} == {"fp32"}


def test_jobs_warn_of_texts_that_are_others(first: Path, easy_texts: Path, tmp_path: Path) -> None:
    copy, lines = shutil.copytree(first, tmp_path / "artifact"), easy_texts.read_text().splitlines()
    (tmp_path / "in.txt").write_text("\n".join(lines[:600]))
    shares = {"first": 0.001, "fp32": 0.999}
    edit_json(copy / MANIFEST_NAME, lambda manifest: manifest["cascade"].update(answered=shares))  # type: ignore[attr-defined]
    found = onnxpress.score(copy, tmp_path / "in.txt", tmp_path / "out.jsonl")
    assert len(found.warnings) == 2 and found.warnings[0].startswith("the stage first answered")
    command = ["score", str(copy), str(tmp_path / "in.txt"), str(tmp_path / "out.csv")]
    assert "warning: the stage first answered" in CliRunner().invoke(app, command).stderr
    exact = onnxpress.score(copy, tmp_path / "in.txt", tmp_path / "exact.jsonl", precision="fp32")
    assert exact.warnings == () and exact.answered == {"fp32": 1.0}


def test_it_stands_before_int8(first: Path, int8_artifact: Path, texts: list[str], tmp_path: Path) -> None:
    """int8 that answers alone needs no fp32 behind it, and holds none."""
    cascade = read_manifest(first).cascade
    assert cascade is not None
    path = shutil.copytree(int8_artifact, tmp_path / "artifact")
    shutil.copy(first / FIRST_STAGE_NAME, path)
    record: dict[str, Any] = {
        "stages": ["first", "int8", "fp32"],
        "thresholds": {"first": cascade.thresholds["first"], "int8": 0.2},
        "answered": {"first": 0.2, "int8": 0.7, "fp32": 0.1},
        "changed": {"texts": 350, "changed": 0, "upper_95": 0.009, "alone": 1},
    }
    found = record_of(path / FIRST_STAGE_NAME)
    edit_json(path / MANIFEST_NAME, lambda manifest: manifest.update(cascade=record))
    edit_json(
        path / MANIFEST_NAME,
        lambda manifest: manifest["files"].update({FIRST_STAGE_NAME: {"sha256": found.sha256, "bytes": found.bytes}}),  # type: ignore[attr-defined]
    )
    with onnxpress.load(path, precision="int8", first_stage=True) as classifier:
        assert classifier.stages == ("first", "int8", "fp32")
        together = classifier.logits(texts)
        assert min(classifier.answered.values()) > 0
        assert together.tobytes() == np.concatenate([classifier.logits([text]) for text in texts]).tobytes()
    with onnxpress.load(path, precision="int8", first_stage=True, recheck=False) as classifier:
        assert classifier.stages == ("first", "int8")
    alone = {**record, "thresholds": {**record["thresholds"], "int8": 0.0}}
    edit_json(path / MANIFEST_NAME, lambda manifest: manifest.update(cascade=alone))
    with onnxpress.load(path, precision="int8", first_stage=True) as classifier:
        assert classifier.stages == ("first", "int8")


def damaged(source: Path, target: Path, content: bytes, *, hashed: bool) -> Path:
    shutil.copytree(source, target)
    (target / FIRST_STAGE_NAME).write_bytes(content)
    if hashed:
        found = record_of(target / FIRST_STAGE_NAME)
        record = {"sha256": found.sha256, "bytes": found.bytes}
        edit_json(target / MANIFEST_NAME, lambda manifest: manifest["files"].update({FIRST_STAGE_NAME: record}))  # type: ignore[attr-defined]
    return target


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_file_that_is_none_is_refused(first: Path, tmp_path: Path, content: bytes, hashed: bool) -> None:
    path = damaged(first, tmp_path / "artifact", content, hashed=hashed)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=r"first_stage\.npy.*Export again") as caught:
        onnxpress.load(path, first_stage=True)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_named_is_refused(first: Path, tmp_path: Path) -> None:
    path = shutil.copytree(first, tmp_path / "artifact")
    edit_json(path / MANIFEST_NAME, lambda manifest: manifest["files"].pop(FIRST_STAGE_NAME))  # type: ignore[attr-defined]
    with pytest.raises(onnxpress.ArtifactSchemaError, match=r"first_stage\.npy is no file of it"):
        onnxpress.load(path)


def test_what_is_not_there_cannot_be_asked_for(artifact: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match=r"has no first stage\. Export with --first-stage"):
        onnxpress.load(artifact, first_stage=True)
    with pytest.raises(onnxpress.ConfigError, match="first_stage"):
        onnxpress.load(artifact, first_stage="yes")  # type: ignore[arg-type]


def test_what_it_costs_is_a_share_of_the_models_time(first: Path, texts: list[str]) -> None:
    tables = read_tables((first / FIRST_STAGE_NAME).read_bytes(), labels=2)
    source: Any = SimpleNamespace(directory=first, cpu=ir.load(first / "model_cpu.onnx"))
    with onnxpress.load(first, first_stage=False) as classifier:
        rows = classifier.encode(texts)
    assert 0 < first_stage.relative_cost(tables, rows, source, None) < 10


def test_one_that_costs_more_than_it_saves_is_left_out_with_the_figures(
    checkpoint: Path, easy_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_stage, "relative_cost", lambda *_: 0.6)
    manifest = export(
        checkpoint, tmp_path / "out", sample=easy_texts, max_disagreement=BUDGET, first_stage=True
    ).manifest
    assert manifest.cascade is None and FIRST_STAGE_NAME not in manifest.files
    (note,) = manifest.provenance.notes
    assert "at 60.0% of the time of what is behind it; it pays from 120.0% on: it was left out. 20,000 texts" in note


def test_a_small_sample_or_none_is_refused_before_anything_is_made(checkpoint: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("\n".join(f"{one} {other}" for one in WORDS[:15] for other in WORDS[:15]))
    with pytest.raises(onnxpress.ConfigError, match=r"225 different texts.*at least 2,000, and 20,000 help"):
        export(checkpoint, tmp_path / "out", sample=few, first_stage=True)
    with pytest.raises(onnxpress.ConfigError, match="pass them as --sample"):
        export(checkpoint, tmp_path / "out", first_stage=True)
    assert not (tmp_path / "out").exists()


def test_a_regression_has_none(make_checkpoint: MakeCheckpoint, easy_texts: Path, tmp_path: Path) -> None:
    path = make_checkpoint(("score",), problem_type="regression")
    with pytest.raises(onnxpress.ConfigError, match="a regression"):
        export(path, tmp_path / "out", sample=easy_texts, first_stage=True)


def lesson() -> tuple[list[NDArray[np.int32]], NDArray[np.float32]]:
    """Texts of three topics, of which a third of the words speak."""
    generator = np.random.default_rng(2)
    topics = generator.integers(0, 3, 600)
    texts = [
        np.concatenate([generator.integers(0, 60, 6), 60 + 10 * topic + generator.integers(0, 10, 3)]).astype(np.int32)
        for topic in topics
    ]
    return texts, (6 * np.eye(3)[topics]).astype(np.float32)


def test_it_learns_what_the_model_says_and_the_same_each_time() -> None:
    texts, logits = lesson()
    tables = teach(texts[:400], logits[:400], vocabulary=100, activation="softmax")
    assert write_tables(tables) == write_tables(teach(texts[:400], logits[:400], vocabulary=100, activation="softmax"))
    found = FirstStage(tables).logits(texts[400:])
    assert (found.argmax(1) == logits[400:].argmax(1)).mean() > 0.95
    unknown = FirstStage(tables).logits([np.full(9, 99, dtype=np.int32)])
    assert DECISION.margins(unknown)[0] < np.quantile(DECISION.margins(found), 0.1)


def close_calls(texts: int) -> tuple[Answers, NDArray[np.float32]]:
    """A first stage that is wrong of one text in four, and the less sure the more often."""
    generator = np.random.default_rng(6)
    margins = generator.uniform(0, 4, texts)
    wrong = generator.uniform(0, 1, texts) < 0.5 * np.exp(-1.5 * margins)
    first = np.stack([margins, np.zeros(texts)], axis=1).astype(np.float32)
    exact = np.stack([np.where(wrong, -1.0, 1.0), np.zeros(texts)], axis=1).astype(np.float32)
    return Answers(exact, DECISION), first


@pytest.mark.parametrize("budget", [0.05, 0.005, 0.001])
def test_too_few_texts_cannot_keep_a_budget_whatever_they_say(budget: float) -> None:
    needed = first_stage.texts_to_find_a_margin(budget, at_least=10)
    assert 1 / budget < needed < 4 / budget
    answers, _first = close_calls(needed)
    exact = answers.logits
    assert least_margin(answers, exact, exact, budget=budget, unseen=needed) is not None
    few = round(needed * 0.4)
    same = Answers(exact[:few], DECISION)
    assert least_margin(same, exact[:few], exact[:few], budget=budget, unseen=few) is None
    assert first_stage.texts_to_find_a_margin(budget, at_least=2 * needed) <= 2 * needed * 1.5


def test_the_margin_keeps_the_budget_of_all_stages_together() -> None:
    answers, first = close_calls(4_000)
    alone = least_margin(answers, first, answers.logits, budget=0.01, unseen=2_000)
    others = answers.logits.copy()
    others[:20] *= -1  # what follows changes half a percent itself
    beside = least_margin(answers, first, others, budget=0.01, unseen=2_000)
    assert alone is not None and beside is not None and 0 < alone < beside
    for margin, behind in ((alone, answers.logits), (beside, others)):
        sure = answers.decision.margins(first) >= margin
        changed = answers.changed(np.where(sure[:, None], first, behind)).mean()
        assert 0.004 < changed <= 0.01
    assert least_margin(answers, first, answers.logits, budget=0.0, unseen=2_000) is None


def test_the_record_counts_each_text_at_the_stage_that_answers_it() -> None:
    answers, first = close_calls(500)
    behind = (answers.logits * 0.5).astype(np.float32)
    behind[:50] *= -0.1
    found = measure_cascade(answers, first, behind, thresholds={"first": 2.0, "int8": 0.2}, before=None, taught=7)
    easy = DECISION.margins(first) >= 2
    unsure = ~easy & (np.arange(500) < 50)
    assert found.answered == pytest.approx(
        {"first": easy.mean(), "fp32": unsure.mean(), "int8": 1 - easy.mean() - unsure.mean()}
    )
    assert found.changed.changed == (answers.changed(first) & easy).sum() and found.changed.alone == 50
