"""The answer's columns: which, under which names, and their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa

from onnxpress.answers.answered import Answered, joined_logits
from onnxpress.answers.predictions import accepted_labels
from onnxpress.artifacts.manifest import Manifest
from onnxpress.errors import ConfigError
from onnxpress.model import Model
from onnxpress.scoring.entity_columns import ENTITIES, entity_values, require_entity_column
from onnxpress.token_classifier import TokenClassifier

__all__ = ["AnswerColumn", "answer_fields", "answer_values", "plan_columns"]

_TOP: Final = re.compile(r"top([1-9][0-9]*)")

Kind = Literal["label", "score", "accepted", "probability", "logit", "top_label", "top_score", "entities", "stage"]


class AnswerColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the output that the job adds.

    Attributes:
        kind: What it holds.
        wanted: The name that it would have.
        name: The name that it has, no column of the input having it.
        index: The label of a probability or a logit; the rank of a top label or score, from 0.
    """

    kind: Kind
    wanted: str
    name: str
    index: int = 0


def plan_columns(asked: Sequence[str] | None, manifest: Manifest, taken: Collection[str]) -> tuple[AnswerColumn, ...]:
    """The columns for `asked`: label, score, probabilities, logits, accepted, top3 (or another number), stage.

    By default label and score; of a regression score, or its values where there are several; of a token classifier
    entities. A name in `taken` gets the first free suffix of _1, _2, ….

    Raises:
        ConfigError: There is no such column, or it means nothing for this model.
    """
    regression = manifest.activation == "identity"
    if manifest.task == "token-classification":
        asked = ("entities",) if asked is None else asked
    elif asked is None:
        asked = (("score",) if len(manifest.labels) == 1 else ("probabilities",)) if regression else ("label", "score")
    used, columns = set(taken), []
    for kind, wanted, index in [column for item in asked for column in _expand(item, manifest, regression)]:
        name, suffix = wanted, 0
        while name in used:
            suffix += 1
            name = f"{wanted}_{suffix}"
        used.add(name)
        columns.append(AnswerColumn(kind=kind, wanted=wanted, name=name, index=index))
    return tuple(columns)


def answer_fields(columns: Sequence[AnswerColumn]) -> list[pa.Field]:
    """The types: text for names, float for a score, a list of texts for accepted labels, of structs for entities."""
    names = dict.fromkeys(("label", "top_label", "stage"), pa.string())
    types = {**names, "accepted": pa.list_(pa.string()), "entities": ENTITIES}
    return [pa.field(column.name, types.get(column.kind, pa.float32())) for column in columns]


def answer_values(
    answered: Sequence[Answered],
    columns: Sequence[AnswerColumn],
    manifest: Manifest,
    model: Model,
    rows: Sequence[int | None],
) -> list[pa.Array]:
    """The values of each column.

    Args:
        answered: The texts' answers.
        columns: What is asked for.
        manifest: The labels and thresholds.
        model: What answered.
        rows: For each row of the output the text that it answers; None for a row without an answer.
    """
    taken = pa.array(rows, pa.int64())
    stages = _stages(answered, model)
    if isinstance(model, TokenClassifier):
        wanted = [column.wanted for column in columns if column.kind == "entities"]
        found = {name: entity_values(answered, model, name) for name in wanted}
        return [found.get(column.wanted, stages).take(taken) for column in columns]
    logits, decision = joined_logits(answered), model.decision
    scores = decision.scores(logits)
    names = pa.array(manifest.labels, pa.string())
    needs_order = any(column.kind.startswith("top") for column in columns)
    order = np.argsort(-scores, axis=-1, kind="stable") if needs_order else scores.argmax(axis=-1)[:, None]

    def values(column: AnswerColumn) -> Any:
        if column.kind == "accepted":
            accepted = accepted_labels(scores, manifest.labels, decision.reached(logits))
            return pa.array([[label.label for label in row] for row in accepted], pa.list_(pa.string()))
        if column.kind in ("probability", "logit"):
            return pa.array((scores if column.kind == "probability" else logits)[:, column.index])
        if column.kind == "stage":
            return stages
        ranked = order[:, column.index]
        if column.kind in ("label", "top_label"):
            return names.take(pa.array(ranked))
        return pa.array(scores[np.arange(len(scores)), ranked])

    return [values(column).take(taken) for column in columns]


def _stages(answered: Sequence[Answered], model: Model) -> Any:
    """The name of the stage that answered each text."""
    return pa.array(model.stages, pa.string()).take(pa.array(np.concatenate([part.stages for part in answered])))


def _expand(item: str, manifest: Manifest, regression: bool) -> list[tuple[Kind, str, int]]:
    if item == "stage":
        return [("stage", "stage", 0)]
    if manifest.task == "token-classification":
        require_entity_column(item)
        return [("entities", item, 0)]
    labels = manifest.labels
    top = _TOP.fullmatch(item)
    if item not in ("label", "score", "accepted", "probabilities", "logits") and top is None:
        raise ConfigError(
            f"columns must be of label, score, probabilities, logits, accepted, top3 and stage, got {item!r}"
        )
    if item == "logits":
        return [("logit", f"logit_{label}", index) for index, label in enumerate(labels)]
    if item == "probabilities":
        word = "value" if regression else "probability"
        return [("probability", f"{word}_{label}", index) for index, label in enumerate(labels)]
    if regression and (item != "score" or len(labels) > 1):
        raise ConfigError(
            f"a regression has no column {item!r}; ask for score, or for probabilities where it has several"
        )
    if item == "accepted":
        if manifest.activation == "softmax" and manifest.thresholds is None:
            raise ConfigError("this model accepts one label a text, the best; ask for label instead of accepted")
        return [("accepted", "accepted", 0)]
    if top is not None:
        ranks = range(min(int(top[1]), len(labels)))
        labelled: list[tuple[Kind, str, int]] = [("top_label", f"label_top{rank + 1}", rank) for rank in ranks]
        scored: list[tuple[Kind, str, int]] = [("top_score", f"score_top{rank + 1}", rank) for rank in ranks]
        return [column for pair in zip(labelled, scored, strict=True) for column in pair]
    return [("label", "label", 0)] if item == "label" else [("score", "score", 0)]
