"""What the demo runs, in which order, and how much of it; the commands themselves are made up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onnxpress_bench.demo import command, corpus, sources
from onnxpress_bench.demo.corpus import Corpus, Example

HELD_OUT = tuple(Example(f"review {number}", number % 2) for number in range(300))


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of each command that the demo ran; its checkpoint is there already."""
    found: list[list[str]] = []

    def run(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        found.append(arguments[3:])
        return subprocess.CompletedProcess(arguments, 3 if "run" in arguments else 0)

    monkeypatch.setattr(command.subprocess, "run", run)
    monkeypatch.setattr(sources, "fetch", lambda *_, **__: tmp_path)
    monkeypatch.setattr(corpus, "read_corpus", lambda _: Corpus(training=HELD_OUT, held_out=HELD_OUT))
    (tmp_path / "film-reviews").mkdir()
    (tmp_path / "film-reviews/demo.json").write_text(json.dumps({"accuracy": 0.9, "seconds": 1.0}))
    return found


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_it_ends_with_a_scored_file_and_the_page(ran: list[list[str]], tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["--directory", str(tmp_path)])
    assert done.exit_code == 0, done.output  # a void run of the benchmark ends nothing
    names = [" ".join(arguments[:2]) if arguments[0] == "bench" else arguments[0] for arguments in ran]
    assert names == ["export", "inspect", "predict", "score", "explain", "bench run", "bench report"]
    assert ran[-1][-1] == str(tmp_path / "benchmark.html") and ran[-1][2] == str(tmp_path / "benchmark.json")
    assert done.stdout.splitlines()[-2] == str(tmp_path / "held-out.scored.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "held-out.jsonl").read_text().splitlines()]
    assert rows[1] == {"text": "review 1"} and len(rows) == 300


def test_short_by_default_and_says_what_that_costs(ran: list[list[str]], tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["--directory", str(tmp_path)])
    (measured,) = [arguments for arguments in ran if arguments[:2] == ["bench", "run"]]
    assert option(measured, "--blocks") == option(measured, "--cold-starts") == "4"
    assert option(measured, "--precision") == "fp32"
    rows = [json.loads(line) for line in (tmp_path / "measured.jsonl").read_text().splitlines()]
    assert len(rows) == 200 and rows[1] == {"text": "review 1", "label": "positive"}
    assert "intervals are about twice as wide" in done.stderr and "--thorough" in done.stderr


def test_thorough_measures_all_and_int8_too(ran: list[list[str]], tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["--directory", str(tmp_path), "--thorough"])
    assert done.exit_code == 0
    (measured,) = [arguments for arguments in ran if arguments[:2] == ["bench", "run"]]
    assert option(measured, "--blocks") == "8" and option(measured, "--precision") == "fp32,int8"
    assert option(ran[0], "--precision") == "fp32,int8" and option(ran[0], "--sample") == str(
        tmp_path / "measured.jsonl"
    )
    assert len((tmp_path / "measured.jsonl").read_text().splitlines()) == 300


def test_a_command_that_fails_ends_it(ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2))
    assert CliRunner().invoke(command.app, ["--directory", str(tmp_path)]).exit_code == 2
