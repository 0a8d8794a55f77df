"""Body, pooling, normalization and head of a sentence-transformers model as one torch module that gives logits."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

__all__ = ["SentenceClassifier"]


class SentenceClassifier(PreTrainedModel):  # type: ignore[misc]  # transformers is not followed
    """A body, and the modules that make logits of its tokens.

    Its configuration, embeddings and attention are the body's.
    """

    base_model_prefix = "body"

    def __init__(self, body: PreTrainedModel, pooling: torch.nn.Module, steps: Sequence[torch.nn.Module]) -> None:
        torch.nn.Module.__init__(self)  # transformers' own would look for settings that the body has read
        self.config = body.config
        self.name_or_path = body.name_or_path
        self.body = body
        self.pooling = pooling
        self.steps = torch.nn.ModuleList(steps)
        self._takes_types = "token_type_ids" in inspect.signature(body.forward).parameters

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits, [batch, labels], of int64 [batch, sequence]."""
        types = {"token_type_ids": token_type_ids} if self._takes_types and token_type_ids is not None else {}
        rows = self.pooling(self.body(input_ids=input_ids, attention_mask=attention_mask, **types)[0], attention_mask)
        for step in self.steps:
            rows = step(rows)
        return SequenceClassifierOutput(logits=rows)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The body's."""
        found: torch.nn.Module = self.body.get_input_embeddings()
        return found

    def set_attn_implementation(self, *arguments: Any, **settings: Any) -> None:
        """Of the body."""
        self.body.set_attn_implementation(*arguments, **settings)
