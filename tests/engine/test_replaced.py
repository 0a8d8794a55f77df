"""An artifact that is replaced while it is loaded: the old one or the new one, never some of each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpress
from onnxpress import loading, opening
from onnxpress.artifacts.artifact import Artifact, open_artifact
from onnxpress.artifacts.manifest import MANIFEST_NAME
from onnxpress.sessions.session import Session
from tests.conftest import edit_json


@pytest.fixture
def newer(other_artifact: Path) -> Path:
    return other_artifact


@pytest.fixture
def served(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "served"))


def swap(new: Path, place: Path) -> None:
    """As an export does it: the old directory goes, the new one comes, each by rename."""
    copy = Path(shutil.copytree(new, place.with_name("staged")))
    place.rename(place.with_name("gone"))
    copy.rename(place)
    shutil.rmtree(place.with_name("gone"))


STEPS = {
    "before the tokenizer": (Artifact, "read"),
    "before the graph": (Artifact, "read_graph"),
    "before the weights are hashed": (Artifact, "held"),
    "before the session": (opening, "Session"),
    "after the session": (opening, "EqualLengths"),
}


@pytest.mark.parametrize("step", STEPS)
def test_labels_and_weights_are_of_one_artifact(
    artifact: Path, newer: Path, served: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    where, name = STEPS[step]
    real, swapped = getattr(where, name), []

    def replacing(*arguments: Any, **settings: Any) -> Any:
        if not swapped:
            swapped.append(True)
            swap(newer, served)
        return real(*arguments, **settings)

    monkeypatch.setattr(where, name, replacing)
    with onnxpress.load(served, threads=1) as found, onnxpress.load(newer, threads=1) as wanted:
        assert swapped and found.labels == wanted.labels == ("sunny", "rainy")
        assert np.array_equal(found.logits(["good film"]), wanted.logits(["good film"]))


@pytest.mark.parametrize("change", ["replaced", "written to"])
def test_weights_that_change_after_they_were_hashed_are_refused(
    newer: Path, served: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def late(*arguments: Any, **settings: Any) -> Session:
        weights = served / "model.onnx_data"
        if change == "replaced":
            shutil.copy(newer / "model.onnx_data", served / "other")
            os.replace(served / "other", weights)
        else:
            content = bytearray(weights.read_bytes())
            content[100] ^= 1
            weights.write_bytes(content)
            os.utime(weights, ns=(1, 1))
        return Session(*arguments, **settings)

    monkeypatch.setattr(opening, "Session", late)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=r"model\.onnx_data: was replaced while it was loaded"):
        onnxpress.load(served, threads=1)


def test_what_is_read_is_what_was_hashed(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_artifact(served)
    require: Callable[..., None] = Artifact._require_unchanged

    def replaced_after(self: Artifact, name: str, found: Any) -> None:
        require(self, name, found)
        (served / "config.json").unlink()
        (served / "config.json").write_bytes(b"another")

    before = (served / "config.json").read_bytes()
    monkeypatch.setattr(Artifact, "_require_unchanged", replaced_after)
    assert opened.read("config.json") == before


def test_what_is_opened_later_is_of_the_same_artifact(newer: Path, served: Path) -> None:
    with onnxpress.load(served, threads=1) as classifier:
        swap(newer, served)
        assert classifier.labels == ("negative", "positive")
        with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export"):
            classifier.mixed()


def test_one_that_is_replaced_again_and_again_is_given_up(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def replaced(self: Artifact) -> bool:
        loads.append(1)
        return True

    monkeypatch.setattr(Artifact, "is_replaced", replaced)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="was replaced 3 times while it was loaded"):
        onnxpress.load(served, threads=1)
    assert len(loads) == 3


def test_a_broken_artifact_is_not_loaded_again(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(loading, "open_artifact", lambda path: reads.append(1) or open_artifact(path))
    edit_json(served / MANIFEST_NAME, lambda manifest: manifest.update(labels=["one", "two", "three"]))
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="names 3 labels, its graph gives 2"):
        onnxpress.load(served, threads=1)
    assert len(reads) == 1
