"""An artifact to a classifier: checked, opened on a device, and joined."""

from __future__ import annotations

import logging
from os import PathLike
from pathlib import Path
from typing import Final, Literal, get_args

from onnxpress.artifact import Artifact, open_artifact
from onnxpress.classifier import Classifier
from onnxpress.cpu import available_cpus
from onnxpress.encoder import Encoder
from onnxpress.errors import ArtifactIntegrityError, ConfigError, DeviceUnavailableError
from onnxpress.machine import int8_target
from onnxpress.manifest import Variant
from onnxpress.session import Device, Session, resolve_device

__all__ = ["OptimizeFor", "load"]

OptimizeFor = Literal["latency", "throughput"]

_MAX_TOKENS: Final = 512
_MAX_CHARACTERS: Final = 100_000

_log: Final = logging.getLogger("onnxpress")


def load(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    precision: str = "auto",
    optimize_for: OptimizeFor = "latency",
    threads: int | None = None,
    max_tokens: int = _MAX_TOKENS,
    max_characters: int = _MAX_CHARACTERS,
    spinning: bool = True,
) -> Classifier:
    """Load the artifact in the directory `path`, after checking each file's hash.

    Args:
        path: An artifact, as `onnxpress export` writes it.
        device: "cpu", "cuda", or "auto": CUDA where this onnxruntime has it, else the CPU.
        precision: "fp32", "fp16" (CUDA), "int8" (CPU), or "auto": the fastest that the artifact holds for the device.
            What it holds was measured to keep fp32's answers within the budget of its export.
        optimize_for: "latency" puts all threads into one run; "throughput" runs a batch on each thread.
        threads: CPU threads to use; None for the CPUs this process may use.
        max_tokens: Tokens a batch may have.
        max_characters: Characters a text may have; a longer one raises TextTooLongError.
        spinning: Whether threads of a run wait by spinning: faster alone, but unkind to other work on the machine.

    Raises:
        ArtifactError: There is no artifact, or it is not as it was exported.
        ConfigError: A setting is outside its range.
        DeviceUnavailableError: `device` cannot run here.
        MissingDependencyError: onnxruntime is not installed.
    """
    if optimize_for not in get_args(OptimizeFor):
        raise ConfigError(f"optimize_for must be latency or throughput, got {optimize_for!r}")
    cpus = available_cpus() if threads is None else threads
    for name, value in (("threads", cpus), ("max_tokens", max_tokens), ("max_characters", max_characters)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    workers, threads_a_run = (cpus, 1) if optimize_for == "throughput" else (1, cpus)
    artifact = open_artifact(Path(path))
    session, runs_on, variant = _open_session(artifact, precision, device, threads=threads_a_run, spinning=spinning)
    return Classifier(
        artifact.manifest,
        _open_encoder(artifact, max_characters=max_characters),
        session,
        device=runs_on,
        precision=variant.precision,
        workers=workers,
        max_tokens=max_tokens,
    )


def _open_session(
    artifact: Artifact, precision: str, device: str, *, threads: int, spinning: bool
) -> tuple[Session, Device, Variant]:
    """The session, the device that it runs on, and the variant: "auto" falls back to the CPU, and logs why."""

    def opened(runs_on: Device) -> tuple[Session, Device, Variant]:
        variant = artifact.variant(precision, runs_on)
        for weights in variant.weights:
            artifact.verified(weights)
        graph = artifact.read_graph(variant.cpu.file, variant.weights)
        saturates = variant.target == "vnni" and int8_target() == "avx2"
        session = Session(
            graph, artifact.path.resolve(), device=runs_on, threads=threads, spinning=spinning, saturates=saturates
        )
        return session, runs_on, variant

    try:
        session, runs_on, variant = opened(
            resolve_device("cpu" if device == "auto" and precision == "int8" else device)
        )
    except DeviceUnavailableError as error:
        if device != "auto":
            raise
        _log.warning("running on the CPU: %s", error)
        session, runs_on, variant = opened("cpu")
    labels = len(artifact.manifest.labels)
    if session.label_count != labels:
        raise ArtifactIntegrityError(
            artifact.path, f"its manifest names {labels} labels, its graph gives {session.label_count}. Export again."
        )
    return session, runs_on, variant


def _open_encoder(artifact: Artifact, *, max_characters: int) -> Encoder:
    from tokenizers import Tokenizer  # takes time to import, which a bad artifact's error need not wait for

    try:
        tokenizer = Tokenizer.from_buffer(artifact.read("tokenizer.json"))
    except ValueError as error:
        raise ArtifactIntegrityError(
            artifact.path / "tokenizer.json", f"is no tokenizer ({error}). Export again."
        ) from error
    manifest = artifact.manifest
    return Encoder(
        tokenizer,
        max_length=manifest.max_length,
        truncation_side=manifest.truncation_side,
        max_characters=max_characters,
    )
