"""The gate: its verdicts, what it writes, and that it measures what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import onnxpress
from onnxpress_bench.command import app
from onnxpress_bench.gate import paired, words
from onnxpress_bench.gate.decision import EXIT_STATUS, Finding, GateResult, judge, look, overall
from onnxpress_bench.gate.paired import Side, compare_now
from onnxpress_bench.gate.recorded import compare_recorded
from onnxpress_bench.process import Python, this_python, worker_sources
from onnxpress_bench.result import BenchResult, Measurement, SystemResult, encode_result
from onnxpress_bench.statistics import Ratio

LIMIT = 1.05
NAMES = ("old.json", "new.json")


def logs(slowdown: float, spread: float, count: int = 20) -> np.ndarray:
    return np.random.default_rng(1).normal(np.log(slowdown), spread, count)


@pytest.mark.parametrize(
    ("slowdown", "spread", "verdict"),
    [
        (1.00, 0.02, "pass"),
        (0.80, 0.05, "pass"),
        (1.08, 0.02, "regression"),
        (1.05, 0.02, "inconclusive"),
        (1.08, 0.20, "inconclusive"),
    ],
)
def test_the_interval_decides(slowdown: float, spread: float, verdict: str) -> None:
    assert judge("throughput", logs(slowdown, spread), LIMIT, 0.95).verdict == verdict


@pytest.mark.parametrize("slowdown", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_fewer_than_eight_repetitions_decide_nothing(slowdown: float, count: int) -> None:
    assert judge("throughput", logs(slowdown, 0.001, count), LIMIT, 0.95).verdict == "inconclusive"
    assert judge("throughput", logs(slowdown, 0.001, 8), LIMIT, 0.95).verdict != "inconclusive"


def test_looks_come_at_the_eighth_repetition_at_every_fourth_and_at_the_end() -> None:
    seen = [n for n in range(1, 21) if look({"a": [0.0] * n, "b": [0.0] * n}, LIMIT, is_last=False)]
    assert seen == [8, 12, 16, 20]
    assert look({"a": [0.0], "b": [0.0]}, LIMIT, is_last=True) is not None


def test_a_look_takes_account_of_how_many_metrics_there_are() -> None:
    drawn = list(logs(1.0, 0.05, 12))
    alone, beside = (look(dict.fromkeys(names, drawn), LIMIT, is_last=True) for names in ("a", "abcd"))
    assert alone and beside
    assert beside[0].slowdown.high > alone[0].slowdown.high  # type: ignore[operator]


def finding(verdict: str, value: float = 1.0) -> Finding:
    ratio = Ratio(value=value, low=value - 0.01, high=value + 0.01, pairs=9)
    return Finding(metric=f"{verdict} one", slowdown=ratio, verdict=verdict)  # type: ignore[arg-type]


def test_all_must_pass_and_one_regression_is_enough() -> None:
    good, bad, unclear = finding("pass"), finding("regression"), finding("inconclusive")
    assert overall([good, good]) == "pass"
    assert overall([good, unclear]) == "inconclusive"
    assert overall([good, unclear, bad]) == "regression"
    assert [EXIT_STATUS[verdict] for verdict in ("pass", "regression", "inconclusive")] == [0, 1, 3]


RESULT = GateResult(
    baseline="old<1>",
    candidate="new",
    limit=LIMIT,
    findings=[finding("pass"), finding("regression", 1.09), finding("inconclusive", 1.05)],
    verdict="regression",
    seconds=12.3,
    notes=["9 repetitions."],
)


def test_junit_tells_each_metric() -> None:
    suite = ElementTree.fromstring(words.junit(RESULT))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"]]
    assert suite[1][0].get("message") == (
        "regression: regression one takes 1.090 times as long [1.080, 1.100]; 1.050 is the limit"
    )


def test_markdown_is_a_table() -> None:
    page = words.markdown(RESULT)
    assert page.startswith("### Performance: regression (limit 1.050×)\n")
    assert "| regression one | 1.090× | 1.080 … 1.100 | regression |" in page and "- 9 repetitions." in page


def test_the_same_engine_passes_or_is_undecided_never_slower(artifact: Path, texts: list[str]) -> None:
    """The limit is far above what noise can do to two medians, so that only a mistake can fail this."""
    side = Side(name="same", artifact=str(artifact), python=this_python())
    found = compare_now(side, side, texts[:30], limit=8.0, seconds=1)
    assert found.verdict == "inconclusive"  # of one repetition
    assert [f.metric for f in found.findings] == ["single request, p50", "throughput"]
    assert found.notes == [
        "1 repetitions of fresh processes, paired.",
        "A verdict needs 8. Give it more --seconds, or fewer texts.",
    ]
    assert "no interval of one repetition" in words.sentence(found, found.findings[0])


def test_other_labels_are_told(artifact: Path, other_artifact: Path) -> None:
    here = this_python()
    sides = [Side(name=str(path), artifact=str(path), python=here) for path in (artifact, other_artifact)]
    found = compare_now(*sides, ["good film", "bad film"], limit=8.0, seconds=1)
    assert "2 of 2 labels differ between the two." in found.notes


def test_another_environment_runs_the_baseline(artifact: Path, texts: list[str]) -> None:
    """The worker's modules come from a folder of their own, the engine from the other interpreter."""
    with worker_sources() as sources:
        other = Side(name="old", artifact=str(artifact), python=Python(executable=sys.executable, sources=sources))
        here = Side(name="new", artifact=str(artifact), python=this_python())
        assert compare_now(other, here, texts[:30], limit=8.0, seconds=1).baseline == "old"


