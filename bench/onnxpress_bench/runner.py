"""A whole benchmark: texts, systems, samples and comparisons joined."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from onnxpress.artifact import open_artifact
from onnxpress.errors import ConfigError
from onnxpress.examples import read_texts
from onnxpress.machine import describe_machine
from onnxpress_bench.compare import compare_with_peers
from onnxpress_bench.result import RESULT_SCHEMA_VERSION, BenchResult
from onnxpress_bench.sample import SampleSizes, take_samples
from onnxpress_bench.system import engine_systems, pipeline_systems

__all__ = ["run_benchmark"]


def run_benchmark(
    artifact: Path,
    texts: Path,
    *,
    against: str | None,
    sizes: SampleSizes,
    precision: str = "fp32",
    on_step: Callable[[str], None] = lambda _: None,
) -> BenchResult:
    """Measure the engine on `artifact` in `precision`, and beside it the pipeline on the checkpoint `against`.

    Raises:
        ArtifactError: There is no artifact, or none of that precision.
        ConfigError: The texts cannot be read, or a size is below 1.
        SystemFailedError: A system failed.
    """
    for name in sizes.__struct_fields__:
        if getattr(sizes, name) < 1:
            raise ConfigError(f"{name.replace('_', '-')} must be at least 1, got {getattr(sizes, name)}")
    opened = open_artifact(artifact)
    manifest, variant = opened.manifest, opened.variant(precision)
    may_change = 0.0 if variant.fidelity is None else variant.fidelity.budget
    machine = describe_machine()
    rows = read_texts(texts)
    specs = engine_systems(str(artifact), variant.precision, may_change) + (
        pipeline_systems(against) if against else []
    )
    systems = take_samples(specs, rows, sizes, on_step=on_step)
    return BenchResult(
        schema_version=RESULT_SCHEMA_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        texts=len(rows),
        model_bytes=sum(manifest.files[name].bytes for name in (variant.cpu.file, *variant.weights)),
        systems=systems,
        comparisons=compare_with_peers(systems),
    )
