"""Fine-tuned text classifiers at the lowest latency and the highest throughput, without torch.

import onnxpress

clf = onnxpress.load("artifact/")
clf("great film")          # Prediction(label="positive", score=0.99)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxpress.classifier import Classifier
from onnxpress.encoder import Text
from onnxpress.errors import (
    ArtifactError,
    ArtifactIntegrityError,
    ArtifactNotFoundError,
    ArtifactSchemaError,
    CheckFailedError,
    CheckpointError,
    ClosedError,
    ConfigError,
    DeadlineExceededError,
    DeviceUnavailableError,
    ForkedError,
    MissingDependencyError,
    OnnxpressError,
    OutputExistsError,
    OverloadedError,
    PrecisionUnavailableError,
    TextEncodingError,
    TextError,
    TextTooLongError,
    TextTypeError,
    TooManyTokensError,
)
from onnxpress.loading import load
from onnxpress.predictions import Prediction
from onnxpress.serving.metrics import Histogram, ServiceMetrics
from onnxpress.serving.threaded import ThreadedClassifier
from onnxpress.settings import CudaSettings, Settings

__all__ = [
    "ArtifactError",
    "ArtifactIntegrityError",
    "ArtifactNotFoundError",
    "ArtifactSchemaError",
    "AsyncClassifier",
    "CheckFailedError",
    "CheckpointError",
    "Classifier",
    "ClosedError",
    "ConfigError",
    "CudaSettings",
    "DeadlineExceededError",
    "DeviceUnavailableError",
    "ForkedError",
    "Histogram",
    "MissingDependencyError",
    "OnnxpressError",
    "OutputExistsError",
    "OverloadedError",
    "PrecisionUnavailableError",
    "Prediction",
    "ServiceMetrics",
    "Settings",
    "Text",
    "TextEncodingError",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "ThreadedClassifier",
    "TooManyTokensError",
    "__version__",
    "load",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from onnxpress.serving.asynchronous import AsyncClassifier


def __getattr__(name: str) -> object:
    """AsyncClassifier, once it is asked for: importing asyncio takes a fifth of the time that all else takes."""
    if name != "AsyncClassifier":
        raise AttributeError(f"module 'onnxpress' has no attribute {name!r}")
    from onnxpress.serving.asynchronous import AsyncClassifier

    return AsyncClassifier
