"""An artifact to a classifier: checked, opened on a device, and joined."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Final, Literal, TypedDict, Unpack, overload

from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.artifact import PRECISIONS, Artifact, open_artifact
from onnxpress.artifacts.manifest import Manifest, Variant
from onnxpress.artifacts.manifest import Task as TaskName
from onnxpress.classifier import Classifier
from onnxpress.errors import (
    ArtifactIntegrityError,
    ConfigError,
    DeviceUnavailableError,
    OnnxpressError,
)
from onnxpress.hardware.cpu import available_cpus
from onnxpress.hardware.cuda import cuda_problem
from onnxpress.inputs.encoder import Encoder
from onnxpress.opening import Opening
from onnxpress.running.cascade import Cascade, Stage
from onnxpress.running.runner import Runner
from onnxpress.sessions.session import Device, resolve_device
from onnxpress.settings import CudaSettings, LongText, OptimizeFor, Pooling, Settings
from onnxpress.system import can_pin, thread_cpus
from onnxpress.tasks.task import Task
from onnxpress.tasks.text_classification import TextClassification
from onnxpress.tasks.token_classification import TokenClassification
from onnxpress.token_classifier import TokenClassifier
from onnxpress.tuned.tuning import find_tuning

__all__ = ["load", "share_cpus"]

_ATTEMPTS: Final = 3
_MODELS: Final[dict[TaskName, type[Classifier] | type[TokenClassifier]]] = {
    "text-classification": Classifier,
    "token-classification": TokenClassifier,
}

_log: Final = logging.getLogger("onnxpress")


class _Loading(TypedDict, total=False):
    """What `load` takes, for type checkers."""

    device: str
    precision: str
    optimize_for: OptimizeFor
    threads: int | None
    workers: int | None
    affinity: Sequence[int] | None
    spinning: bool
    max_tokens: int | None
    max_texts: int
    max_characters: int
    long_text: LongText
    stride: int | None
    pooling: Pooling
    recheck: bool
    first_stage: bool | None
    cuda: CudaSettings | None


@overload
def load(
    path: str | PathLike[str], *, task: Literal["token-classification"], **settings: Unpack[_Loading]
) -> TokenClassifier: ...
@overload
def load(
    path: str | PathLike[str], *, task: Literal["text-classification"] | None = None, **settings: Unpack[_Loading]
) -> Classifier: ...


def load(
    path: str | PathLike[str],
    *,
    task: TaskName | None = None,
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
    recheck: bool = True,
    first_stage: bool | None = None,
    cuda: CudaSettings | None = None,
) -> Classifier | TokenClassifier:
    """Load the artifact in the directory `path`, after checking each file's hash, and run it once to warm up.

    Its task decides what is returned: a Classifier for labels of texts, a TokenClassifier for labels of their tokens.

    Where `onnxpress tune` saved optimized graphs beside it on this machine, these are loaded instead of its own.

    Args:
        path: An artifact, as `onnxpress export` writes it.
        task: The task that it must have, "text-classification" or "token-classification"; None for any. Type checkers
            take None for the first: name the second to have them see a TokenClassifier.
        device: "cpu", "cuda", "cuda:N", or "auto": CUDA where this onnxruntime has it, else the CPU.
        precision: "fp32", "fp16" (CUDA), "int8" (CPU), or "auto": the fastest that the artifact holds for the device,
            as `onnxpress tune` measured it on this machine, or the export on its own. What it holds was measured to
            keep fp32's answers within the budget of its export.
        optimize_for: "latency" puts all threads into one run; "throughput" runs a batch on each thread.
        threads: CPU threads to use, for tokens as for runs; None for the CPUs this process may use.
        workers: Batches that run at once, which share the threads evenly: with 4 workers, 16 threads are 4 for each.
            Workers of several threads have a session each, with its own copy of the weights but where `onnxpress tune`
            saved them. None for what `optimize_for` says.
        affinity: CPUs to pin the threads to, one each, by number; None leaves them to the system. Those of a worker
            follow each other. With one worker the first of them stands for the calling thread, which stays where it
            is. Linux alone.
        spinning: Whether threads of a run wait by spinning: faster alone, but unkind to other work on the machine.
        max_tokens: Tokens a batch may have; None for 512 on the CPU, 16,384 on CUDA. Where neither it nor `threads` and
            `workers` are given, what `onnxpress tune` measured for this artifact on this machine is taken.
        max_texts: Texts of one call that are tokenized at a time; fewer where they have millions of characters.
        max_characters: Characters a text may have; a longer one raises TextTooLongError.
        long_text: What happens to a text of more tokens than the model takes: "truncate" cuts it, "windows" runs
            overlapping windows of it and pools their logits, "error" raises TooManyTokensError.
        stride: Tokens that a window repeats of the one before; None for a quarter of a window.
        pooling: "mean" or "max" of the windows' logits; of no use to a TokenClassifier, whose tokens are each answered
            by the windows that hold them.
        recheck: Whether int8 leaves to fp32 the texts that it is not sure of, where the export found from which margin
            on it is: few, and next to all whose answer it would change. False takes what int8 says, and less memory.
        first_stage: Whether the artifact's first stage, where it was exported with one, answers the texts that it is
            sure of, in microseconds. None for `optimize_for="throughput"` alone, on the CPU, and not where
            `precision="fp32"` is asked for by name.
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
        affinity=_as_cpus(affinity),
        spinning=spinning,
        max_tokens=max_tokens,
        max_texts=max_texts,
        max_characters=max_characters,
        long_text=long_text,
        stride=stride,
        pooling=pooling,
        recheck=recheck,
        first_stage=first_stage,
        cuda=cuda or CudaSettings(),
    )
    try:
        named = Path(path)
    except TypeError:
        raise ConfigError(f"an artifact is named by a str or a path, got {path!r}") from None
    if task not in (None, *_MODELS):
        raise ConfigError(f"task must be {' or '.join(_MODELS)}, got {task!r}")
    return _load(named, settings, task)


