"""What a system under test is, and the questions that it answers.

This module and those beside it run in the environments of other systems too: they import nothing but the standard
library, msgspec, numpy, and the system itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Serving", "System", "SystemSpec", "Text"]

Kind = Literal[
    "engine",
    "pipeline",
    "eager",
    "compile",
    "cross-encoder",
    "zero-shot",
    "onnxruntime",
    "optimum",
    "openvino",
]

Text = str | tuple[str, str]


class SystemSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        name: As tables show it.
        kind: Which implementation.
        model: The artifact's directory, the checkpoint's, or its Hub id.
        precision: The variant: fp32, fp16 or int8; of optimum's fp32 also `o2`.
        optimize_for: The engine's setting, and OpenVINO's hint; others have none.
        batch_size: Texts a run, of about equal length; the engine plans its own.
        may_change: Share of labels that may differ from the checkpoint's before the system counts as another model.
        work: Where files that the system makes of the checkpoint are kept between runs.
        calibrated_on: A name of the texts that a quantization is calibrated on; empty where there is none.
    """

    name: str
    kind: Kind
    model: str
    precision: str = "fp32"
    optimize_for: Literal["latency", "throughput"] | None = None
    batch_size: int | None = None
    may_change: float = 0.0
    work: str = ""
    calibrated_on: str = ""


class Serving(Protocol):
    """Requests that arrive by themselves, batched as the system does it."""

    def submit(self, text: Text, done: Callable[[], None]) -> None:
        """Queue one text; `done` is called, by any thread, once its label is known."""
        ...

    def close(self) -> None:
        """Answer what waits, and end. Raises what any request raised."""
        ...


class System(Protocol):
    """A classifier being measured."""

    @property
    def labels(self) -> Sequence[str]:
        """The model's labels, by index."""
        ...

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order, as fast as the system can. From text on, tokenization included."""
        ...

    def encode(self, texts: Sequence[Text]) -> Any:
        """The texts tokenized, for `run`; None where the system cannot run without tokenization."""
        ...

    def run(self, encoded: Any) -> None:
        """The model alone, on what `encode` gave."""
        ...

    def serve(self) -> Serving:
        """Start taking requests that arrive by themselves."""
        ...
