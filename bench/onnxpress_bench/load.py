"""MLPerf's load generator on a system: what is asked when, and how long each answer took."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from onnxpress_bench.systems.spec import System, Text

__all__ = ["Load", "LoadSamples", "Scenario", "generate_load"]

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]

_NAMES: Final[dict[Scenario, str]] = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a system.

    Attributes:
        scenario: As MLPerf names them: one query after the other (of one text, or of `texts_per_query`), arrivals at
            random times (Poisson), or all texts in one query.
        queries: How many; of offline always one.
        texts_per_query: Of multi-stream.
        rate: Queries a second that arrive, of server.
        tokenize: Whether tokenization is part of what is timed; without it, only for single-stream.
        seed: Of the arrivals and of which texts are asked.
    """

    scenario: Scenario
    queries: int = 1
    texts_per_query: int = 1
    rate: float | None = None
    tokenize: bool = True
    seed: int = 1


class LoadSamples(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        latencies_ns: Of each query, from when it was due, not from when it could be handed over; of offline, one.
        seconds: From the first query due to the last answer.
        texts: Texts answered.
    """

    latencies_ns: list[int]
    seconds: float
    texts: int


def generate_load(system: System, texts: Sequence[Text], load: Load) -> LoadSamples:
    """Ask `load` of `system`; the same seed asks the same texts at the same times."""
    import mlperf_loadgen

    serving = system.serve() if load.scenario == "server" else None
    encoded = None if load.tokenize else [system.encode([text]) for text in texts]

    def finish(samples: Sequence[Any]) -> None:
        mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(s.id, 0, 0) for s in samples])

    failures: list[BaseException] = []

    def issue(samples: list[Any]) -> None:
        try:
            if serving is not None:
                for sample in samples:
                    serving.submit(texts[sample.index], _finisher(finish, sample))
                return
            if encoded is not None:
                for sample in samples:
                    system.run(encoded[sample.index])
            elif not failures:
                system.logits([texts[sample.index] for sample in samples])
        except BaseException as error:  # raised by the caller: the generator would wait for ever
            failures.append(error)
        finish(samples)

    try:
        samples = _run(mlperf_loadgen, issue, len(texts), load)
    finally:
        if serving is not None:
            serving.close()
    if failures:
        raise failures[0]
    return samples


def _finisher(finish: Callable[[Sequence[Any]], None], sample: Any) -> Callable[[], None]:
    return lambda: finish([sample])


def _run(lg: Any, issue: Callable[[list[Any]], None], texts: int, load: Load) -> LoadSamples:
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, _NAMES[load.scenario])
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    # Offline counts texts, each asked once: one that came twice would be answered once by a system that sees it.
    settings.min_query_count = texts if load.scenario == "offline" else load.queries
    settings.max_query_count = load.queries
    settings.performance_issue_unique = load.scenario == "offline"
    settings.sample_index_rng_seed = settings.schedule_rng_seed = settings.qsl_rng_seed = load.seed
    settings.multi_stream_samples_per_query = load.texts_per_query
    if load.rate is not None:
        settings.server_target_qps = load.rate
        settings.server_target_latency_ns = 10**12
    settings.offline_expected_qps = 1
    settings.performance_sample_count_override = texts
    with tempfile.TemporaryDirectory() as folder:
        log = lg.LogSettings()
        log.enable_trace = True  # which alone holds every query's time
        log.log_output = lg.LogOutputSettings()
        log.log_output.outdir, log.log_output.copy_summary_to_stdout = folder, False
        sut, qsl = lg.ConstructSUT(issue, lambda: None), lg.ConstructQSL(texts, texts, _nothing, _nothing)
        try:
            lg.StartTestWithLogSettings(sut, qsl, settings, log, str(Path(folder) / "none"))
        finally:
            lg.DestroyQSL(qsl)
            lg.DestroySUT(sut)
        return _read_trace(Path(folder) / "mlperf_log_trace.json", load)


def _nothing(_: Sequence[int]) -> None: ...


def _read_trace(path: Path, load: Load) -> LoadSamples:
    """Latency of each query, the slowest of its texts; the trace gives it from the time that the query was due."""
    slowest: dict[int, int] = {}
    begin, end, texts = float("inf"), 0.0, 0
    for line in path.read_text().splitlines():
        if not line.startswith('{"name":"Sample",') or '"ph":"b"' not in line:
            continue
        event = json.loads(line.rstrip(","))
        query, latency = event["args"]["query_seq"], event["args"]["complete_ns"]
        slowest[query] = max(latency, slowest.get(query, 0))
        begin, end, texts = min(begin, event["ts"]), max(end, event["ts"] + latency / 1e3), texts + 1
    if len(slowest) != load.queries:
        raise RuntimeError(f"the load generator logged {len(slowest)} of {load.queries} queries")
    return LoadSamples(
        latencies_ns=[slowest[query] for query in sorted(slowest)], seconds=(end - begin) / 1e6, texts=texts
    )
