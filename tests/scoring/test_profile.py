"""The profile of a job is that of its rows, however often the job was killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.watching.profile import read_profile
from tests.scoring.conftest import ROWS, Stopped, make_table, run_score, score_command
from tests.scoring.test_kill import PARTS, SMALL_PARTS, SUICIDE, kill_at_random, posix


def test_it_tells_what_the_rows_tell(artifact: Path, source: Path, tmp_path: Path) -> None:
    done = run_score(
        artifact, source, tmp_path / "out.jsonl", "--profile", tmp_path / "p.json", "--summary", tmp_path / "s.json"
    )
    assert done.returncode == 0, done.stderr.decode()
    summary, profile = json.loads((tmp_path / "s.json").read_bytes()), read_profile(tmp_path / "p.json")
    assert dict(zip(profile.labels, profile.label_counts or (), strict=True)) == summary["labels"]
    assert profile.texts == summary["scored"] == ROWS and summary["profile"] == str(tmp_path / "p.json")
    assert summary["answered"] == {"fp32": 1.0} and profile.answered == {"fp32": ROWS}
    scores = [json.loads(line)["score"] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    bounds, counts = profile.scores[0].bounds, profile.scores[0].counts
    assert [sum(score <= bound for score in scores) for bound in (0.6, 0.9)] == [
        sum(counts[: bounds.index(bound) + 1]) for bound in (0.6, 0.9)
    ]


def test_rows_that_were_rejected_are_not_in_it(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good film"}\n{"text": null}\n{"text": "dull § film"}\n')
    found = onnxpress.score(
        artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_bad_row="null", profile=tmp_path / "p.json"
    )
    profile = read_profile(tmp_path / "p.json")
    assert (found.rows, profile.texts, profile.unknown_tokens, profile.tokens) == (3, 2, 1, 9)


def test_a_job_that_goes_on_may_be_asked_for_it_only_then(
    artifact: Path, source: Path, stopped: Stopped, tmp_path: Path
) -> None:
    summary = onnxpress.score(artifact, source, stopped.output, profile=tmp_path / "p.json")
    assert summary.resumed >= stopped.rows
    onnxpress.score(artifact, source, tmp_path / "quiet.csv", profile=tmp_path / "quiet.json")
    assert (tmp_path / "p.json").read_bytes() == (tmp_path / "quiet.json").read_bytes()


@posix
def test_killed_it_is_that_of_a_quiet_run(artifact: Path, tmp_path: Path) -> None:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet", row_group_size=7_000)
    moments = random.Random(8)

    def command(name: str) -> list[str]:
        arguments = [
            artifact,
            tmp_path / "in.parquet",
            tmp_path / f"{name}.csv",
            "--profile",
            tmp_path / f"{name}.json",
        ]
        return [sys.executable, "-c", SMALL_PARTS, *score_command(*arguments)[3:]]

    subprocess.run(command("quiet"), check=True, capture_output=True)
    killed = sum(kill_at_random(command("out"), tmp_path / "out.csv", PARTS, moments) for _ in range(3))
    assert killed
    if (tmp_path / ".out.csv.onnxpress/journal").exists() or not (tmp_path / "out.csv").exists():
        subprocess.run(command("out"), check=True, capture_output=True)
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "quiet.json").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@posix
def test_killed_while_it_clears_up_it_writes_the_profile_when_it_goes_on(artifact: Path, tmp_path: Path) -> None:
    """Whatever the step, an output without a journal beside it has its profile."""
    (tmp_path / "in.jsonl").write_text('{"text": "good film"}\n' * 100)
    seen = set()
    for step in range(6, 30, 2):
        out, profile = tmp_path / f"{step}.jsonl", tmp_path / f"{step}.json"
        arguments = score_command(artifact, tmp_path / "in.jsonl", out, "--profile", profile, "--threads", 1)[3:]
        done = subprocess.run(
            [sys.executable, "-c", SUICIDE, str(step), *arguments], capture_output=True, timeout=120, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        is_open = (tmp_path / f".{step}.jsonl.onnxpress/journal").exists()
        assert profile.exists() or is_open or not out.exists()
        seen.add((out.exists(), profile.exists(), is_open))
        if out.exists() and is_open:
            assert run_score(*arguments[1:]).returncode == 0
            assert read_profile(profile).texts == 100
        if done.returncode == 0:
            break
    assert (True, False, True) in seen or (True, True, True) in seen


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("absent/p.json", "must be a local file, in a folder that is there"),
        ("s3://bucket/p.json", "must be a local file, in a folder that is there"),
        ("", "must be a local file"),
        ("{folder}", "is there and is no profile"),
        ("{folder}/precious", "is there and is no profile, so it is not replaced"),
        ("{folder}/in.parquet", "is a file that the job reads or writes"),
        ("{folder}/out.csv", "is a file that the job reads or writes"),
        ("{folder}/out.csv.rejected.jsonl", "is a file that the job reads or writes"),
        ("file://{folder}/out.csv", "is a file that the job reads or writes"),
    ],
)
def test_a_profile_takes_the_place_of_nothing_else(
    artifact: Path, source: Path, tmp_path: Path, profile: str, says: str
) -> None:
    (tmp_path / "precious").write_text("precious")
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}
    with pytest.raises(onnxpress.ConfigError, match=says):
        onnxpress.score(artifact, source, tmp_path / "out.csv", profile=profile.format(folder=tmp_path))
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == before


def test_it_stays_out_of_folders_that_are_read_or_written(artifact: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(onnxpress.ConfigError, match="lies in the output's folder"):
        onnxpress.score(artifact, source, f"{tmp_path}/out/", profile=tmp_path / "out" / "p.json")
    (tmp_path / "data").mkdir()
    os.rename(source, tmp_path / "data" / "in.parquet")
    with pytest.raises(onnxpress.ConfigError, match="lies where the input is read from"):
        onnxpress.score(artifact, tmp_path / "data", tmp_path / "out.csv", profile=tmp_path / "data" / "p.json")


def test_one_that_is_there_is_replaced(artifact: Path, tmp_path: Path) -> None:
    for rows in (3, 5):
        (tmp_path / "in.jsonl").write_text('{"text": "good film"}\n' * rows)
        onnxpress.score(
            artifact, tmp_path / "in.jsonl", tmp_path / f"{rows}.jsonl", profile=tmp_path / "p.json", stop=Event()
        )
        assert read_profile(tmp_path / "p.json").texts == rows
