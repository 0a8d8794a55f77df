"""The check for machines with a GPU runs here from end to end, without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from onnxpress.errors import ConfigError
from onnxpress.hardware.machine import describe_machine
from onnxpress_bench.cuda.model import ids_of, text_of
from onnxpress_bench.cuda.result import CudaResult, Outcome, Speed, read_result, table, write_result

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxpress_bench.cuda", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


def speed(system: str, rows: int, milliseconds: float | None, equal: float | None = 1.0, problem: str = "") -> Speed:
    return Speed(system=system, rows=rows, tokens=16, milliseconds=milliseconds, equal_labels=equal, problem=problem)


@pytest.fixture
def result() -> CudaResult:
    return CudaResult(
        device="NVIDIA H100 80GB HBM3",
        driver="550.1",
        created="2026-01-02T03:04:05+00:00",
        machine=describe_machine(),
        model="BERT, 2 layers of 64, seeded weights",
        tests=(
            Outcome(name="test_a", outcome="passed", reason=""),
            Outcome(name="test_b", outcome="skipped", reason="no kernel"),
        ),
        speeds=(
            speed("one", 1, 1.234),
            speed("one", 32, 5.0, 0.96),
            speed("two", 1, None, None, "no compiler"),
        ),
    )


def test_a_result_is_kept_and_read_as_tables(result: CudaResult, tmp_path: Path) -> None:
    write_result(tmp_path / "cuda.json", result)
    assert read_result(tmp_path / "cuda.json") == result
    lines = table(result).splitlines()
    assert lines[0].startswith("NVIDIA H100 80GB HBM3, driver 550.1; onnxruntime ") and lines[0].endswith("2026-01-02.")
    assert "| test_b | skipped: no kernel |" in lines
    assert lines[-4:] == [
        "| system | 1 × 16 | 32 × 16 |",
        "|---|---:|---:|",
        "| one | 1.23 | 5.00 (96.0% labels equal) |",
        "| two | no compiler |  |",
    ]
    shown = run("--output", tmp_path / "cuda.json", "--show")
    assert shown.returncode == 0 and shown.stdout.strip() == table(result).strip()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"device": 1}'])
def test_another_file_is_no_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cuda.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"cuda\.json: no result"):
        read_result(tmp_path / "cuda.json")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "tpu"), "--device must be cuda or cpu, got 'tpu'"),
        (("--device", "cpu", "--shapes", "8"), "--shapes must be such as"),
        (("--device", "cpu", "--shapes", "8x900"), "3 to 512 tokens, got 8x900"),
        (("--show",), "no result of a check"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run("--output", tmp_path / "cuda.json", *arguments)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "cuda.json").exists()


def test_a_text_has_the_tokens_that_it_was_made_of() -> None:
    ids = ids_of(np.random.default_rng(1), 4, 7)
    assert ids.shape == (4, 7) and set(ids[:, 0]) == {2} and set(ids[:, -1]) == {3}
    assert [int(word) + 5 for word in text_of(ids[0]).split()] == ids[0, 1:-1].tolist()


@pytest.mark.slow
def test_a_rehearsal_runs_from_end_to_end(tmp_path: Path) -> None:
    size = ("--runs", "2", "--layers", "2", "--width", "64", "--shapes", "1x16,4x32")
    done = run("--device", "cpu", "--output", tmp_path / "cuda.json", "--tests", "tests/cuda", *size)
    assert done.returncode == 0, done.stderr[-4_000:]
    found = read_result(tmp_path / "cuda.json")
    assert found.device == "CPU, a rehearsal" and done.stdout.strip() == table(found).strip()
    assert found.tests and {test.outcome for test in found.tests} == {"passed", "skipped"}
    assert all(test.reason for test in found.tests if test.outcome == "skipped")
    measured = {speed.system: speed for speed in found.speeds}
    assert len(found.speeds) == 2 * len(measured) == 10
    assert all(speed.milliseconds or speed.problem for speed in found.speeds)
    for name in ("onnxpress fp32", "onnxruntime, plain export"):
        assert measured[name].equal_labels == 1, msgspec.json.encode(measured[name])
