"""The artifacts that a server serves, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxpress.artifacts.artifact import open_artifact
from onnxpress.artifacts.manifest import Manifest
from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError
from onnxpress.model import Model as Loaded
from onnxpress.serving.asynchronous import AsyncClassifier
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.tokens import AsyncTokenClassifier
from onnxpress.token_classifier import TokenClassifier

__all__ = ["Model", "name_artifacts", "open_models"]

_NAME: Final = re.compile(r"[\w.+-]*\w[\w.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One artifact that is served.

    Attributes:
        name: What it is asked for by.
        manifest: Of its artifact.
        classifier: What answers.
        service: The queue before it.
    """

    name: str
    manifest: Manifest
    classifier: Loaded
    service: AsyncClassifier | AsyncTokenClassifier


def name_artifacts(arguments: Sequence[str]) -> dict[str, Path]:
    """Artifacts by name, in their order: PATH has its directory's name, NAME=PATH that one.

    Raises:
        ConfigError: There is none, a name cannot stand in a URL, or two artifacts have the same.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        given, equals, rest = argument.partition("=")
        named = bool(equals) and not Path(argument).exists()
        path = Path(rest if named else argument)
        name = given if named else path.resolve().name
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{argument!r}: the name {name!r} cannot stand in a URL. Give one of letters, digits, . _ + and -: "
                "NAME=PATH."
            )
        if name in found:
            raise ConfigError(f"two artifacts are named {name!r}: {found[name]} and {path}. Give names: NAME=PATH.")
        found[name] = path
    if not found:
        raise ConfigError("no artifact to serve. Pass the directory of at least one.")
    return found


def open_models(
    artifacts: dict[str, Path], load: Callable[[Path], Classifier | TokenClassifier], limits: Limits, held: ExitStack
) -> dict[str, Model]:
    """Load each of `artifacts` and put a queue before it; `held` closes the classifiers.

    Raises:
        ArtifactError: One cannot be loaded; and what else `load` raises.
    """
    models: dict[str, Model] = {}
    for name, path in artifacts.items():
        manifest = open_artifact(path).manifest
        classifier = load(path)
        held.enter_context(classifier)
        service = _service(classifier, limits)
        models[name] = Model(name=name, manifest=manifest, classifier=classifier, service=service)
    return models


def _service(classifier: Classifier | TokenClassifier, limits: Limits) -> AsyncClassifier | AsyncTokenClassifier:
    if isinstance(classifier, TokenClassifier):
        return AsyncTokenClassifier(classifier, max_requests=limits.max_requests, max_tokens=limits.max_tokens)
    return AsyncClassifier(classifier, max_requests=limits.max_requests, max_tokens=limits.max_tokens)
