"""Fine-tuned text classifiers at the lowest latency and the highest throughput, without torch.

import onnxpress

clf = onnxpress.load("artifact/")
clf("great film")          # Prediction(label="positive", score=0.99)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxpress.answers.predictions import Prediction
from onnxpress.classifier import Classifier
from onnxpress.errors import (
    ArtifactError,
    ArtifactIntegrityError,
    ArtifactNotFoundError,
    ArtifactSchemaError,
    BadRowError,
    CheckFailedError,
    CheckpointError,
    ClosedError,
    ConfigError,
    DeadlineExceededError,
    DeviceUnavailableError,
    ForkedError,
    JobChangedError,
    JobError,
    JobLockedError,
    JobStoppedError,
    MissingDependencyError,
    NoTokensError,
    OnnxpressError,
    OutputExistsError,
    OverloadedError,
    PairError,
    PrecisionUnavailableError,
    RunError,
    TaskError,
    TextEncodingError,
    TextError,
    TextTooLongError,
    TextTypeError,
    TooManyTokensError,
    WordsTypeError,
)
from onnxpress.inputs.texts import Text
from onnxpress.loading import load
from onnxpress.serving.answers import AnswerMetrics
from onnxpress.serving.histogram import Histogram
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.threaded import ThreadedClassifier
from onnxpress.sessions.telemetry import turn_off_telemetry
from onnxpress.settings import CudaSettings, Settings
from onnxpress.tasks.entities import Entity
from onnxpress.tasks.ranking import Ranked
from onnxpress.tasks.zero_shot import ZeroShot
from onnxpress.token_classifier import TokenClassifier

__all__ = [
    "AnswerMetrics",
    "ArtifactError",
    "ArtifactIntegrityError",
    "ArtifactNotFoundError",
    "ArtifactSchemaError",
    "AsyncClassifier",
    "AsyncTokenClassifier",
    "BadRowError",
    "CheckFailedError",
    "CheckpointError",
    "Classifier",
    "ClosedError",
    "ConfigError",
    "CudaSettings",
    "DeadlineExceededError",
    "DeviceUnavailableError",
    "Entity",
    "Explanation",
    "ForkedError",
    "Histogram",
    "JobChangedError",
    "JobError",
    "JobLockedError",
    "JobStoppedError",
    "MissingDependencyError",
    "NoTokensError",
    "OnnxpressError",
    "OutputExistsError",
    "OverloadedError",
    "PairError",
    "PrecisionUnavailableError",
    "Prediction",
    "Progress",
    "Ranked",
    "RunError",
    "ScoreSummary",
    "ServiceMetrics",
    "Settings",
    "TaskError",
    "Text",
    "TextEncodingError",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "ThreadedClassifier",
    "ThreadedTokenClassifier",
    "TokenClassifier",
    "TooManyTokensError",
    "Word",
    "WordsTypeError",
    "ZeroShot",
    "__version__",
    "load",
    "score",
]

__version__ = "0.1.0"

turn_off_telemetry()  # here, so that no process imports ONNX Runtime before it, whichever part of the project it runs

if TYPE_CHECKING:
    from onnxpress.explaining.explanation import Explanation, Word
    from onnxpress.scoring.api import score
    from onnxpress.scoring.summary import Progress, ScoreSummary
    from onnxpress.serving.asynchronous import AsyncClassifier
    from onnxpress.serving.tokens import AsyncTokenClassifier, ThreadedTokenClassifier

_LATER = {
    "AsyncClassifier": "onnxpress.serving.asynchronous",
    "AsyncTokenClassifier": "onnxpress.serving.tokens",
    "Explanation": "onnxpress.explaining.explanation",
    "Progress": "onnxpress.scoring.summary",
    "ScoreSummary": "onnxpress.scoring.summary",
    "ThreadedTokenClassifier": "onnxpress.serving.tokens",
    "Word": "onnxpress.explaining.explanation",
    "score": "onnxpress.scoring.api",
}


def __getattr__(name: str) -> object:
    """What not every program needs, once it is asked for: asyncio alone takes a fifth of the import's time."""
    if name not in _LATER:
        raise AttributeError(f"module 'onnxpress' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
