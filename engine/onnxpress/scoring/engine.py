"""How a job's classifiers are loaded: settled before the start, so that every worker and every later run is alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from onnxpress.artifacts.artifact import Artifact
from onnxpress.hardware.cuda import cuda_problem
from onnxpress.loading import share_cpus
from onnxpress.scoring.options import ScoreOptions
from onnxpress.sessions.session import Device, resolve_device
from onnxpress.settings import Settings

__all__ = ["EngineSettings", "settle_engine"]

_log: Final = logging.getLogger("onnxpress")


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `load` is given, none of it "auto".

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        precision: A variant of the artifact.
        first_stage: Whether the artifact's first stage answers what it is sure of.
        threads: CPU threads.
        batches: Batches that run at once, which share the threads.
        max_tokens: Tokens a batch; None for the device's default.
        max_characters: Characters a text may have.
    """

    device: str
    precision: str
    first_stage: bool
    threads: int
    batches: int
    max_tokens: int | None
    max_characters: int

    def facts(self) -> dict[str, Any]:
        """What scores depend on, by words that tell what has changed."""
        return {
            "batches at once": self.batches,
            "device": self.device.partition(":")[0],
            "max_characters": self.max_characters,
            "first stage": self.first_stage,
            "precision": self.precision,
            "threads": self.threads,
            "tokens a batch": self.max_tokens,
        }


def settle_engine(artifact: Artifact, options: ScoreOptions, begun: Mapping[str, Any] | None) -> EngineSettings:
    """The settings for `options`; the threads of the job that goes on, of the facts `begun`, where none are asked for.

    Raises:
        ConfigError: Ray cannot give workers that device.
        DeviceUnavailableError: The device cannot run here.
        PrecisionUnavailableError: The artifact has no such variant.
    """
    kind, device = _ray_device(options) if options.engine == "ray" else _local_device(options)
    precision = artifact.variant(options.precision, kind).precision
    cascade = artifact.manifest.cascade
    has_first = cascade is not None and {"first", precision} <= set(cascade.stages)
    threads = 1 if options.threads is None and options.engine == "ray" else options.threads
    if options.threads is None and begun is not None:
        batches, threads, max_tokens = begun["batches at once"], begun["threads"], begun["tokens a batch"]
    else:
        asked = Settings(device=device, precision=precision, threads=threads, optimize_for="throughput")
        batches, threads_each, max_tokens = share_cpus(artifact, asked)
        threads = batches * threads_each
    return EngineSettings(
        device=device,
        precision=precision,
        first_stage=has_first and kind == "cpu" and options.precision != "fp32",
        threads=threads,
        batches=batches,
        max_tokens=max_tokens,
        max_characters=options.max_characters,
    )


def _ray_device(options: ScoreOptions) -> tuple[Device, str]:
    """The device of a worker: the calling process may have no such thing, and Ray numbers GPUs itself."""
    kind: Device = "cuda" if options.gpus_per_worker and options.device != "cpu" else "cpu"
    return kind, kind


def _local_device(options: ScoreOptions) -> tuple[Device, str]:
    asked = options.device
    kind, index = resolve_device("cpu" if asked == "auto" and options.precision == "int8" else asked)
    if kind == "cuda" and asked == "auto" and (problem := cuda_problem()) is not None:
        _log.warning("scoring on the CPU: %s", problem)
        kind = "cpu"
    return kind, f"{kind}:{index}" if kind == "cuda" and index else kind
