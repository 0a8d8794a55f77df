"""An int8 artifact whose close calls are answered by fp32."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.manifest import MANIFEST_NAME
from onnxpress.tuned import tuning
from onnxpress.tuned.tuning import Measured, Tuning, write_tuning
from tests.conftest import edit_json

DECISION = Decision("softmax")


def with_cascade(source: Path, target: Path, threshold: object, **other: object) -> Path:
    """A copy of the artifact `source` whose int8 leaves margins below `threshold` to fp32."""
    cascade = {
        "stages": ["int8", "fp32"],
        "thresholds": {"int8": threshold},
        "answered": {"int8": 0.9, "fp32": 0.1},
        "changed": {"texts": 350, "changed": 0, "upper_95": 0.009, "alone": 4},
        **other,
    }
    shutil.copytree(source, target, dirs_exist_ok=True)
    edit_json(target / MANIFEST_NAME, lambda manifest: manifest.update(cascade=cascade))
    return target


@pytest.fixture(scope="module")
def threshold(int8_artifact: Path, texts: list[str]) -> float:
    """A margin below which about a third of the texts lie."""
    with onnxpress.load(int8_artifact, precision="int8", recheck=False) as classifier:
        return float(np.quantile(DECISION.margins(classifier.logits(texts)), 0.33))


@pytest.fixture(scope="module")
def cascade(int8_artifact: Path, threshold: float, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_cascade(int8_artifact, tmp_path_factory.mktemp("cascade") / "artifact", threshold)


def test_close_calls_have_fp32s_bits_and_all_others_int8s(cascade: Path, threshold: float, texts: list[str]) -> None:
    with (
        onnxpress.load(cascade, precision="int8") as both,
        onnxpress.load(cascade, precision="int8", recheck=False) as quick,
        onnxpress.load(cascade, precision="fp32") as exact,
    ):
        assert (both.stages, quick.stages, exact.stages) == (("int8", "fp32"), ("int8",), ("fp32",))
        assert both.precision == quick.precision == "int8"
        found, int8, fp32 = (classifier.logits(texts) for classifier in (both, quick, exact))
        unsure = DECISION.margins(int8) < threshold
        assert 0.2 < unsure.mean() < 0.5
        assert found.tobytes() == np.where(unsure[:, None], fp32, int8).tobytes()
        different = len(set(texts))
        assert sum(both.answered.values()) == different
        assert both.answered["fp32"] == len({text for text, again in zip(texts, unsure, strict=True) if again})


@pytest.mark.parametrize("settings", [{}, {"optimize_for": "throughput", "threads": 2}, {"max_texts": 7}])
def test_an_answer_is_the_same_in_any_company(cascade: Path, texts: list[str], settings: dict[str, object]) -> None:
    some = texts[:60]
    with onnxpress.load(cascade, precision="int8", **settings) as classifier:
        together = classifier.logits(some)
        assert together.tobytes() == np.concatenate([classifier.logits([text]) for text in some]).tobytes()
        assert together.tobytes() == classifier.logits(some[::-1])[::-1].tobytes()
        streamed = np.concatenate(list(classifier.stream_probabilities(iter([some[:9], some[9:]]))))
        assert streamed.tobytes() == classifier.scores(together).tobytes()


def test_services_decide_in_the_same_way(cascade: Path, texts: list[str]) -> None:
    """Their graph rounds otherwise, so a text at the threshold itself may fall on the other side."""
    some = texts[:40]
    with onnxpress.load(cascade, precision="int8") as classifier:
        mixed = classifier.mixed()
        assert mixed.stages == ("int8", "fp32")
        logits = mixed.run(mixed.encode(some))
        alone = np.concatenate([mixed.run(mixed.encode([text])) for text in some])
        assert logits.tobytes() == alone.tobytes()
        assert mixed.answered["fp32"] > 0 and classifier.answered == {"int8": 0, "fp32": 0}
        with onnxpress.ThreadedClassifier(classifier) as service:
            labels = [service.classify(text).label for text in some]
        assert labels == [classifier.labels[index] for index in logits.argmax(axis=1)]


def test_windows_of_a_text_are_decided_together(cascade: Path) -> None:
    long = [" ".join(["good", "film", "bad"] * 150), " ".join(["dull", "star"] * 300)]
    with onnxpress.load(cascade, precision="int8", long_text="windows") as classifier:
        assert (
            classifier.logits(long).tobytes() == np.concatenate([classifier.logits([text]) for text in long]).tobytes()
        )
        assert sum(classifier.answered.values()) == 4


@pytest.mark.parametrize(
    ("threshold", "other", "message"),
    [
        (-0.1, {}, "the threshold of int8 must be a finite number of at least 0"),
        ("NaN", {}, "cascade"),
        (None, {}, "cascade"),
        (0.1, {"thresholds": {}}, "must have a threshold for int8, got none"),
        (0.1, {"thresholds": {"int8": 0.1, "fp16": 0.2}}, "must have a threshold for int8, got int8, fp16"),
        (0.1, {"stages": ["int8"]}, "stages of a cascade"),
        (0.1, {"stages": ["int8", "int8"]}, "stages of a cascade"),
        (0.1, {"stages": ["int8", "fp16"]}, "fp16"),
    ],
)
def test_a_cascade_that_makes_no_sense_is_refused(
    int8_artifact: Path, tmp_path: Path, threshold: object, other: dict[str, object], message: str
) -> None:
    with pytest.raises(onnxpress.ArtifactSchemaError, match=message):
        onnxpress.load(with_cascade(int8_artifact, tmp_path / "artifact", threshold, **other))


def test_an_artifact_without_a_cascade_loads_as_before(int8_artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(int8_artifact, tmp_path / "artifact")
    edit_json(tmp_path / "artifact" / MANIFEST_NAME, lambda manifest: manifest.pop("cascade", None))
    with onnxpress.load(tmp_path / "artifact", precision="int8") as classifier:
        assert classifier.stages == ("int8",)


def test_recheck_must_be_a_choice(int8_artifact: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="recheck"):
        onnxpress.load(int8_artifact, recheck="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(("int8", "fp32", "expected"), [(2.0, 1.0, "fp32"), (1.0, 2.0, "int8"), (None, 1.0, "int8")])
def test_auto_is_what_was_measured_to_be_fastest_here(
    int8_artifact: Path, tmp_path: Path, int8: float | None, fp32: float, expected: str
) -> None:
    """Where tune has measured only some of the precisions, the manifest decides."""
    copy = tmp_path / "artifact"
    shutil.copytree(int8_artifact, copy)
    for precision, milliseconds in (("int8", int8), ("fp32", fp32)):
        if milliseconds is not None:
            found = (Measured(workers=1, threads=1, max_tokens=512, milliseconds=milliseconds),)
            key = tuning._key(copy)
            write_tuning(copy, Tuning(key=key, precision=precision, latency=found, throughput=found))
    with onnxpress.load(copy) as classifier:
        assert classifier.precision == expected