def _as_cpus(affinity: Sequence[int] | None) -> tuple[int, ...] | None:
    try:
        return None if affinity is None else tuple(affinity)
    except TypeError:
        raise ConfigError(f"affinity must name CPUs by their numbers from 0, got {affinity!r}") from None


def _load(path: Path, settings: Settings, task: TaskName | None = None) -> Classifier | TokenClassifier:
    """Load what is at `path`, of that `task` or any.

    Again from the start where an export puts another artifact there in the meantime.
    """
    for _ in range(_ATTEMPTS):
        artifact = open_artifact(path)
        if task not in (None, found := artifact.manifest.task):
            raise ConfigError(f"{path} is an artifact for {found}, not for {task}. Load it without task, or another.")
        try:
            classifier = _join(artifact, settings)
        except OnnxpressError:
            if artifact.is_replaced():
                continue
            raise
        if not artifact.is_replaced():
            return classifier
        classifier.close()
    raise ArtifactIntegrityError(path, f"was replaced {_ATTEMPTS} times while it was loaded. Load it again.")


def _join(artifact: Artifact, settings: Settings) -> Classifier | TokenClassifier:
    workers, threads, max_tokens = share_cpus(artifact, settings)
    _check_affinity(settings.affinity, workers * threads)
    opening = Opening(artifact=artifact, settings=settings, workers=workers, threads=threads, max_tokens=max_tokens)
    variant, device, cascade = _open_cascade(opening)
    return _MODELS[artifact.manifest.task](
        artifact.manifest,
        _open_encoder(artifact, settings),
        cascade,
        precision=variant.precision,
        settings=settings,
        workers=workers if device == "cpu" else 1,
        threads=workers * threads if device == "cpu" else threads,
        open_mixed=_mixed(opening, variant, device),
        reload=(_load, (artifact.path.resolve(), settings)),
    )


def _open_cascade(opening: Opening) -> tuple[Variant, Device, Cascade]:
    """The variant that answers first, where it runs, and with what follows it: "auto" falls back to the CPU."""
    artifact, settings = opening.artifact, opening.settings
    wanted = settings.device
    device, index = resolve_device("cpu" if wanted == "auto" and settings.precision == "int8" else wanted)
    try:
        variant = _chosen(artifact, settings, device)
        runner = opening.runner(variant, device, index)
    except DeviceUnavailableError as error:
        if wanted != "auto":
            raise
        _log.warning("running on the CPU: %s", error)
        device, variant = "cpu", _chosen(artifact, settings, "cpu")
        runner = opening.runner(variant, device)
    rest = _stages(opening, variant, device)
    runners = [runner, *(opening.runner(other, "cpu") for other, _ in rest[1:])]
    return variant, device, _joined(opening, _first(opening, variant, device), rest, runners)


def _chosen(artifact: Artifact, settings: Settings, device: Device) -> Variant:
    """The variant to begin with; "auto" is the one that `onnxpress tune` measured to be the fastest on this machine.

    Where it did not measure all of them, it is the fastest by the manifest.
    """
    held = [variant.precision for variant in artifact.manifest.variants if variant.precision in PRECISIONS[device]]
    if settings.precision == "auto" and device == "cpu" and len(held) > 1:
        tunings = {precision: find_tuning(artifact.path, precision) for precision in held}
        times = {name: found.best(settings.optimize_for).milliseconds for name, found in tunings.items() if found}
        if len(times) == len(held):
            return artifact.variant(min(held, key=times.__getitem__))
    return artifact.variant(settings.precision, device)


