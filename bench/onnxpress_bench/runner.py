"""A whole benchmark: texts, systems, samples and comparisons joined."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

import onnxpress
from onnxpress.answers.fidelity import Decision
from onnxpress.answers.sample_labels import with_right_labels
from onnxpress.artifacts.artifact import Artifact, open_artifact
from onnxpress.artifacts.manifest import Manifest
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples
from onnxpress.hardware.machine import describe_machine, vector_extensions
from onnxpress_bench.agreement import align, changed_answers, compared_by, fits
from onnxpress_bench.compare import compare_with_itself, compare_with_peers
from onnxpress_bench.conditions import Watch
from onnxpress_bench.environments import EnvironmentFailedError, environment_python, requirements_of
from onnxpress_bench.flops import encoder_flops
from onnxpress_bench.peers import CONTROL, PEERS, engine_systems, peer_systems
from onnxpress_bench.process import Python, SystemFailedError, Worker, this_python, worker_sources
from onnxpress_bench.result import (
    RESULT_SCHEMA_VERSION,
    Agreement,
    BenchResult,
    Measurement,
    Skipped,
    SystemResult,
    describe_texts,
)
from onnxpress_bench.sample import Sampled, SampleSizes, take_samples
from onnxpress_bench.sweeps import make_sweeps
from onnxpress_bench.systems.spec import SystemSpec, Text
from onnxpress_bench.worker import Answer, Gemm, Prepare

__all__ = ["cache_home", "prepare_peer", "run_benchmark"]

_LEAST_TEXTS = 2


@dataclass(frozen=True, slots=True)
class _Reference:
    """Whose answers count, and its logits, float32 [texts, labels], in the artifact's order of labels."""

    name: str
    logits: NDArray[np.float32]


def cache_home() -> Path:
    """Where environments and peers' files are kept between runs."""
    return Path(user_cache_path("onnxpress"))


def run_benchmark(
    artifact: Path,
    texts: Path,
    *,
    against: str | None,
    sizes: SampleSizes,
    precisions: Sequence[str] = ("fp32",),
    peers: Sequence[str] = ("pipeline",),
    home: Path | None = None,
    command: Sequence[str] = (),
    on_step: Callable[[str], None] = lambda _: None,
    on_measured: Callable[[BenchResult], None] = lambda _: None,
) -> BenchResult:
    """Measure the engine on `artifact` in `precisions`, and beside it `peers` on the checkpoint `against`.

    The reference of all answers is in fp32, whatever the order of systems: the first fp32 peer that was measured, else
    torch on the checkpoint, else the engine's fp32. `on_measured` is given what was measured before anything is
    compared, so that no later mistake can lose it.

    Raises:
        ArtifactError: There is no artifact, or none of that precision.
        ClockJumpError: The machine slept meanwhile.
        ConfigError: The texts cannot be read, are too few, or a size is out of range.
        SystemFailedError: The engine cannot be started, or a system failed after it had started.
    """
    _check_sizes(sizes)
    opened = open_artifact(artifact)
    budgets = {name: _may_change(opened, name) for name in precisions}
    examples = _read(texts, opened)
    rows = [example.text for example in examples]
    machine, watch = describe_machine(), Watch()
    home = home or cache_home()
    with onnxpress.load(artifact, device="cpu") as classifier:
        tokens = np.minimum(classifier.count_tokens(rows), opened.manifest.max_length).tolist()
        sweeps = make_sweeps(classifier, rows, sizes.sweep_tokens, sizes.sweep_batches, opened.manifest.max_length)
    engines = engine_systems(str(artifact), list(budgets.items()))
    control = msgspec.structs.replace(engines[0], name=CONTROL)
    with ExitStack() as stack:
        here = this_python()
        systems = [(spec, here) for spec in (*engines, control)]
        wanted, skipped = [], list[Skipped]()
        if against is not None:
            work = home / "peers" / _fingerprint(against)
            work.mkdir(parents=True, exist_ok=True)
            sources = stack.enter_context(worker_sources())
            calibration = describe_texts(rows, tokens).sha256[:12]
            for spec in peer_systems(peers, against, str(work), texts=calibration):
                try:
                    python = prepare_peer(spec, sources, rows, home, on_step)
                except (EnvironmentFailedError, SystemFailedError) as error:
                    skipped.append(Skipped(name=spec.name, reason=error.reason))
                else:
                    wanted.append((spec, python))
        with Worker("machine", here) as worker:
            gemm = worker.ask(Gemm()).flops_per_second
        sampled, failed = take_samples(
            [*systems, *wanted], rows, sizes, sweeps, labels=opened.manifest.labels, on_step=on_step, watch=watch
        )
    skipped += failed
    names = {found.spec.name for found in sampled}
    if missing := [spec.name for spec, _ in systems if spec.name not in names]:
        raise SystemFailedError(missing[0], next(skip.reason for skip in failed if skip.name == missing[0]))
    reference = _reference(sampled, opened, rows, against)
    results = [_result(found, reference, examples, opened.manifest) for found in sampled]
    measured = [result for result in results if result.spec.name != CONTROL]
    beside = next(result for result in results if result.spec.name == CONTROL)
    raw = BenchResult(
        schema_version=RESULT_SCHEMA_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        command=list(command),
        machine=machine,
        conditions=watch.conditions(),
        texts=describe_texts(rows, tokens),
        model_bytes=_model_bytes(opened, precisions[0]),
        gemm_flops=gemm,
        model_flops=encoder_flops(json.loads((artifact / "config.json").read_text()), tokens),
        systems=measured,
        skipped=skipped,
        control=[],
        comparisons=[],
    )
    on_measured(raw)
    return msgspec.structs.replace(
        raw, control=compare_with_itself(measured[0], beside), comparisons=compare_with_peers(measured)
    )


