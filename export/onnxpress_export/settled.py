"""Models that change what they compute with the length of a text, held to one way of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from transformers import PreTrainedModel

from onnxpress_export.reference import fresh

__all__ = ["LengthLimit", "length_limit", "settled"]

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True, slots=True)
class LengthLimit:
    """Up to where a graph of a `settled` model gives the model's own answers.

    Attributes:
        tokens: Tokens a text may have.
        reason: What the model does with longer ones.
    """

    tokens: int
    reason: str


def length_limit(model: PreTrainedModel) -> LengthLimit | None:
    """What limits a graph of `model` beside its positions; None where nothing does."""
    config: Any = model.config.get_text_config()
    if getattr(config, "attention_type", None) == "block_sparse":
        tokens = (5 + 2 * config.num_random_blocks) * config.block_size
        return LengthLimit(tokens, f"{config.model_type} has full attention up to there, and sparse attention beyond")
    dynamic = [rope for rope in _rotary(config) if rope.get("rope_type", rope.get("type")) == "dynamic"]
    if dynamic:
        tokens = min(
            int(rope.get("original_max_position_embeddings") or config.max_position_embeddings) for rope in dynamic
        )
        return LengthLimit(tokens, f"{config.model_type} changes its rotary positions with longer texts")
    return None


def settled(model: Model) -> Model:
    """A `fresh` copy that computes every text as it does those within its `length_limit`."""
    copy = fresh(model)
    for module in copy.modules():
        switch: Any = getattr(module, "set_attention_type", None)
        if switch is not None and getattr(module, "attention_type", None) == "block_sparse":
            switch("original_full")
        if getattr(module, "rope_type", None) == "dynamic":
            setattr(module, "rope_type", "default")  # noqa: B010 - a plain attribute, which a Module's type hides
    return copy


def _rotary(config: Any) -> list[dict[str, Any]]:
    """The settings of rotary positions, one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return [one for one in (found, *found.values()) if isinstance(one, dict)]
