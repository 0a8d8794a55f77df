"""Requests to entities, as Hugging Face's token classification gives them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from onnxpress.serving.http.answers import require_taken
from onnxpress.serving.http.arrival import Deadline
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.models import Model
from onnxpress.serving.http.refusal import Refusal
from onnxpress.serving.tokens import AsyncTokenClassifier
from onnxpress.tasks.entities import Entity
from onnxpress.token_classifier import OUTSIDE

__all__ = ["TagParameters", "TagRequest", "tag"]


class TagParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of Hugging Face's token classification.

    Attributes:
        aggregation_strategy: What becomes an entity; None for neighbouring tokens of one label.
        ignore_labels: Labels that make no entity; None for "O" alone.
    """

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = None


class TagRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text whose entities are asked for, or several.

    Attributes:
        inputs: A text, or a list of texts.
        truncate: Whether a text of too many tokens is cut; it is refused where this is false.
        truncation_direction: The side that is cut; None for the artifact's own.
        parameters: What becomes an entity.
    """

    inputs: str | list[str]
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None
    parameters: TagParameters | UnsetType | None = UNSET


async def tag(model: Model, request: TagRequest, limits: Limits, deadline: Deadline) -> list[Any]:
    """The entities of a text, in their order; of a list of texts, a list of these.

    Raises:
        Refusal: There are no texts, or too many.
        TextError: A text cannot be classified; none is.
        OverloadedError: Too much waits.
        DeadlineExceededError: There was no answer in time.
    """
    assert isinstance(model.service, AsyncTokenClassifier)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    if not texts:
        raise Refusal(400, "Empty", "inputs is empty. Send a text, or a list of texts.")
    await require_taken(model, texts, request, limits, deadline)
    parameters = request.parameters or TagParameters()
    strategy = parameters.aggregation_strategy or "simple"
    ignored = OUTSIDE if parameters.ignore_labels is None else parameters.ignore_labels
    found = await model.service.tag(texts, aggregation=strategy, ignore_labels=ignored, timeout=deadline.remaining())
    name = "entity" if strategy == "none" else "entity_group"
    answers = [[_answer(entity, name) for entity in entities] for entities in found]
    return answers[0] if isinstance(request.inputs, str) else answers


def _answer(entity: Entity, name: str) -> dict[str, Any]:
    return {
        name: entity.label,
        "score": entity.score,
        "word": entity.text,
        "start": entity.start,
        "end": entity.end,
    }
