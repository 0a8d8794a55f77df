"""What differs from task to task in an export, and how answers lie one after the other whatever they are of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress.manifest import Activation, ProblemType, Task
from onnxpress_export.passes import Passes

__all__ = ["ExportTask", "Meaning", "all_of_each", "places_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What logits mean, and what makes scores of them."""

    problem_type: ProblemType
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTask:
    """What an export does for one task.

    An answer is what one row of logits gives: a text's, or a token's. All answers of several texts lie one after the
    other, [answers, labels], so that comparing them is the same for every task.

    Attributes:
        name: As the manifest and transformers' pipelines call it.
        kind: What a model of it is called.
        ending: How the names of its architectures end.
        adapter: What PEFT calls it.
        model_class: The class of transformers that loads it.
        passes: What every graph of it goes through first.
        head_shape: Of the logits, of a number of rows, tokens a row, and labels.
        answers: The logits of a run, and its mask, int64 [rows, sequence], to the answers, float32 [answers, labels].
        answers_of: The tokens of each text to the answers that it has, int64 [texts] both.
        meaning: What the logits mean, of the checkpoint's name, its configuration, the number of labels, and the
            problem type and activation that are asked for. Raises ConfigError, CheckpointError.
        examples: Those of a sample, as they are measured by: of all read ones, the labels, the activation, and the
            file they are from, None for generic ones. Raises ConfigError.
        refused: Settings of an export that mean nothing here, each with why.
    """

    name: Task
    kind: str
    ending: str
    adapter: str
    model_class: Any
    passes: Passes
    head_shape: Callable[[int, int, int], tuple[int, ...]]
    answers: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
    answers_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    meaning: Callable[[str, Any, int, str | None, str | None], Meaning]
    examples: Callable[[Sequence[Example], Sequence[str], Activation, Path | None], list[Example]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def check_settings(self, given: Collection[str]) -> None:
        """Raise ConfigError where one of the settings that are `given`, by name, means nothing for this task."""
        for name in given:
            if name in self.refused:
                raise ConfigError(self.refused[name])


def places_of(counts: NDArray[np.int64], texts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where the answers of `texts` lie among those of all, int64 [answers]; `counts` are the answers of each text."""
    starts, chosen = (np.cumsum(counts) - counts)[texts], counts[texts]
    before = np.cumsum(chosen) - chosen
    return np.asarray(np.repeat(starts - before, chosen) + np.arange(int(chosen.sum())), dtype=np.intp)


def all_of_each(holds: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which texts all answers hold, bool [texts], by what each answer does, bool [answers]."""
    texts = np.repeat(np.arange(len(counts)), counts)
    return np.asarray(np.bincount(texts[~holds], minlength=len(counts)) == 0)
