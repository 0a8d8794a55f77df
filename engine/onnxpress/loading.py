"""An artifact to a classifier: checked, opened on a device, and joined."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from onnxpress.artifact import Artifact, open_artifact
from onnxpress.classifier import Classifier
from onnxpress.cpu import available_cpus
from onnxpress.cuda import cuda_problem
from onnxpress.encoder import Encoder
from onnxpress.errors import ArtifactIntegrityError, ConfigError, DeviceUnavailableError
from onnxpress.machine import saturates
from onnxpress.manifest import Graph, Variant
from onnxpress.optimized import find_optimized
from onnxpress.runner import EqualLengths, PackedRows, PaddedBuckets, Runner
from onnxpress.session import Device, Session, resolve_device
from onnxpress.settings import CudaSettings, LongText, OptimizeFor, Pooling, Settings
from onnxpress.tuning import find_tuning

__all__ = ["load", "share_cpus"]

_MAX_TOKENS: Final[dict[Device, int]] = {"cpu": 512, "cuda": 16_384}
_WARM_UP_TOKENS: Final = 16

_log: Final = logging.getLogger("onnxpress")


def load(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    precision: str = "auto",
    optimize_for: OptimizeFor = "latency",
    threads: int | None = None,
    workers: int | None = None,
    affinity: Sequence[int] | None = None,
    spinning: bool = True,
    max_tokens: int | None = None,
    max_texts: int = 4_096,
    max_characters: int = 100_000,
    long_text: LongText = "truncate",
    stride: int | None = None,
    pooling: Pooling = "mean",
    cuda: CudaSettings | None = None,
) -> Classifier:
    """Load the artifact in the directory `path`, after checking each file's hash, and run it once to warm up.

    Where `onnxpress tune` saved optimized graphs beside it on this machine, these are loaded instead of its own.

    Args:
        path: An artifact, as `onnxpress export` writes it.
        device: "cpu", "cuda", "cuda:N", or "auto": CUDA where this onnxruntime has it, else the CPU.
        precision: "fp32", "fp16" (CUDA), "int8" (CPU), or "auto": the fastest that the artifact holds for the device.
            What it holds was measured to keep fp32's answers within the budget of its export.
        optimize_for: "latency" puts all threads into one run; "throughput" runs a batch on each thread.
        threads: CPU threads to use; None for the CPUs this process may use.
        workers: Batches that run at once, which share the threads; None for what `optimize_for` says.
        affinity: CPUs to pin the threads to, one each, by number; None leaves them to the system. With "latency" the
            first of them stands for the calling thread, which stays where it is. Linux
            alone.
        spinning: Whether threads of a run wait by spinning: faster alone, but unkind to other work on the machine.
        max_tokens: Tokens a batch may have; None for 512 on the CPU, 16,384 on CUDA. Where neither it nor `threads` and
            `workers` are given, what `onnxpress tune` measured for this artifact on this machine is taken.
        max_texts: Texts of one call that are tokenized at a time.
        max_characters: Characters a text may have; a longer one raises TextTooLongError.
        long_text: What happens to a text of more tokens than the model takes: "truncate" cuts it, "windows" runs
            overlapping windows of it and pools their logits, "error" raises TooManyTokensError.
        stride: Tokens that a window repeats of the one before; None for a quarter of a window.
        pooling: "mean" or "max" of the windows' logits.
        cuda: What is set on CUDA alone; None for the defaults.

    Raises:
        ArtifactError: There is no artifact, or it is not as it was exported.
        ConfigError: A setting is outside its range.
        DeviceUnavailableError: `device` cannot run here.
        MissingDependencyError: onnxruntime is not installed.
    """
    settings = Settings(
        device=device,
        precision=precision,
        optimize_for=optimize_for,
        threads=threads,
        workers=workers,
        affinity=None if affinity is None else tuple(affinity),
        spinning=spinning,
        max_tokens=max_tokens,
        max_texts=max_texts,
        max_characters=max_characters,
        long_text=long_text,
        stride=stride,
        pooling=pooling,
        cuda=cuda or CudaSettings(),
    )
    return _load(Path(path), settings)


def _load(path: Path, settings: Settings) -> Classifier:
    artifact = open_artifact(path)
    workers, threads, max_tokens = share_cpus(artifact, settings)
    _check_affinity(settings.affinity, workers * threads)
    session, variant = _open_session(artifact, settings, threads=threads)
    max_tokens = max_tokens or _MAX_TOKENS[session.device]
    encoder = _open_encoder(artifact, settings)
    runner: Runner
    if session.device == "cuda":
        workers = 1
        runner = PaddedBuckets(
            session,
            max_tokens=max_tokens,
            max_length=artifact.manifest.max_length,
            padding=_padding(artifact),
            graphs=settings.cuda.graphs,
        )
    else:
        runner = EqualLengths(session, max_tokens=max_tokens)
        tokens = min(_WARM_UP_TOKENS, artifact.manifest.max_length)
        session.run({name: np.zeros((1, tokens), dtype=np.int64) for name in session.input_names})
    return Classifier(
        artifact.manifest,
        encoder,
        runner,
        precision=variant.precision,
        settings=settings,
        workers=workers,
        open_mixed=partial(_open_mixed, artifact, settings, variant, runner, threads=threads),
        reload=(_load, (path.resolve(), settings)),
    )


def share_cpus(artifact: Artifact, settings: Settings) -> tuple[int, int, int | None]:
    """Batches at once, threads of each, and tokens a batch (None for the device's default) that `load` takes.

    As set; where nothing is, as `onnxpress tune` measured, or by default.
    """
    if settings.threads is settings.workers is settings.max_tokens is None and not settings.device.startswith("cuda"):
        precision = artifact.variant(settings.precision, "cpu").precision
        if (tuning := find_tuning(artifact.path, precision)) is not None:
            best = tuning.best(settings.optimize_for)
            return best.workers, best.threads, best.max_tokens
    cpus = settings.threads or available_cpus()
    workers = min(settings.workers or (cpus if settings.optimize_for == "throughput" else 1), cpus)
    return workers, cpus // workers, settings.max_tokens


def _open_mixed(artifact: Artifact, settings: Settings, variant: Variant, runner: Runner, *, threads: int) -> Runner:
    """What runs texts of different lengths at once; `runner` itself where it does, or nothing better is there."""
    if variant.packed is None or runner.session.device == "cuda":
        return runner
    session = _open_graph(artifact, settings, variant, variant.packed, "cpu", 0, threads=threads)
    longest = artifact.manifest.max_length
    shape = (1, min(_WARM_UP_TOKENS, longest))
    session.run({name: np.full(shape, name == "attention_mask", dtype=np.int64) for name in session.input_names})
    return PackedRows(session, max_tokens=runner.max_tokens, max_length=longest, padding=_padding(artifact))


def _check_affinity(affinity: Sequence[int] | None, threads: int) -> None:
    if affinity is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("affinity can be set on Linux only; leave it out")
    if len(affinity) != threads or len(set(affinity)) < threads:
        raise ConfigError(f"affinity must name a CPU of its own for each of {threads} threads, got {list(affinity)}")
    if foreign := sorted(set(affinity) - os.sched_getaffinity(0)):
        raise ConfigError(f"affinity names CPU {foreign[0]}, which this process may not use")


def _open_session(artifact: Artifact, settings: Settings, *, threads: int) -> tuple[Session, Variant]:
    """The session and the variant that it runs: "auto" falls back to the CPU, and logs why."""
    device, precision = settings.device, settings.precision
    opened = partial(_open_on, artifact, settings, threads=threads)
    try:
        session, variant = opened(*resolve_device("cpu" if device == "auto" and precision == "int8" else device))
    except DeviceUnavailableError as error:
        if device != "auto":
            raise
        _log.warning("running on the CPU: %s", error)
        session, variant = opened("cpu", 0)
    labels = len(artifact.manifest.labels)
    if session.label_count != labels:
        raise ArtifactIntegrityError(
            artifact.path, f"its manifest names {labels} labels, its graph gives {session.label_count}. Export again."
        )
    return session, variant


def _open_on(
    artifact: Artifact, settings: Settings, device: Device, index: int, *, threads: int
) -> tuple[Session, Variant]:
    variant = artifact.variant(settings.precision, device)
    if device == "cuda" and (problem := cuda_problem()) is not None:
        asked = f"cuda:{index}" if index else "cuda"
        raise DeviceUnavailableError(asked, f"{problem}. Run `onnxpress doctor`, or pass device='cpu'.")
    graph = variant.cpu if device == "cpu" else variant.portable
    return _open_graph(artifact, settings, variant, graph, device, index, threads=threads), variant


def _open_graph(
    artifact: Artifact,
    settings: Settings,
    variant: Variant,
    graph: Graph,
    device: Device,
    index: int,
    *,
    threads: int,
) -> Session:
    opened = partial(
        Session,
        device=device,
        threads=threads,
        spinning=settings.spinning,
        saturates=saturates(variant.target),
        affinity=None if settings.affinity is None else settings.affinity[1:],
        index=index,
        cuda=settings.cuda,
    )
    if device == "cpu":
        try:
            if (saved := find_optimized(artifact, variant, graph)) is not None:
                return opened(*saved, optimized=True)
        except ArtifactIntegrityError as error:
            _warn_once(f"the artifact's own graph is loaded: {error}")
    for weights in variant.weights:
        artifact.verified(weights)
    content = artifact.read_graph(graph.file, variant.weights)
    if (folder := artifact.folder_of(variant.weights)) is not None:
        return opened(content, folder)
    return opened(artifact.path.absolute() / graph.file, artifact.path)


@cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def _padding(artifact: Artifact) -> int:
    """The token that fills padded rows, 0 where the model names none."""
    config: dict[str, Any] = msgspec.json.decode(artifact.read("config.json"))
    padding = config.get("pad_token_id")
    return padding if isinstance(padding, int) and padding >= 0 else 0


def _open_encoder(artifact: Artifact, settings: Settings) -> Encoder:
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
        max_characters=settings.max_characters,
        long_text=settings.long_text,
        stride=settings.stride,
    )
