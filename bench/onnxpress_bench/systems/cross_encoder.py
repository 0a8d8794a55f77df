"""sentence-transformers' CrossEncoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from onnxpress_bench.systems.from_text import FromText
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["CrossEncoderSystem"]


class CrossEncoderSystem(FromText):
    """It sorts by length itself."""

    def __init__(self, spec: SystemSpec) -> None:
        self._model = CrossEncoder(spec.model, device="cpu", model_kwargs={"dtype": torch.float32})
        super().__init__(spec, self._model.model.config)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order.

        Raises:
            TypeError: A text is no pair, which is all that `predict` takes.
        """
        if any(isinstance(text, str) for text in texts):
            raise TypeError("it takes sentence pairs, and these are single texts")
        found: NDArray[np.float32] = self._model.predict(
            list(texts),
            batch_size=self._batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_numpy=True,
        )
        return found.reshape(len(texts), len(self.labels))
