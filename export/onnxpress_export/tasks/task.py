"""What differs from task to task in an export."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.artifacts.manifest import Activation, ProblemType, Task
from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress.inputs.vectors import Bounds
from onnxpress.tasks.comparison import Comparison
from onnxpress_export.passes import Passes

__all__ = ["ExportTask", "Meaning", "all_of_each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What logits mean, and what makes scores of them."""

    problem_type: ProblemType
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTask:
    """What an export does for one task.

    A model gives vectors of logits, one for a text or one for each of its tokens. Those of several texts lie one after
    the other, [vectors, labels], so that comparing them is the same for every task.

    Attributes:
        name: As the manifest and transformers' pipelines call it.
        kind: What a model of it is called.
        ending: How the names of its architectures end.
        adapter: What PEFT calls it.
        model_class: The class of transformers that loads it.
        passes: What every graph of it goes through first.
        head_shape: Of the logits, of a number of rows, tokens a row, and labels.
        vectors: The logits of a run, and its mask, int64 [rows, sequence], to the vectors, float32 [vectors, labels].
        bounds: The tokens of each row, int64 [rows], to the bounds of its vectors.
        comparison: How two precisions are compared.
        meaning: What the logits mean, of the checkpoint's name, its configuration, the number of labels, and the
            problem type and activation that are asked for. Raises ConfigError, CheckpointError.
        generic_examples: What is measured by where there is no sample.
        refused: Settings of an export that mean nothing here, each with why.
    """

    name: Task
    kind: str
    ending: str
    adapter: str
    model_class: Any
    passes: Passes
    head_shape: Callable[[int, int, int], tuple[int, ...]]
    vectors: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
    bounds: Callable[[NDArray[np.int64]], Bounds]
    comparison: Comparison
    meaning: Callable[[str, Any, int, str | None, str | None], Meaning]
    generic_examples: Callable[[], list[Example]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def check_settings(self, given: Collection[str]) -> None:
        """Raise ConfigError where one of the settings that are `given`, by name, means nothing for this task."""
        for name in given:
            if name in self.refused:
                raise ConfigError(self.refused[name])


def all_of_each(holds: NDArray[np.bool_], bounds: Bounds) -> NDArray[np.bool_]:
    """Of which rows all vectors hold, bool [rows], by what each does, bool [vectors]; each row has at least one."""
    return np.asarray(np.logical_and.reduceat(holds, bounds[:-1]))
