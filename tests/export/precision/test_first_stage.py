"""A first stage, from the sample to the answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import onnxpress
from onnxpress.budget import clopper_pearson_upper
from onnxpress.cascade_record import FIRST_STAGE_NAME, describe
from onnxpress.fidelity import Answers, Decision
from onnxpress.first_stage import FirstStage, read_tables, write_tables
from onnxpress.manifest import MANIFEST_NAME, read_manifest
from onnxpress_export import export
from onnxpress_export.precision.first_stage import calibrated, least_margin
from onnxpress_export.precision.student import teach
from tests.conftest import WORDS, MakeCheckpoint, edit_json

DECISION = Decision("softmax")
BUDGET = 0.05


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 different texts without labels."""
    generator = np.random.default_rng(11)
    texts = {" ".join(generator.choice(WORDS, size)) for size in generator.integers(4, 16, 2_020)}
    path = tmp_path_factory.mktemp("first") / "sample.txt"
    path.write_text("\n".join(sorted(texts)[:2_000]) + "\n")
    return path


@pytest.fixture(scope="module")
def first(checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("first") / "artifact"
    export(checkpoint, path, sample=sample, max_disagreement=BUDGET, first_stage=True)
    return path


def test_the_manifest_says_what_it_does(first: Path) -> None:
    manifest = read_manifest(first)
    print(manifest.provenance.notes, manifest.cascade)
    cascade = manifest.cascade
    assert cascade is not None and cascade.stages == ("first", "fp32")
