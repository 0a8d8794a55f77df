"""Fine-tuned text classifiers at the lowest latency and the highest throughput, without torch.

import onnxpress

clf = onnxpress.load("artifact/")
clf("great film")          # Prediction(label="positive", score=0.99)
"""

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

__all__ = [
    "ArtifactError",
    "ArtifactIntegrityError",
    "ArtifactNotFoundError",
    "ArtifactSchemaError",
    "CheckFailedError",
    "CheckpointError",
    "Classifier",
    "ClosedError",
    "ConfigError",
    "DeadlineExceededError",
    "DeviceUnavailableError",
    "ForkedError",
    "MissingDependencyError",
    "OnnxpressError",
    "OutputExistsError",
    "OverloadedError",
    "PrecisionUnavailableError",
    "Prediction",
    "Text",
    "TextEncodingError",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "TooManyTokensError",
    "__version__",
    "load",
]

__version__ = "0.1.0"
