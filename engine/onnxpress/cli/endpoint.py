"""`onnxpress verify --endpoint`: does a running server answer as the artifact does?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import typer

from onnxpress.artifacts.artifact import open_artifact
from onnxpress.endpoint.client import find_endpoint
from onnxpress.endpoint.comparison import EndpointError, EndpointReport, compare_found
from onnxpress.errors import ConfigError, TaskError
from onnxpress.examples import read_examples
from onnxpress.inputs.texts import Text
from onnxpress.loading import load

__all__ = ["verify_endpoint"]

_EXAMPLES: Final = 10


def verify_endpoint(
    artifact: Path, endpoint: str, sample: Path, *, precision: str, tolerance: float, token: str | None
) -> None:
    """Compare the server at `endpoint` with `artifact` on the texts of `sample`, and on one that must be cut.

    Prints a JSON line.

    Raises:
        ConfigError: The server cannot be asked, or a setting is outside its range.
        EndpointError: It answers otherwise.
    """
    if not 0 <= tolerance < math.inf:
        raise ConfigError(f"--tolerance must be 0 or more, got {tolerance:g}")
    manifest = open_artifact(artifact).manifest
    if manifest.task != "text-classification":
        raise TaskError("verify --endpoint", manifest.task)
    texts: list[Text] = [example.text for example in read_examples(sample)]
    texts.append(_overlong(texts, manifest.max_length))
    server = find_endpoint(endpoint, manifest.labels, token)
    found = server.ask(texts)
    with load(artifact, precision=precision, device="cpu", spinning=False) as classifier:
        scores = classifier.probabilities(texts)
        cut = int((classifier.count_tokens(texts) > manifest.max_length).sum())
        used = classifier.precision
    differences = compare_found(texts, scores, found, manifest.labels, tolerance=tolerance)
    theirs = np.array([[answer[label] for label in manifest.labels] for answer in found])
    report = EndpointReport(
        endpoint=server.url,
        protocol=server.protocol,
        precision=used,
        texts=len(texts),
        cut=cut,
        differing=len(differences),
        largest_difference=float(np.abs(theirs - scores).max()),
        tolerance=tolerance,
        examples=tuple(differences[:_EXAMPLES]),
    )
    typer.echo(msgspec.json.encode(report).decode())
    if differences:
        first = differences[0]
        said = first.text if isinstance(first.text, str) else " / ".join(first.text)
        words = f"by its {first.what}: {said[:80]!r}"
        raise EndpointError(server.url, len(differences), len(texts), words)


def _overlong(texts: list[Text], max_length: int) -> str:
    """The sample's own words, again and again, so many that no model of `max_length` tokens reads them all."""
    words = " ".join(text if isinstance(text, str) else " ".join(text) for text in texts).split() or ["a"]
    return " ".join(words[place % len(words)] for place in range(max_length + 8))