def _check_sizes(sizes: SampleSizes) -> None:
    for name in ("blocks", "requests", "cold_starts", "texts_per_query"):
        if getattr(sizes, name) < 1:
            raise ConfigError(f"{name.replace('_', '-')} must be at least 1, got {getattr(sizes, name)}")
    for share in sizes.loads:
        if not 0 < share <= 2:
            raise ConfigError(f"loads are shares of the offline throughput, above 0 and at most 2; got {share}")
    for tokens in (*sizes.sweep_tokens, *sizes.sweep_batches):
        if tokens < 1:
            raise ConfigError(f"sweep lengths and batches must be at least 1, got {tokens}")


def _read(path: Path, artifact: Artifact) -> list[Example]:
    manifest = artifact.manifest
    examples = with_right_labels(read_examples(path), manifest.labels, manifest.activation, path)
    if len(examples) < _LEAST_TEXTS:
        raise ConfigError(
            f"{path}: holds {len(examples)} text; a benchmark needs at least {_LEAST_TEXTS}, better some hundred."
        )
    return examples


def _may_change(artifact: Artifact, precision: str) -> float:
    fidelity = artifact.variant(precision).fidelity
    return 0.0 if fidelity is None else fidelity.budget


def _model_bytes(artifact: Artifact, precision: str) -> int:
    variant = artifact.variant(precision)
    return sum(artifact.manifest.files[name].bytes for name in (variant.cpu.file, *variant.weights))


def _fingerprint(checkpoint: str) -> str:
    """A name for what is made of a checkpoint: another when its files, or what makes it, have changed."""
    folder = Path(checkpoint)
    digest = sha256(str(folder.resolve() if folder.is_dir() else checkpoint).encode())
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    for _, kind, _, _ in PEERS.values():
        digest.update(" ".join(requirements_of(kind)).encode())
    digest.update(" ".join(f"{name} {version(name)}" for name in ("torch", "transformers")).encode())
    digest.update(" ".join(vector_extensions()).encode())  # which choose optimum's int8
    return digest.hexdigest()[:16]


def prepare_peer(
    spec: SystemSpec, sources: str, texts: Sequence[Text], home: Path, on_step: Callable[[str], None]
) -> Python:
    """An interpreter that runs the peer, whose files are made."""
    executable = environment_python(spec.kind, home / "environments", on_step=on_step)
    here = this_python()
    python = here if executable == here.executable else Python(executable=executable, sources=sources)
    on_step(f"preparing {spec.name}")
    if spec.kind == "openvino":  # reads the plain export, which its environment cannot write
        plain = msgspec.structs.replace(spec, kind="onnxruntime")
        with Worker(spec.name, here) as worker:
            worker.ask(Prepare(plain, [], vector_extensions()))
    with Worker(spec.name, python) as worker:
        worker.ask(Prepare(spec, list(texts), vector_extensions()))
    return python


def _reference(
    sampled: Sequence[Sampled], artifact: Artifact, texts: Sequence[Text], against: str | None
) -> _Reference:
    labels = artifact.manifest.labels
    for found in sampled:
        if found.spec.kind != "engine" and found.spec.precision == "fp32":
            return _Reference(found.spec.name, align(found.logits, found.labels, labels))
    if against is not None:
        torch = msgspec.structs.replace(peer_systems(["eager"], against, "")[0], batch_size=1)
        try:
            with Worker(torch.name, this_python(), (torch, texts)) as worker:
                answered = worker.ask(Answer())
        except SystemFailedError:
            pass  # the peers on this checkpoint have told why
        else:
            if fits(answered.labels, labels):
                return _Reference(torch.name, align(np.asarray(answered.logits, np.float32), answered.labels, labels))
    for found in sampled:
        if found.spec.precision == "fp32":
            return _Reference(found.spec.name, found.logits)
    with onnxpress.load(artifact.path, device="cpu", precision="fp32") as classifier:
        return _Reference("onnxpress fp32", classifier.logits(texts))


def _result(found: Sampled, reference: _Reference, examples: Sequence[Example], manifest: Manifest) -> SystemResult:
    logits = align(found.logits, found.labels, manifest.labels)
    decision = Decision(manifest.activation, manifest.thresholds)
    changed = changed_answers(reference.logits, logits, decision, precision=found.spec.precision)
    return SystemResult(
        spec=found.spec,
        versions=found.versions,
        settled=found.settled,
        measurements=[Measurement(load=load, turns=turns) for load, turns in found.turns.items()],
        cold_start_ns=found.cold_start_ns,
        peak_memory_bytes=found.peak_memory_bytes,
        joules_per_text=sum(found.joules) / len(found.joules) / len(examples) if found.joules else None,
        sweep=found.sweep,
        agreement=Agreement(
            reference=reference.name,
            texts=len(examples),
            equal_labels=int((~changed).sum()),
            max_logit_difference=_largest(logits - reference.logits),
            may_change=found.spec.may_change,
            accuracy=_accuracy(logits, examples, manifest),
            compared=compared_by(decision, len(manifest.labels)),
        ),
    )


def _largest(differences: NDArray[np.float32]) -> float:
    """The largest that is finite: JSON has no other numbers, and texts without one count as changed."""
    finite = np.abs(differences[np.isfinite(differences)])
    return float(finite.max(initial=0.0))


def _accuracy(logits: NDArray[np.float32], examples: Sequence[Example], manifest: Manifest) -> float | None:
    """The share of right labels; None where some are not known, or an answer is not one label of several."""
    right = [example.label for example in examples]
    if manifest.activation != "softmax" or len(manifest.labels) < 2 or None in right:
        return None
    best = logits.argmax(axis=1)
    return float(np.mean([manifest.labels[index] == label for index, label in zip(best, right, strict=True)]))


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
