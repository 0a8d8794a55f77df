"""transformers' zero-shot pipeline, on pairs of a text and a hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ZeroShotClassificationPipeline, pipeline
from transformers.utils import logging

from onnxpress_bench.systems.from_text import FromText
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["ZeroShotPipeline", "grouped"]


class _Logits(ZeroShotClassificationPipeline):  # type: ignore[misc]  # transformers is not followed
    """Gives the logits that its scores are made of, [hypotheses, labels] of each text."""

    def postprocess(self, model_outputs: Any, multi_label: bool = False) -> NDArray[np.float32]:
        return np.concatenate([output["logits"].float().numpy() for output in model_outputs])


class ZeroShotPipeline(FromText):
    """`pipeline("zero-shot-classification")`, which has its own batches: in the order given, padded to the longest."""

    def __init__(self, spec: SystemSpec) -> None:
        logging.disable_progress_bar()
        self._pipeline: Any = pipeline(
            "zero-shot-classification", model=spec.model, dtype=torch.float32, device="cpu", pipeline_class=_Logits
        )
        super().__init__(spec, self._pipeline.model.config)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order: one call for all texts with the same hypotheses.

        Raises:
            TypeError: A text is no pair, which is what a hypothesis comes in.
        """
        found = np.empty((len(texts), len(self.labels)), np.float32)
        for hypotheses, groups in grouped(texts).items():
            premises = [premise for premise, _ in groups]
            answers = self._pipeline(
                premises, candidate_labels=list(hypotheses), hypothesis_template="{}", batch_size=self._batch_size
            )
            for (_, start), rows in zip(groups, answers, strict=True):
                found[start : start + len(hypotheses)] = rows
        return found


def grouped(texts: Sequence[Text]) -> dict[tuple[str, ...], list[tuple[str, int]]]:
    """The texts of each list of hypotheses, with the place of each one's first pair.

    Pairs of one text that follow each other, with different hypotheses, are asked together. Raises TypeError where a
    text is no pair.
    """
    runs: list[tuple[str, int, list[str]]] = []
    for place, text in enumerate(texts):
        if isinstance(text, str):
            raise TypeError("it takes sentence pairs, of a text and a hypothesis, and these are single texts")
        premise, hypothesis = text
        if runs and runs[-1][0] == premise and hypothesis not in runs[-1][2]:
            runs[-1][2].append(hypothesis)
        else:
            runs.append((premise, place, [hypothesis]))
    found: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for premise, place, hypotheses in runs:
        found.setdefault(tuple(hypotheses), []).append((premise, place))
    return found
