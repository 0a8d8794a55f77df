"""What is shown while a job runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from onnxpress.cli import score as command
from onnxpress.scoring.summary import Progress
from tests.scoring.conftest import ROWS, score_command


def test_a_line_now_and_then_is_shown_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 4.0, 12.0, 12.0, 13.0])
    monkeypatch.setattr(command, "monotonic", lambda: next(clock))
    with command._progress() as show:
        show(Progress(rows=1_000, resumed=200, share=0.1))
        show(Progress(rows=5_000, resumed=200, share=0.5))
        show(Progress(rows=6_000, resumed=200, share=None))
    captured = capsys.readouterr()
    assert captured.err == "5,000 rows (50%), 400 rows/s\n" and captured.out == ""


def test_a_bar_with_the_time_that_is_left_is_shown_on_a_terminal(artifact: Path, source: Path, tmp_path: Path) -> None:
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm"}
    done = subprocess.run(
        score_command(artifact, source, tmp_path / "out.csv"), env=environment, capture_output=True, timeout=120
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr.decode())
    assert done.returncode == 0 and done.stdout == b""
    assert re.search(rf"{ROWS:,} rows \(100%\), [0-9,]+ rows/s 0:00:00", shown), shown
