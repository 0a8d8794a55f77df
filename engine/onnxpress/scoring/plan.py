"""All that whoever scores a part must know; it can be pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from onnxpress.artifacts.manifest import Manifest
from onnxpress.classifier import Classifier
from onnxpress.loading import load
from onnxpress.model import Model
from onnxpress.scoring.columns import AnswerColumn
from onnxpress.scoring.engine import EngineSettings
from onnxpress.scoring.options import Compression, Format, OnBadRow
from onnxpress.scoring.source import Source
from onnxpress.tasks.zero_shot import Hypotheses
from onnxpress.zero_shot_classifier import ZeroShotClassifier

__all__ = ["PART_ROWS", "Plan", "open_classifier"]

PART_ROWS: Final = 8_192


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a job's parts are scored.

    Attributes:
        artifact: The artifact's directory.
        manifest: The artifact's, with the labels that are chosen from.
        hypotheses: What these are asked as; None where they are the artifact's own.
        engine: How it is loaded.
        source: The input.
        columns: The answer's columns.
        on_bad_row: What is done with bad rows.
        parts: The folder of the parts.
        rejects: The folder of what was rejected of each.
        format, compression: Of the parts.
        is_folder: Whether the parts are the output, not what it is made of.
    """

    artifact: str
    manifest: Manifest
    hypotheses: Hypotheses | None
    engine: EngineSettings
    source: Source
    columns: tuple[AnswerColumn, ...]
    on_bad_row: OnBadRow
    parts: Path
    rejects: Path
    format: Format
    compression: Compression | None
    is_folder: bool


def open_classifier(plan: Plan) -> Model:
    """The classifier that scores the parts."""
    engine = plan.engine
    model: Model = load(
        plan.artifact,
        device=engine.device,
        precision=engine.precision,
        first_stage=engine.first_stage,
        optimize_for="throughput",
        threads=engine.threads,
        workers=engine.batches,
        max_tokens=engine.max_tokens,
        max_characters=engine.max_characters,
        spinning=False,
    )
    if plan.hypotheses is None or not isinstance(model, Classifier):
        return model
    return ZeroShotClassifier.of(model, plan.hypotheses)
