"""A whole benchmark on the tiny classifier: real processes, real samples, answers compared."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

import onnxpress
from onnxpress_bench.compare import METRICS, block_figures, compare_with_peers
from onnxpress_bench.load import Load, LoadSamples
from onnxpress_bench.memory import peak_memory_bytes
from onnxpress_bench.peers import peer_systems
from onnxpress_bench.process import Python, SystemFailedError, Worker, this_python
from onnxpress_bench.result import (
    Agreement,
    BenchResult,
    Measurement,
    SystemResult,
    encode_result,
    read_result,
)
from onnxpress_bench.runner import run_benchmark
from onnxpress_bench.sample import SampleSizes, take_samples
from onnxpress_bench.systems.spec import SystemSpec
from onnxpress_bench.table import render
from onnxpress_bench.worker import Answer, Ask
from tests.bench.conftest import SIZES

ENGINE = SystemSpec(name="engine", kind="engine", model="", optimize_for="latency")


def test_every_system_was_measured_on_the_same_texts(result: BenchResult) -> None:
    assert [system.spec.name for system in result.systems] == [
        "onnxpress fp32, latency",
        "onnxpress fp32, throughput",
        "transformers pipeline",
        "transformers eager",
        "onnxruntime, plain export",
    ]
    assert result.skipped == [] and result.texts.count == 40
    for system in result.systems:
        single, offline = system.of("single-stream"), system.of("offline")
        assert single is not None and offline is not None
        assert [len(turn.latencies_ns) for turn in single.turns] == [6] * 4  # two turns a block
        assert [turn.texts for turn in offline.turns] == [40] * 4
        assert max(single.latencies_ns()) < min(system.cold_start_ns)
        assert system.peak_memory_bytes > 20 * 2**20
        assert system.versions["tokenizers"]
        assert (system.spec.batch_size is None) == (system.spec.kind == "engine")


def test_each_block_had_processes_of_its_own(result: BenchResult) -> None:
    for system in result.systems:
        assert len(system.cold_start_ns) == 2  # one a block; `cold_starts` asked for no more


def test_every_scenario_was_asked(result: BenchResult) -> None:
    for system in result.systems:
        loads = [(m.load.scenario, m.load.tokenize, len(m.latencies_ns())) for m in system.measurements]
        wanted = [("single-stream", True, 24), ("offline", True, 4), ("multi-stream", True, 1), ("server", True, 30)]
        if system.spec.kind != "pipeline":  # which runs from text only
            wanted.insert(2, ("single-stream", False, 6))
        assert loads == wanted
        server = system.of("server")
        assert server is not None and server.load.rate and server.turns[0].texts == 30


def test_lengths_were_swept_up_to_the_models_own(result: BenchResult) -> None:
    for system in result.systems:
        assert [(p.tokens, p.batch, len(p.nanoseconds)) for p in system.sweep] == [(8, 1, 5), (8, 2, 5)]


def test_answers_were_compared_with_the_reference(result: BenchResult) -> None:
    for system in result.systems:
        assert system.agreement.reference == "transformers pipeline"
        assert system.agreement.equal_labels == system.agreement.texts == 40 and system.agreement.is_kept
        assert system.agreement.max_logit_difference < 2e-4  # fp32 sums, logits of order 10
        assert system.agreement.accuracy == 0.9  # every tenth label in the file is wrong
    assert result.systems[0].agreement.max_logit_difference > 0


def test_the_engine_was_measured_beside_itself(result: BenchResult) -> None:
    assert [(found.metric, found.peer, found.ratio.pairs) for found in result.control] == [
        ("throughput", "control", 2),
        ("single request, p50", "control", 2),
    ]
    assert not result.is_judged and not result.is_void  # by 2 blocks
    assert "control" not in [system.spec.name for system in result.systems]


def test_comparisons_are_of_the_engine_with_every_peer(result: BenchResult) -> None:
    peers = [system.spec.name for system in result.systems[2:]]
    assert [(found.metric, found.peer) for found in result.comparisons] == [
        (metric, peer) for metric in METRICS for peer in peers
    ]
    for comparison in result.comparisons:
        assert comparison.system.startswith("onnxpress")
        ratio = comparison.ratio
        assert ratio.pairs == (1 if comparison.metric == "peak memory" else 2)
        assert (ratio.low is None) == (ratio.pairs == 1)
        assert ratio.low is None or ratio.high is None or ratio.low <= ratio.value <= ratio.high


def test_the_tables_show_every_system_and_ratio(result: BenchResult) -> None:
    console = Console(width=180, record=True, file=io.StringIO())
    console.print(render(result))
    page = console.export_text()
    for name in (*(s.spec.name for s in result.systems), "throughput", "100.00%", "A/A", "90.0%"):
        assert name in page
    assert "–" in page  # 24 requests give no p99


def test_a_result_survives_its_file(result: BenchResult, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(encode_result(result))
    assert read_result(path) == result


def test_a_result_of_another_schema_is_refused(result: BenchResult, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(encode_result(msgspec.structs.replace(result, schema_version=1)))
    with pytest.raises(onnxpress.ConfigError, match=r"schema 1; this version reads 3. Measure again"):
        read_result(path)
    path.write_bytes(b'{"schema_version": 3}')
    with pytest.raises(onnxpress.ConfigError, match=r"is no result of `onnxpress bench run`"):
        read_result(path)
    with pytest.raises(onnxpress.ConfigError, match=r"nowhere.json: no such file"):
        read_result(tmp_path / "nowhere.json")


def made_up(name: str, kind: str, nanoseconds: int, *, differ: int = 0) -> SystemResult:
    single = [LoadSamples(latencies_ns=[nanoseconds] * 3, seconds=1.0, texts=3)] * 4
    offline = [LoadSamples(latencies_ns=[nanoseconds], seconds=nanoseconds / 1e9, texts=3)] * 4
    return SystemResult(
        spec=SystemSpec(name=name, kind=kind, model="m"),  # type: ignore[arg-type]
        versions={},
        settled=True,
        measurements=[
            Measurement(load=Load(scenario="single-stream", queries=3), turns=single),
            Measurement(load=Load(scenario="offline"), turns=offline),
        ],
        cold_start_ns=[nanoseconds] * 2,
        peak_memory_bytes=nanoseconds,
        joules_per_text=None,
        sweep=[],
        agreement=Agreement(
            reference=name, texts=3, equal_labels=3 - differ, max_logit_difference=0, may_change=0.0, accuracy=None
        ),
    )


def test_ratios_are_of_the_engines_fastest_setting() -> None:
    engines = [made_up("slow engine", "engine", 20), made_up("fast engine", "engine", 10)]
    peers = [made_up("fast peer", "pipeline", 30), made_up("slow peer", "eager", 90)]
    for comparison in compare_with_peers([*engines, *peers]):
        assert comparison.system == "fast engine"
        assert comparison.ratio.value == pytest.approx(3 if comparison.peer == "fast peer" else 9)
    assert compare_with_peers(engines) == []


def test_a_block_is_the_mean_of_its_two_turns() -> None:
    assert block_figures([1, 4, 10, 10]) == pytest.approx([2, 10])


def test_a_system_whose_labels_differ_is_flagged(result: BenchResult) -> None:
    found = msgspec.structs.replace(result, systems=[*result.systems, made_up("wrong", "eager", 10, differ=1)])
    console = Console(width=180, record=True, file=io.StringIO())
    console.print(render(found))
    assert "FLAGGED wrong: 1 of 3 labels differ" in console.export_text()


def test_a_void_run_says_so(result: BenchResult) -> None:
    ratio = msgspec.structs.replace(result.control[0].ratio, low=1.01, value=1.05, high=1.1, pairs=8)
    void = msgspec.structs.replace(result, control=[msgspec.structs.replace(result.control[0], ratio=ratio)])
    assert void.is_void
    console = Console(width=180, record=True, file=io.StringIO())
    console.print(render(void))
    assert "VOID" in console.export_text()


def test_a_peer_that_cannot_be_had_is_skipped_and_named(artifact: Path, text_file: Path, tmp_path: Path) -> None:
    sizes = msgspec.structs.replace(SIZES, blocks=1, loads=(), sweep_tokens=())
    (tmp_path / "empty").mkdir()
    found = run_benchmark(
        artifact, text_file, against=str(tmp_path / "empty"), peers=["eager"], sizes=sizes, home=tmp_path / "home"
    )
    assert [skipped.name for skipped in found.skipped] == ["transformers eager"]
    assert found.skipped[0].reason and found.comparisons == []
    assert [system.agreement.reference for system in found.systems] == ["onnxpress fp32, latency"] * 2


def test_a_peer_that_fails_later_is_dropped_and_an_engine_is_not(
    artifact: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Worker.ask

    def fail(self: Worker, request: object) -> object:
        if isinstance(request, Ask) and request.load.scenario == "offline" and self._name == failing:
            raise SystemFailedError(self._name, "it broke")
        return ask(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "ask", fail)
    engine = msgspec.structs.replace(ENGINE, model=str(artifact))
    (peer,) = peer_systems(["eager"], str(checkpoint), "")
    systems = [(engine, this_python()), (peer, this_python())]
    sizes = msgspec.structs.replace(SIZES, blocks=1, loads=(), sweep_tokens=())
    failing = peer.name
    found, skipped = take_samples(systems, ["good film", "bad film"], sizes, {})
    assert [sampled.spec.name for sampled in found] == ["engine"]
    assert [(skip.name, skip.reason) for skip in skipped] == [(peer.name, "it broke")]
    failing = "engine"
    with pytest.raises(SystemFailedError, match="engine failed: it broke"):
        take_samples(systems[:1], ["good film", "bad film"], sizes, {})


def test_an_unknown_peer_is_refused(artifact: Path, text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match=r"there is no 'pipelines'. Known are pipeline, eager"):
        run_benchmark(artifact, text_file, against="m", peers=["pipelines"], sizes=SIZES, home=tmp_path)


def test_an_engine_that_fails_is_named_with_its_reason(text_file: Path) -> None:
    with pytest.raises(SystemFailedError, match="engine failed: ArtifactNotFoundError: nowhere: no such directory"):
        Worker("engine", this_python(), (msgspec.structs.replace(ENGINE, model="nowhere"), ["fine"]))


def test_a_text_that_is_too_long_is_told(artifact: Path) -> None:
    spec = msgspec.structs.replace(ENGINE, model=str(artifact))
    with (
        Worker("engine", this_python(), (spec, ["fine", "x" * 200_000])) as worker,
        pytest.raises(SystemFailedError, match="engine failed: TextTooLongError: text 1 has"),
    ):
        worker.ask(Answer())


def test_a_process_that_dies_is_told(artifact: Path) -> None:
    spec = msgspec.structs.replace(ENGINE, model=str(artifact))
    found, skipped = take_samples([(spec, Python(executable="/bin/false"))], ["fine"], SIZES, {})
    assert found == [] and skipped[0].reason == "its process ended with status 1."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"requests": 0}, "requests must be at least 1, got 0"),
        ({"cold_starts": 0}, "cold-starts must be at least 1, got 0"),
        ({"loads": (0.5, 3.0)}, "above 0 and at most 2; got 3.0"),
        ({"sweep_tokens": (0,)}, "must be at least 1, got 0"),
    ],
)
def test_sizes_out_of_range_are_refused(artifact: Path, text_file: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=words):
        run_benchmark(artifact, text_file, against=None, sizes=msgspec.structs.replace(SIZES, **change))


@pytest.mark.parametrize(("content", "words"), [("", "holds no text"), ("one\n", "holds 1 text; a benchmark needs")])
def test_too_few_texts_are_refused(artifact: Path, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "few.txt"
    path.write_text(content)
    with pytest.raises(onnxpress.ConfigError, match=words):
        run_benchmark(artifact, path, against=None, sizes=SampleSizes())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_counts_what_was_held_and_let_go() -> None:
    before = peak_memory_bytes()
    block = bytearray(b"x" * (before + 64 * 2**20))
    del block
    assert peak_memory_bytes() >= before + 64 * 2**20
