"""Ray Data: the local engine's bytes, whoever dies. Needs onnxpress[ray]; each test starts a Ray of two workers."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from pyarrow import parquet

import onnxpress
from tests.scoring.conftest import make_table, read_folder

pytest.importorskip("ray", reason="onnxpress[ray] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

ROWS = 50_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_ray_gives_the_local_engines_bytes(artifact: Path, source: Path, tmp_path: Path) -> None:
    for name in (".csv", ".parquet", "/"):
        local, ray = f"{tmp_path}/local{name}", f"{tmp_path}/ray{name}"
        wanted = onnxpress.score(artifact, source, local, threads=1)
        found = onnxpress.score(artifact, source, ray, engine="ray", workers=2)
        assert (found.rows, found.labels, found.parts) == (ROWS, wanted.labels, wanted.parts)
        assert list(read_folder(Path(local)).values()) == list(read_folder(Path(ray)).values())


def test_a_killed_actor_loses_and_doubles_nothing(artifact: Path, source: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for path in tmp_path.glob(".out.csv.onnxpress/parts-*/.part-000002.*"):
                killed.append(int(path.name.split(".")[3]))
                os.kill(killed[0], signal.SIGKILL)
                break

    killer = threading.Thread(target=kill)
    killer.start()
    summary = onnxpress.score(artifact, source, tmp_path / "out.csv", engine="ray", workers=2, threads=1)
    killer.join()
    assert killed and killed[0] != os.getpid(), "an actor was killed while it wrote a part"
    assert summary.rows == ROWS
    onnxpress.score(artifact, source, tmp_path / "local.csv", threads=1)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_ray_goes_on_where_the_local_engine_stopped(artifact: Path, source: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(onnxpress.JobStoppedError) as caught:
        onnxpress.score(artifact, source, tmp_path / "out.csv", threads=1, on_progress=lambda p: stop.set(), stop=stop)
    summary = onnxpress.score(artifact, source, tmp_path / "out.csv", engine="ray", workers=2, threads=1)
    assert summary.resumed == caught.value.rows
    onnxpress.score(artifact, source, tmp_path / "local.csv", threads=1)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_a_bad_row_is_told_by_the_worker(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n{"text": 7}\n')
    with pytest.raises(onnxpress.BadRowError, match="row 2 holds no text but what is of type int"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv", engine="ray", threads=1)


def test_an_input_without_rows_and_a_worker_that_cannot_load(artifact: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    assert onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "none.csv", engine="ray").rows == 0
    assert (tmp_path / "none.csv").read_text() == "id,text,label,score\n"
    broken = Path(shutil.copytree(artifact, tmp_path / "broken"))
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export"):
        onnxpress.score(broken, source, tmp_path / "out.csv", engine="ray")


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_nothing_that_ray_will_remove_is_used(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n')
    assert onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv", engine="ray").rows == 1