def test_looks_stop_as_soon_as_all_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 repetitions decide a slowdown of 20 %; undecided ones go on until the time is over."""
    side = Side(name="x", artifact="x", python=this_python())
    monkeypatch.setattr(paired, "_changed", lambda *_: None)

    def run(slowdown: float, spread: float, seconds: float) -> GateResult:
        generator, clock = np.random.default_rng(3), [0.0]

        def repeat(*_: object) -> float:
            clock[0] += 1.0
            return float(generator.normal(np.log(slowdown), spread))

        monkeypatch.setattr(paired, "_repeat", repeat)
        watch = paired.Watch(steady=lambda: clock[0], wall=lambda: clock[0])
        return compare_now(side, side, ["x"], limit=LIMIT, seconds=seconds, watch=watch)

    slower, same, unclear = run(1.2, 0.01, 100), run(1.0, 0.01, 100), run(1.05, 0.05, 100)
    assert (slower.verdict, slower.findings[0].slowdown.pairs) == ("regression", 8)
    assert (same.verdict, same.findings[0].slowdown.pairs) == ("pass", 8)
    assert unclear.verdict == "inconclusive" and 90 <= unclear.seconds <= 100


def slowed(result: BenchResult, factor: float) -> BenchResult:
    def slower(system: SystemResult) -> SystemResult:
        measurements = [
            msgspec.structs.replace(
                m,
                turns=[
                    msgspec.structs.replace(
                        turn,
                        latencies_ns=[int(factor * ns) for ns in turn.latencies_ns],
                        seconds=factor * turn.seconds,
                    )
                    for turn in m.turns
                ],
            )
            for m in system.measurements
        ]
        return msgspec.structs.replace(system, measurements=measurements)

    return msgspec.structs.replace(result, systems=[slower(system) for system in result.systems])


def blocks(result: BenchResult, count: int, spread: float = 0.01, seed: int = 0) -> BenchResult:
    """The result with made-up turns of `count` blocks, whose figures spread."""
    generator = np.random.default_rng(seed)

    def again(measurement: Measurement) -> Measurement:
        turn = measurement.turns[0]
        factors = np.exp(spread * generator.standard_normal(2 * count))
        turns = [
            msgspec.structs.replace(turn, latencies_ns=[int(f * 1e6)] * len(turn.latencies_ns), seconds=float(f))
            for f in factors
        ]
        return msgspec.structs.replace(measurement, turns=turns)

    systems = [msgspec.structs.replace(s, measurements=[again(m) for m in s.measurements]) for s in result.systems]
    return msgspec.structs.replace(result, systems=systems)


def test_recorded_results_are_compared_without_pairs(result: BenchResult) -> None:
    result = blocks(result, 8)
    found = compare_recorded(result, slowed(result, 100.0), names=NAMES, limit=LIMIT)
    assert found.verdict == "regression"
    assert [f.metric for f in found.findings] == [
        f"onnxpress fp32, {setting}: {metric}"
        for setting in ("latency", "throughput")
        for metric in ("throughput", "single request, p50")
    ]
    assert all(f.slowdown.value == pytest.approx(100, rel=0.01) for f in found.findings)
    assert found.notes[0].startswith("From recorded results")
    assert compare_recorded(slowed(result, 100.0), result, names=NAMES, limit=LIMIT).verdict == "pass"


def test_recorded_results_of_few_blocks_decide_nothing(result: BenchResult) -> None:
    few = blocks(result, 7)
    found = compare_recorded(few, slowed(few, 100.0), names=NAMES, limit=LIMIT)
    assert found.verdict == "inconclusive" and "A verdict needs 8 blocks of each" in found.notes[1]
    one = blocks(result, 1)
    assert compare_recorded(one, slowed(one, 100.0), names=NAMES, limit=LIMIT).findings[0].slowdown.low is None


def test_many_systems_raise_no_more_alarms_than_one(result: BenchResult) -> None:
    """Of 300 comparisons of equals at a limit of 1, one in forty may be a regression, whatever the count of systems."""
    (system,) = result.systems[:1]
    many = [
        msgspec.structs.replace(system, spec=msgspec.structs.replace(system.spec, name=f"engine {n}")) for n in range(6)
    ]
    crowd = msgspec.structs.replace(result, systems=many)
    found = [
        compare_recorded(blocks(crowd, 8, seed=2 * n), blocks(crowd, 8, seed=2 * n + 1), names=NAMES, limit=1.0)
        for n in range(300)
    ]
    alarms = sum(comparison.verdict == "regression" for comparison in found)
    assert alarms <= 300 * 0.025 + 3 * np.sqrt(300 * 0.025)  # 12 tests without a correction would raise about 78


def test_results_that_cannot_be_compared_are_refused(result: BenchResult) -> None:
    texts = msgspec.structs.replace(result.texts, sha256="0" * 64)
    machine = msgspec.structs.replace(result.machine, cpu="another")
    for changed, reason in (
        ({"texts": texts}, "Measure both on the same file"),
        ({"machine": machine}, "Measure both on the same machine"),
        ({"systems": []}, "hold no engine system of the same name"),
    ):
        with pytest.raises(onnxpress.ConfigError, match=reason):
            compare_recorded(result, msgspec.structs.replace(result, **changed), names=NAMES, limit=LIMIT)


def test_the_command_writes_its_files_and_ends_with_the_verdict(result: BenchResult, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    result = blocks(result, 8)
    old.write_bytes(encode_result(result))
    new.write_bytes(encode_result(slowed(result, 100.0)))
    outputs = ["--junit", str(tmp_path / "j.xml"), "--markdown", str(tmp_path / "m.md")]
    done = CliRunner().invoke(app, ["bench", "compare", str(old), str(new), *outputs])
    assert done.exit_code == 1 and done.stdout.count("regression: ") == 4
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == "4"
    assert "### Performance: regression" in (tmp_path / "m.md").read_text()
    assert CliRunner().invoke(app, ["bench", "compare", str(new), str(old)]).exit_code == 0


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    artifact: Path, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "compare_now", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "texts.txt").write_text("good film\nbad film\n")
    command = ["bench", "compare", str(artifact), str(artifact), "--texts", str(tmp_path / "texts.txt"), option]
    for path, reason in ((tmp_path / "no/x.xml", "there is no directory"), (tmp_path, "is a directory")):
        done = CliRunner().invoke(app, [*command, str(path)])
        assert isinstance(done.exception, onnxpress.ConfigError)
        assert option in str(done.exception) and reason in str(done.exception)


def test_regressions_are_compared_by_their_values(ranker: Path, tmp_path: Path) -> None:
    """One column has one largest entry only: by the best label, no two regressions would ever differ."""
    from onnxpress_export import export

    other = shutil.copytree(ranker.with_name("checkpoint"), tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["classifier.bias"] += 0.5
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    export(other, tmp_path / "b")
    here = this_python()
    sides = [Side(name=path.name, artifact=str(path), python=here) for path in (ranker, tmp_path / "b")]
    found = compare_now(*sides, ["good film", "bad film"], limit=8.0, seconds=1)
    assert "2 of 2 values differ between the two." in found.notes
    same = compare_now(sides[0], sides[0], ["good film", "bad film"], limit=8.0, seconds=1)
    assert not any("differ" in note for note in same.notes)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-slowdown", "0.9"], "--max-slowdown must be from 1 to 10, got 0.9"),
        ([], "--texts FILE is needed"),
        (["--texts", "t.txt", "--seconds", "nan"], "--seconds must be at least 10, got nan"),
        (["--texts", "t.txt", "--baseline-env", "nowhere"], "nowhere: no such file"),
    ],
)
def test_wrong_use_is_told(artifact: Path, arguments: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, ["bench", "compare", str(artifact), str(artifact), *arguments])
    assert isinstance(done.exception, onnxpress.ConfigError) and reason in str(done.exception)
