"""What systems share that run from text alone, in batches of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.systems.batches import BatchServing
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["FromText", "labels_of"]


def labels_of(config: Any) -> list[str]:
    """The labels of a model's configuration, by index."""
    return [config.id2label[index] for index in range(config.num_labels)]


class FromText(ABC):
    """A `System` that cannot run without tokenization; its own `logits` is all that it adds."""

    def __init__(self, spec: SystemSpec, config: Any) -> None:
        """`config` is the model's, as transformers has it."""
        assert spec.batch_size is not None
        self.labels: list[str] = labels_of(config)
        self._batch_size = spec.batch_size

    @abstractmethod
    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order."""

    def encode(self, texts: Sequence[Text]) -> None:
        """None: there is no run without tokenization."""
        return None

    def run(self, encoded: object) -> None:
        """Never called, as `encode` gives nothing: a run of nothing would be measured as a fast one."""
        raise TypeError("it runs from text alone")

    def serve(self) -> BatchServing:
        """Take requests, batching what waits."""
        return BatchServing(self.logits, self._batch_size)
