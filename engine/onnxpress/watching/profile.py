"""A profile: what a model's answers looked like over many texts, as a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import uuid4

import msgspec

from onnxpress.artifacts.artifact import open_artifact
from onnxpress.artifacts.manifest import Activation, Manifest, Task
from onnxpress.errors import ConfigError
from onnxpress.watching.bounds import LENGTHS, MARGINS, UNKNOWN_SHARES, score_bounds
from onnxpress.watching.counts import Bins, Counts

__all__ = [
    "PROFILE_NAME",
    "SCHEMA_VERSION",
    "Histogram",
    "Profile",
    "is_replaceable",
    "model_of",
    "profile_of",
    "read_profile",
    "write_profile",
]

PROFILE_NAME: Final = "profile.json"
"""An artifact's file of this name is its default baseline."""

SCHEMA_VERSION: Final = 1

_MAX_BYTES: Final = 64 * 2**20
_MAX_COUNT: Final = 2**53
_KIND: Final = "onnxpress profile"

Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_COUNT)]


class Histogram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many texts lie in each bin.

    Attributes:
        bounds: Upper bounds, inclusive, ascending; a last bin without one follows.
        counts: One more than bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[Count, ...]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model's answers looked like. Whole numbers alone: the same texts give the same bytes.

    Attributes:
        kind: Tells a profile from other JSON.
        schema_version: Of this layout, the bins' bounds included.
        model: Which model answered, whatever its precision (`model_of`).
        labels: Its labels.
        activation: What makes scores of its logits.
        texts: Texts that were answered.
        task: What was labelled: texts, or their tokens.
        label_counts: Texts by their best label, or tokens by theirs, in the order of `labels`; None for a regression.
        scores: By the best label's score; of a regression, by the value of each output.
        margins: By how far a text is from another answer, in logits; None for a regression.
        lengths: By the tokens that the model read of a text.
        unknown_shares: By the share of a text's tokens that are unknown; None where the tokenizer knows everything.
        tokens: Tokens of all texts.
        unknown_tokens: Those among them that are unknown.
        cut: Texts that lost tokens, because they had more than the model takes.
        in_windows: Texts that were read in windows.
        answered: Texts by the stage that answered them.
    """

    kind: Literal["onnxpress profile"] = _KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    labels: tuple[str, ...]
    activation: Activation
    texts: Count
    label_counts: tuple[Count, ...] | None
    scores: tuple[Histogram, ...]
    margins: Histogram | None
    lengths: Histogram
    unknown_shares: Histogram | None
    tokens: Count
    unknown_tokens: Count
    cut: Count
    in_windows: Count
    answered: dict[str, Count]
    task: Task = "text-classification"

    def __post_init__(self) -> None:
        regression = self.activation == "identity"
        if regression != (self.label_counts is None) or regression != (self.margins is None):
            raise ValueError("a regression alone has neither counts of labels nor margins")
        if len(self.scores) != (len(self.labels) if regression else 1):
            raise ValueError(f"{len(self.scores)} histograms of scores for {len(self.labels)} labels")
        if self.label_counts is not None and len(self.label_counts) != len(self.labels):
            raise ValueError(f"{len(self.label_counts)} counts for {len(self.labels)} labels")
        held = [(histogram, score_bounds(self.activation)) for histogram in self.scores]
        held += [(self.lengths, LENGTHS)]
        held += [(self.margins, MARGINS)] if self.margins is not None else []
        held += [(self.unknown_shares, UNKNOWN_SHARES)] if self.unknown_shares is not None else []
        for histogram, bounds in held:
            if histogram.bounds != bounds or len(histogram.counts) != len(bounds) + 1:
                raise ValueError(f"bins of other bounds than those of schema {SCHEMA_VERSION}")
        counts = [histogram.counts for histogram, _ in held] + [tuple(self.answered.values())]
        of_texts = self.task == "text-classification"
        counts += [self.label_counts] if of_texts and self.label_counts is not None else []
        if wrong := [sum(found) for found in counts if sum(found) != self.texts]:
            raise ValueError(f"counts of {wrong[0]:,} texts in a profile of {self.texts:,}")


def model_of(manifest: Manifest) -> str:
    """What answers: the labels, how they are decided and scored, the tokenizer and the first variant's weights.

    The same for every precision, and for an artifact with and without a profile in it.
    """
    weights = sorted(manifest.variants[0].weights)
    facts = (
        manifest.labels,
        manifest.activation,
        manifest.thresholds,
        manifest.max_length,
        manifest.truncation_side,
        [manifest.files[name].sha256 for name in ("tokenizer.json", *weights)],
        *([] if manifest.calibration is None else [manifest.temperature]),
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def profile_of(manifest: Manifest, counts: Counts) -> Profile:
    """The profile of what `counts` tell."""
    regression, outputs = manifest.activation == "identity", len(manifest.labels)
    scores = counts.scores or ({},) * (outputs if regression else 1)
    bounds = score_bounds(manifest.activation)
    return Profile(
        model=model_of(manifest),
        labels=manifest.labels,
        activation=manifest.activation,
        task=manifest.task,
        texts=counts.texts,
        label_counts=None if regression else _dense(counts.labels, outputs),
        scores=tuple(_histogram(bins, bounds) for bins in scores),
        margins=None if regression else _histogram(counts.margins, MARGINS),
        lengths=_histogram(counts.lengths, LENGTHS),
        unknown_shares=None if not counts.unknown_shares else _histogram(counts.unknown_shares, UNKNOWN_SHARES),
        tokens=counts.tokens,
        unknown_tokens=counts.unknown_tokens,
        cut=counts.cut,
        in_windows=counts.in_windows,
        answered=counts.answered,
    )


def read_profile(path: Path) -> Profile:
    """The profile in the file `path`, or the default baseline of the artifact in that directory.

    Raises:
        ConfigError: There is none, it is not one of this schema, or it is of no texts.
        ArtifactError: The directory holds no artifact, or its file is not as it was exported.
    """
    if path.is_dir():
        artifact = open_artifact(path)
        if PROFILE_NAME not in artifact.manifest.files:
            raise ConfigError(
                f"{path}: the artifact holds no profile. Export with --sample, or make one with `onnxpress score "
                "--profile FILE`, and pass FILE."
            )
        profile = _decoded(path / PROFILE_NAME, artifact.read(PROFILE_NAME))
        if profile.model != model_of(artifact.manifest):
            raise ConfigError(f"{path / PROFILE_NAME}: a profile of another model than this artifact. Export again.")
        return profile
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Make it with `onnxpress score --profile FILE`.")
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes, which no profile is.")
    return _decoded(path, path.read_bytes())


def write_profile(path: Path, profile: Profile) -> None:
    """Put `profile` into the file `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(msgspec.json.encode(profile) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_replaceable(path: Path) -> bool:
    """Whether a profile may be written there: nothing lies there, or a profile, of whatever schema."""
    if not path.exists() and not path.is_symlink():
        return True
    try:
        return path.is_file() and _head(path.read_bytes() if path.stat().st_size <= _MAX_BYTES else b"").kind == _KIND
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class _Head(msgspec.Struct):
    kind: str
    schema_version: int


def _head(content: bytes) -> _Head:
    return msgspec.json.decode(content, type=_Head)


def _decoded(path: Path, content: bytes) -> Profile:
    try:
        head = _head(content)
        if head.kind == _KIND and head.schema_version != SCHEMA_VERSION:
            raise ConfigError(
                f"{path}: a profile of schema {head.schema_version}; this version compares schema {SCHEMA_VERSION}. "
                "Make both profiles with one version."
            )
        profile = msgspec.json.decode(content, type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not a profile ({error}). Make one with `onnxpress score --profile FILE`."
        ) from error
    if not profile.texts:
        raise ConfigError(f"{path}: a profile of no texts. Score at least some hundreds.")
    return profile


def _histogram(bins: Bins, bounds: tuple[float, ...]) -> Histogram:
    return Histogram(bounds=bounds, counts=_dense(bins, len(bounds) + 1))


def _dense(bins: Bins, size: int) -> tuple[int, ...]:
    return tuple(bins.get(place, 0) for place in range(size))
