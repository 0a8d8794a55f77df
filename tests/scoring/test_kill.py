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

from tests.scoring.conftest import ROWS, make_table, read_folder, run_score, score_command

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

# Many parts of few rows, so that a kill comes between some of them.
SMALL_PARTS = """
from onnxpress.scoring import pipeline, source
pipeline.PART_ROWS, source.CHUNK_ROWS = 512, 256
from onnxpress.cli.main import main
main()
"""
PARTS = 40

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")


def rows_of(output: Path) -> list[dict[str, object]]:
    if output.suffix == ".csv":
        rows: list[dict[str, object]] = csv.read_csv(output).to_pylist()
    elif output.suffix == ".jsonl":
        rows = json.read_json(output).to_pylist()
    else:
        rows = parquet.read_table(output).to_pylist()
    return rows


def kill_at_random(command: list[str], output: Path, parts: int, moments: random.Random) -> bool:
    """Run `command`, and kill it once some part is there, or a moment later. Whether that came before its end."""
    part = f"part-{moments.randrange(parts):06}{output.suffix}"
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(output.parent.glob(f".{output.name}.onnxpress/parts-*/{part}")):
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        _, told = process.communicate()
    is_done = process.returncode == 0 or b"exists already" in told  # killed just before it could exit
    assert is_done or process.returncode == -signal.SIGKILL, told
    return process.returncode == -signal.SIGKILL


def kill_and_resume(artifact: Path, folder: Path, name: str, kills: int) -> None:
    """Kill at random moments, again and again, until each output is whole; every output must be the quiet one."""
    moments = random.Random(name)
    parquet.write_table(make_table(ROWS), folder / "in.parquet", row_group_size=7_000)
    quiet, output = folder / f"quiet-{name}", folder / name
    state = folder / f".{name}.onnxpress"

    def command(target: Path) -> list[str]:
        return [sys.executable, "-c", SMALL_PARTS, *score_command(artifact, folder / "in.parquet", target)[3:]]

    subprocess.run(command(quiet), check=True, capture_output=True)
    killed = resumed = 0
    while killed < kills:
        while killed < kills and not output.exists():
            killed += kill_at_random(command(output), output, PARTS, moments)
            resumed += (state / "journal").exists()
        if not output.exists() or (state / "journal").exists():
            subprocess.run(command(output), check=True, capture_output=True)
        assert output.read_bytes() == quiet.read_bytes()
        if killed < kills:
            output.unlink()
    assert resumed >= kills // 2, "the kills came too early or too late"
    assert [row["id"] for row in rows_of(output)] == list(range(ROWS))


@posix
@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_killed_at_any_step_it_goes_on(artifact: Path, tmp_path: Path, name: str) -> None:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet", row_group_size=7_000)
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
    assert [row["id"] for row in rows_of(tmp_path / name)] == list(range(ROWS))


@posix
def test_killed_at_some_steps_a_folder_goes_on(artifact: Path, tmp_path: Path) -> None:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet")
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
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_killed_twenty_five_times_nothing_is_lost_or_doubled(artifact: Path, tmp_path: Path, name: str) -> None:
    kill_and_resume(artifact, tmp_path, name, kills=25)


@posix
def test_killed_five_times_nothing_is_lost_or_doubled(artifact: Path, tmp_path: Path) -> None:
    kill_and_resume(artifact, tmp_path, "out.jsonl", kills=5)
