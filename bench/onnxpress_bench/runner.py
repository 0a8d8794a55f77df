"""A whole benchmark: texts, systems, samples and comparisons joined."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from platformdirs import user_cache_path

import onnxpress
from onnxpress.artifact import Artifact, open_artifact
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples
from onnxpress.machine import describe_machine, vector_extensions
from onnxpress.sample_labels import with_right_labels
from onnxpress_bench.compare import compare_with_itself, compare_with_peers
from onnxpress_bench.conditions import Watch
from onnxpress_bench.environments import EnvironmentFailedError, environment_python
from onnxpress_bench.flops import encoder_flops
from onnxpress_bench.peers import CONTROL, engine_systems, peer_systems
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
from onnxpress_bench.worker import Gemm, Prepare

__all__ = ["cache_home", "prepare_peer", "run_benchmark"]

_LEAST_TEXTS = 2


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
) -> BenchResult:
    """Measure the engine on `artifact` in `precisions`, and beside it `peers` on the checkpoint `against`.

    The reference of all answers is the first peer that was measured, which is fp32; without one, the engine's first
    system.

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
            for spec in peer_systems(peers, against, str(work)):
                try:
                    python = prepare_peer(spec, sources, rows, home, on_step)
                except (EnvironmentFailedError, SystemFailedError) as error:
                    skipped.append(Skipped(name=spec.name, reason=error.reason))
                else:
                    wanted.append((spec, python))
        with Worker("machine", here) as worker:
            gemm = worker.ask(Gemm()).flops_per_second
        sampled, failed = take_samples([*systems, *wanted], rows, sizes, sweeps, on_step=on_step, watch=watch)
    skipped += failed
    names = {found.spec.name for found in sampled}
    if missing := [spec.name for spec, _ in systems if spec.name not in names]:
        raise SystemFailedError(missing[0], next(skip.reason for skip in failed if skip.name == missing[0]))
    reference = next((found for found in sampled if found.spec.kind != "engine"), sampled[0])
    results = [_result(found, reference, examples) for found in sampled]
    measured = [result for result in results if result.spec.name != CONTROL]
    beside = next(result for result in results if result.spec.name == CONTROL)
    return BenchResult(
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
        control=compare_with_itself(measured[0], beside),
        comparisons=compare_with_peers(measured),
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
    """A name for what is made of a checkpoint: another when its files have changed."""
    folder = Path(checkpoint)
    digest = sha256(str(folder.resolve() if folder.is_dir() else checkpoint).encode())
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
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


def _result(found: Sampled, reference: Sampled, examples: Sequence[Example]) -> SystemResult:
    order = [found.labels.index(label) for label in reference.labels]
    logits = found.logits[:, order]
    best, wanted = logits.argmax(axis=1), reference.logits.argmax(axis=1)
    right = [example.label for example in examples]
    accuracy = None
    if all(isinstance(label, str) for label in right):  # one label a text
        accuracy = float(np.mean([reference.labels[index] == label for index, label in zip(best, right, strict=True)]))
    return SystemResult(
        spec=found.spec,
        versions=found.described.versions,
        settled=found.settled,
        measurements=[Measurement(load=load, turns=turns) for load, turns in found.turns.items()],
        cold_start_ns=found.cold_start_ns,
        peak_memory_bytes=found.described.peak_memory_bytes,
        joules_per_text=sum(found.joules) / len(found.joules) / len(examples) if found.joules else None,
        sweep=found.sweep,
        agreement=Agreement(
            reference=reference.spec.name,
            texts=len(examples),
            equal_labels=int((best == wanted).sum()),
            max_logit_difference=float(np.abs(logits - reference.logits).max()),
            may_change=found.spec.may_change,
            accuracy=accuracy,
        ),
    )


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
