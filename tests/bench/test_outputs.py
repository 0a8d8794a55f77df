"""Measured work is not lost: outputs are checked first, samples are written before anything is drawn from them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import onnxpress
from onnxpress.hardware.machine import describe_machine
from onnxpress_bench import runner
from onnxpress_bench.command import app
from onnxpress_bench.compare import compare_with_peers
from onnxpress_bench.conditions import Watch
from onnxpress_bench.load import Load, LoadSamples
from onnxpress_bench.outputs import require_writable, write_whole
from onnxpress_bench.process import this_python
from onnxpress_bench.result import BenchResult, Skipped, describe_texts, encode_result, read_result
from onnxpress_bench.sample import Sampled, SampleSizes
from onnxpress_bench.systems.spec import SystemSpec
from onnxpress_bench.table import render
from onnxpress_bench.worker import Reply
from tests.bench.test_run import made_up


def made_up_result(*names: str, skipped: str = "") -> BenchResult:
    systems = [made_up(name, "eager" if index else "engine", 10 + index) for index, name in enumerate(names)]
    return BenchResult(
        schema_version=3,
        created="2026-01-01T00:00:00+00:00",
        commit="",
        command=[],
        machine=describe_machine(),
        conditions=Watch().conditions(),
        texts=describe_texts(["a", "b", "c"], [1, 1, 1]),
        model_bytes=1,
        gemm_flops=1e9,
        model_flops=None,
        systems=systems,
        skipped=[Skipped(name="peer", reason=skipped)] if skipped else [],
        control=[],
        comparisons=compare_with_peers(systems),
    )


@pytest.mark.parametrize("words", ["no [/] here", "[red]x", "[/bold]", "list[int] is not [1, None]", "[link=x]"])
def test_brackets_are_words_and_no_markup(words: str) -> None:
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(render(made_up_result("engine", f"system {words}", skipped=words)))
    shown = console.export_text()
    assert f"SKIPPED peer: {words}" in shown and f"system {words}" in shown


def test_an_output_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    require_writable("--output", None)
    require_writable("--output", tmp_path / "new.json")
    require_writable("--output", Path(os.devnull))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(onnxpress.ConfigError, match=r"--output .*/x.json: there is no directory .*nowhere\. Make"):
        require_writable("--output", tmp_path / "nowhere/x.json")
    with pytest.raises(onnxpress.ConfigError, match=r"--output .*: is a directory\. Name a file in it"):
        require_writable("--output", tmp_path)


def test_an_output_is_whole_or_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_whole(path, b"first")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(
    "command",
    [
        ["run", "{artifact}", "--texts", "{texts}", "--output"],
        ["report", "{texts}", "--output"],
        ["history", "{folder}", "--output"],
    ],
)
def test_commands_check_their_outputs_before_they_begin(
    artifact: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "take_samples", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    places = {"artifact": artifact, "texts": tmp_path / "texts.txt", "folder": tmp_path}
    filled = [word.format(**places) for word in command]
    done = CliRunner().invoke(app, ["bench", *filled, str(tmp_path / "nowhere/out")])
    assert isinstance(done.exception, onnxpress.ConfigError) and "there is no directory" in str(done.exception)


@pytest.mark.parametrize(("option", "value"), [("--sweep", "nan"), ("--sweep", "16.5"), ("--sweep", "inf")])
def test_lengths_are_whole_numbers(artifact: Path, tmp_path: Path, option: str, value: str) -> None:
    done = CliRunner().invoke(app, ["bench", "run", str(artifact), "--texts", str(tmp_path / "t"), option, value])
    assert isinstance(done.exception, onnxpress.ConfigError) and "takes whole numbers" in str(done.exception)


TEXTS = ["good film", "bad film", "fine"]


def sampled(name: str, kind: str, precision: str, *, flip: bool = False, labels: tuple[str, ...] = ()) -> Sampled:
    logits = np.array([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0]], np.float32)
    found = Sampled(
        SystemSpec(name=name, kind=kind, model="m", precision=precision),  # type: ignore[arg-type]
        this_python(),
        logits[:, ::-1] if flip else logits,
        list(labels or ("negative", "positive")),
    )
    single = LoadSamples(latencies_ns=[1_000] * 3, seconds=0.1, texts=3)
    found.turns = {Load(scenario="single-stream", queries=3): [single] * 4, Load(scenario="offline"): [single] * 4}
    found.cold_start_ns, found.peak_memory_bytes = [1, 2], 1_000
    return found


@pytest.fixture
def run(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the benchmark on systems that are made up."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))

    class Nobody:
        def __init__(self, *_: object) -> None: ...
        def ask(self, _: object) -> Reply:
            return Reply(flops_per_second=1e9)

        def __enter__(self) -> Nobody:
            return self

        def __exit__(self, *_: object) -> None: ...

    def start(*systems: Sampled, **options: Any) -> BenchResult:
        monkeypatch.setattr(runner, "Worker", Nobody)
        monkeypatch.setattr(runner, "take_samples", lambda *_, **__: (list(systems), []))
        return runner.run_benchmark(artifact, texts, against=None, sizes=SampleSizes(), **options)

    return start


ENGINES = ("onnxpress fp32, latency", "onnxpress fp32, throughput", "control")


def test_what_was_measured_is_handed_over_before_it_is_compared(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "compare_with_peers", fail)
    kept: list[BenchResult] = []
    with pytest.raises(ZeroDivisionError):
        run(*(sampled(name, "engine", "fp32") for name in ENGINES), on_measured=kept.append)
    (raw,) = kept
    assert [len(m.turns) for m in raw.systems[0].measurements] == [4, 4]
    path = tmp_path / "raw.json"
    write_whole(path, encode_result(raw))
    assert read_result(path) == raw


def test_the_reference_is_fp32_in_whatever_order(run: Any) -> None:
    engines = [sampled(name, "engine", "fp32") for name in ENGINES]
    int8 = sampled("an int8 peer", "optimum", "int8", flip=True)
    fp32 = sampled("an fp32 peer", "eager", "fp32")
    for peers in ([int8, fp32], [fp32, int8]):
        found = run(*engines, *peers)
        by_name = {system.spec.name: system.agreement for system in found.systems}
        assert {agreement.reference for agreement in by_name.values()} == {"an fp32 peer"}
        assert by_name["an int8 peer"].equal_labels == 0 and by_name[ENGINES[0]].equal_labels == 3
    alone = run(*engines, int8)
    assert {system.agreement.reference for system in alone.systems} == {"onnxpress fp32, latency"}


def test_labels_of_other_names_are_compared_by_place(run: Any) -> None:
    engines = [sampled(name, "engine", "fp32") for name in ENGINES]
    swapped = sampled("swapped", "eager", "fp32", flip=True, labels=("positive", "negative"))
    renamed = sampled("renamed", "onnxruntime", "fp32", labels=("LABEL_0", "LABEL_1"))
    found = run(*engines, swapped, renamed)
    assert [system.agreement.equal_labels for system in found.systems] == [3] * 4
