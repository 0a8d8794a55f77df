"""A whole benchmark on the tiny classifier: real processes, real samples, answers compared."""

from __future__ import annotations

import io
import json
import sys
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

import onnxpress
from onnxpress_bench import sample
from onnxpress_bench.compare import compare_with_peers
from onnxpress_bench.memory import peak_memory_bytes
from onnxpress_bench.report import render
from onnxpress_bench.result import Agreement, BenchResult, SystemResult, encode_result
from onnxpress_bench.runner import run_benchmark
from onnxpress_bench.sample import SampleSizes, SystemFailedError, take_samples
from onnxpress_bench.system import SystemSpec, engine_systems

SIZES = SampleSizes(rounds=2, requests=5, cold_starts=1)


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(texts[:40]))
    return path


@pytest.fixture(scope="module")
def result(artifact: Path, checkpoint: Path, text_file: Path) -> BenchResult:
    return run_benchmark(artifact, text_file, against=str(checkpoint), sizes=SIZES)


def test_every_system_was_measured_on_the_same_texts(result: BenchResult) -> None:
    assert [system.spec.name for system in result.systems] == [
        "onnxpress, latency",
        "onnxpress, throughput",
        "transformers pipeline, batch 1",
        "transformers pipeline, batch 32",
    ]
    for system in result.systems:
        assert [len(requests) for requests in system.single_ns] == [5, 5]
        assert len(system.bulk_ns) == 2 and len(system.cold_start_ns) == 1
        requests = list(chain.from_iterable(system.single_ns))
        assert all(ns > 0 for ns in (*system.bulk_ns, *system.cold_start_ns, *requests))
        assert system.peak_memory_bytes > 20 * 2**20
        assert max(requests) < min(system.cold_start_ns)
    assert result.texts == 40


def test_answers_were_compared_with_the_reference(result: BenchResult) -> None:
    for system in result.systems:
        assert system.agreement.reference == "transformers pipeline, batch 32"
        assert system.agreement.equal_labels == system.agreement.texts == 40
        assert system.agreement.max_logit_difference < 2e-4  # fp32 sums, logits of order 10
    assert result.systems[0].agreement.max_logit_difference > 0


def test_comparisons_take_the_best_of_each_side(result: BenchResult) -> None:
    assert [comparison.metric for comparison in result.comparisons] == [
        "throughput",
        "single request, p50",
        "cold start",
        "peak memory",
    ]
    for comparison in result.comparisons:
        assert comparison.system.startswith("onnxpress") and comparison.peer.startswith("transformers")
        assert comparison.ratio.low <= comparison.ratio.value <= comparison.ratio.high


def test_the_report_shows_every_system_and_ratio(result: BenchResult) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(result))
    page = console.export_text()
    for name in (*(s.spec.name for s in result.systems), *(c.metric for c in result.comparisons), "100.00%"):
        assert name in page


def test_a_result_survives_its_file(result: BenchResult) -> None:
    assert msgspec.json.decode(encode_result(result), type=BenchResult) == result
    assert json.loads(encode_result(result))["schema_version"] == 1


def made_up(name: str, kind: str, nanoseconds: int) -> SystemResult:
    return SystemResult(
        spec=SystemSpec(name=name, kind=kind, model="m"),  # type: ignore[arg-type]
        cold_start_ns=[nanoseconds] * 2,
        single_ns=[[nanoseconds] * 3] * 2,
        bulk_ns=[nanoseconds] * 2,
        peak_memory_bytes=nanoseconds,
        agreement=Agreement(reference=name, texts=1, equal_labels=1, max_logit_difference=0),
    )


def test_ratios_are_of_the_fastest_setting_of_each_side() -> None:
    engines = [made_up("slow engine", "engine", 20), made_up("fast engine", "engine", 10)]
    peers = [made_up("fast peer", "pipeline", 30), made_up("slow peer", "pipeline", 90)]
    for comparison in compare_with_peers([*engines, *peers]):
        assert (comparison.system, comparison.peer) == ("fast engine", "fast peer")
        assert comparison.ratio.value == pytest.approx(3)
    assert compare_with_peers(engines) == []


def test_a_system_that_fails_is_named_with_its_reason(artifact: Path) -> None:
    with pytest.raises(SystemFailedError, match=r"onnxpress, latency failed: TextTooLongError: text 1 has"):
        take_samples(engine_systems(str(artifact)), ["fine", "x" * 200_000], SIZES)
    with pytest.raises(SystemFailedError, match=r"failed: ArtifactNotFoundError: nowhere: no such directory"):
        take_samples(engine_systems("nowhere"), ["fine"], SIZES)


def test_a_process_that_dies_is_told(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "sys", type("Sys", (), {"executable": "/bin/false"}))
    with pytest.raises(SystemFailedError, match="its process ended with status 1"):
        take_samples(engine_systems(str(artifact)), ["fine"], SIZES)


@pytest.mark.parametrize("name", ["rounds", "requests", "cold_starts"])
def test_nothing_to_measure_is_refused(artifact: Path, text_file: Path, name: str) -> None:
    sizes = msgspec.structs.replace(SIZES, **{name: 0})
    with pytest.raises(onnxpress.ConfigError, match=f"{name.replace('_', '-')} must be at least 1, got 0"):
        run_benchmark(artifact, text_file, against=None, sizes=sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_counts_what_was_held_and_let_go() -> None:
    before = peak_memory_bytes()
    block = bytearray(b"x" * (before + 64 * 2**20))
    del block
    assert peak_memory_bytes() >= before + 64 * 2**20
