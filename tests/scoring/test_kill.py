"""Exactly once: killed at any moment and run again, a job gives the bytes that an uninterrupted one gives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import csv, json, parquet

from tests.scoring.conftest import make_table, read_folder, run_score, score_command

# Kills the process itself, so that a moment is a place in its work and not only a time: at its n-th step.
SUICIDE = """
import os, signal, sys, threading
left = int(sys.argv.pop(1))
lock = threading.Lock()
def step(event, *rest):
    global left
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir") and any(
        ".onnxpress" in str(part) for part in rest[0]
    ):
        with lock:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
from onnxpress.cli.main import main
sys.addaudithook(step)
main()
"""

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")


def rows_of(output: Path) -> list[dict[str, object]]:
    if output.suffix == ".csv":
        rows: list[dict[str, object]] = csv.read_csv(output).to_pylist()
    elif output.suffix == ".jsonl":
        rows = json.read_json(output).to_pylist()
    else:
        rows = parquet.read_table(output).to_pylist()
    return rows


def kill_and_resume(artifact: Path, source: Path, output: Path, moments: random.Random, kills: int, rows: int) -> None:
    whole = output.with_name(f"whole-{output.name}")
    begun = time.monotonic()
    done = run_score(artifact, source, whole, "--threads", 1)
    assert done.returncode == 0, done.stderr.decode()
    longest = time.monotonic() - begun
    killed = 0
    while killed < kills:
        with subprocess.Popen(
            score_command(artifact, source, output, "--threads", 1), stderr=subprocess.PIPE
        ) as process:
            try:
                process.wait(moments.uniform(0.2, 1) * longest)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.wait()
            assert process.stderr is not None
            told = process.stderr.read()
            is_done = process.returncode == 0 or b"exists already" in told  # killed just before it could exit
            assert is_done or process.returncode == -signal.SIGKILL, told
        if is_done:
            assert read_folder(output).popitem()[1] == read_folder(whole).popitem()[1]
            output.unlink()
    if not output.exists():
        done = run_score(artifact, source, output, "--threads", 1)
        assert done.returncode == 0, done.stderr.decode()
    assert output.read_bytes() == whole.read_bytes()
    assert [row["id"] for row in rows_of(output)] == list(range(rows))
    assert not list(output.parent.glob(".*.onnxpress"))


@posix
@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_killed_at_any_step_it_goes_on(artifact: Path, tmp_path: Path, name: str) -> None:
    rows = 20_000
    parquet.write_table(make_table(rows), tmp_path / "in.parquet", row_group_size=7_000)
    arguments = [artifact, tmp_path / "in.parquet"]
    assert run_score(*arguments, tmp_path / f"whole-{name}", "--threads", 1).returncode == 0
    moments = random.Random(name)
    for _ in range(3):
        step = moments.randint(3, 28)
        command = [sys.executable, "-c", SUICIDE, str(step), *score_command(*arguments, tmp_path / name)[3:]]
        killed = subprocess.run([*command, "--threads", "1"], capture_output=True, timeout=120, check=False)
        assert killed.returncode in (0, 2, -signal.SIGKILL), killed.stderr.decode()
    if not (tmp_path / name).exists() or list(tmp_path.glob(".*.onnxpress")):
        done = run_score(*arguments, tmp_path / name, "--threads", 1)
        assert done.returncode == 0 or b"exists already" in done.stderr, done.stderr.decode()
    assert not list(tmp_path.glob(".*.onnxpress"))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert [row["id"] for row in rows_of(tmp_path / name)] == list(range(rows))


@posix
def test_killed_at_some_steps_a_folder_goes_on(artifact: Path, tmp_path: Path) -> None:
    rows = 20_000
    parquet.write_table(make_table(rows), tmp_path / "in.parquet")
    arguments = [artifact, tmp_path / "in.parquet"]
    assert run_score(*arguments, tmp_path / "whole/", "--threads", 1).returncode == 0
    wanted = read_folder(tmp_path / "whole")
    killed = 0
    for step in (4, 12, 17, 21, 24, 26):  # through parts, journal, rename of the folder and clearing up
        command = [sys.executable, "-c", SUICIDE, str(step), *score_command(*arguments, f"{tmp_path}/out/")[3:]]
        done = subprocess.run([*command, "--threads", "1"], capture_output=True, timeout=120, check=False)
        killed += done.returncode == -signal.SIGKILL
    assert killed >= 3
    if list(tmp_path.glob(".*.onnxpress")) and not (tmp_path / "out").exists():
        assert run_score(*arguments, f"{tmp_path}/out/", "--threads", 1).returncode == 0
    assert read_folder(tmp_path / "out") == wanted


@posix
@pytest.mark.slow
def test_killed_fifty_times_nothing_is_lost_or_doubled(artifact: Path, tmp_path: Path) -> None:
    rows = 60_000
    parquet.write_table(make_table(rows), tmp_path / "in.parquet", row_group_size=25_000)
    kill_and_resume(artifact, tmp_path / "in.parquet", tmp_path / "out.csv", random.Random(1), 25, rows)
    kill_and_resume(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet", random.Random(2), 25, rows)


@posix
def test_killed_five_times_nothing_is_lost_or_doubled(artifact: Path, tmp_path: Path) -> None:
    rows = 30_000
    parquet.write_table(make_table(rows), tmp_path / "in.parquet", row_group_size=25_000)
    kill_and_resume(artifact, tmp_path / "in.parquet", tmp_path / "out.jsonl", random.Random(3), 5, rows)
