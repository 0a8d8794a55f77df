"""Transformers: its pipeline, and the model by itself, eager or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

from onnxpress_bench.systems.batches import BatchedSystem
from onnxpress_bench.systems.from_text import FromText, labels_of
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["Pipeline", "load_model", "torch_model"]


def load_model(checkpoint: str) -> tuple[Any, Any]:
    """The checkpoint's model in fp32, ready to run, and its tokenizer."""
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(checkpoint)


def torch_model(spec: SystemSpec) -> BatchedSystem:
    """The model by itself; with the kind `compile` through `torch.compile`, with lengths and batches dynamic."""
    model, tokenizer = load_model(spec.model)
    run = torch.compile(model, dynamic=True) if spec.kind == "compile" else model
    assert spec.batch_size is not None

    def tokenize(texts: Sequence[Text]) -> Any:
        return tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")

    def forward(inputs: Any) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = run(**inputs).logits.numpy()
        return logits

    return BatchedSystem(labels_of(model.config), tokenize, forward, spec.batch_size)


class Pipeline(FromText):
    """`pipeline("text-classification")`, which has its own batches: in the order given, padded to the longest."""

    def __init__(self, spec: SystemSpec) -> None:
        logging.disable_progress_bar()
        self._pipeline: Any = pipeline("text-classification", model=spec.model, dtype=torch.float32, device="cpu")
        super().__init__(spec, self._pipeline.model.config)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order."""
        inputs = [text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]} for text in texts]
        answers = self._pipeline(
            inputs, top_k=None, function_to_apply="none", truncation=True, batch_size=self._batch_size
        )
        found = np.empty((len(texts), len(self.labels)), np.float32)
        places = {label: index for index, label in enumerate(self.labels)}
        for row, scores in zip(found, answers, strict=True):
            for score in scores:
                row[places[score["label"]]] = score["score"]
        return found