def _mixed(opening: Opening, variant: Variant, device: Device) -> Callable[[], Cascade] | None:
    """What opens the cascade of services, whose batches hold texts of different lengths; None without graphs for it."""
    stages = _stages(opening, variant, device)
    packed = [(other, other.packed) for other, _ in stages]
    if device == "cuda" or any(graph is None for _, graph in packed):
        return None
    first = _first(opening, variant, device)
    return lambda: _joined(opening, first, stages, [opening.packed(other, graph) for other, graph in packed if graph])


def _stages(opening: Opening, variant: Variant, device: Device) -> list[tuple[Variant, float]]:
    """The variants that answer in turn, beginning with `variant`, and the margin from which each does."""
    cascade = opening.artifact.manifest.cascade
    if not opening.settings.recheck or device == "cuda" or cascade is None or variant.precision not in cascade.stages:
        return [(variant, -math.inf)]
    stages = []
    for name in cascade.stages[cascade.stages.index(variant.precision) :]:
        threshold = cascade.thresholds.get(name, -math.inf)
        stages.append((opening.artifact.variant(name), threshold))
        if threshold <= 0:  # it answers all that comes to it: nothing need be held for what follows
            break
    return stages


def _first(opening: Opening, variant: Variant, device: Device) -> tuple[Stage, ...]:
    """The stage before `variant` that needs no session; none where it is not wanted."""
    settings, cascade = opening.settings, opening.artifact.manifest.cascade
    there = cascade is not None and "first" in cascade.stages and variant.precision in cascade.stages
    if settings.first_stage is None:
        wanted = settings.optimize_for == "throughput" and settings.precision != "fp32"
        if not (wanted and there and device == "cpu"):
            return ()
    elif not settings.first_stage:
        return ()
    if cascade is None or not there:
        raise ConfigError(
            f"{opening.artifact.path} has no first stage. Export with --first-stage, or leave first_stage out."
        )
    if device == "cuda":
        raise ConfigError("first_stage is for the CPU, whose answers it was measured by; leave it out on CUDA")
    return (Stage(name="first", runner=opening.first_stage(), leaves_at=cascade.thresholds["first"]),)


def _joined(
    opening: Opening, first: Sequence[Stage], stages: Sequence[tuple[Variant, float]], runners: Sequence[Runner]
) -> Cascade:
    rest = [
        Stage(name=variant.precision, runner=runner, leaves_at=threshold)
        for (variant, threshold), runner in zip(stages, runners, strict=True)
    ]
    return Cascade([*first, *rest], _task(opening.artifact.manifest, opening.settings))


def _task(manifest: Manifest, settings: Settings) -> Task:
    if manifest.task == "token-classification":
        return TokenClassification(len(manifest.labels))
    decision = Decision(manifest.activation, manifest.thresholds, manifest.temperature)
    return TextClassification(decision, len(manifest.labels), settings.pooling)


def share_cpus(artifact: Artifact, settings: Settings) -> tuple[int, int, int | None]:
    """Batches at once, threads of each, and tokens a batch (None for the device's default) that `load` takes.

    As set; where nothing is, as `onnxpress tune` measured on the CPU, or by default.
    """
    if settings.threads is settings.workers is settings.max_tokens is None and not _on_cuda(settings):
        precision = _chosen(artifact, settings, "cpu").precision
        if (tuning := find_tuning(artifact.path, precision)) is not None:
            best = tuning.best(settings.optimize_for)
            return best.workers, best.threads, best.max_tokens
    cpus = settings.threads or available_cpus()
    workers = min(settings.workers or (cpus if settings.optimize_for == "throughput" else 1), cpus)
    return workers, cpus // workers, settings.max_tokens


def _on_cuda(settings: Settings) -> bool:
    """Whether `load` will try CUDA, and nothing is known to be in its way."""
    if settings.device != "auto":
        return settings.device.startswith("cuda")
    return settings.precision != "int8" and resolve_device("auto")[0] == "cuda" and cuda_problem() is None


def _check_affinity(affinity: Sequence[int] | None, threads: int) -> None:
    if affinity is None:
        return
    if not can_pin():
        raise ConfigError("affinity can be set on Linux only; leave it out")
    if len(affinity) != threads or len(set(affinity)) < threads:
        raise ConfigError(f"affinity must name a CPU of its own for each of {threads} threads, got {list(affinity)}")
    if foreign := sorted(set(affinity) - (thread_cpus() or set())):
        raise ConfigError(f"affinity names CPU {foreign[0]}, which this process may not use")


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
        keeps_places=_task(manifest, settings).needs_places,
    )
